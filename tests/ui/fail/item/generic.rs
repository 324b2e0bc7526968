use rpc_core::service;

#[service]
trait Calculator<T> {
    async fn add(&self, a: T, b: T) -> T;
}

fn main() {}
