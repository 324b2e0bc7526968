use rpc_core::service;

#[service]
trait Calculator {
    async fn map(&self, f: fn(i64) -> i64) -> i64;
}

fn main() {}
