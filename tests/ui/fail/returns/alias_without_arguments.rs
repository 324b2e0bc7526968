use rpc_core::service;

#[derive(serde::Serialize, serde::Deserialize)]
struct MathError;

mod math {
    pub(super) type Result = std::result::Result<f64, super::MathError>;
}

#[service]
trait Calculator {
    async fn divide(&self, a: f64, b: f64) -> math::Result;
}

fn main() {}
