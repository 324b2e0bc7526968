//! What rpc-core does without its default features, and what it says about what it does not.
//!
//! ```sh
//! cargo test -p rpc-core --no-default-features --test smallest
//! ```
#![cfg(not(any(
    feature = "discovery",
    feature = "memory",
    feature = "pipes",
    feature = "udp",
    feature = "unix",
    feature = "_tls"
)))]

use rpc_core::{Code, Error, Server, service};

#[service]
trait Adder {
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Adding;

impl Adder for Adding {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[tokio::test]
async fn calls_go_over_tcp() -> Result<(), Error> {
    let server = Server::builder()
        .service(AdderServer::new(Adding))
        .listen("tcp://127.0.0.1:0")
        .start()
        .await?;
    let adder = AdderClient::connect(&server.addresses()[0]).await?;
    assert_eq!(adder.add(2, 3).await?, 5);
    Ok(())
}

#[tokio::test]
async fn an_address_that_was_left_out_names_its_feature() {
    for (address, feature) in [
        ("exec:true", "pipes"),
        ("fifo:/run/calc.wkp", "pipes"),
        ("memory:calc", "memory"),
        ("mm:Adder", "discovery"),
        ("pipe:", "pipes"),
        ("tls://localhost:1", "tls"),
        ("udp://localhost:1", "udp"),
        ("unix:/run/calc.sock", "unix"),
        ("unix:@calc", "unix"),
    ] {
        let dialled = AdderClient::connect(address).await.map(drop).unwrap_err();
        let builder = Server::builder().service(AdderServer::new(Adding));
        let listened = builder.listen(address).start().await.map(drop).unwrap_err();
        for error in [dialled, listened] {
            assert_eq!(error.code(), Code::InvalidAddress, "{error}");
            let text = error.to_string();
            assert!(text.contains(address), "{text}");
            let hint = format!("enable the feature `{feature}` of rpc-core");
            assert!(text.contains(&hint), "{text}");
        }
    }
    let error = AdderClient::discover().await.map(drop).unwrap_err();
    assert!(error.to_string().contains("feature `discovery`"), "{error}");
}
