use async_trait::async_trait;
use rpc_core::service;

#[async_trait]
#[service]
trait Calculator {
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn length(&self, text: &str) -> u64;
}

struct Calc;

#[async_trait]
impl Calculator for Calc {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
    async fn length(&self, text: &str) -> u64 {
        text.len() as u64
    }
}

fn main() {}
