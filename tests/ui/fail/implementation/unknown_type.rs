use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, a: Number) -> i64;
}

fn main() {}
