use rpc_core::service;

#[service]
trait Calculator {
    async fn greet(&self, name: str) -> u8;
}

fn main() {}
