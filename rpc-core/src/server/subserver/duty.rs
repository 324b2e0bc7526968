//! A subserver's side: what this process has to do.

use std::env;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::line::{self, Order, Report};
use super::role::{Kind, Role};

/// What this process has to do as a subserver.
///
/// It ends with the main process: a thread of its own waits at the [line](super::line::Line), so it
/// does not matter what the others are doing.
pub(crate) struct Duty {
    role: &'static Role,
    line: &'static OwnedFd,
    /// Until the server to which they are addressed starts.
    orders: Mutex<Option<Receiver<Order>>>,
    claimed: &'static AtomicBool,
}

/// How long a program may take from its client's arrival until it starts its server. One that never
/// does would keep the client for ever.
const START_MAX: Duration = Duration::from_secs(30);

/// Orders that wait to be taken up. The line itself holds more.
const ORDERS_MAX: usize = 16;

/// How often it is looked whether there is room for one more.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// What a thread needs that waits and passes on, with room to spare.
pub(super) const STACK: usize = 128 * 1024;

impl Duty {
    /// A subserver takes its line away from descriptor 0, where a program that it starts could find
    /// it, holds itself to its limits, and begins to listen.
    pub(super) fn begin(role: &'static Role) -> Self {
        match Self::take(role) {
            Ok(duty) => duty,
            Err(error) => {
                // The log of the program is not set up yet.
                eprintln!("a subserver of rpc-core cannot begin: {error}");
                std::process::exit(1)
            }
        }
    }

    fn take(role: &'static Role) -> io::Result<Self> {
        let line = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let nothing = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(nothing)?;
        role.resources.apply()?;
        stand_in_front();
        keep_the_name();
        // Both live as long as the process.
        let line: &'static OwnedFd = Box::leak(Box::new(line));
        let claimed: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let (sender, orders) = channel(ORDERS_MAX);
        thread::Builder::new()
            .name("rpc-line".to_owned())
            .stack_size(STACK)
            .spawn(move || follow(line, &sender, claimed))?;
        Ok(Self {
            role,
            line,
            orders: Mutex::new(Some(orders)),
            claimed,
        })
    }

    /// What the main process says to the server of this kind with these services: all its orders,
    /// once.
    pub(crate) fn orders(&self, kind: Kind, services: u64) -> Option<Receiver<Order>> {
        if (self.role.kind, self.role.services) != (kind, services) {
            return None;
        }
        self.claimed.store(true, Ordering::Relaxed);
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.take()
    }

    /// What the handshake says about who this is.
    pub(crate) fn instance(&self) -> u128 {
        self.role.instance
    }

    /// How long a thread of this process may compute without a pause before it stands back.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.role.resources.patience.map(Duration::from_millis)
    }

    /// Tells the main process something. It may be gone; then this process soon is, too.
    pub(crate) fn report(&self, report: Report) {
        let _ = line::report(self.line, report);
    }
}

/// Passes the orders on, and ends the process when there is nobody left to give any.
fn follow(line: &OwnedFd, orders: &Sender<Order>, claimed: &AtomicBool) {
    while let Ok(Some(order)) = line::next_order(line) {
        let is_first = matches!(order, Order::Serve(_) | Order::Trunk { .. });
        pass_on(order, orders, line);
        if is_first && !claimed.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(line, PollFlags::IN)];
            let time = Timespec::try_from(START_MAX).ok();
            let _ = poll(&mut fds, time.as_ref());
            if !claimed.load(Ordering::Relaxed) && fds[0].revents().is_empty() {
                eprintln!(
                    "a subserver of rpc-core has started no server for its client within \
                     {START_MAX:?}: the services of the program are others, or its pattern is"
                );
                break;
            }
        }
    }
    end();
}

fn pass_on(mut order: Order, orders: &Sender<Order>, line: &OwnedFd) {
    // Whoever takes the orders may have stopped to listen, being about to end.
    while let Err(TrySendError::Full(back)) = orders.try_send(order) {
        order = back;
        let mut fds = [PollFd::new(line, PollFlags::empty())];
        let time = Timespec::try_from(FULL_PAUSE).ok();
        if poll(&mut fds, time.as_ref()).is_ok_and(|ready| ready > 0) {
            end();
        }
    }
}

/// Ends this process, and what it has started, at once, whatever its threads are doing.
pub(super) fn end() -> ! {
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

/// When the machine has no memory left, the kernel takes a subserver, not the main process and not
/// somebody else. Where it cannot be asked for that, it chooses by itself.
fn stand_in_front() {
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// A process that executes `/proc/self/exe` is listed as `exe`: it takes the name of its program.
fn keep_the_name() {
    if let Some(name) = env::args_os().next() {
        if let Some(name) = Path::new(&name).file_name() {
            let _ = fs::write("/proc/self/comm", name.as_encoded_bytes());
        }
    }
}
