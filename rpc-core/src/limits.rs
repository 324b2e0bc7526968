//! Every limit of a connection, with the reason for its default.

use std::time::Duration;

/// What one side of a connection is willing to hold, wait for or send.
///
/// Each limit has a default that suits a process which serves strangers; raise them in the builder
/// of a server or a channel. The limits that concern the peer travel in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The whole handshake, from the first byte to `ready`: 5 s. Long enough for a far network,
    /// short enough that a thousand drippers do not pile up.
    pub handshake: Duration,
    /// The largest message accepted, in bytes: 4 MiB, as gRPC's default. At most 256 MiB.
    pub message: usize,
    /// Calls of the peer in flight on one connection: 256. The peer queues what is beyond.
    pub calls: u32,
    /// Calls of ours that may wait on one connection for a place in flight: 16,384. Beyond it a
    /// call ends at once as overloaded, because it would only wait for its deadline.
    pub queued_calls: usize,
    /// Bytes of messages under assembly on one connection: 64 MiB, sixteen of the largest.
    pub assembly: usize,
    /// Bytes that may wait for a peer which does not read: 4 MiB. Beyond it the connection stops
    /// reading, so that the peer feels its own slowness.
    pub out_queue: usize,
    /// How long writing may make no progress at all before the connection is given up: 10 s.
    pub write_stall: Duration,
    /// Chunk bytes on the way to us that we have not yet taken: 1 MiB, the product of 1 GB/s and
    /// 1 ms.
    pub connection_window: u32,
    /// The same for one stream: 64 KiB, one chunk.
    pub stream_window: u32,
    /// Silence after which a peer that owes us a reply is asked whether it lives: 20 s.
    pub ping_busy: Duration,
    /// The same for a connection without calls: 5 min, below the idle timeout of common NATs.
    pub ping_idle: Duration,
    /// How long the answer to a ping may take: 10 s.
    pub ping_wait: Duration,
    /// The deadline of a call that brings none of its own: 10 s.
    pub deadline: Duration,
    /// The longest deadline a server grants, whatever the caller asks: 1 h.
    pub deadline_max: Duration,
    /// Nesting of a decoded value: 64. Deep enough for honest trees, and shallow enough for the
    /// stack of any thread.
    pub decode_depth: usize,
    /// Bytes of memory that one decoded message may take, however long it is: 64 MiB. A shorter
    /// message gets less: 16 bytes for each of its own, and 64 KiB.
    pub decode_memory: usize,
    /// Frames for calls that do not exist, and calls in a row of methods or shapes that do not,
    /// before a peer is cut off: 100. An honest peer sends none of the first, and stops soon with
    /// the second.
    pub strays: u32,
}

impl Limits {
    /// The largest value [`message`](Self::message) may take: 256 MiB.
    pub const MESSAGE_MAX: usize = 256 * 1024 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            message: 4 * 1024 * 1024,
            calls: 256,
            queued_calls: 16_384,
            assembly: 64 * 1024 * 1024,
            out_queue: 4 * 1024 * 1024,
            write_stall: Duration::from_secs(10),
            connection_window: 1024 * 1024,
            stream_window: 64 * 1024,
            ping_busy: Duration::from_secs(20),
            ping_idle: Duration::from_secs(300),
            ping_wait: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            deadline_max: Duration::from_secs(3600),
            decode_depth: 64,
            decode_memory: 64 * 1024 * 1024,
            strays: 100,
        }
    }
}
