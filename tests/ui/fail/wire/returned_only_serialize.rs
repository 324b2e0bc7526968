use rpc_core::service;

#[derive(serde::Serialize)]
struct Point;

#[service]
trait Calculator {
    async fn origin(&self) -> Vec<Point>;
}

fn main() {}
