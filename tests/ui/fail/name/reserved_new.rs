use rpc_core::service;

#[service]
trait Calculator {
    async fn new(&self) -> u64;
}

fn main() {}
