use rpc_core::service;

#[service]
trait Calculator
where
    Self: Sized,
{
}

fn main() {}
