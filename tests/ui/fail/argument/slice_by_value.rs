use rpc_core::service;

#[service]
trait Calculator {
    async fn sum(&self, numbers: [i64]) -> i64;
}

fn main() {}
