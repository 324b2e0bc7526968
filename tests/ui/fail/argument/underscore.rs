use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, _: i64) -> i64;
}

fn main() {}
