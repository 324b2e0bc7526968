use rpc_core::service;

#[service]
trait Calculator {
    async fn merge(&self, other: Self) -> i64;
}

fn main() {}
