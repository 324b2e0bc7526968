use rpc_core::service;

#[service]
trait Calculator {
    async fn clone(&self) -> u64;
}

fn main() {}
