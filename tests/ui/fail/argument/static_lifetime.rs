use rpc_core::service;

#[service]
trait Calculator {
    async fn length(&self, text: std::borrow::Cow<'static, str>) -> u64;
}

fn main() {}
