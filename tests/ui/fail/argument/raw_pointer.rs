use rpc_core::service;

#[service]
trait Calculator {
    async fn peek(&self, at: *const u8) -> u8;
}

fn main() {}
