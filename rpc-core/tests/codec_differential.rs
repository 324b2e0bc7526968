//! Our decoder beside the formats' own, on the same bytes: what one reads, the other reads, but
//! for what a budget forbids and for trailing bytes, which only ours refuses.

use std::collections::BTreeMap;
use std::fmt::Debug;

use rpc_core::CodecId;
use rpc_core::codec::Budget;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    delta: i32,
    name: String,
    initial: char,
    ratio: f32,
    wide: i128,
    flags: [bool; 3],
    parent: Option<Box<Self>>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Bytes(Vec<u8>),
    Pair(i8, u16),
    Named {
        map: BTreeMap<String, u32>,
        unit: (),
    },
    Nested(Box<Self>),
}

/// A random number generator that a failing test names by its seed.
struct Random {
    generator: fastrand::Rng,
    seed: u64,
}

impl Random {
    fn new() -> Self {
        let seed = std::env::var("SEED").map_or_else(
            |_| fastrand::u64(..),
            |seed| seed.parse().expect("SEED is a number"),
        );
        println!("SEED={seed}");
        Self {
            generator: fastrand::Rng::with_seed(seed),
            seed,
        }
    }

    /// Small numbers mostly, because lengths and tags are small; now and then any.
    fn number(&mut self) -> u64 {
        let bits = self.generator.u32(0..=64);
        if bits == 0 {
            0
        } else {
            self.generator.u64(..) >> (64 - bits)
        }
    }

    fn text(&mut self) -> String {
        (0..self.generator.usize(0..6))
            .map(|_| self.generator.char(..))
            .collect()
    }

    fn record(&mut self, depth: usize) -> Record {
        Record {
            id: self.number(),
            delta: self.number() as i32,
            name: self.text(),
            initial: self.generator.char(..),
            ratio: self.generator.f32(),
            wide: i128::from(self.number()) << self.generator.u32(0..64),
            flags: [
                self.generator.bool(),
                self.generator.bool(),
                self.generator.bool(),
            ],
            parent: (depth > 0 && self.generator.bool()).then(|| Box::new(self.record(depth - 1))),
            kind: self.kind(depth),
        }
    }

    fn kind(&mut self, depth: usize) -> Kind {
        match self.generator.u8(0..if depth > 0 { 5 } else { 4 }) {
            0 => Kind::Plain,
            1 => Kind::Bytes((0..self.generator.usize(0..300)).map(|n| n as u8).collect()),
            2 => Kind::Pair(self.generator.i8(..), self.number() as u16),
            3 => Kind::Named {
                map: (0..self.generator.usize(0..4))
                    .map(|_| (self.text(), self.number() as u32))
                    .collect(),
                unit: (),
            },
            _ => Kind::Nested(Box::new(self.kind(depth - 1))),
        }
    }

    /// Bytes that decoders get far into: small numbers of every width occur often.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.generator.usize(0..16) {
            let small = self.generator.u8(0..4);
            match self.generator.u8(0..8) {
                0..3 => bytes.push(small),
                3 | 4 => bytes.extend(u32::from(small).to_le_bytes()),
                5 | 6 => bytes.extend(u64::from(small).to_le_bytes()),
                _ => bytes.push(self.generator.u8(..)),
            }
        }
        bytes
    }
}

/// What the format's own decoder makes of `bytes`: the value and how many bytes it took.
type Reference<T> = fn(&[u8]) -> Option<(T, usize)>;

fn references<T: for<'de> Deserialize<'de>>() -> Vec<(CodecId, Reference<T>)> {
    vec![
        (CodecId::BINCODE, |bytes| {
            // The limit keeps the reference itself from allocating what a length declares.
            let layout = bincode::config::legacy().with_limit::<100_000>();
            bincode::serde::borrow_decode_from_slice(bytes, layout).ok()
        }),
        #[cfg(feature = "postcard")]
        (CodecId::POSTCARD, |bytes| {
            let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
            Some((value, bytes.len() - rest.len()))
        }),
    ]
}

/// Compares the two decoders on `bytes`; tells whether they read a value.
#[track_caller]
fn compare<T>(codec: CodecId, reference: Reference<T>, bytes: &[u8], seed: u64) -> bool
where
    T: Serialize + for<'de> Deserialize<'de> + Debug,
{
    let theirs = reference(bytes);
    let ours = CodecId::decode::<T>(codec, bytes, &Budget::for_message(bytes.len()));
    match (theirs, ours) {
        (Some((theirs, taken)), Ok(ours)) => {
            assert_eq!(
                taken,
                bytes.len(),
                "trailing bytes accepted: {bytes:?}, SEED={seed}"
            );
            // By Debug, because NaN is not equal to itself.
            assert_eq!(
                format!("{theirs:?}"),
                format!("{ours:?}"),
                "{bytes:?}, SEED={seed}"
            );
            true
        }
        (None, Err(_)) => false,
        (Some((_, taken)), Err(_)) if taken < bytes.len() => {
            // Without what follows, the value stands.
            let (alone, _) = bytes.split_at(taken);
            compare(codec, reference, alone, seed)
        }
        // The reference has no bound on depth and elements.
        (Some(_), Err(error)) if error.message().contains("nests deeper") => false,
        (Some(_), Err(error)) if error.message().contains("elements are declared") => false,
        (theirs, ours) => panic!("{theirs:?} but {ours:?} of {bytes:?}, SEED={seed}"),
    }
}

#[test]
fn row_06_valid_values_come_back_and_every_format_agrees() {
    let mut random = Random::new();
    for _ in 0..2_000 {
        let record = random.record(3);
        for (codec, reference) in references::<Record>() {
            let bytes = codec.encode(&record, 1 << 20).unwrap();
            assert!(compare(codec, reference, &bytes, random.seed));
            let decoded: Record = codec
                .decode(&bytes, &Budget::for_message(bytes.len()))
                .unwrap();
            assert_eq!(decoded, record, "SEED={}", random.seed);
        }
        let ours = CodecId::BINCODE.encode(&record, 1 << 20).unwrap();
        let plain = bincode::serde::encode_to_vec(&record, bincode::config::legacy()).unwrap();
        assert_eq!(ours, plain);
    }
}

#[test]
fn row_06_damaged_values_are_read_alike() {
    let mut random = Random::new();
    let mut read = 0;
    for _ in 0..5_000 {
        let record = random.record(2);
        for (codec, reference) in references::<Record>() {
            let mut bytes = codec.encode(&record, 1 << 20).unwrap().to_vec();
            let at = random.generator.usize(0..bytes.len());
            match random.generator.u8(0..3) {
                0 => bytes[at] = random.generator.u8(..),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, random.generator.u8(..)),
            }
            read += usize::from(compare(codec, reference, &bytes, random.seed));
        }
    }
    assert!(read > 100, "only {read} damaged messages were still values");
}

#[test]
fn row_06_random_bytes_are_read_alike() {
    fn run<T>(random: &mut Random)
    where
        T: Serialize + for<'de> Deserialize<'de> + Debug,
    {
        let mut read = 0;
        for _ in 0..3_000 {
            let bytes = random.bytes();
            for (codec, reference) in references::<T>() {
                read += usize::from(compare(codec, reference, &bytes, random.seed));
            }
        }
        assert!(read > 10, "{}: {read} values", std::any::type_name::<T>());
    }

    let mut random = Random::new();
    run::<Kind>(&mut random);
    run::<(bool, u8, u16, u32, u64, u128)>(&mut random);
    run::<(i8, i16, i32, i64)>(&mut random);
    run::<i128>(&mut random);
    run::<(char, Option<char>)>(&mut random);
    run::<(String, Vec<String>)>(&mut random);
    run::<Vec<(u8, Option<bool>)>>(&mut random);
    run::<BTreeMap<u8, ()>>(&mut random);
    run::<BTreeMap<i8, Kind>>(&mut random);
    run::<Result<usize, isize>>(&mut random);
    run::<std::time::Duration>(&mut random);
    run::<std::num::NonZeroU16>(&mut random);
    run::<std::net::IpAddr>(&mut random);
}
