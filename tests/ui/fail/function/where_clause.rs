use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, a: i64) -> i64
    where
        Self: Sized;
}

fn main() {}
