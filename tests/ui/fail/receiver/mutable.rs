use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&mut self, a: i64) -> i64;
}

struct Calc;

impl Calculator for Calc {
    async fn add(&mut self, a: i64) -> i64 {
        a
    }
}

fn main() {}
