use rpc_core::service;

struct MathError;

#[service]
trait Calculator {
    async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;
}

fn main() {}
