use rpc_core::service;

#[service]
trait Calculator {
    #[rpc(name = "math.add")]
    async fn add(&self, a: i64) -> i64;
}

fn main() {}
