use rpc_core::service;

#[service(name = "math/Calculator")]
trait Calculator {}

fn main() {}
