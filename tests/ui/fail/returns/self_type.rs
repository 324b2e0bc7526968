use rpc_core::service;

#[service]
trait Calculator {
    async fn copy(&self) -> Self;
}

fn main() {}
