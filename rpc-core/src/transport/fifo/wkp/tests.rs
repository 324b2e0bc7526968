//! Many writers, and a name that comes and goes.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::write;

use super::*;
use crate::transport::fifo::record::{Nonce, RECORD_LEN};
use crate::transport::tests::TempPath;

/// Clients that write at once, and what each of them writes.
const WRITERS: u32 = 16;
const RECORDS: u32 = 100_000;

fn make() -> (TempPath, Arc<Directory>, WellKnownPipe) {
    let path = TempPath::new();
    let directory = Arc::new(Directory::make(path.as_ref(), Access::User).unwrap());
    let pipe = WellKnownPipe::make(path.as_ref(), Arc::clone(&directory)).unwrap();
    (path, directory, pipe)
}

fn open_to_write(path: &TempPath) -> io::Result<OwnedFd> {
    super::super::open_pipe(path.as_ref())
}

fn record(writer: u32, number: u32) -> Record {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&writer.to_le_bytes());
    id[4..8].copy_from_slice(&number.to_le_bytes());
    Record {
        id: Id(id),
        nonce: Nonce(id),
    }
}

/// Writes all, and waits where there is no room.
fn write_all(path: &TempPath, writer: u32) {
    let pipe = open_to_write(path).unwrap();
    rustix::fs::fcntl_setfl(&pipe, OFlags::empty()).unwrap();
    for number in 0..RECORDS {
        let bytes = record(writer, number).to_bytes();
        assert_eq!(write(&pipe, &bytes), Ok(RECORD_LEN));
    }
}

/// 1,600,000 records: each arrives once, whole, and in the order of its writer.
#[tokio::test]
async fn row_44_sixteen_writers_mix_nothing() {
    let (path, directory, mut pipe) = make();
    let path = Arc::new(path);
    let begin = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let path = Arc::clone(&path);
            std::thread::spawn(move || write_all(&path, writer))
        })
        .collect();
    let mut next = [0; WRITERS as usize];
    for _ in 0..WRITERS * RECORDS {
        let found = pipe.record().await.unwrap();
        let writer = u32::from_le_bytes(*found.id.0.first_chunk().unwrap());
        let number = &mut next[writer as usize];
        assert_eq!(found, record(writer, *number));
        *number += 1;
    }
    let rate = f64::from(WRITERS * RECORDS) / begin.elapsed().as_secs_f64();
    println!("{rate:.0} records/s");
    assert_eq!(next, [RECORDS; WRITERS as usize]);
    assert_eq!(pipe.records.take_garbage(), 0);
    // What a server must read at least, as it is built for use.
    assert!(
        rate >= 100_000.0 || cfg!(debug_assertions),
        "{rate:.0} records/s"
    );
    for writer in writers {
        writer.join().unwrap();
    }
    drop(pipe);
    directory.dispose();
}

#[tokio::test]
async fn records_that_came_before_a_suspension_stay() {
    let (path, directory, mut pipe) = make();
    let client = open_to_write(&path).unwrap();
    assert_eq!(write(&client, &record(0, 0).to_bytes()), Ok(RECORD_LEN));
    for _ in 0..2 {
        pipe.suspend().unwrap();
        assert!(!path.as_ref().exists());
        // Who has it open can still write to it, and who looks for it finds that somebody is there.
        assert_eq!(write(&client, &record(0, 1).to_bytes()), Ok(RECORD_LEN));
        let suspended = super::super::beside(path.as_ref()).join(SUSPENDED);
        assert!(super::super::open_pipe(&suspended).is_ok());
        pipe.resume().unwrap();
        assert!(path.as_ref().exists());
        pipe.resume().unwrap();
    }
    for number in [0, 1, 1] {
        assert_eq!(pipe.record().await.unwrap(), record(0, number));
    }
    pipe.suspend().unwrap();
    drop(pipe);
    directory.dispose();
    assert!(!super::super::beside(path.as_ref()).exists());
}

#[tokio::test]
async fn there_is_always_a_reader_behind_the_name() {
    let path = TempPath::new();
    let directory = Arc::new(Directory::make(path.as_ref(), Access::User).unwrap());
    let seen = std::thread::spawn({
        let path = path.as_ref().to_owned();
        move || {
            let (mut open, mut absent) = (0, 0);
            while open == 0 || absent == 0 {
                match super::super::open_pipe(&path) {
                    Ok(_) => open += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
                        absent += 1;
                    }
                }
            }
        }
    });
    while !seen.is_finished() {
        let pipe = WellKnownPipe::make(path.as_ref(), Arc::clone(&directory)).unwrap();
        tokio::time::sleep(Duration::from_micros(100)).await;
        drop(pipe);
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    seen.join().unwrap();
    directory.dispose();
}
