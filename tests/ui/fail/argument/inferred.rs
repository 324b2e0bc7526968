use rpc_core::service;

#[service]
trait Calculator {
    async fn greet(&self, name: _) -> u8;
}

fn main() {}
