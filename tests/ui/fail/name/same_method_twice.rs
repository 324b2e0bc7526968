use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, a: i64) -> i64;
    async fn add(&self, b: i64) -> i64;
}

fn main() {}
