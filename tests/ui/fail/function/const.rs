use rpc_core::service;

#[service]
trait Calculator {
    const fn add(&self, a: i64) -> i64;
}

fn main() {}
