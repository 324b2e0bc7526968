//! A process for each client: the forking server.

use std::process::Command;
use std::time::Duration;

/// A process for each client: the forking server.
///
/// Whoever connects is served by a *subserver*: this very program, started once more with the same
/// arguments, whose [`start`](super::super::ServerBuilder::start) takes that one client and ends the
/// process when it leaves. Nothing of the main process is copied, so a subserver costs the same
/// however large that is.
///
/// ```no_run
/// # use rpc_core::{Error, Server, server::Forking, service};
/// # #[service]
/// # trait Adder { async fn add(&self, a: i64, b: i64) -> i64; }
/// # struct Adding;
/// # impl Adder for Adding { async fn add(&self, a: i64, b: i64) -> i64 { a + b } }
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     rpc_core::subserver_init();
///     // What stands here runs in each subserver, too.
///     let server = Server::builder()
///         .service(AdderServer::new(Adding))
///         .listen("tcp://127.0.0.1:7000")
///         .pattern(Forking::new())
///         .start()
///         .await?;
///     // Only the main process comes here.
///     server.run_until_signal().await
/// }
/// ```
///
/// **For** handlers that may crash, leak or never end, as those over code of others do: a crash, a
/// leak or an endless loop in the process of one client touches no other. A call that ran there ends
/// as [`Code::Disconnected`](crate::Code::Disconnected), maybe executed.
///
/// **Costs** a start of the program for each connection, some milliseconds, less with
/// [`spare`](Self::spare) processes; and the memory of a process while the connection lasts.
///
/// **Cannot** share state between clients: each subserver has its own, built anew. Cannot serve at
/// `memory:` and `tls://`, nor at a listener of your own: plain sockets can be passed on, and the
/// pipes of a `fifo:` client, which the subserver opens. Cannot tell who begins a hello and does not
/// end it from who is slow: such a client has a subserver for
/// [`Limits::handshake`](crate::Limits::handshake). Needs Linux.
///
/// The main process alone listens and registers, and never speaks with a client but to refuse it. It
/// starts a subserver when a client has sent its first bytes, at most
/// [`subservers_max`](Self::subservers_max) at a time; further clients wait, unread, in a queue
/// ([`waiting_max`](Self::waiting_max), [`wait_max`](Self::wait_max)), and who waits in vain is told
/// [`Code::Overloaded`](crate::Code::Overloaded), not executed. The limits of the server on
/// connections hold for all subservers together, those on calls and buffers for each of them, and
/// [`Server::calls`](crate::Server::calls) counts none of theirs. Each subserver has a process group
/// of its own, and ends when the main process does, however that ends; a server that
/// [shuts down](crate::Server::shutdown) lets its subservers finish their calls. A subserver whose
/// client has gone is ended after 5 s if something in it still computes.
///
/// # What computes for ever
///
/// No process boundary keeps a subserver from its share of the processors, and where they are few the
/// others wait for them. So each subserver has a thread that looks after the rest. One that computes
/// without a pause for [some time](Self::step_down_after), while nothing is answered, steps down to the
/// lowest priority (nice 19 and `SCHED_IDLE`) and goes on with what others leave. On a machine with
/// processors to spare that takes nothing from it; on one without it may be next to nothing.
///
/// - It is the thread that steps down. What computes in `spawn_blocking` leaves its connection as it
///   was; what computes in an `async` method may take the thread of its connection along.
/// - A thread that is calm for twenty such times steps up again if the system permits that: with
///   `CAP_SYS_NICE`, or with an `RLIMIT_NICE` of at least 20. Otherwise it stays down while the client
///   stays. A service whose methods compute for long should do it in threads that it can spare, or
///   choose a longer time.
/// - What answers other calls of the client meanwhile, what sleeps now and then, and a program that a
///   handler has started is left alone. [`cpu_max`](Self::cpu_max) ends what nothing else does.
/// - Priorities count within a control group and, where the system groups processes by session
///   (`/proc/sys/kernel/sched_autogroup_enabled`), within a session: among the subservers of a server
///   always, towards its clients on the same machine not always.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "on other systems it is only refused")
)]
pub struct Forking {
    pub(super) subservers_max: usize,
    pub(super) waiting_max: usize,
    pub(super) wait_max: Duration,
    pub(super) spare: usize,
    pub(super) command: Option<Box<Command>>,
    pub(super) memory_max: Option<u64>,
    pub(super) cpu_max: Option<Duration>,
    pub(super) files_max: Option<u64>,
    pub(super) step_down_after: Duration,
}

impl Forking {
    /// Subservers at a time: 64. Each is a process with threads and memory of its own.
    pub const SUBSERVERS_MAX: usize = 64;

    /// Clients that wait for a subserver: 128, the usual backlog of a socket.
    pub const WAITING_MAX: usize = 128;

    /// How long each of them does: 3 s, less than the 5 s that a client gives its handshake, so that
    /// it is told why it waited.
    pub const WAIT_MAX: Duration = Duration::from_secs(3);

    /// What a thread may compute without a pause, while nothing is answered: 50 ms. Few calls of other
    /// clients are made meanwhile.
    pub const STEP_DOWN_AFTER: Duration = Duration::from_millis(50);

    /// A subserver of this program for each client, with the defaults.
    pub fn new() -> Self {
        Self {
            subservers_max: Self::SUBSERVERS_MAX,
            waiting_max: Self::WAITING_MAX,
            wait_max: Self::WAIT_MAX,
            spare: 0,
            command: None,
            memory_max: None,
            cpu_max: None,
            files_max: None,
            step_down_after: Self::STEP_DOWN_AFTER,
        }
    }

    /// The most subservers that serve at a time. The default is
    /// [`SUBSERVERS_MAX`](Self::SUBSERVERS_MAX).
    #[must_use]
    pub fn subservers_max(mut self, subservers: usize) -> Self {
        self.subservers_max = subservers;
        self
    }

    /// The most clients that wait for a subserver; one more is refused at once. The default is
    /// [`WAITING_MAX`](Self::WAITING_MAX).
    #[must_use]
    pub fn waiting_max(mut self, clients: usize) -> Self {
        self.waiting_max = clients;
        self
    }

    /// How long a client waits for a subserver before it is refused. The default is
    /// [`WAIT_MAX`](Self::WAIT_MAX).
    #[must_use]
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.wait_max = wait;
        self
    }

    /// Subservers that are started ahead, so that a client finds one ready: the pre-forking server.
    /// They come on top of [`subservers_max`](Self::subservers_max). The default is none.
    #[must_use]
    pub fn spare(mut self, subservers: usize) -> Self {
        self.spare = subservers;
        self
    }

    /// What a subserver is, where that is not this program with its arguments. It must offer the same
    /// services with the same pattern, and say [`subserver_init`](crate::subserver_init) if it starts
    /// another server before. A test needs it, because its program is the test harness. The standard
    /// input of the command is set here.
    #[must_use]
    pub fn command(mut self, command: Command) -> Self {
        self.command = Some(Box::new(command));
        self
    }

    /// Bytes that a subserver may write to (`RLIMIT_DATA`): its heap and the stacks of its threads.
    /// One that wants more aborts. The default is what the main process may use.
    #[must_use]
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.memory_max = Some(bytes);
        self
    }

    /// How long a subserver may compute, in whole seconds of processor time (`RLIMIT_CPU`). One that
    /// goes on is ended. The default is what the main process may use.
    #[must_use]
    pub fn cpu_max(mut self, time: Duration) -> Self {
        self.cpu_max = Some(time);
        self
    }

    /// Descriptors that a subserver may have open (`RLIMIT_NOFILE`). The default is what the main
    /// process may.
    #[must_use]
    pub fn files_max(mut self, files: u64) -> Self {
        self.files_max = Some(files);
        self
    }

    /// What a thread of a subserver may compute without going to sleep, while nothing is answered,
    /// before it [steps down](Self#what-computes-for-ever), at least 10 ms. It is time on a processor.
    /// What computes for less is left alone; what goes on and has a processor for itself has stepped
    /// down after little more than twice this time. The default is
    /// [`STEP_DOWN_AFTER`](Self::STEP_DOWN_AFTER); [`Duration::MAX`] is never.
    #[must_use]
    pub fn step_down_after(mut self, time: Duration) -> Self {
        self.step_down_after = time;
        self
    }
}

impl Default for Forking {
    fn default() -> Self {
        Self::new()
    }
}
