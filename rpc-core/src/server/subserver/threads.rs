//! The threads of this process, as the system describes them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::restless::Sample;

/// The most threads that are looked at. A process with more is not what a client's handlers need.
const THREADS_MAX: usize = 1024;

/// Samples of all threads. One that ends meanwhile is left out, as are all where `/proc` is missing.
pub(super) fn all() -> Vec<Sample> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let threads = threads.filter_map(|entry| sample(&entry.ok()?.path()));
    threads.take(THREADS_MAX).collect()
}

fn sample(folder: &Path) -> Option<Sample> {
    let thread = folder.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let times = fs::read_to_string(folder.join("schedstat")).ok()?;
    read(thread, &status, &times)
}

/// Reads a sample out of the two files about a thread.
fn read(thread: u32, status: &str, times: &str) -> Option<Sample> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    Some(Sample {
        thread,
        is_ready: field("State:")?.trim_start().starts_with('R'),
        sleeps: field("voluntary_ctxt_switches:")?.trim().parse().ok()?,
        computed: times
            .split(' ')
            .next()?
            .parse()
            .map(Duration::from_nanos)
            .ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tworker\nUmask:\t0022\nState:\tR (running)\nTgid:\t7\n\
         voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3456\n";

    #[test]
    fn a_thread_is_read_out_of_two_files() {
        let sample = Sample {
            thread: 8,
            is_ready: true,
            sleeps: 12,
            computed: Duration::from_micros(1_500),
        };
        assert_eq!(read(8, STATUS, "1500000 27000 88\n"), Some(sample));
        let sleeps = STATUS.replace("R (running)", "S (sleeping)");
        let read_again = read(8, &sleeps, "1500000 27000 88\n").unwrap();
        assert!(!read_again.is_ready);
        assert_eq!(read(8, "", "1500000 27000 88\n"), None);
        assert_eq!(read(8, STATUS, ""), None);
    }

    #[test]
    fn this_thread_is_one_of_this_process() {
        let threads = all();
        // The test harness has a thread that waits for this one.
        assert!(threads.len() > 1, "{threads:?}");
        assert!(threads.iter().any(|thread| thread.is_ready), "{threads:?}");
        assert!(
            threads.iter().any(|thread| thread.sleeps > 0),
            "{threads:?}"
        );
    }
}
