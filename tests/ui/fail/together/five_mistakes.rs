use rpc_core::service;

#[service(nam = "math", version = "one")]
trait Calculator {
    async fn add(a: i64) -> i64;
    async fn sort(&self, numbers: &mut Vec<i64>);
    async fn right(&self, a: i64) -> i64;
    fn name(&self) -> &str;
}

struct Calc;

impl Calculator for Calc {
    async fn add(a: i64) -> i64 {
        a
    }
    async fn sort(&self, numbers: &mut Vec<i64>) {
        numbers.sort();
    }
    async fn right(&self, a: i64) -> i64 {
        a
    }
    fn name(&self) -> &str {
        "calc"
    }
}

fn main() {
    let _ = CalculatorServer::new(Calc);
    let _ = DynCalculator::new(Calc);
    let _ = CalculatorClient::connect_lazy("memory:x").unwrap().right(1);
}
