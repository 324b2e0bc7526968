//! Row 43: somebody swaps the pipes for other things while the server opens them. Row 42: no text of
//! a client becomes part of a path.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use rustix::fs::OFlags;
use support::fifo::{self, make_pipe, open_pipe, pair, record};

use super::site::Site;

/// What is put in place of a pipe, in the end 100,000 times.
const SWAPS: usize = 100_000;

/// What clients begin with.
const NONCE: [u8; 16] = [3; 16];

/// Pairs that the server is told of, again and again.
const PAIRS: u8 = 4;

fn random() -> Rng {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// What is put in place of the pipes of a client, and belongs to somebody else.
struct Victims {
    /// A pipe with the right bytes in it, which nobody must read.
    up: PathBuf,
    /// A pipe that nobody must write to.
    down: PathBuf,
    file: PathBuf,
}

/// Clients' ends that are kept open: a pipe without them is refused before it is looked at.
const ENDS: usize = 32;

/// Puts something else at `name`, in one step. What it opened of it, if it is the pipe of a client.
fn swap(name: &Path, spare: &Path, victims: &Victims, random: &mut Rng) -> Vec<OwnedFd> {
    let _ = fs::remove_file(spare);
    let mut ends = Vec::new();
    let is_up = name.extension().is_some_and(|way| way == "up");
    let pipe = if is_up { &victims.up } else { &victims.down };
    match random.u8(..7) {
        0 => symlink(pipe, spare).unwrap(),
        1 => fs::hard_link(pipe, spare).unwrap(),
        2 => fs::hard_link(&victims.file, spare).unwrap(),
        3 => symlink(&victims.file, spare).unwrap(),
        _ => {
            make_pipe(spare).unwrap();
            ends.push(open_pipe(spare, OFlags::RDONLY).unwrap());
            if is_up {
                ends.push(open_pipe(spare, OFlags::WRONLY).unwrap());
                rustix::io::write(&ends[1], &NONCE).unwrap();
            }
        }
    }
    if random.u8(..7) == 0 {
        let _ = fs::remove_file(name);
    }
    fs::rename(spare, name).unwrap();
    ends
}

/// About 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn row_43_of_a_hundred_thousand_swaps_none_is_opened() {
    let site = Site::new();
    let _server = site.serve().await;
    let path = site.path();
    let outside = Site::new();
    let victims = Victims {
        up: outside.path().with_extension("up"),
        down: outside.path().with_extension("down"),
        file: path.with_extension("precious"),
    };
    make_pipe(&victims.up).unwrap();
    make_pipe(&victims.down).unwrap();
    fs::write(&victims.file, "precious").unwrap();
    let victims_up = open_pipe(&victims.up, OFlags::RDWR).unwrap();
    let victims_down = open_pipe(&victims.down, OFlags::RDWR).unwrap();
    let precious = NONCE.repeat(1000);
    assert_eq!(
        rustix::io::write(&victims_up, &precious),
        Ok(precious.len())
    );
    let mut random = random();
    let over = AtomicBool::new(false);
    let (told, connected) = std::thread::scope(|scope| {
        let teller = scope.spawn(|| {
            let well_known = open_pipe(&path, OFlags::WRONLY).unwrap();
            let mut told = 0;
            while !over.load(Ordering::Relaxed) {
                for id in 0..PAIRS {
                    let record = record([id; 16], NONCE);
                    told += usize::from(rustix::io::write(&well_known, &record).is_ok());
                }
                std::thread::yield_now();
            }
            told
        });
        let spare = fifo::directory(&path).join("spare");
        let mut kept = VecDeque::new();
        let mut connected = 0;
        for number in 0..SWAPS {
            let (up, down) = pair(&path, [(number / 2 % usize::from(PAIRS)) as u8; 16]);
            let name = if number % 2 == 0 { up } else { down };
            kept.push_back(swap(&name, &spare, &victims, &mut random));
            if kept.len() > ENDS {
                let ends = kept.pop_front().unwrap_or_default();
                // A nonce on a pipe down is a connection.
                if let [down] = &ends[..] {
                    connected += usize::from(rustix::io::read(down, &mut [0; 16]) == Ok(16));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        (teller.join().unwrap(), connected)
    });
    println!("{SWAPS} swaps, {told} records, {connected} connections over pipes that were right");
    assert!(connected > 0, "the server opened nothing at all");
    let written = rustix::io::read(&victims_down, &mut [0; 16]);
    assert_eq!(
        written,
        Err(rustix::io::Errno::AGAIN),
        "nobody wrote to the victim"
    );
    let left = rustix::io::read(&victims_up, &mut vec![0; 2 * precious.len()]);
    assert_eq!(left, Ok(precious.len()), "nobody read from the victim");
    assert_eq!(fs::read(&victims.file).unwrap(), b"precious");
    site.check().await;
}

/// The same with a pair that would be right but for one thing.
#[tokio::test(flavor = "multi_thread")]
async fn row_43_each_wrong_thing_is_refused() {
    let site = Site::new();
    let _server = site.serve().await;
    let path = site.path();
    type Wrong = fn(&Path);
    let wrongs: [(&str, Wrong); 6] = [
        ("open to others", |name| {
            rustix::fs::chmod(name, 0o644.into()).unwrap();
        }),
        ("a second name", |name| {
            fs::hard_link(name, name.with_extension("second")).unwrap();
        }),
        ("a link to it", |name| {
            let real = name.with_extension("real");
            fs::rename(name, &real).unwrap();
            symlink(&real, name).unwrap();
        }),
        ("a file", |name| {
            fs::remove_file(name).unwrap();
            fs::write(name, [3; 16]).unwrap();
        }),
        ("a directory", |name| {
            fs::remove_file(name).unwrap();
            fs::create_dir(name).unwrap();
        }),
        ("nothing", |name| fs::remove_file(name).unwrap()),
    ];
    for (number, (what, wrong)) in wrongs.iter().enumerate() {
        for is_up in [true, false] {
            let id = [number as u8 * 2 + u8::from(is_up); 16];
            // All but the record, which comes when the thing is wrong.
            let client = fifo::client(&path, id, [3; 16], 5).unwrap();
            let (up, down) = pair(&path, id);
            wrong(if is_up { &up } else { &down });
            let well_known = client.open.last().unwrap();
            rustix::io::write(well_known, &record(id, [3; 16])).unwrap();
            // Records are taken in order, so it has been refused when the next client is served.
            site.check().await;
            // A nonce on the pipe down would be a connection.
            let said = rustix::io::read(&client.open[2], &mut [0; 16]);
            let is_refused = matches!(said, Ok(0) | Err(rustix::io::Errno::AGAIN));
            assert!(is_refused, "{what}: {said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_42_a_path_instead_of_an_id() {
    let site = Site::new();
    let _server = site.serve().await;
    let path = site.path();
    let precious = path.with_extension("precious");
    fs::write(&precious, "precious").unwrap();
    let well_known = open_pipe(&path, OFlags::WRONLY).unwrap();
    // Whatever an id says, its name has 32 digits and nothing else.
    for id in [
        *b"../../etc/passwd",
        *b"/dev/console\0\0\0\0",
        *b"../calc.precious",
        [0; 16],
    ] {
        rustix::io::write(&well_known, &record(id, [1; 16])).unwrap();
    }
    let mut random = random();
    for _ in 0..10_000 {
        let mut id = [0; 16];
        random.fill(&mut id);
        while rustix::io::write(&well_known, &record(id, id)).is_err() {
            tokio::task::yield_now().await;
        }
    }
    site.check().await;
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    let here = fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(
        here.count(),
        4,
        "the pipe, its lock, its directory, and what was there"
    );
}
