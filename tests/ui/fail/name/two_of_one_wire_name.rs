use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, a: i64) -> i64;
    #[rpc(name = "add")]
    async fn plus(&self, a: i64) -> i64;
}

fn main() {}
