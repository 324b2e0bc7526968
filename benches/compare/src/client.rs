//! The client process: one row against one server, in one or several loads of which each has its
//! warm-up.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::control::{self, Said, Usage};
use crate::load::{self, Tally};
use crate::metric::Metric;
use crate::mode::Mode;
use crate::peers::ceiling::Window;
use crate::peers::raw::PingPong;
use crate::peers::{Caller, Peer, Place, with_callers};
use crate::rows::{Row, Work};
use crate::{process, stats};

/// A load runs this share of its time before it is measured: caches, buffers and branch predictors
/// are as they stay then.
const WARM_UP: f64 = 0.25;

/// What the process is told to do.
#[derive(clap::Args)]
pub(crate) struct Task {
    #[arg(long, value_enum)]
    peer: Peer,
    #[arg(long, value_enum)]
    mode: Mode,
    /// A [`Place`] in JSON.
    #[arg(long)]
    place: String,
    #[arg(long)]
    row: String,
    #[arg(long)]
    seconds: f64,
}

/// Measures, and says what came out.
pub(crate) fn run(task: Task) -> Result<(), String> {
    process::prepare(task.mode.client_cpu())?;
    let place: Place = serde_json::from_str(&task.place).map_err(|error| error.to_string())?;
    let row = Row::named(&task.row).ok_or("no such row")?;
    let runtime = task.mode.runtime();
    let measuring = measure(task.peer, &place, row, task.seconds);
    let measured = LocalSet::new().block_on(&runtime, measuring)?;
    control::say(&Said::Measured(measured))?;
    // What is still connected needs no orderly end.
    std::process::exit(0);
}

async fn measure(
    peer: Peer,
    place: &Place,
    row: &Row,
    seconds: f64,
) -> Result<BTreeMap<Metric, f64>, String> {
    match peer {
        Peer::Window => load_twice(&mut Window::connect(place).await, row.work, seconds).await,
        Peer::Raw => load_twice(&mut PingPong::connect(place).await, row.work, seconds).await,
        callers => with_callers!(callers, peer => {
            load_twice(&mut Callers(peer::connect(place).await), row.work, seconds).await
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
        load::add(&self.0, in_flight, time).await
    }

    async fn echo(&mut self, bytes: usize, in_flight: usize, time: Duration) -> Tally {
        load::echo(&self.0, bytes, in_flight, time).await
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
async fn load_twice(
    load: &mut impl Load,
    work: Work,
    seconds: f64,
) -> Result<BTreeMap<Metric, f64>, String> {
    let (warm_up, time) = (
        Duration::from_secs_f64(seconds * WARM_UP),
        Duration::from_secs_f64(seconds),
    );
    load_once(load, work, warm_up).await;
    let before = both()?;
    let mut tally = load_once(load, work, time).await;
    let cpu = both()? - before;

    let mut figures = BTreeMap::new();
    figures.insert(Metric::CallsPerSecond, tally.rate());
    figures.insert(
        Metric::CpuMicros,
        cpu.as_secs_f64() * 1e6 / tally.calls as f64,
    );
    for (metric, share) in [(Metric::P50Micros, 0.5), (Metric::P99Micros, 0.99)] {
        if let Some(nanos) = stats::quantile(&mut tally.nanos, share) {
            figures.insert(metric, nanos as f64 / 1e3);
        }
    }
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
        Work::Add { in_flight } => load.add(in_flight, time).await,
        Work::Echo { bytes, in_flight } => load.echo(bytes, in_flight, time).await,
    }
}

/// CPU time of client and server.
fn both() -> Result<Duration, String> {
    control::say(&Said::Usage)?;
    let Some(Said::Used(server)) = control::hear()? else {
        return Err("the parent did not say what the server has used up".into());
    };
    Ok(server.cpu + Usage::now().cpu)
}
