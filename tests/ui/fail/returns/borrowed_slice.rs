use rpc_core::service;

#[service]
trait Calculator {
    async fn data(&self) -> Option<&[u8]>;
}

fn main() {}
