use rpc_core::service;

#[service(name = Calculator)]
trait Calculator {}

fn main() {}
