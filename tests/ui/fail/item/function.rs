use rpc_core::service;

#[service]
fn calculator() {}

fn main() {}
