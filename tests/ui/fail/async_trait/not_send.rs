use async_trait::async_trait;
use rpc_core::service;

#[service]
#[async_trait(?Send)]
trait Calculator {
    async fn add(&self, a: i64, b: i64) -> i64;
}

fn main() {}
