use rpc_core::service;

#[service]
trait Calculator {
    async fn greet(&self, cell: &std::cell::Cell<u8>) -> u8;
}

fn main() {}
