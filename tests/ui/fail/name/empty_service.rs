use rpc_core::service;

#[service(name = "")]
trait Calculator {}

fn main() {}
