//! What the task does with a peer that misbehaves below the protocol.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use super::*;
use crate::discovery::MatchmakerClient;
use crate::driver::{Link, now};
use crate::error::{Code, Error};
use crate::proto::Opening;
use crate::transport::{Address, Conduit, ConnectOptions, Connector, Peer};
use crate::{Channel, CodecId, Limits, Server};

/// A peer that says nothing and takes nothing; it counts how often it was offered something.
struct Mute(Arc<AtomicUsize>);

impl AsyncRead for Mute {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Mute {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

struct ToMute(Arc<AtomicUsize>);

#[async_trait]
impl Connector for ToMute {
    async fn connect(&self) -> Result<Conduit, Error> {
        let io = Mute(Arc::clone(&self.0));
        Ok(Conduit::new(io, Peer::new("mute")))
    }

    fn address(&self) -> &str {
        "mute"
    }
}

#[tokio::test]
async fn a_peer_that_takes_no_bytes_is_given_up_and_costs_no_time_until_it_is_gone() {
    let offers = Arc::new(AtomicUsize::new(0));
    let limits = Limits {
        write_stall: Duration::from_millis(50),
        ..Limits::default()
    };
    let channel = Channel::builder_over(ToMute(Arc::clone(&offers)))
        .limits(limits)
        .deadline(Duration::from_millis(200))
        .connect_lazy()
        .unwrap();
    let error = MatchmakerClient::new(channel).health().await.unwrap_err();
    assert_ne!(error.code(), Code::Internal, "{error}");
    // Drivers hold the counter too; the last words to each peer may take a second.
    let gone = async {
        while Arc::strong_count(&offers) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    assert!(tokio::time::timeout(limit, gone).await.is_ok(), "it stays");
    let offers = offers.load(Ordering::Relaxed);
    assert!((1..200).contains(&offers), "{offers} offers");
}

/// A transport that buffers, is slow to flush, and then breaks with words of its own.
struct Slow(Arc<AtomicUsize>);

impl Slow {
    /// Flushes that are not enough.
    const UNFINISHED: usize = 3;
}

impl AsyncRead for Slow {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.load(Ordering::Relaxed) <= Self::UNFINISHED {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let said = Error::new(Code::Tls, "the transport says why");
        Poll::Ready(Err(io::Error::other(said)))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.fetch_add(1, Ordering::Relaxed) < Self::UNFINISHED {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct ToSlow(Arc<AtomicUsize>);

#[async_trait]
impl Connector for ToSlow {
    async fn connect(&self) -> Result<Conduit, Error> {
        let io = Slow(Arc::clone(&self.0));
        Ok(Conduit::new(io, Peer::new("slow")))
    }

    fn address(&self) -> &str {
        "slow"
    }
}

#[tokio::test]
async fn a_transport_is_flushed_to_the_end_and_its_words_are_passed_on() {
    let flushes = Arc::new(AtomicUsize::new(0));
    let channel = Channel::builder_over(ToSlow(Arc::clone(&flushes))).connect_lazy();
    let calling = MatchmakerClient::new(channel.unwrap());
    let limit = Duration::from_secs(20);
    let called = tokio::time::timeout(limit, calling.health()).await;
    let error = called.expect("it was flushed").unwrap_err();
    assert_eq!(error.code(), Code::Tls, "{error}");
    assert!(
        error.to_string().contains("the transport says why"),
        "{error}"
    );
}

#[crate::service]
trait Nothing {
    async fn nothing(&self);
}

struct Void;

impl Nothing for Void {
    async fn nothing(&self) {}
}

#[crate::service]
trait Work {
    async fn quick(&self);
    async fn never(&self);
}

struct Worker;

impl Work for Worker {
    async fn quick(&self) {}

    async fn never(&self) {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_deadline_holds_on_a_connection_that_was_busy() {
    let builder = Server::builder().service(WorkServer::new(Worker));
    let server = builder.listen("tcp://127.0.0.1:0").start().await.unwrap();
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    let allowed = Duration::from_millis(50);
    // Twice as many as make both sides busy, unless the machine is.
    for _ in 0..2 * Alarm::BUSY {
        work.quick().await.unwrap();
    }
    for _ in 0..3 {
        let begin = now();
        let late = work.with_deadline(allowed);
        let ended = tokio::time::timeout(20 * allowed, late.never()).await;
        let error = ended.expect("it ends in time").unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        assert!(begin.elapsed() >= allowed);
        work.quick().await.unwrap();
    }
}

/// Of a client like most.
fn opening() -> Arc<Opening> {
    Arc::new(Opening::offering([CodecId::BINCODE.to_wire()].into()))
}

/// A server that has too many in their handshake ends the oldest, which may just have agreed: then
/// its calls run, and it stays.
#[tokio::test]
async fn who_has_agreed_is_not_evicted() {
    let dial = async |connector: Box<dyn Connector>| {
        let conduit = connector.connect().await.unwrap();
        let (link, driver) = Link::client(now(), conduit, Arc::default(), opening(), None);
        tokio::spawn(driver);
        link
    };
    let silent = dial(Box::new(ToMute(Arc::default()))).await;
    silent.evict();
    assert!(silent.established().await.is_err());

    let builder = Server::builder().service(NothingServer::new(Void));
    let _server = builder.listen("memory:evicts").start().await.unwrap();
    let address: Address = "memory:evicts".parse().unwrap();
    let agreed = dial(address.connector(&ConnectOptions::new()).unwrap()).await;
    agreed.established().await.unwrap();
    agreed.evict();
    // On one thread: the task is done with it when this one goes on.
    tokio::task::yield_now().await;
    assert_eq!(agreed.fault(), None);
    agreed.close();
    agreed.closed().cancelled().await;
}

/// Counts how often it was called, or woken.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Nothing for Count {
    async fn nothing(&self) {
        self.add();
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}

/// A transport that breaks after so many more reads that brought something.
struct Breaking<R> {
    io: R,
    reads: Arc<AtomicUsize>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Breaking<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if polled.is_ready() {
            self.reads.fetch_sub(1, Ordering::Relaxed);
        }
        polled
    }
}

/// Where there are several threads, those who waited for the first replies make their next calls before
/// the rest is taken in. What has arrived is not lost to an error that comes after it.
#[tokio::test]
async fn callers_run_between_the_replies_of_a_batch() {
    const CALLS: usize = 3 * Driver::REPLIES;
    let ran = Count::default();
    let builder = Server::builder().service(NothingServer::new(ran.clone()));
    let _server = builder.listen("memory:batch").start().await.unwrap();
    let address: Address = "memory:batch".parse().unwrap();
    let connector = address.connector(&ConnectOptions::new()).unwrap();
    let conduit = connector.connect().await.unwrap();
    let (io, writer) = tokio::io::split(conduit.io);
    let reads = Arc::new(AtomicUsize::new(1000));
    let io = Breaking {
        io,
        reads: Arc::clone(&reads),
    };
    let conduit = Conduit::new(tokio::io::join(io, writer), conduit.peer);

    // A client of a runtime with several threads, whose task is run here.
    let threads = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let (link, mut driver) = {
        let _threads = threads.enter();
        Link::client(now(), conduit, Arc::default(), opening(), None)
    };
    threads.shutdown_background();
    let mut run = async || {
        let polled = Pin::new(&mut driver).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        tokio::task::yield_now().await;
        driver.has_agreed()
    };
    while !run().await {}
    let client = NothingClient::new(Channel::over(link));
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut calls: Vec<_> = (0..CALLS).map(|_| Box::pin(client.nothing())).collect();
    for call in &mut calls {
        let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    while ran.get() < CALLS {
        run().await;
    }
    assert_eq!(woken.get(), 0);
    reads.store(1, Ordering::Relaxed);
    for batch in 1..=3 {
        run().await;
        assert_eq!(woken.get(), batch * Driver::REPLIES);
    }
    for call in calls {
        call.await.unwrap();
    }
    let late = client.nothing();
    driver.await;
    assert_eq!(late.await.unwrap_err().code(), Code::Disconnected);
}

/// A transport that does not tell that the peer has gone, and counts who holds it.
struct Endless {
    io: Box<dyn Io>,
    _held: Arc<()>,
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => Poll::Pending,
            polled => polled,
        }
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

struct ToEndless(Box<dyn Connector>, Arc<()>);

#[async_trait]
impl Connector for ToEndless {
    async fn connect(&self) -> Result<Conduit, Error> {
        let conduit = self.0.connect().await?;
        let io = Endless {
            io: conduit.io,
            _held: Arc::clone(&self.1),
        };
        Ok(Conduit::new(io, conduit.peer))
    }

    fn address(&self) -> &str {
        self.0.address()
    }
}

/// What was written and not read would be lost with a connection that is closed while the peer speaks.
#[tokio::test(start_paused = true)]
async fn a_peer_is_waited_for_unless_it_has_answered_all_calls() {
    let builder = Server::builder().service(WorkServer::new(Worker));
    let _server = builder.listen("memory:settled").start().await.unwrap();
    let address: Address = "memory:settled".parse().unwrap();
    for is_answered in [true, false] {
        let held = Arc::new(());
        let connector = address.connector(&ConnectOptions::new()).unwrap();
        let channel = Channel::builder_over(ToEndless(connector, Arc::clone(&held)));
        let work = WorkClient::new(channel.connect_lazy().unwrap());
        work.quick().await.unwrap();
        if !is_answered {
            let late = work.with_deadline(Duration::from_millis(1));
            late.never().await.unwrap_err();
        }
        let begin = now();
        drop(work);
        while Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = now().saturating_duration_since(begin);
        assert_eq!(took < Driver::FAREWELL, is_answered, "{took:?}");
    }
}
