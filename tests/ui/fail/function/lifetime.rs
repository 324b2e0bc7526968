use rpc_core::service;

#[service]
trait Calculator {
    async fn length<'a>(&self, text: &'a str) -> u64;
}

fn main() {}
