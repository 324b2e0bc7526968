use rpc_core::service;

struct Point;

#[service]
trait Calculator {
    async fn length(&self, point: Option<(Point, &str)>) -> f64;
}

fn main() {}
