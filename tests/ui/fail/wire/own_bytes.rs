use rpc_core::service;

struct Bytes;

#[service]
trait Calculator {
    async fn length(&self, data: Bytes) -> u64;
}

fn main() {}
