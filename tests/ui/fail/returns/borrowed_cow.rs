use rpc_core::service;

#[service]
trait Calculator {
    async fn name(&self) -> std::borrow::Cow<'_, str>;
}

fn main() {}
