use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, a: i64) -> Result<i64, Box<dyn std::error::Error>>;
}

fn main() {}
