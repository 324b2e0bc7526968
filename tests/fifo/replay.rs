//! Row 49: records that are told again, and pipes that were opened by somebody else.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rpc_core::Code;
use rpc_core::transport::{Address, ConnectOptions};
use rustix::fs::OFlags;
use rustix::io::Errno;
use support::fifo::{self, open_pipe, pair, record};
use support::{LIMIT, within};
use tokio::io::AsyncReadExt as _;

use super::site::Site;

const ID: [u8; 16] = [5; 16];
const NONCE: [u8; 16] = [6; 16];

fn tell(site: &Site) {
    let well_known = open_pipe(&site.path(), OFlags::WRONLY).unwrap();
    assert_eq!(rustix::io::write(&well_known, &record(ID, NONCE)), Ok(128));
}

/// Waits until the server has closed the pipe down, without a word. A child of another test may have
/// it open for a moment.
fn hangs_up(down: &OwnedFd) {
    support::eventually("the server hangs up", LIMIT, || {
        match rustix::io::read(down, &mut [0; 16]) {
            Ok(0) => Some(()),
            Err(Errno::AGAIN) => None,
            said => panic!("{said:?}"),
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn row_49_a_record_that_is_told_again_opens_nothing() {
    let site = Site::new();
    let server = site.serve().await;
    let connected = fifo::client(&site.path(), ID, NONCE, 8).unwrap();
    let pipes = site.open_pipes();
    for _ in 0..100 {
        tell(&site);
    }
    site.check().await;
    site.has_closed_all_but(pipes).await;
    let quiet = rustix::io::read(&connected.open[1], &mut [0; 64]);
    assert_eq!(quiet, Err(Errno::AGAIN), "the session goes on, undisturbed");

    drop(server);
    let _restarted = site.serve().await;
    tell(&site);
    site.check().await;
    assert_eq!(site.names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_49_an_id_that_is_in_use_is_refused() {
    let site = Site::new();
    let _server = site.serve().await;
    let first = fifo::client(&site.path(), ID, NONCE, 8).unwrap();
    // The names are free again, and the same number makes a second pair.
    let second = fifo::client(&site.path(), ID, NONCE, 6).unwrap();
    site.check().await;
    assert_eq!(site.names(), [""; 0], "it is not left to wait");
    let said = rustix::io::read(&second.open[2], &mut [0; 16]);
    assert_ne!(said, Ok(16), "the second got no connection");
    drop(first);
    drop(second);
    // Free again, once the server has noticed.
    support::eventually("the id can be used again", LIMIT, || {
        fifo::client(&site.path(), ID, NONCE, 6)
            .ok()
            .filter(|third| {
                let mut nonce = [0; 16];
                std::thread::sleep(Duration::from_millis(20));
                rustix::io::read(&third.open[2], &mut nonce) == Ok(16) && nonce == NONCE
            })
    });
}

/// Who knows a name but not what was said first has not made the pair.
#[tokio::test(flavor = "multi_thread")]
async fn row_49_a_wrong_nonce_is_refused_by_the_server() {
    let site = Site::new();
    let _server = site.serve().await;
    let client = fifo::client(&site.path(), ID, NONCE, 5).unwrap();
    let told = record(ID, [7; 16]);
    assert_eq!(rustix::io::write(&client.open[3], &told), Ok(128));
    site.check().await;
    assert_eq!(site.names(), [""; 0]);
    hangs_up(&client.open[2]);

    // Nothing said at all: the server does not wait for it.
    let id = [8; 16];
    let up = pair(&site.path(), id).0;
    let down = pair(&site.path(), id).1;
    fifo::make_pipe(&up).unwrap();
    fifo::make_pipe(&down).unwrap();
    let _held = [
        open_pipe(&up, OFlags::RDONLY).unwrap(),
        open_pipe(&up, OFlags::WRONLY).unwrap(),
    ];
    let silent = open_pipe(&down, OFlags::RDONLY).unwrap();
    assert_eq!(
        rustix::io::write(&client.open[3], &record(id, NONCE)),
        Ok(128)
    );
    site.check().await;
    hangs_up(&silent);
}

/// The client believes nothing before it has heard its own nonce.
#[tokio::test(flavor = "multi_thread")]
async fn row_49_a_wrong_nonce_is_refused_by_the_client() {
    let site = Site::new();
    let path = site.path();
    let (listed, listening) = tokio::sync::oneshot::channel();
    let impostor = tokio::task::spawn_blocking(move || {
        let mut served = fifo::server(&path, 4, || listed.send(()).unwrap()).unwrap();
        let down = served.open.swap_remove(1);
        assert_eq!(rustix::io::write(&down, &[0xf8; 100]), Ok(100));
        (served, down)
    });
    listening.await.unwrap();
    let address: Address = site.address().parse().unwrap();
    let connector = address.connector(&ConnectOptions::new()).unwrap();
    let mut conduit = connector.connect().await.unwrap();
    let mut byte = [0];
    let read = within("an answer", LIMIT, conduit.io.read(&mut byte)).await;
    let error = read.unwrap_err().into_inner().unwrap();
    let error = error.downcast::<rpc_core::Error>().unwrap();
    assert_eq!(error.code(), Code::Unauthenticated);
    let text = error.to_string();
    assert!(text.contains("has not read the well-known pipe"), "{text}");
    impostor.await.unwrap();
}
