use rpc_core::service;

struct Calc;

#[service]
impl Calc {
    fn add(&self) {}
}

fn main() {}
