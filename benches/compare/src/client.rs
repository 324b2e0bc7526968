//! The client process: one row against one server, in one or several loads of which each has its
//! warm-up.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::control::{self, Said, Usage};
use crate::load::{self, Tally};
use crate::metric::Metric;
use crate::peers::ceiling::{Window, calls};
use crate::peers::ours::growth;
use crate::peers::raw::PingPong;
use crate::peers::{Caller, Peer, Place, with_callers};
use crate::rows::Work;
use crate::task::Task;
use crate::{connections, process, stats};

/// A load runs this share of its time before it is measured: caches, buffers and branch predictors
/// are as they stay then.
const WARM_UP: f64 = 0.25;

/// Measures, and says what came out.
pub(crate) fn run(task: Task) -> Result<(), String> {
    process::prepare(task.mode.client_cpu())?;
    let row = task.row()?;
    let runtime = task.mode.runtime();
    let measuring = measure(
        task.peer,
        Box::leak(Box::new(task.place)),
        row.work,
        task.time,
    );
    let measured = LocalSet::new().block_on(&runtime, measuring)?;
    control::say(&Said::Measured(measured))?;
    // What is still connected needs no orderly end.
    std::process::exit(0);
}

type Figures = BTreeMap<Metric, f64>;

/// The place outlives everything, so that a client may hold on to it.
async fn measure(
    peer: Peer,
    place: &'static Place,
    work: Work,
    time: Duration,
) -> Result<Figures, String> {
    match (peer, work) {
        (Peer::Window, _) => loaded(&mut Window::connect(place).await, work, time).await,
        (Peer::Raw, _) => loaded(&mut PingPong::connect(place).await, work, time).await,
        (_, Work::Methods { .. }) => {
            let caller = growth::connect_methods(place).await;
            loaded(&mut Callers(caller), work, time).await
        }
        (_, Work::Services { .. }) => {
            let caller = growth::connect_services(place).await;
            loaded(&mut Callers(caller), work, time).await
        }
        (Peer::Ceiling, Work::Mixed { bytes }) => {
            let caller = calls::connect_parted(place).await;
            Ok(mixed(&caller, bytes, time).await)
        }
        _ => with_callers!(peer, module => match work.fitting(module::MESSAGE_MAX) {
            Work::Connect => Ok(connections::connect(async || module::connect(place).await, time).await),
            Work::Memory { connections } => {
                connections::memory(async || module::connect(place).await, connections).await
            }
            Work::Idle { busy, idle } => {
                let connect = async || module::connect(place).await;
                Ok(connections::idle(connect, busy, idle, time).await)
            }
            Work::Mixed { bytes } => {
                Ok(mixed(&module::connect(place).await, bytes, time).await)
            }
            work => loaded(&mut Callers(module::connect(place).await), work, time).await,
        }),
    }
}

/// Something that can be loaded: many callers, or a protocol that needs none.
trait Load {
    async fn add(&mut self, in_flight: usize, time: Duration) -> Tally;
    async fn echo(&mut self, bytes: usize, in_flight: usize, time: Duration) -> Tally;
}

struct Callers<C>(C);

impl<C: Caller> Load for Callers<C> {
    async fn add(&mut self, in_flight: usize, time: Duration) -> Tally {
        load::add(load::crew(&self.0, in_flight), time).await
    }

    async fn echo(&mut self, bytes: usize, in_flight: usize, time: Duration) -> Tally {
        load::echo(load::crew(&self.0, in_flight), bytes, time).await
    }
}

impl Load for Window {
    async fn add(&mut self, in_flight: usize, time: Duration) -> Tally {
        Self::add(self, in_flight, time).await
    }

    async fn echo(&mut self, bytes: usize, in_flight: usize, time: Duration) -> Tally {
        Self::echo(self, bytes, in_flight, time).await
    }
}

impl Load for PingPong {
    async fn add(&mut self, _one: usize, time: Duration) -> Tally {
        self.play(time).await
    }

    async fn echo(&mut self, _bytes: usize, _one: usize, _time: Duration) -> Tally {
        unreachable!("the rows say that it carries no payloads")
    }
}

/// Loads once to warm up and once to measure, with the CPU time of both processes around it.
async fn loaded(load: &mut impl Load, work: Work, time: Duration) -> Result<Figures, String> {
    load_once(load, work, time.mul_f64(WARM_UP)).await;
    if let Work::Syscalls { .. } = work {
        return counted(load, work, time).await;
    }
    let before = (control::server_usage()?, Usage::now());
    let mut tally = load_once(load, work, time).await;
    let after = (control::server_usage()?, Usage::now());
    let cpu = (after.0.cpu - before.0.cpu) + (after.1.cpu - before.1.cpu);
    let grown = after.0.resident_kib as f64 - before.0.resident_kib as f64;

    let mut figures = latency(&mut tally);
    figures.insert(Metric::CallsPerSecond, tally.rate());
    figures.insert(Metric::GrownKib, grown);
    figures.insert(
        Metric::CpuMicros,
        cpu.as_secs_f64() * 1e6 / tally.calls as f64,
    );
    if let Work::Echo { bytes, .. } = work {
        figures.insert(
            Metric::MegabytesPerSecond,
            tally.rate() * bytes as f64 / 1e6,
        );
    }
    Ok(figures)
}

async fn load_once(load: &mut impl Load, work: Work, time: Duration) -> Tally {
    match work {
        Work::Add { in_flight }
        | Work::Methods { in_flight }
        | Work::Services { in_flight }
        | Work::Syscalls { in_flight } => load.add(in_flight, time).await,
        Work::Echo { bytes, in_flight } => load.echo(bytes, in_flight, time).await,
        Work::Mixed { .. } | Work::Connect | Work::Memory { .. } | Work::Idle { .. } => {
            unreachable!("no load of one kind of calls")
        }
    }
}

/// Loads while the parent counts system calls. Counting takes time, so none is measured.
async fn counted(load: &mut impl Load, work: Work, time: Duration) -> Result<Figures, String> {
    let Said::Count = control::ask(&Said::Count)? else {
        return Err("the parent does not count".into());
    };
    let tally = load_once(load, work, time).await;
    let Said::Counted(syscalls) = control::ask(&Said::Stop)? else {
        return Err("the parent has not counted".into());
    };
    let each = syscalls as f64 / tally.calls as f64;
    Ok(Figures::from([(Metric::Syscalls, each)]))
}

/// Small calls beside large ones. It takes longer than other rows, because a slow peer moves few of
/// the large ones in a second.
async fn mixed(caller: &impl Caller, bytes: usize, time: Duration) -> Figures {
    load::mixed(caller, bytes, time).await;
    let (mut small, large) = load::mixed(caller, bytes, time * 2).await;
    let mut figures = latency(&mut small);
    figures.insert(
        Metric::MegabytesPerSecond,
        large.rate() * bytes as f64 / 1e6,
    );
    figures
}

fn latency(tally: &mut Tally) -> Figures {
    let quantiles = [(Metric::P50Micros, 0.5), (Metric::P99Micros, 0.99)];
    let mut figures = Figures::new();
    for (metric, share) in quantiles {
        if let Some(nanos) = stats::quantile(&mut tally.nanos, share) {
            figures.insert(metric, nanos as f64 / 1e3);
        }
    }
    figures
}
