use rpc_core::service;

#[service]
trait Calculator {
    async fn read(&self) -> std::io::Result<String>;
}

fn main() {}
