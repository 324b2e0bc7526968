use rpc_core::service;

struct Point;

#[service]
trait Calculator {
    async fn length(&self, point: (Point, &str)) -> f64;
}

fn main() {}
