//! A network between a client and a server, in this process: it loses, repeats and reorders, by a seed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Passes datagrams on until it is dropped.
pub(crate) struct Proxy {
    /// Where clients send to.
    pub(crate) address: String,
    fate: Arc<Fate>,
    task: JoinHandle<()>,
}

/// What becomes of datagrams.
struct Fate {
    /// How many of a hundred are lost; as many come twice, and as many late.
    percent: u32,
    /// All are lost, in both directions.
    blackout: AtomicBool,
    rng: Mutex<Rng>,
    passed: AtomicU64,
    lost: AtomicU64,
}

impl Proxy {
    /// The longest that a datagram is kept back, so that others overtake it.
    const DELAY: Duration = Duration::from_millis(20);

    /// In front of the server at `address`.
    pub(crate) async fn start(address: &str, percent: u32, rng: Rng) -> Self {
        let server: SocketAddr = address.trim_start_matches("udp://").parse().unwrap();
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = format!("udp://{}", front.local_addr().unwrap());
        let fate = Arc::new(Fate {
            percent,
            blackout: AtomicBool::new(false),
            rng: Mutex::new(rng),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let task = tokio::spawn(pass(front, server, Arc::clone(&fate)));
        Self {
            address,
            fate,
            task,
        }
    }

    /// Loses everything, or no more than before.
    pub(crate) fn blackout(&self, all: bool) {
        self.fate.blackout.store(all, Ordering::SeqCst);
    }

    /// Datagrams that were passed on, and lost.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let totals = (&self.fate.passed, &self.fate.lost);
        (
            totals.0.load(Ordering::Relaxed),
            totals.1.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fate {
    /// After which times the copies of a datagram arrive.
    fn copies(&self) -> Vec<Duration> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut happens = || rng.u32(..100) < self.percent;
        let (lost, twice, late) = (happens(), happens(), happens());
        if lost || self.blackout.load(Ordering::SeqCst) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Vec::new();
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        let wait = match late {
            true => Proxy::DELAY.mul_f64(rng.f64()),
            false => Duration::ZERO,
        };
        match twice {
            true => vec![wait, Proxy::DELAY.mul_f64(rng.f64())],
            false => vec![wait],
        }
    }
}

/// Passes on in both directions, with a socket towards the server for each client.
async fn pass(front: Arc<UdpSocket>, server: SocketAddr, fate: Arc<Fate>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let back = match backs.get(&client) {
            Some(back) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                tasks.spawn(pass_back(
                    Arc::clone(&back),
                    Arc::clone(&front),
                    client,
                    Arc::clone(&fate),
                ));
                backs.insert(client, Arc::clone(&back));
                back
            }
        };
        for wait in fate.copies() {
            send(&back, &buffer[..length], server, wait).await;
        }
    }
}

async fn pass_back(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    fate: Arc<Fate>,
) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, _)) = back.recv_from(&mut buffer).await else {
            continue;
        };
        for wait in fate.copies() {
            send(&front, &buffer[..length], client, wait).await;
        }
    }
}

async fn send(socket: &Arc<UdpSocket>, datagram: &[u8], to: SocketAddr, wait: Duration) {
    if wait.is_zero() {
        let _ = socket.send_to(datagram, to).await;
        return;
    }
    let (socket, datagram) = (Arc::clone(socket), datagram.to_vec());
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let _ = socket.send_to(&datagram, to).await;
    });
}
