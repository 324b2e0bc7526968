use rpc_core::service;

#[service]
trait Calculator: std::fmt::Debug + Send {}

fn main() {}
