use rpc_core::service;

#[service]
trait Calculator {
    async fn add(self: std::sync::Arc<Self>, a: i64) -> i64;
}

fn main() {}
