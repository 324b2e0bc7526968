use async_trait::async_trait;
use rpc_core::service;

#[service]
#[async_trait]
trait Calculator {
    async fn add(&self, a: i64) -> i64;
    async fn sort(&mut self) -> i64;
}

struct Calc;

#[async_trait]
impl Calculator for Calc {
    async fn add(&self, a: i64) -> i64 {
        a
    }
    async fn sort(&mut self) -> i64 {
        1
    }
}

fn main() {}
