use rpc_core::service;

struct Point;

#[service]
trait Calculator {
    async fn origin(&self) -> Point;
}

fn main() {}
