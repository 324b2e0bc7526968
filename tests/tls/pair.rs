//! Two ends of one connection, and how it went for each of them.

use std::error::Error as _;
use std::io;

use rpc_core::transport::{Conduit, ConnectOptions, ListenOptions};
use rpc_core::{Address, ClientTls, Error, ServerTls};
use support::certs::Issued;
use support::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server with this certificate.
pub(crate) fn server(issued: &Issued) -> ServerTls {
    ServerTls::from_pem(&issued.chain, &issued.key).expect("the certificate is one")
}

/// A client that believes this authority.
pub(crate) fn client(authority: &str) -> ClientTls {
    ClientTls::new()
        .ca(authority)
        .expect("the authority is one")
}

/// What each end says about a connection; the client's first.
pub(crate) type Said = (Result<(), Error>, Result<(), Error>);

/// Connects `client` to a server at `host`, and has each say a byte to the other.
pub(crate) async fn meet(server: ServerTls, client: ConnectOptions, host: &str) -> Said {
    let here: Address = "tls://127.0.0.1:0".parse().unwrap();
    let listening = here.listen(&ListenOptions::new().tls(server)).await;
    let mut listener = listening.expect("the address is free");
    let address = listener.address().replace("127.0.0.1", host);
    let connector = address
        .parse::<Address>()
        .unwrap()
        .connector(&client)
        .unwrap();
    let calling = async { talk(connector.connect().await?).await };
    let serving = async { talk(listener.accept().await.expect("somebody came")).await };
    within("both are done", LIMIT, async {
        tokio::join!(calling, serving)
    })
    .await
}

/// Connects a client of another kind, and returns how it went for it, and what our server says.
pub(crate) async fn with_client<F: Future>(
    server: ServerTls,
    client: impl FnOnce(TcpStream) -> F,
) -> (F::Output, Result<(), Error>) {
    let here: Address = "tls://127.0.0.1:0".parse().unwrap();
    let listening = here.listen(&ListenOptions::new().tls(server)).await;
    let mut listener = listening.expect("the address is free");
    let at = listener.address().replace("tls://", "");
    let calling = async { client(TcpStream::connect(at).await.expect("it listens")).await };
    let serving = async { talk(listener.accept().await.expect("somebody came")).await };
    within("both are done", LIMIT, async {
        tokio::join!(calling, serving)
    })
    .await
}

/// Connects to a server of another kind, and returns what our client says.
pub(crate) async fn with_server<F: Future>(
    client: ClientTls,
    server: impl FnOnce(TcpStream) -> F,
) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address: Address = format!("tls://localhost:{port}").parse().unwrap();
    let connector = address
        .connector(&ConnectOptions::new().tls(client))
        .unwrap();
    let calling = async { talk(connector.connect().await?).await };
    let serving = async { server(listener.accept().await.unwrap().0).await };
    let both = async { tokio::join!(calling, serving) };
    within("both are done", LIMIT, both).await.0
}

/// Says a byte and hears one.
async fn talk(mut conduit: Conduit) -> Result<(), Error> {
    let talking = async {
        conduit.io.write_all(b"!").await?;
        conduit.io.flush().await?;
        conduit.io.read_exact(&mut [0]).await
    };
    talking.await.map(|_| ()).map_err(told)
}

/// What the transport said inside of an error of the system.
pub(crate) fn told(error: io::Error) -> Error {
    let text = format!("{error}, {:?}", error.source());
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(error)) => *error,
        _ => Error::new(rpc_core::Code::Io, text),
    }
}
