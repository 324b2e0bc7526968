use rpc_core::service;

#[service]
trait Calculator {
    async fn echo<T: Send>(&self, value: T) -> T;
}

struct Calc;

impl Calculator for Calc {
    async fn echo<T: Send>(&self, value: T) -> T {
        value
    }
}

fn main() {}
