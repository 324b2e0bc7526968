use rpc_core::service;

#[derive(serde::Serialize)]
struct Point;

#[service]
trait Calculator {
    async fn length(&self, point: Point) -> f64;
}

fn main() {}
