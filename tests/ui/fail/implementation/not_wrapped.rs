use rpc_core::{Server, service};

#[service]
trait Counter {
    async fn next(&self) -> u64;
}

struct Counting;

impl Counter for Counting {
    async fn next(&self) -> u64 {
        1
    }
}

fn main() {
    let _ = Server::builder().service(Counting);
}
