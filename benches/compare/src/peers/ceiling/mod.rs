//! The practical limit: a protocol written by hand for nothing but these rows. A header of 16 bytes
//! and a body; no codec; the server answers in its read loop, without handlers and tasks; all that a
//! read brought is answered with one write. Large bodies travel whole, in buffers that are used
//! again.
//!
//! There are two clients. [`calls`] has a future for each call and is loaded by the same tasks as
//! the peers: that is the ceiling. [`Window`] has neither, only slots: the difference between the
//! two is what no client with an `async fn` for a method can save.
//!
//! It has no deadlines, no cancellation, no limits and no errors. Nothing that has them can be
//! expected to reach it; the question is how near one comes.

use std::convert::Infallible;

use self::output::Output;
use self::wire::{Frame, Handler, Header, PART, Wire};
use super::Place;
use crate::socket;

pub(crate) mod calls;
mod output;
mod window;
mod wire;

pub(crate) use self::window::Window;

/// A request to add: two numbers.
const ADD: u32 = 1;
/// Its answer: one number.
const SUM: u32 = 2;
/// A request with bytes that the answer brings back.
const ECHO: u32 = 3;
/// Its answer.
const ECHOED: u32 = 4;

/// Serves for good.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let accepting = socket::accept(place, ready, |socket| {
        tokio::spawn(async move {
            let mut wire = Wire::new(socket);
            while wire.step(&mut Answer).await.is_ok() {}
        });
    });
    accepting.await.expect("the server can accept")
}

/// Answers each request where it was read.
struct Answer;

impl Handler for Answer {
    fn frame(&mut self, frame: Frame<'_>, output: &mut Output) {
        let Header { kind, id, .. } = frame.header;
        match kind {
            ADD => {
                let (a, b) = numbers(frame.body);
                output.small(SUM, id, &a.wrapping_add(b).to_le_bytes());
            }
            ECHO => output.small(ECHOED, id, frame.body),
            other => panic!("no request has the kind {other}"),
        }
    }

    fn bulk(&mut self, header: Header, body: Vec<u8>, output: &mut Output) {
        output.bulk(ECHOED | header.kind & PART, header.id, body);
    }
}

fn numbers(body: &[u8]) -> (i64, i64) {
    let (a, rest) = body.split_first_chunk().expect("add brings two numbers");
    let b = rest.first_chunk().expect("add brings two numbers");
    (i64::from_le_bytes(*a), i64::from_le_bytes(*b))
}
