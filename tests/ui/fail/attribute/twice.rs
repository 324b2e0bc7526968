use rpc_core::service;

#[service(name = "a", name = "b")]
trait Calculator {}

fn main() {}
