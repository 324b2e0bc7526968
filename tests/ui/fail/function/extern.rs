use rpc_core::service;

#[service]
trait Calculator {
    async extern "C" fn add(&self, a: i64) -> i64;
}

fn main() {}
