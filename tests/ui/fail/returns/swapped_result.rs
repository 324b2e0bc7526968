use rpc_core::service;

#[derive(serde::Serialize, serde::Deserialize)]
struct MathError;

type Result<E, T> = std::result::Result<T, E>;

#[service]
trait Calculator {
    async fn divide(&self, a: f64, b: f64) -> Result<MathError, f64>;
}

fn main() {}
