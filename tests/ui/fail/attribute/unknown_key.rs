use rpc_core::service;

#[service(verison = "1.2.0")]
trait Calculator {}

fn main() {}
