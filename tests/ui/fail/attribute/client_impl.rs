use rpc_core::service;

#[service(client_impl)]
trait Calculator {}

fn main() {}
