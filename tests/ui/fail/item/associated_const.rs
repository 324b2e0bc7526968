use rpc_core::service;

#[service]
trait Calculator {
    const LIMIT: u64;
    async fn limit(&self) -> u64;
}

fn main() {}
