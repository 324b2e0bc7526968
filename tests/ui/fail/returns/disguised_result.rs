use rpc_core::service;

#[derive(serde::Serialize, serde::Deserialize)]
struct MathError;

type Outcome = Result<f64, MathError>;

#[service]
trait Calculator {
    async fn divide(&self, a: f64, b: f64) -> Outcome;
}

fn main() {}
