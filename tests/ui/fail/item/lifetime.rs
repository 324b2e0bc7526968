use rpc_core::service;

#[service]
trait Calculator<'a> {
    async fn length(&self, text: &'a str) -> u64;
}

fn main() {}
