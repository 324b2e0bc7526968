use rpc_core::service;

#[service]
trait Calculator {
    async fn add(&self, a: i64) -> i64;
}

struct Calc;

impl Calculator for Calc {
    async fn add(&self, a: i64) -> i64 {
        let local = std::rc::Rc::new(a);
        std::future::ready(()).await;
        *local
    }
}

fn main() {}
