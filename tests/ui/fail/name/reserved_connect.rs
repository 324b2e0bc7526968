use rpc_core::service;

#[service]
trait Calculator {
    async fn connect(&self, to: &str) -> u64;
}

fn main() {}
