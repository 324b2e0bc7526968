//! A subserver's sentry: a thread that stays awake whatever the others do. It ends the process when
//! the client has gone and something still computes for it, and has threads that compute for ever step
//! down behind all other processes.
//!
//! It knows neither calls nor what is said to the client, only that the connection's task was at work.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, getpriority_process, setpriority_process};
use rustix::time::{ClockId, clock_gettime};

use super::duty::{STACK, end};
use super::idle;
use super::restless::{Restless, Verdict};
use super::threads;

/// What the connection's task tells the sentry: when it goes to work, which may never end, and when
/// that has ended, for who answers does not compute for ever.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Bell>);

struct Bell {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The sentry waits for the bell.
    rests: AtomicBool,
    event: OwnedFd,
}

impl Progress {
    /// # Errors
    /// The system's: no descriptor is left.
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Bell {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            event,
        })))
    }

    /// The task goes to work. A system call if the sentry rests, which it does after a pause of the
    /// client; otherwise next to nothing.
    pub(crate) fn begins(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        if self.0.rests.load(Ordering::SeqCst) && self.0.rests.swap(false, Ordering::SeqCst) {
            // The sentry looks after a second by itself.
            let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
        }
    }

    /// It has come back from that.
    pub(crate) fn ends(&self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks after the process of one client.
///
/// - **The client has gone.** What runs for it has `grace` to end; then the process is ended.
/// - **A thread computes for ever.** The threads are looked at every `patience`, and sooner if one may
///   have computed for so long by then. One that has, without a pause, while the connection's task was
///   not at work, gets the lowest priority and the class of the [idle]. It gets its own back when it
///   has been calm for many looks, where the system permits that. Without `patience` nobody looks.
///
/// While the client and the process are silent, one system call a second is all that is done.
pub(crate) struct Sentry {
    pub(crate) client: OwnedFd,
    pub(crate) grace: Duration,
    pub(crate) patience: Option<Duration>,
    pub(crate) progress: Progress,
}

/// The lowest priority: who has it runs when nobody else wants to.
const LOWEST: i32 = 19;

/// How often a process is looked at that does nothing. What begins to compute by itself, when the
/// client has said nothing, is found that much later.
const REST: Duration = Duration::from_secs(1);

/// The shortest time between two looks: more of them would be work worth looking at.
const PATIENCE_MIN: Duration = Duration::from_millis(10);

/// The part of the patience that lies between two looks at least. Who nearly has computed for so long
/// is not looked at all the time.
const SOONEST_PART: u32 = 10;

/// So many times as long as a look at the threads took passes until the next: that costs no more than
/// this part of a processor, however many they are.
const COST_PART: u32 = 50;

/// The threads of a process that has had less than this part of a processor are not looked at while
/// it answers.
const BUSY_PART: u32 = 20;

/// Nor those of one that has had less than this part and does not answer. Among many that compute
/// there may be no more for each.
const IDLE_PART: u32 = 500;

/// The sentry rests after so many looks at which there was nothing: beside other load a thread may get
/// no processor from one look to the next, and compute for ever all the same.
const IDLE_LOOKS: u32 = 20;

impl Sentry {
    /// Begins, for as long as the process lasts.
    ///
    /// # Errors
    /// The system's: no thread is left.
    pub(crate) fn post(self) -> io::Result<()> {
        thread::Builder::new()
            .name("rpc-sentry".to_owned())
            .stack_size(STACK)
            .spawn(move || self.watch())?;
        Ok(())
    }

    fn watch(self) {
        let patience = self.patience.map(|patience| patience.max(PATIENCE_MIN));
        let mut watch = patience.map(|patience| Watch::begin(patience, self.progress.clone()));
        let bell = &self.progress.0.event;
        loop {
            let time = watch.as_ref().map(|watch| match watch.rests {
                true => REST,
                false => watch.pause,
            });
            if is_gone(&self.client, bell, time) {
                break;
            }
            if let Some(watch) = &mut watch {
                watch.look();
            }
        }
        let begin = Instant::now();
        loop {
            let left = self.grace.saturating_sub(begin.elapsed());
            if left.is_zero() {
                end();
            }
            thread::sleep(watch.as_ref().map_or(left, |watch| watch.pause.min(left)));
            if let Some(watch) = &mut watch {
                watch.look();
            }
        }
    }
}

/// Waits at most for `time` until the client has gone, or the bell rings.
fn is_gone(client: &OwnedFd, bell: &OwnedFd, time: Option<Duration>) -> bool {
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    let mut fds = [
        PollFd::new(client, PollFlags::RDHUP),
        PollFd::new(bell, PollFlags::IN),
    ];
    if poll(&mut fds, time.as_ref()).is_err() {
        // A signal came between.
        return false;
    }
    let (client, rings) = (fds[0].revents(), !fds[1].revents().is_empty());
    if rings {
        // It says no more than that it rang.
        let _ = rustix::io::read(bell, &mut [0; 8]);
    }
    !client.is_empty()
}

/// The threads of this process, from one look to the next.
struct Watch {
    patience: Duration,
    /// Until the next look.
    pause: Duration,
    /// There is nothing to look at until the bell rings, or the process computes by itself.
    rests: bool,
    /// So many looks in a row there was nothing.
    idle: u32,
    progress: Progress,
    last: Glance,
    restless: Restless,
    /// The priorities that threads had before they stepped down.
    own: Vec<(u32, i32)>,
}

/// What is looked at first, because it costs little.
#[derive(Clone, Copy)]
struct Glance {
    at: Instant,
    /// What all threads but this one have computed.
    computed: Duration,
    /// What this one has.
    own: Duration,
    begun: u64,
    ended: u64,
}

impl Glance {
    fn now(progress: &Progress) -> Self {
        let own = computed(ClockId::ThreadCPUTime);
        Self {
            at: Instant::now(),
            computed: computed(ClockId::ProcessCPUTime).saturating_sub(own),
            own,
            begun: progress.0.begun.load(Ordering::SeqCst),
            ended: progress.0.ended.load(Ordering::Relaxed),
        }
    }
}

fn computed(by: ClockId) -> Duration {
    Duration::try_from(clock_gettime(by)).unwrap_or_default()
}

impl Watch {
    fn begin(patience: Duration, progress: Progress) -> Self {
        Self {
            patience,
            pause: patience,
            // The client has something to say already.
            rests: false,
            idle: 0,
            last: Glance::now(&progress),
            progress,
            restless: Restless::new(patience),
            own: Vec::new(),
        }
    }

    fn look(&mut self) {
        let now = Glance::now(&self.progress);
        let window = now.at.saturating_duration_since(self.last.at);
        let work = now.computed.saturating_sub(self.last.computed);
        let has_answered = now.ended != self.last.ended;
        let part = if has_answered { BUSY_PART } else { IDLE_PART };
        let is_busy = work >= window / part;
        let is_at_work = now.begun != self.last.begun || now.begun != now.ended;
        self.last = now;
        if is_busy || has_answered || is_at_work || self.restless.has_some_down() {
            self.idle = 0;
        } else {
            self.idle = self.idle.saturating_add(1);
        }
        self.rests = self.idle >= IDLE_LOOKS;
        if self.rests {
            let bell = &self.progress.0;
            bell.rests.store(true, Ordering::SeqCst);
            // The task may have gone to work just before.
            self.rests = bell.begun.load(Ordering::SeqCst) == now.begun;
        }
        self.pause = self.patience;
        if !(is_busy || self.restless.has_some_down()) {
            self.restless.forget();
            return;
        }
        for verdict in self.restless.look(&threads::all(), window, has_answered) {
            self.carry_out(verdict);
        }
        let took = computed(ClockId::ThreadCPUTime).saturating_sub(now.own);
        let lacks = self.restless.lacks().unwrap_or(self.patience);
        let soonest = self.patience / SOONEST_PART;
        self.pause = lacks.max(soonest).max(took.saturating_mul(COST_PART));
    }

    fn carry_out(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::StepDown(thread) => match step_down(thread) {
                Ok(None) => {}
                Ok(Some(own)) => {
                    // Its number may have been another's.
                    self.take_own(thread);
                    self.own.push((thread, own));
                    tracing::warn!(
                        thread,
                        "a thread computes without a pause while nothing is answered: it steps \
                         down to the lowest priority"
                    );
                }
                Err(error) => tracing::debug!(thread, %error, "a thread cannot step down"),
            },
            Verdict::StepUp(thread) => {
                if let Some(own) = self.take_own(thread) {
                    // Without the privilege for that it stays where it is.
                    let is_up = setpriority_process(pid(thread), own)
                        .map_err(io::Error::from)
                        .and_then(|()| idle::set(thread, false))
                        .is_ok();
                    tracing::info!(
                        thread,
                        is_up,
                        "a thread that had stepped down is calm again"
                    );
                }
            }
            Verdict::Forget(thread) => {
                self.take_own(thread);
            }
        }
    }

    /// The priority that the thread had before it stepped down, if it did.
    fn take_own(&mut self, thread: u32) -> Option<i32> {
        let place = self.own.iter().position(|(down, _)| *down == thread)?;
        Some(self.own.swap_remove(place).1)
    }
}

/// Gives a thread the lowest priority, and says which it had. `None` if that was no higher: it is so
/// polite by itself, or was not let up again.
fn step_down(thread: u32) -> io::Result<Option<i32>> {
    let own = getpriority_process(pid(thread))?;
    if own >= LOWEST {
        return Ok(None);
    }
    // The system counts threads as processes here.
    setpriority_process(pid(thread), LOWEST)?;
    // A sandbox may refuse it; then the priority must do.
    if let Err(error) = idle::set(thread, true) {
        tracing::debug!(thread, %error, "a thread that steps down keeps its class");
    }
    Ok(Some(own))
}

fn pid(thread: u32) -> Option<Pid> {
    i32::try_from(thread).ok().and_then(Pid::from_raw)
}
