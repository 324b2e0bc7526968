use rpc_core::service;

#[service]
trait Calculator {
    async unsafe fn add(&self, a: i64) -> i64;
}

fn main() {}
