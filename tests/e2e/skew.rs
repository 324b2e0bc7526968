//! Clients and servers that were built from different versions of a trait or of its types: each
//! gets a sentence that names the method, the argument and the difference.

use rpc_core::{Code, Executed, Server};

/// What the server was built from.
mod deployed {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Point {
        pub(crate) x: i32,
        pub(crate) y: i32,
    }

    #[rpc_core::service(name = "test.Geometry")]
    pub(crate) trait Geometry {
        async fn scale(&self, a: f64, b: f32) -> f64;
        async fn norm(&self, point: Point) -> i32;
        async fn same(&self, text: &str) -> String;
    }
}

/// What the client was built from.
mod changed {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Point {
        pub(crate) x: i32,
        pub(crate) y: i64,
    }

    #[rpc_core::service(name = "test.Geometry")]
    #[allow(dead_code, reason = "only its client is used")]
    pub(crate) trait Geometry {
        async fn scale(&self, a: f64, b: f64) -> f64;
        async fn norm(&self, point: Point) -> i32;
        async fn same(&self, text: &str) -> String;
    }
}

struct Plane;

impl deployed::Geometry for Plane {
    async fn scale(&self, a: f64, b: f32) -> f64 {
        a * f64::from(b)
    }
    async fn norm(&self, point: deployed::Point) -> i32 {
        point.x.abs() + point.y.abs()
    }
    async fn same(&self, text: &str) -> String {
        text.to_owned()
    }
}

#[tokio::test]
async fn a_changed_argument_is_named_with_its_method_and_both_types() {
    let (_server, client) = pair().await;
    let error = client.scale(1.0, 2.0).await.unwrap_err();
    assert_eq!((error.code(), error.executed()), (Code::Skew, Executed::No));
    let text = error.to_string();
    assert!(text.contains("test.Geometry.scale"), "{text}");
    assert!(
        text.contains("argument 2 `b`: this client sends f64, the server expects f32"),
        "{text}"
    );
    assert!(
        text.contains("build both sides from the same version"),
        "{text}"
    );
}

#[tokio::test]
async fn a_changed_field_is_named_with_its_struct_and_both_types() {
    let (_server, client) = pair().await;
    let point = changed::Point { x: 3, y: -4 };
    let error = client.norm(point).await.unwrap_err();
    assert_eq!((error.code(), error.executed()), (Code::Skew, Executed::No));
    let text = error.to_string();
    for part in [
        "test.Geometry.norm",
        "argument 1 `point`",
        "`y`",
        "i64",
        "i32",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[tokio::test]
async fn what_did_not_change_works_on() {
    let (_server, client) = pair().await;
    client.scale(1.0, 2.0).await.unwrap_err();
    assert_eq!(client.same("text").await.as_deref(), Ok("text"));
    // Both sides of the same release understand each other in everything.
    let client = deployed::GeometryClient::new(client.channel().clone());
    assert_eq!(client.scale(1.5, 2.0).await, Ok(3.0));
    assert_eq!(client.norm(deployed::Point { x: 3, y: -4 }).await, Ok(7));
}

async fn pair() -> (Server, changed::GeometryClient) {
    let server = Server::builder()
        .service(deployed::GeometryServer::new(Plane))
        .listen("tcp://127.0.0.1:0")
        .start();
    let server = server.await.unwrap();
    let client = changed::GeometryClient::connect(&server.addresses()[0]);
    let client = client.await.unwrap();
    (server, client)
}
