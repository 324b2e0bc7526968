use rpc_core::service;

#[service]
trait Calculator {
    async fn numbers(&self) -> impl Iterator<Item = i64>;
}

fn main() {}
