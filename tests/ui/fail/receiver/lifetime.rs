use rpc_core::service;

#[service]
trait Calculator {
    async fn add<'a>(&'a self, a: i64) -> i64;
}

fn main() {}
