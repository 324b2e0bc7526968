use rpc_core::service;

#[service(version = "1.2")]
trait Calculator {}

fn main() {}
