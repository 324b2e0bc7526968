use rpc_core::service;

#[service]
trait Calculator {
    async fn sort(&self, numbers: &mut Vec<i64>);
}

fn main() {}
