use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, mut a: i64) -> i64;
}

fn main() {}
