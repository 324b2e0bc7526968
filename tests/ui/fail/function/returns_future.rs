use rpc_core::service;

#[service]
trait Calculator {
    fn add(&self, a: i64) -> impl Future<Output = i64> + Send;
}

fn main() {}
