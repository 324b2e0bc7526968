use rpc_core::service;

#[service]
trait Calculator {
    async fn echo<const N: usize>(&self, value: [u8; N]) -> u64;
}

fn main() {}
