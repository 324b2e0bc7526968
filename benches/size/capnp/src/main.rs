//! The smallest client and server with capnp-rpc. Its generated code is there already: neither the
//! schema compiler nor its build script is counted.

use std::rc::Rc;

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use peers::capnp::calls_capnp::calls;

/// Where the generated code of the comparison believes that it is.
mod peers {
    pub(crate) mod capnp {
        #[allow(warnings)]
        pub(crate) mod calls_capnp {
            include!("../../../compare/src/peers/generated/capnp/calls_capnp.rs");
        }
    }
}

struct Adder;

impl calls::Server for Adder {
    async fn add(
        self: Rc<Self>,
        params: calls::AddParams,
        mut results: calls::AddResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        results.get().set_sum(params.get_a() + params.get_b());
        Ok(())
    }
}

fn network(stream: TcpStream, side: Side) -> Box<dyn capnp_rpc::VatNetwork<Side>> {
    let (read, write) = stream.into_split();
    let (read, write) = (read.compat(), write.compat_write());
    Box::new(VatNetwork::new(read, write, side, Default::default()))
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service: calls::Client = capnp_rpc::new_client(Adder);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let network = network(stream, Side::Server);
            spawn_local(RpcSystem::new(network, Some(service.clone().client)));
        }
    });
    let stream = TcpStream::connect(address).await?;
    let mut system = RpcSystem::new(network(stream, Side::Client), None);
    let calls: calls::Client = system.bootstrap(Side::Server);
    spawn_local(system);
    let mut request = calls.add_request();
    request.get().set_a(2);
    request.get().set_b(3);
    let response = request.send().promise.await?;
    assert_eq!(response.get()?.get_sum(), 5);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    LocalSet::new().run_until(run()).await
}
