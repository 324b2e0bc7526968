use rpc_core::service;

#[derive(serde::Serialize, serde::Deserialize)]
struct MathError;

#[derive(serde::Serialize, serde::Deserialize)]
struct Result<T, E>(T, E);

#[service]
trait Calculator {
    async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;
}

fn main() {}
