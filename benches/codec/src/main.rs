//! What encoding and decoding one value costs, in the codec of `rpc-core` with its budgets on, in
//! plain bincode and in postcard.
//!
//! ```text
//! cargo run --release                          one table, in nanoseconds
//! cargo run --release -- ROW..                 only these rows
//! cargo run --release -- loop ROW CODEC N      N encodings and N decodings, to count instructions:
//!                                              valgrind --tool=callgrind TARGET/release/bench-codec loop pair ours 1000
//! ```
//!
//! All contenders write to a buffer that is used again and read an owned value. Rounds are
//! interleaved, so that a busy machine disturbs all alike; what is printed is the median of them.

mod contenders;
mod values;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;

use contenders::{BincodeFixed, BincodeVarint, Contender, Ours, OursNew, Postcard};
use values::Value;

/// Odd, so that the median is one of them.
const ROUNDS: usize = 21;
/// How long one sample takes: long against the clock, short against a time slice.
const SAMPLE: Duration = Duration::from_micros(500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = match words[..] {
        ["loop", row, codec, times] => Run::Loop {
            row,
            codec,
            times: times.parse().expect("N is a number"),
        },
        _ => {
            println!("| value | codec | bytes | encode ns | decode ns |");
            println!("|---|---|--:|--:|--:|");
            Run::Table { rows: &words }
        }
    };
    run.row("pair", &values::pair());
    run.row("struct", &values::job());
    run.row("u64_small", &values::small_numbers());
    run.row("u64_large", &values::large_numbers());
    run.row("strings", &values::strings());
    run.row("vec_1k", &values::bytes(1 << 10));
    run.row("vec_1m", &values::bytes(1 << 20));
    run.row("slice_1k", &values::Slice(values::bytes(1 << 10)));
    run.row("slice_1m", &values::Slice(values::bytes(1 << 20)));
    run.row("bytes_1k", &Bytes::from(values::bytes(1 << 10)));
    run.row("bytes_1m", &Bytes::from(values::bytes(1 << 20)));
}

enum Run<'a> {
    Table {
        rows: &'a [&'a str],
    },
    Loop {
        row: &'a str,
        codec: &'a str,
        times: usize,
    },
}

impl Run<'_> {
    fn row<T: Value>(&self, name: &str, value: &T) {
        match *self {
            Run::Table { rows } if rows.is_empty() || rows.contains(&name) => {
                for line in measure(value) {
                    println!("| {name} | {line}");
                }
            }
            Run::Loop { row, codec, times } if row == name => {
                let mut all = subjects(value);
                let subject = all.iter_mut().find(|subject| subject.name == codec);
                let subject = subject.expect("CODEC is one of the table");
                (subject.encode)(times);
                (subject.decode)(times);
            }
            _ => {}
        }
    }
}

/// One codec with one value.
struct Subject<'a> {
    name: &'static str,
    bytes: usize,
    /// Encodes so many times.
    encode: Box<dyn FnMut(usize) + 'a>,
    /// Decodes so many times.
    decode: Box<dyn FnMut(usize) + 'a>,
}

fn subjects<T: Value>(value: &T) -> [Subject<'_>; 5] {
    [
        subject::<Ours, T>(value),
        subject::<OursNew, T>(value),
        subject::<BincodeVarint, T>(value),
        subject::<BincodeFixed, T>(value),
        subject::<Postcard, T>(value),
    ]
}

fn subject<C: Contender, T: Value>(value: &T) -> Subject<'_> {
    let mut buffer = Vec::with_capacity(16 << 20);
    C::encode(value, &mut buffer);
    let encoded = buffer.clone();
    assert!(C::decode::<T>(&encoded) == *value, "{} is wrong", C::NAME);
    Subject {
        name: C::NAME,
        bytes: encoded.len(),
        encode: Box::new(move |times| {
            for _ in 0..times {
                buffer.clear();
                C::encode(black_box(value), &mut buffer);
                black_box(&buffer[..]);
            }
        }),
        decode: Box::new(move |times| {
            for _ in 0..times {
                black_box(C::decode::<T>(black_box(&encoded)));
            }
        }),
    }
}

fn measure<T: Value>(value: &T) -> Vec<String> {
    let mut subjects = subjects(value);
    let mut samples: Vec<_> = subjects
        .iter_mut()
        .map(|subject| {
            let times = (
                calibrate(&mut subject.encode),
                calibrate(&mut subject.decode),
            );
            (times, Vec::new(), Vec::new())
        })
        .collect();
    for _ in 0..ROUNDS {
        for (subject, (times, encodings, decodings)) in subjects.iter_mut().zip(&mut samples) {
            encodings.push(sample(&mut subject.encode, times.0));
            decodings.push(sample(&mut subject.decode, times.1));
        }
    }
    let lines = subjects.iter().zip(&mut samples);
    lines
        .map(|(subject, (_, encodings, decodings))| {
            let (encode, decode) = (median(encodings), median(decodings));
            let (name, bytes) = (subject.name, subject.bytes);
            format!("{name} | {bytes} | {encode:.1} | {decode:.1} |")
        })
        .collect()
}

/// How many times fill a sample.
fn calibrate(run: &mut dyn FnMut(usize)) -> usize {
    let mut times = 1;
    loop {
        let began = Instant::now();
        run(times);
        if began.elapsed() > SAMPLE {
            return times;
        }
        times *= 2;
    }
}

fn sample(run: &mut dyn FnMut(usize), times: usize) -> f64 {
    let began = Instant::now();
    run(times);
    began.elapsed().as_nanos() as f64 / times as f64
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}
