use rpc_core::service;

#[service]
unsafe trait Calculator {}

fn main() {}
