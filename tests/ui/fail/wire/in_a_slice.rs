use rpc_core::service;

struct Point;

#[service]
trait Calculator {
    async fn length(&self, points: &[Point]) -> f64;
}

fn main() {}
