use rpc_core::service;

trait Stream {
    type Item;
}

#[service]
trait Calculator {
    fn primes(&self, from: u64) -> impl Stream<Item = u64> + Send;
}

fn main() {}
