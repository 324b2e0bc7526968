//! The client of the ceiling: a future for each call, and one task for the connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::output::Output;
use super::wire::{Frame, Handler, Header, PART, Wire};
use super::{ADD, ECHO, ECHOED, SUM};
use crate::load::SMALL_PAYLOAD;
use crate::peers::{Caller, Place};
use crate::socket::Socket;

/// The largest payload of `echo`, in bytes: four times what the comparison sends.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// Serves for good.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    super::serve(place, ready).await
}

/// Connects. Large bodies travel whole.
pub(crate) async fn connect(place: &Place) -> impl Caller + use<> {
    start(place, ECHO).await
}

/// Connects. Large bodies travel in parts, so that they do not delay small ones; on TCP with bounded
/// buffers in the kernel.
pub(crate) async fn connect_parted(place: &Place) -> impl Caller + use<> {
    start(place, ECHO | PART).await
}

async fn start(place: &Place, bulk: u32) -> Client {
    let socket = Socket::connect(place).await;
    let mut wire = Wire::new(socket.expect("the server can be reached"));
    let shared = Arc::new(Mutex::new(Shared::default()));
    let client = Client {
        driven: Driven(shared.clone()),
        bulk,
        _open: Arc::new(Open(Driven(shared.clone()))),
    };
    let driven = Driven(shared);
    tokio::spawn(async move {
        let mut answers = Answers::default();
        poll_fn(|cx| driven.poll_drive(cx, &mut wire, &mut answers)).await;
    });
    client
}

#[derive(Clone)]
struct Client {
    driven: Driven,
    /// The kind of a large request.
    bulk: u32,
    /// Gone with the last client.
    _open: Arc<Open>,
}

/// Ends the connection when dropped.
struct Open(Driven);

impl Drop for Open {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.closed = true;
        if let Some(task) = shared.sleeping.take() {
            task.wake();
        }
    }
}

/// The connection's side of a client.
#[derive(Clone)]
struct Driven(Arc<Mutex<Shared>>);

/// What callers and the task of the connection have in common. It is locked for moments, never
/// while the socket is used.
#[derive(Default)]
struct Shared {
    calls: Vec<Call>,
    /// Indices of `calls` that are free.
    free: Vec<usize>,
    /// Requests that the task has not fetched.
    output: Output,
    /// The task, while it sleeps.
    sleeping: Option<Waker>,
    /// The connection has ended.
    closed: bool,
}

#[derive(Default)]
enum Call {
    #[default]
    Free,
    Waiting(Waker),
    Answered(Answer),
}

enum Answer {
    Sum(i64),
    Echo(Vec<u8>),
}

/// The answers of one read.
#[derive(Default)]
struct Answers {
    answers: Vec<(u64, Answer)>,
    wakers: Vec<Waker>,
}

impl Caller for Client {
    async fn add(&self, a: i64, b: i64) -> i64 {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&a.to_le_bytes());
        body[8..].copy_from_slice(&b.to_le_bytes());
        let answer = self.driven.call(|output, id| output.small(ADD, id, &body));
        match answer.await {
            Answer::Sum(sum) => sum,
            Answer::Echo(_) => panic!("wrong answer: an echo"),
        }
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        let answer = self.driven.call(|output, id| {
            if payload.len() > SMALL_PAYLOAD {
                output.bulk(self.bulk, id, payload);
            } else {
                output.small(ECHO, id, &payload);
            }
        });
        match answer.await {
            Answer::Echo(payload) => payload,
            Answer::Sum(_) => panic!("wrong answer: a sum"),
        }
    }
}

impl Driven {
    /// Sends a request when first polled, and is ready when the answer has come.
    async fn call(&self, send: impl FnOnce(&mut Output, u64)) -> Answer {
        let mut send = Some(send);
        let mut index = 0;
        poll_fn(|cx| {
            let mut shared = self.lock();
            assert!(!shared.closed, "the connection has ended");
            let Some(send) = send.take() else {
                let call = &mut shared.calls[index];
                let Call::Answered(answer) = mem::take(call) else {
                    *call = Call::Waiting(cx.waker().clone());
                    return Poll::Pending;
                };
                shared.free.push(index);
                return Poll::Ready(answer);
            };
            index = shared.free.pop().unwrap_or_else(|| {
                shared.calls.push(Call::Free);
                shared.calls.len() - 1
            });
            shared.calls[index] = Call::Waiting(cx.waker().clone());
            send(&mut shared.output, index as u64);
            let sleeping = shared.sleeping.take();
            drop(shared);
            if let Some(task) = sleeping {
                task.wake();
            }
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the connection's task.
    fn poll_drive(&self, cx: &mut Context<'_>, wire: &mut Wire, answers: &mut Answers) -> Poll<()> {
        loop {
            let output = wire.output();
            let mut shared = self.lock();
            if shared.closed {
                return Poll::Ready(());
            }
            output.append(&mut shared.output);
            drop(shared);
            let Poll::Ready(stepped) = wire.poll_step(cx, answers) else {
                let mut shared = self.lock();
                if shared.output.unwritten() == 0 && !shared.closed {
                    shared.sleeping = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                continue;
            };
            let mut shared = self.lock();
            if stepped.is_err() {
                shared.closed = true;
                let calls = mem::take(&mut shared.calls);
                answers
                    .wakers
                    .extend(calls.into_iter().filter_map(Call::waker));
            }
            for (id, answer) in answers.answers.drain(..) {
                let call = mem::replace(&mut shared.calls[id as usize], Call::Answered(answer));
                answers.wakers.extend(call.waker());
            }
            drop(shared);
            for waker in answers.wakers.drain(..) {
                waker.wake();
            }
            if stepped.is_err() {
                return Poll::Ready(());
            }
        }
    }
}

impl Call {
    fn waker(self) -> Option<Waker> {
        match self {
            Self::Waiting(waker) => Some(waker),
            Self::Free | Self::Answered(_) => None,
        }
    }
}

impl Handler for Answers {
    fn frame(&mut self, frame: Frame<'_>, _output: &mut Output) {
        let answer = match (frame.header.kind, frame.body.first_chunk()) {
            (SUM, Some(sum)) => Answer::Sum(i64::from_le_bytes(*sum)),
            (ECHOED, _) => Answer::Echo(frame.body.to_vec()),
            (kind, _) => panic!("wrong answer: kind {kind}"),
        };
        self.answers.push((frame.header.id, answer));
    }

    fn bulk(&mut self, header: Header, body: Vec<u8>, _output: &mut Output) {
        assert_eq!(header.kind & !PART, ECHOED, "wrong answer");
        self.answers.push((header.id, Answer::Echo(body)));
    }
}
