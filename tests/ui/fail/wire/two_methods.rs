use rpc_core::service;

struct Point;

#[service]
trait Calculator {
    async fn origin(&self) -> Point;
    async fn length(&self, point: Point) -> f64;
}

fn main() {}
