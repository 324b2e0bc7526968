use rpc_core::service;

#[service]
trait Calculator {
    fn add(&self, a: i64) -> i64;
}

struct Calc;

impl Calculator for Calc {
    fn add(&self, a: i64) -> i64 {
        a
    }
}

fn main() {}
