//! `tls://host:port`: TLS 1.3 over TCP, with the certificates that both sides were given. A
//! connection is clear text at no time and in no case of failure.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod client;
mod fault;
mod material;
mod pem;
mod provider;
mod server;
mod stream;
mod subject;
mod trust;

use std::io;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio_rustls::{TlsAcceptor, TlsConnector as Handshake};

use super::{
    Conduit, ConnectOptions, Connector, HostPort, Identity, ListenOptions, Listener, Peer, port,
    tcp,
};
use crate::error::{Code, Error};
use fault::Whose;
use stream::{Secured, Terms};
use trust::Verdict;

pub use client::ClientTls;
pub use server::ServerTls;

/// What is spoken over TLS, named in its handshake: neither side can be made to talk to a server or
/// a client of another protocol that has the same certificate.
const ALPN: &[u8] = b"rpc-core/1";

/// Opens connections to a port, and proves to its server who this is, if that asks.
pub(super) struct TlsConnector {
    at: HostPort,
    address: String,
    tls: ClientTls,
    expected: Arc<[Arc<str>]>,
}

impl TlsConnector {
    pub(super) fn new(at: &HostPort, options: &ConnectOptions) -> Result<Self, Error> {
        let address = format!("tls://{at}");
        port::check_port(at, &address)?;
        Ok(Self {
            at: at.clone(),
            address,
            tls: options.client_tls().cloned().unwrap_or_default(),
            expected: Arc::clone(options.expected()),
        })
    }

    async fn open(&self) -> Result<Conduit, Error> {
        let verdict = Arc::<Verdict>::default();
        let attempt = self.tls.config(self.at.host(), &self.expected, &verdict)?;
        let candidates = port::resolve(&self.at, &self.address).await?;
        let (stream, at, is_local) = tcp::dial_any(candidates, &self.at).await?;
        let terms = Terms {
            us: Whose::Client,
            verdict: Arc::clone(&verdict),
            own: attempt.own,
        };
        let shaken = Handshake::from(attempt.config)
            .connect(attempt.name, stream)
            .await;
        let stream = shaken.map_err(|error| terms.explain(error))?;
        let shown = verdict.shown.get().cloned();
        let identity = shown.map_or(Identity::Unknown, Identity::Certificate);
        let peer = Peer::socket("tls", at)
            .with_identity(identity)
            .with_local(is_local);
        Ok(Conduit::of_socket(
            Secured::open(stream.into(), terms),
            peer,
        ))
    }
}

#[async_trait]
impl Connector for TlsConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let opened = self.open().await;
        opened.map_err(|error| error.with_address(self.address.as_str()))
    }

    fn address(&self) -> &str {
        &self.address
    }

    /// A client has done its part of TLS 1.3 before the server has looked at its certificate.
    fn awaits_answer(&self) -> bool {
        true
    }
}

/// Hands out the connections to a port, before their clients have said a word.
pub(super) struct TlsListener {
    inner: tcp::TcpListener,
    tls: ServerTls,
}

impl TlsListener {
    pub(super) async fn bind(at: &HostPort, options: &ListenOptions) -> Result<Self, Error> {
        let Some(tls) = options.server_tls().cloned() else {
            return Err(Error::new(Code::Tls, "a tls: address needs a certificate")
                .with_hint("add `.tls(ServerTls::from_files(\"cert.pem\", \"key.pem\")?)`")
                .with_address(format!("tls://{at}")));
        };
        let inner = tcp::TcpListener::bind_secure(at).await?;
        Ok(Self { inner, tls })
    }
}

#[async_trait]
impl Listener for TlsListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        // No further await: what was accepted must be returned, and its client may be silent.
        let (stream, at, is_local) = self.inner.accept_stream().await?;
        let verdict = Arc::<Verdict>::default();
        let (config, own) = self.tls.config(&verdict).map_err(io::Error::other)?;
        let proof = Arc::<OnceLock<Identity>>::default();
        let peer = Peer::socket("tls", at)
            .with_proof(Arc::clone(&proof))
            .with_local(is_local);
        let terms = Terms {
            us: Whose::Server,
            verdict,
            own: Some(own),
        };
        let shaking = TlsAcceptor::from(config).accept(stream);
        Ok(Conduit::of_socket(
            Secured::shaking(shaking, terms, proof, at),
            peer,
        ))
    }

    fn address(&self) -> String {
        self.inner.address()
    }

    fn identity(&self) -> Option<String> {
        self.tls.certificate().lasting_name()
    }
}
