//! tokio alone: a message of fixed size goes forth, and comes back as it is. What a single call
//! cannot go below on the same runtime and sockets.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Place;
use crate::load::Tally;
use crate::socket::{self, Socket};

/// About the size of a request to add two numbers, with its frame.
const MESSAGE: usize = 64;

/// Serves for good.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let accepting = socket::accept(place, ready, |mut socket| {
        tokio::spawn(async move {
            let mut message = [0; MESSAGE];
            while socket.read_exact(&mut message).await.is_ok() {
                if socket.write_all(&message).await.is_err() {
                    return;
                }
            }
        });
    });
    accepting.await.expect("the server can accept")
}

/// A connection that plays ping-pong.
pub(crate) struct PingPong(Socket);

impl PingPong {
    pub(crate) async fn connect(place: &Place) -> Self {
        let socket = Socket::connect(place).await;
        Self(socket.expect("the server can be reached"))
    }

    /// Plays for so long.
    pub(crate) async fn play(&mut self, time: Duration) -> Tally {
        let mut tally = Tally::default();
        let mut message = [0; MESSAGE];
        let began = Instant::now();
        while began.elapsed() < time {
            let sent = Instant::now();
            message[..8].copy_from_slice(&tally.calls.to_le_bytes());
            let out = message;
            self.0.write_all(&out).await.expect("the peer reads");
            self.0
                .read_exact(&mut message)
                .await
                .expect("the peer answers");
            assert_eq!(out, message, "wrong answer");
            tally.call(Some(sent.elapsed()));
        }
        tally.took = began.elapsed();
        tally
    }
}
