//! Mutual TLS: client and server each show a certificate, the server knows who calls, and whoever
//! has none gets no connection. The certificates are made at the start.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rpc_core::{Channel, ClientTls, Context, Server, ServerTls, service};

/// Answers by the name on the caller's certificate.
#[service]
trait Concierge {
    /// Greets the caller.
    async fn greet(&self) -> String;
}

struct Desk;

impl Concierge for Desk {
    async fn greet(&self) -> String {
        let context = Context::current();
        let caller = context.peer().and_then(|peer| peer.certificate());
        let name = caller.and_then(|certificate| certificate.spiffe());
        format!("Good evening, {}", name.unwrap_or("whoever you are"))
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate and its key, for whoever is called `id`.
fn issue(authority: &Authority, id: &str) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "of the house");
    params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let house = authority("The House")?;
    let (chain, key) = issue(&house, "spiffe://house/concierge")?;
    let server = Server::builder()
        .service(ConciergeServer::new(Desk))
        .listen("tls://127.0.0.1:0")
        .tls(ServerTls::from_pem(chain, key)?.client_ca(house.pem())?)
        .start()
        .await?;
    let connect = |tls| {
        let builder = Channel::builder(&server.addresses()[0]).tls(tls);
        builder
            .expect_identity("spiffe://house/concierge")
            .connect()
    };

    let (chain, key) = issue(&house, "spiffe://house/guest")?;
    let guest = ClientTls::new().ca(house.pem())?.own(chain, key)?;
    println!(
        "{}",
        ConciergeClient::new(connect(guest).await?).greet().await?
    );
    let stranger = ClientTls::new().ca(house.pem())?;
    println!(
        "a stranger: {}",
        connect(stranger).await.unwrap_err().message()
    );
    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
