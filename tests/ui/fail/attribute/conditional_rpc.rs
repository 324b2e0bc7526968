use rpc_core::service;

#[service]
trait Calculator {
    #[cfg_attr(unix, rpc(idempotent))]
    async fn add(&self, a: i64) -> i64;
}

fn main() {}
