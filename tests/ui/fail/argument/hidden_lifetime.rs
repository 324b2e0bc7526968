use rpc_core::service;

#[derive(serde::Serialize, serde::Deserialize)]
struct Name<'a>(&'a str);

#[service]
trait Calculator {
    async fn greet(&self, name: Name) -> u8;
}

fn main() {}
