//! What a connection needs only while it is busy, shared by all connections of a thread.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::Waker;

use super::desk::Post;
use super::pile::Pile;
use crate::proto::Event;
use crate::wire::Reply;

/// Buffers and lists that the tasks of a thread's connections use one after the other, each while it
/// is being polled. So a busy connection allocates nothing, and an idle one owns nothing.
#[derive(Default)]
pub(super) struct Scratch {
    /// Where bytes are read to.
    pub(super) input: Vec<u8>,
    /// For small frames, being written by the protocol and by the system.
    pub(super) frames: [Vec<u8>; 2],
    /// What the protocol tells of while it is at work.
    pub(super) events: VecDeque<Event>,
    pub(super) posts: Pile<Post>,
    /// By the tokens of their calls.
    pub(super) replies: Pile<(usize, Reply)>,
    /// By the tokens of their calls.
    pub(super) wakers: Vec<(usize, Waker)>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// How much a read may bring at once. Large enough for many small frames or a whole chunk with
    /// its header, small enough to stay in a processor's cache.
    pub(super) const READ: usize = 64 * 1024 + 1024;

    /// Entries of a list that are kept; a larger one was an exception.
    const KEPT: usize = 4096;

    /// Bytes of a buffer that are kept: as many as are handed out at once.
    const KEPT_BYTES: usize = 256 * 1024;

    /// The thread's scratch, or a new one where it is in use: a handler may block its thread on a
    /// call of its own.
    pub(super) fn take() -> Box<Self> {
        SCRATCH.take().unwrap_or_default()
    }

    /// Gives it back for the next task.
    pub(super) fn give_back(mut self: Box<Self>) {
        for (_, reply) in self.replies.entries() {
            *reply = Reply::default();
        }
        self.posts.clear();
        self.posts.shrink(Self::KEPT);
        self.replies.clear();
        self.replies.shrink(Self::KEPT);
        empty(&mut self.wakers);
        if self.events.capacity() > Self::KEPT {
            self.events = VecDeque::new();
        }
        for frames in &mut self.frames {
            if frames.capacity() > Self::KEPT_BYTES {
                *frames = Vec::new();
            }
        }
        SCRATCH.set(Some(self));
    }
}

/// Leaves a list for the next task, with its room unless it was an exception.
#[inline]
fn empty<T>(list: &mut Vec<T>) {
    list.clear();
    if list.capacity() > Scratch::KEPT {
        *list = Vec::new();
    }
}
