use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, numbers: impl Iterator<Item = i64>) -> i64;
}

fn main() {}
