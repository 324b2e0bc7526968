//! A transport of your own: TCP whose port stands in a file, as notebook kernels and language
//! servers do it. It is looked up anew for each connection, so the server may come back elsewhere.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

use async_trait::async_trait;
use examples::{Calc, CalculatorClient, CalculatorServer};
use rpc_core::transport::{Conduit, Connector, Listener, Peer};
use rpc_core::{Channel, Code, Error, Server};
use tokio::net::{TcpListener, TcpStream};

struct PortFileConnector {
    file: PathBuf,
    address: String,
}

#[async_trait]
impl Connector for PortFileConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let refused = |error| Error::new(Code::Refused, "no server is there").with_source(error);
        let port = fs::read_to_string(&self.file).map_err(refused)?;
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await;
        let stream = stream.map_err(refused)?;
        Ok(Conduit::new(stream, Peer::new(&self.address)))
    }

    fn address(&self) -> &str {
        &self.address
    }
}

struct PortFileListener {
    file: PathBuf,
    listener: TcpListener,
}

impl PortFileListener {
    async fn bind(file: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        fs::write(file, listener.local_addr()?.port().to_string())?;
        let file = file.to_owned();
        Ok(Self { file, listener })
    }
}

#[async_trait]
impl Listener for PortFileListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        let (stream, from) = self.listener.accept().await?;
        Ok(Conduit::new(stream, Peer::new(format!("tcp://{from}"))))
    }

    fn address(&self) -> String {
        format!("port-file:{}", self.file.display())
    }
}

impl Drop for PortFileListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = env::temp_dir().join(format!("calculator-{}.port", process::id()));
    let listener = PortFileListener::bind(&file).await?;
    let server = Server::builder()
        .service(CalculatorServer::new(Calc))
        .listen_on(listener);
    let server = server.start().await?;
    let address = server.addresses()[0].clone();
    let connector = PortFileConnector { file, address };
    println!("calling over {}", connector.address);
    let calculator = CalculatorClient::new(Channel::builder_over(connector).connect().await?);
    println!("add(2, 3) = {}", calculator.add(2, 3).await?);
    server.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
