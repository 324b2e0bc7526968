use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::transport::Examined;

fn at(text: &str) -> HostPort {
    HostPort::from(text.parse::<SocketAddr>().unwrap())
}

async fn listener() -> UdpListener {
    UdpListener::bind(&at("127.0.0.1:0"), &ListenOptions::new())
        .await
        .unwrap()
}

fn connector(listener: &UdpListener) -> UdpConnector {
    let here = HostPort::from(listener.socket.inner.local_addr().unwrap());
    UdpConnector::new(&here, &ConnectOptions::new()).unwrap()
}

/// Lets in everybody whose datagram begins with `!`, by the byte behind it, and answers all others
/// with a text. Notes what it has seen.
struct Simple {
    answer: &'static [u8],
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Gate for Simple {
    fn examine(
        &mut self,
        _: SocketAddr,
        open: bool,
        datagram: &[u8],
        answer: &mut Vec<u8>,
    ) -> Examined {
        self.seen.lock().unwrap().push(datagram.len());
        answer.extend_from_slice(self.answer);
        match datagram {
            [b'!', id, ..] => Examined::client(u64::from(*id), open),
            _ => Examined::Nobody,
        }
    }

    fn memory(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

async fn receive(conduit: &mut Conduit) -> io::Result<Bytes> {
    let datagrams = conduit.datagrams.as_mut().unwrap();
    let received = std::future::poll_fn(|cx| datagrams.poll_receive(cx));
    tokio::time::timeout(Duration::from_secs(20), received)
        .await
        .expect("nothing comes")
}

fn send(conduit: &mut Conduit, datagram: &[u8]) {
    conduit.datagrams.as_mut().unwrap().send(datagram).unwrap();
}

/// A listener behind a gate, a client that was let in, and what the listener made of it.
async fn pair(answer: &'static [u8]) -> (UdpListener, Conduit, Conduit, Arc<Mutex<Vec<usize>>>) {
    let mut listener = listener().await;
    let seen = Arc::default();
    listener.guard(Box::new(Simple {
        answer,
        seen: Arc::clone(&seen),
    }));
    let mut client = connector(&listener).connect().await.unwrap();
    send(&mut client, b"!1 hello");
    let mut server = listener.accept().await.unwrap();
    assert_eq!(receive(&mut server).await.unwrap(), &b"!1 hello"[..]);
    (listener, client, server, seen)
}

#[tokio::test]
async fn clients_are_told_apart_and_both_sides_can_send() {
    let (mut listener, mut client, mut server, _) = pair(b"no").await;
    send(&mut server, b"welcome");
    assert_eq!(receive(&mut client).await.unwrap(), &b"welcome"[..]);
    send(&mut client, b"!2 another at the same address");
    let mut second = listener.accept().await.unwrap();
    assert_eq!(receive(&mut second).await.unwrap().len(), 30);
    send(&mut client, b"!1 again");
    assert_eq!(receive(&mut server).await.unwrap(), &b"!1 again"[..]);
    assert!(client.peer.is_local() && server.peer.is_local());
    assert!(server.peer.address().starts_with("udp://127.0.0.1:"));
}

#[tokio::test]
async fn row_40_strangers_are_answered_and_not_kept() {
    let (mut listener, _client, _server, seen) = pair(b"no").await;
    for _ in 0..20 {
        let mut stranger = connector(&listener).connect().await.unwrap();
        send(&mut stranger, b"who is there");
        assert_eq!(receive(&mut stranger).await.unwrap(), &b"no"[..]);
    }
    assert_eq!(seen.lock().unwrap().len(), 21);
    let nobody = tokio::time::timeout(Duration::from_millis(20), listener.accept());
    assert!(nobody.await.is_err(), "a stranger was let in");
}

#[tokio::test]
async fn row_40_no_answer_is_longer_than_what_it_answers() {
    let (listener, mut client, _server, _) = pair(b"a long answer").await;
    let mut stranger = connector(&listener).connect().await.unwrap();
    send(&mut stranger, b"short");
    send(&mut stranger, b"as long as the answer");
    // Only the second is answered; otherwise there would be two.
    assert_eq!(receive(&mut stranger).await.unwrap(), &b"a long answer"[..]);
    send(&mut client, b"done and done");
    assert_eq!(receive(&mut client).await.unwrap(), &b"a long answer"[..]);
    let more = tokio::time::timeout(Duration::from_millis(20), receive(&mut stranger));
    assert!(more.await.is_err(), "two answers");
}

#[tokio::test]
async fn row_41_a_datagram_that_is_cut_off_is_not_looked_at() {
    let (_listener, mut client, mut server, seen) = pair(b"no").await;
    for length in [ROOM - 1, ROOM, ROOM + 1, 60_000] {
        send(&mut client, &[b'!'; 60_000][..length]);
    }
    send(&mut client, b"!1 after them");
    assert_eq!(receive(&mut server).await.unwrap(), &b"!1 after them"[..]);
    assert_eq!(*seen.lock().unwrap(), [8, ROOM - 1, 13]);
    // And the same on the way back.
    send(&mut server, &[1; 60_000]);
    send(&mut server, &[1; ROOM]);
    send(&mut server, b"whole");
    assert_eq!(receive(&mut client).await.unwrap(), &b"whole"[..]);
}

#[tokio::test]
async fn a_client_that_is_gone_is_not_let_in_again() {
    let (mut listener, mut client, server, _) = pair(b"gone").await;
    drop(server);
    send(&mut client, b"!1 once more");
    assert_eq!(receive(&mut client).await.unwrap(), &b"gone"[..]);
    let nobody = tokio::time::timeout(Duration::from_millis(20), listener.accept());
    assert!(nobody.await.is_err(), "it came in again");
}

#[tokio::test]
async fn clients_outlive_the_listener_and_the_port_is_free_after_the_last() {
    let (listener, mut client, mut server, _) = pair(b"closed").await;
    let here = HostPort::from(listener.socket.inner.local_addr().unwrap());
    drop(listener);
    send(&mut client, b"!1 still here");
    assert_eq!(receive(&mut server).await.unwrap(), &b"!1 still here"[..]);
    send(&mut client, b"!2 a new one");
    assert_eq!(receive(&mut client).await.unwrap(), &b"closed"[..]);
    let options = ListenOptions::new();
    let taken = UdpListener::bind(&here, &options).await.err().unwrap();
    assert_eq!(taken.code(), Code::InUse);
    drop(server);
    UdpListener::bind(&here, &options).await.unwrap();
    // The client learns it from the system.
    let error = loop {
        let datagrams = client.datagrams.as_mut().unwrap();
        if let Err(error) = datagrams.send(b"anybody?") {
            break error;
        }
        let received = std::future::poll_fn(|cx| datagrams.poll_receive(cx));
        if let Err(error) = received.await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn port_zero_is_for_listeners() {
    let error = UdpConnector::new(&at("127.0.0.1:0"), &ConnectOptions::new())
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::InvalidAddress);
}

#[tokio::test]
async fn clear_text_stays_on_this_host_unless_insecure_is_said() {
    let dialled = UdpConnector::new(&at("192.0.2.1:9"), &ConnectOptions::new());
    assert_eq!(dialled.err().unwrap().code(), Code::Insecure);
    let bound = UdpListener::bind(&at("0.0.0.0:0"), &ListenOptions::new()).await;
    assert_eq!(bound.err().unwrap().code(), Code::Insecure);
    let options = ListenOptions::new().insecure();
    UdpListener::bind(&at("0.0.0.0:0"), &options).await.unwrap();
}
