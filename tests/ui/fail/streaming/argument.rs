use rpc_core::service;

struct Streaming<T>(T);

#[service]
trait Calculator {
    async fn sum(&self, numbers: Streaming<i64>) -> i64;
}

fn main() {}
