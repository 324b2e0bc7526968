//! Calls over TLS: when a connection stands, and what there is when the two sides do not agree on
//! whether it is TLS.

use std::time::Duration;

use rpc_core::transport::{ConnectOptions, ListenOptions};
use rpc_core::{Address, Channel, ClientTls, Code, Error, Executed, Server, ServerTls};
use support::certs::{Authority, as_it_is};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::pair::{client, server};

async fn serve(tls: ServerTls) -> Server {
    let builder = Server::builder().service(WorkServer::new(Worker::default()));
    let builder = builder.listen("tls://127.0.0.1:0").tls(tls);
    builder.start().await.unwrap()
}

async fn connect(address: &str, tls: ClientTls) -> Result<WorkClient, Error> {
    let connecting = Channel::builder(address).tls(tls).connect();
    let channel = within("connecting ends", LIMIT, connecting).await?;
    Ok(WorkClient::new(channel))
}

#[tokio::test]
async fn calls_go_through() {
    let root = Authority::new("Root");
    let server = serve(server(&root.server(&["127.0.0.1"], as_it_is))).await;
    assert!(server.addresses()[0].starts_with("tls://127.0.0.1:"));
    let client = connect(&server.addresses()[0], client(&root.pem()))
        .await
        .unwrap();
    assert_eq!(client.echo(7).await.unwrap(), 7);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut reversed = client.reverse(bytes.clone()).await.unwrap();
    reversed.reverse();
    assert!(reversed == bytes);
}

/// A client of TLS 1.3 has done its part before the server looks at its certificate. It is told
/// nevertheless before it has a connection, and every time.
#[tokio::test]
async fn a_refused_client_has_no_connection() {
    let root = Authority::new("Root");
    let asking = server(&root.server(&["127.0.0.1"], as_it_is));
    let server = serve(asking.client_ca(root.pem()).unwrap()).await;
    for _ in 0..50 {
        let refused = connect(&server.addresses()[0], client(&root.pem())).await;
        let error = refused.expect_err("it has no certificate");
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Tls, Executed::No),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("asks for a certificate, and this client has none"),
            "{text}"
        );
        assert!(text.starts_with(&server.addresses()[0]), "{text}");
    }
    // Nor does a lazy client's call get any further.
    let lazy = Channel::builder(&server.addresses()[0]).tls(client(&root.pem()));
    let error = WorkClient::new(lazy.connect_lazy().unwrap())
        .echo(1)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Tls, Executed::No),
        "{error}"
    );
}

/// A transport keeps what `Conduit` promises: an end is told apart from a loss, each way by itself,
/// and a large piece that the reader is slow to take arrives whole.
#[tokio::test]
async fn each_direction_ends_by_itself() {
    let root = Authority::new("Root");
    let issued = server(&root.server(&["127.0.0.1"], as_it_is));
    let here: Address = "tls://127.0.0.1:0".parse().unwrap();
    let mut listener = here
        .listen(&ListenOptions::new().tls(issued))
        .await
        .unwrap();
    let there: Address = listener.address().parse().unwrap();
    let connector = there
        .connector(&ConnectOptions::new().tls(client(&root.pem())))
        .unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let calling = async {
        let mut io = connector.connect().await.unwrap().io;
        io.write_all(&sent).await.unwrap();
        io.shutdown().await.unwrap();
        let mut received = Vec::new();
        io.read_to_end(&mut received).await.unwrap();
        received
    };
    let serving = async {
        let mut io = listener.accept().await.unwrap().io;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut received = Vec::new();
        io.read_to_end(&mut received).await.unwrap();
        io.write_all(&received).await.unwrap();
        io.shutdown().await.unwrap();
    };
    let (received, ()) = within("both are done", LIMIT, async {
        tokio::join!(calling, serving)
    })
    .await;
    assert!(received == sent);
}

#[tokio::test]
async fn row_52_clear_text_and_tls_are_told_apart() {
    let root = Authority::new("Root");
    let secure = serve(server(&root.server(&["127.0.0.1"], as_it_is))).await;
    let builder = Server::builder().service(WorkServer::new(Worker::default()));
    let plain = builder.listen("tcp://127.0.0.1:0").start().await.unwrap();

    // Clear text to TLS: the first call finds out.
    let address = secure.addresses()[0].replace("tls://", "tcp://");
    let client_of_plain = WorkClient::connect(address).await.unwrap();
    let error = within("the call ends", LIMIT, client_of_plain.echo(1))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Tls, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("the peer speaks TLS, and this side clear text; connect to it with tls://"),
        "{text}"
    );

    // TLS to clear text.
    let address = plain.addresses()[0].replace("tcp://", "tls://");
    let error = connect(&address, client(&root.pem())).await.err().unwrap();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Tls, Executed::No),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("the server does not speak TLS at this port; give it a tls:// address"),
        "{text}"
    );
}

/// A client that goes on talking while it is refused. If its socket were closed at once, with what it
/// said unread, the system would reset the connection, and might take the alert back.
#[tokio::test]
async fn a_refusal_arrives_although_the_client_goes_on_talking() {
    let root = Authority::new("Root");
    let server = serve(server(&root.server(&["127.0.0.1"], as_it_is))).await;
    let at = server.addresses()[0].replace("tls://", "");
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&at).await.unwrap();
        stream.write_all(&[b'x'; 60_000]).await.unwrap();
        let mut told = Vec::new();
        let reading = stream.read_to_end(&mut told);
        within("it is hung up on", LIMIT, reading)
            .await
            .expect("no reset");
        assert_eq!(told[..2], [0x15, 3], "an alert of TLS");
    }
}

/// Whatever goes wrong, the only bytes that ever leave are those of TLS.
#[tokio::test]
async fn row_52_there_is_no_way_back_to_clear_text() {
    let root = Authority::new("Root");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://{}", listener.local_addr().unwrap());
    let client = Channel::builder(address)
        .tls(client(&root.pem()))
        .connect_lazy()
        .unwrap();
    let client = WorkClient::new(client).with_deadline(Duration::from_secs(3));
    let calling = tokio::spawn(async move { client.echo(1).await });
    for _ in 0..2 {
        // Each attempt is answered by a hang-up, or by nonsense.
        let (mut stream, _) = within("it dials", LIMIT, listener.accept()).await.unwrap();
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(first[..2], [0x16, 3], "a record of a TLS handshake");
    }
    let error = within("the call ends", LIMIT, calling)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.executed(), Executed::No, "{error}");
}
