use rpc_core::service;

#[service]
trait Calculator {
    type Number;
    async fn add(&self, a: Self::Number) -> Self::Number;
}

fn main() {}
