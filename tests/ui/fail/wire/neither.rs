use rpc_core::service;

struct Point;

#[service]
trait Calculator {
    async fn length(&self, point: Point) -> f64;
}

struct Calc;

impl Calculator for Calc {
    async fn length(&self, _: Point) -> f64 {
        0.0
    }
}

fn main() {
    let _ = CalculatorServer::new(Calc);
    let _ = DynCalculator::new(Calc);
    let _ = CalculatorClient::connect_lazy("memory:x").unwrap().length(Point);
}
