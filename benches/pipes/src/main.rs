//! A small call over each conduit of one machine, beside a ping-pong of 64 bytes over the same
//! conduit with tokio alone. Each point is a new child; ours and the bare one take turns, so that
//! what disturbs the machine disturbs both. Only the ratios within one run mean something.
//!
//! ```text
//! bench-pipes [ROUNDS [SECONDS]]
//! ```

mod raw;

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpc_core::{Client as _, Server, serve_stdio, service};
use rustix::thread::{CpuSet, sched_setaffinity};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[service]
trait Bench {
    /// The sum of two numbers: about 64 bytes forth, with the frame.
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Handler;

impl Bench for Handler {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

/// What carries the bytes.
#[derive(Clone, Copy)]
enum Conduit {
    Pipe,
    Fifo,
    Unix,
}

impl Conduit {
    const ALL: [Self; 3] = [Self::Pipe, Self::Fifo, Self::Unix];

    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "unnamed pipes, exec:",
            Self::Fifo => "named pipes, fifo:",
            Self::Unix => "Unix socket, unix:",
        }
    }

    /// Where a server of ours listens, if it is not told its place by its parent.
    fn address(self, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Self::Pipe => "pipe:".to_owned(),
            Self::Fifo => format!("fifo:{folder}/wkp"),
            Self::Unix => format!("unix:{folder}/ours"),
        }
    }
}

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["ours", "pipe:"] => Ok(runtime.block_on(serve_stdio(BenchServer::new(Handler)))?),
        ["ours", address] => runtime.block_on(async {
            let builder = Server::builder().service(BenchServer::new(Handler));
            builder
                .listen(address)
                .start()
                .await?
                .run_until_signal()
                .await?;
            Ok(())
        }),
        ["raw", "pipe"] => Ok(runtime.block_on(raw::serve_stdio())?),
        ["raw", "fifo", folder] => Ok(runtime.block_on(raw::serve_fifo(Path::new(folder)))?),
        ["raw", "unix", path] => Ok(runtime.block_on(raw::serve_unix(Path::new(path)))?),
        [] => runtime.block_on(measure(9, Duration::from_millis(250))),
        [rounds] => runtime.block_on(measure(rounds.parse()?, Duration::from_millis(250))),
        [rounds, seconds] => {
            let time = Duration::from_secs_f64(seconds.parse()?);
            runtime.block_on(measure(rounds.parse()?, time))
        }
        _ => Err("bench-pipes [ROUNDS [SECONDS]]".into()),
    }
}

async fn measure(rounds: usize, time: Duration) -> Outcome<()> {
    // One CPU for both processes, as the comparison with the peers has it: what is measured is work,
    // and not how long a CPU takes to wake up.
    let mut cpus = CpuSet::new();
    cpus.set(0);
    sched_setaffinity(None, &cpus)?;
    let folder = env::temp_dir().join(format!("bench-pipes-{}", std::process::id()));
    println!(
        "| Conduit | a call, p50 us | 64 bytes forth and back, p50 us | ratio, least to greatest |"
    );
    println!("|---|---|---|---|");
    for conduit in Conduit::ALL {
        let mut ours = Vec::new();
        let mut bare = Vec::new();
        let mut ratios = Vec::new();
        for round in 0..rounds {
            let mut point = [0.0; 2];
            // In either order, by turns.
            for at in [round % 2, 1 - round % 2] {
                std::fs::create_dir(&folder)?;
                let measured = match at {
                    0 => call(conduit, &folder, time).await,
                    _ => raw::ping_pong(conduit, &folder, time).await,
                };
                std::fs::remove_dir_all(&folder)?;
                point[at] = measured?;
            }
            ours.push(point[0]);
            bare.push(point[1]);
            ratios.push(point[0] / point[1]);
        }
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        let ratio = median(&mut ratios);
        let (least, greatest) = (ratios[0], ratios[ratios.len() - 1]);
        let name = conduit.name();
        println!("| {name} | {ours:.1} | {bare:.1} | {ratio:.2}, {least:.2} to {greatest:.2} |");
    }
    Ok(())
}

/// The median time of a call, in microseconds.
async fn call(conduit: Conduit, folder: &Path, time: Duration) -> Outcome<f64> {
    let address = conduit.address(folder);
    let (client, _server) = match conduit {
        Conduit::Pipe => {
            let mut command = Command::new(env::current_exe()?);
            command.args(["ours", &address]);
            (BenchClient::spawn(command).await?, None)
        }
        Conduit::Fifo | Conduit::Unix => {
            let server = Process::start(&["ours", &address])?;
            (reach(&address).await?, Some(server))
        }
    };
    let mut times = Times::new(time);
    let mut number = 0;
    while times.goes_on() {
        let sent = Instant::now();
        let sum = client.add(number, 2).await?;
        times.add(sent.elapsed());
        assert_eq!(sum, number + 2, "wrong answer");
        number += 1;
    }
    Ok(times.median())
}

async fn reach(address: &str) -> Outcome<BenchClient> {
    let begin = Instant::now();
    loop {
        match BenchClient::connect(address).await {
            Ok(client) => return Ok(client),
            Err(error) if begin.elapsed() > Duration::from_secs(10) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The time of each call, after a quarter of the time to warm up.
struct Times {
    began: Instant,
    time: Duration,
    taken: Vec<f64>,
}

impl Times {
    fn new(time: Duration) -> Self {
        Self {
            began: Instant::now(),
            time,
            taken: Vec::with_capacity(100_000),
        }
    }

    fn goes_on(&self) -> bool {
        self.began.elapsed() < self.time
    }

    fn add(&mut self, took: Duration) {
        if self.began.elapsed() > self.time / 4 {
            self.taken.push(took.as_secs_f64() * 1e6);
        }
    }

    fn median(mut self) -> f64 {
        median(&mut self.taken)
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A server in a process of its own, which ends with the value.
struct Process(Child);

impl Process {
    fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
