//! Small messages that describe huge values: each is refused, and what it may take on the way to
//! the refusal is held down by an allocator that fails beyond a cap.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rpc_core::CodecId;
use rpc_core::codec::Budget;
use serde::{Deserialize, Deserializer, Serialize};

#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX / 2);

/// One bomb at a time, because the cap is on the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the test harness and the error text may allocate meanwhile.
const SLACK: usize = 16 * 1024;

/// Decodes `bytes` while the process may take no more than `memory` bytes. An allocation beyond
/// aborts the test.
fn decode_within<'de, T: Deserialize<'de>>(
    memory: usize,
    bytes: &'de [u8],
) -> Result<T, rpc_core::Error> {
    MEMORY
        .set_limit(MEMORY.allocated() + memory + SLACK)
        .unwrap();
    let result = CodecId::BINCODE.decode(bytes, &Budget::for_message(bytes.len()));
    MEMORY.set_limit(usize::MAX / 2).unwrap();
    result
}

#[track_caller]
fn assert_refused<'de, T: Deserialize<'de> + Debug>(memory: usize, bytes: &'de [u8], text: &str) {
    let error = decode_within::<T>(memory, bytes).map(drop).unwrap_err();
    assert!(error.message().contains(text), "{error}");
}

/// A length of 2^48.
const HUGE: [u8; 8] = length(1 << 48);

const fn length(elements: u64) -> [u8; 8] {
    elements.to_le_bytes()
}

const KIB_64: usize = 64 * 1024;

#[test]
fn row_02_huge_string_length() {
    let _alone = alone();
    assert_refused::<String>(KIB_64, &HUGE, "byte 8: 281474976710656 bytes are declared");
    assert_refused::<&str>(KIB_64, &HUGE, "only 0 are left");
    assert_refused::<serde_bytes_buf::Buf>(KIB_64, &HUGE, "281474976710656 bytes are declared");
    assert_refused::<rpc_core::codec::Blob<Vec<u8>>>(KIB_64, &HUGE, "bytes are declared");
}

#[test]
fn row_02_huge_list_and_map_length() {
    let _alone = alone();
    let text = "281474976710656 elements are declared, which makes more than 1032 in one message";
    assert_refused::<Vec<u64>>(KIB_64, &HUGE, text);
    assert_refused::<Vec<u8>>(KIB_64, &HUGE, text);
    assert_refused::<HashMap<u64, String>>(KIB_64, &HUGE, text);
    assert_refused::<BTreeMap<u64, String>>(KIB_64, &HUGE, text);
    assert_refused::<HashSet<u64>>(KIB_64, &HUGE, text);
}

#[test]
fn row_02_a_length_within_the_elements_allocates_no_more_than_64_kib_ahead() {
    let _alone = alone();
    // 1,000 are declared, none follows. A list of 1 KiB elements would make room for a megabyte.
    let bytes = length(1_000);
    assert_refused::<Vec<[u64; 32]>>(KIB_64, &bytes, "[0]");
    assert_refused::<Vec<[[u64; 32]; 4]>>(KIB_64, &bytes, "[0]");
    assert_refused::<HashMap<u64, [u64; 32]>>(KIB_64, &bytes, "[key 0]");
}

#[test]
fn row_03_elements_without_bytes() {
    let _alone = alone();
    thread_local! {
        static DECODED: Cell<usize> = const { Cell::new(0) };
    }

    /// No bytes, and counted.
    #[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    struct Unit;

    impl<'de> Deserialize<'de> for Unit {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            DECODED.set(DECODED.get() + 1);
            <()>::deserialize(deserializer).map(|()| Self)
        }
    }

    #[track_caller]
    fn refused_after<'de, T: Deserialize<'de> + Debug>(elements: usize, bytes: &'de [u8]) {
        DECODED.set(0);
        assert_refused::<T>(KIB_64, bytes, "elements are declared");
        let decoded = DECODED.get();
        assert!(decoded <= elements, "{decoded} elements were decoded");
    }

    refused_after::<HashMap<(), ()>>(0, &HUGE);
    refused_after::<HashMap<Unit, ()>>(0, &HUGE);
    refused_after::<BTreeMap<(), ()>>(0, &HUGE);
    refused_after::<BTreeMap<Unit, [u64; 0]>>(0, &HUGE);
    refused_after::<Vec<()>>(0, &HUGE);
    refused_after::<Vec<Unit>>(0, &HUGE);
    refused_after::<HashSet<Unit>>(0, &HUGE);
    refused_after::<Vec<[u64; 0]>>(0, &HUGE);
    // Many lists, each within the budget, are counted together.
    let lists = length(100).repeat(101);
    refused_after::<Vec<Vec<Unit>>>(100 * 100, &lists);

    let honest: Vec<()> = decode_within(KIB_64, &length(200)).unwrap();
    assert_eq!(honest.len(), 200);
}

/// Four bytes on the wire, a kilobyte in memory.
#[derive(Debug, Deserialize)]
#[allow(dead_code, clippy::large_enum_variant)]
enum Swelling {
    Small,
    Large(Box<u8>, [u64; 32], [u64; 32], [u64; 32], [u64; 32]),
}

/// A list of `n` values of [`Swelling`], each the number of its variant.
fn swelling(n: u64) -> Vec<u8> {
    [length(n).to_vec(), vec![0; 4 * n as usize]].concat()
}

#[test]
fn row_04_small_enums_that_grow_to_a_kilobyte() {
    let _alone = alone();
    assert!(size_of::<Swelling>() > 1024);
    for n in [2_000, 20_000, 200_000, 256 * 1024 - 2] {
        let bytes = swelling(n);
        let most = 16 * bytes.len() + KIB_64;
        assert_refused::<Vec<Swelling>>(most, &bytes, &format!("more than {most} bytes of memory"));
        assert_refused::<Vec<Option<Swelling>>>(most, &bytes, "bytes of memory");
    }
}

#[test]
fn row_04_behind_a_box_the_kilobyte_is_paid_for_too() {
    let _alone = alone();
    let bytes = swelling(500_000);
    let most = 16 * bytes.len() + KIB_64;
    // The blocks of a megabyte and of a kilobyte each; the allocator's own overhead is not ours.
    assert_refused::<Vec<Box<Swelling>>>(most, &bytes, "bytes of memory");
    assert_refused::<Vec<Box<(Swelling,)>>>(most, &bytes, "bytes of memory");
}

#[test]
fn row_04_maps_pay_for_their_empty_places() {
    let _alone = alone();
    // 60,000 distinct keys of two bytes, each with a value of four bytes and a kilobyte.
    let mut bytes = length(60_000).to_vec();
    for key in 1_000..61_000_u16 {
        bytes.extend(key.to_le_bytes());
        bytes.extend([0; 4]);
    }
    let most = 16 * bytes.len() + KIB_64;
    // A table that grows holds the old one until it has moved.
    assert_refused::<HashMap<u16, Swelling>>(most * 3 / 2, &bytes, "bytes of memory");
    // A node that was split stays half empty, which is paid for only as far as a table would be.
    assert_refused::<BTreeMap<u16, Swelling>>(2 * most, &bytes, "bytes of memory");
}

#[test]
fn row_14_honest_values_fit_the_default_budget() {
    let _alone = alone();
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Row {
        id: u64,
        name: String,
        score: Option<f64>,
        tags: Vec<String>,
    }

    #[track_caller]
    fn passes<T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug>(value: T) {
        let bytes = CodecId::BINCODE.encode(&value, usize::MAX).unwrap();
        let most = Budget::for_message(bytes.len()).memory;
        let decoded = CodecId::BINCODE.decode::<T>(&bytes, &Budget::for_message(bytes.len()));
        assert!(
            decoded.as_ref().is_ok_and(|d| *d == value),
            "{:?} in {most}",
            decoded.err()
        );
    }

    for n in [0, 1, 10, 1_000, 4_097, 100_000, 300_001] {
        passes(vec![1_u64; n]);
        passes(vec![1_u8; n]);
        passes(vec![1.5_f64; n]);
        passes(vec!["some text".to_owned(); n]);
        passes((0..n as u64).map(|k| (k, k)).collect::<HashMap<_, _>>());
        passes(
            (0..n as u64)
                .map(|k| (k.to_string(), k))
                .collect::<BTreeMap<_, _>>(),
        );
        passes(
            (0..n as u64 / 10)
                .map(|id| Row {
                    id,
                    name: "a name".into(),
                    score: None,
                    tags: vec!["x".into()],
                })
                .collect::<Vec<_>>(),
        );
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Nest {
    End,
    Deeper(Box<Self>),
}

/// A value of [`Nest`]: the number of a variant per level, and the last is `End`.
fn nest(levels: usize) -> Vec<u8> {
    let mut bytes = 1_u32.to_le_bytes().repeat(levels - 1);
    bytes.extend(0_u32.to_le_bytes());
    bytes
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Chain {
    label: String,
    next: Option<Box<Self>>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Tree(Vec<Self>);

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Wrapper(Box<Option<Self>>);

/// Runs `test` on a thread with a stack of 128 KiB and on one of 2 MiB.
fn on_small_stacks(test: fn()) {
    for stack in [128 * 1024, 2 * 1024 * 1024] {
        std::thread::Builder::new()
            .stack_size(stack)
            .spawn(test)
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn row_05_nesting_is_refused_at_65_levels_on_any_stack() {
    let _alone = alone();
    fn nested<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(), String> {
        CodecId::BINCODE
            .decode::<T>(bytes, &Budget::for_message(bytes.len()))
            .map(drop)
            .map_err(|error| error.message().to_owned())
    }

    on_small_stacks(|| {
        for (levels, fits) in [(63, true), (64, true), (65, false), (1_000_000, false)] {
            let bytes = nest(levels);
            let result = nested::<Nest>(&bytes);
            assert_eq!(result.is_ok(), fits, "{levels}");
            if let Err(text) = result {
                assert!(text.contains("nests deeper than 64 levels"), "{text}");
            }
        }
        let text = nested::<Chain>(&[0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(1_000_000)).unwrap_err();
        assert!(text.contains("nests deeper"), "{text}");
        assert!(text.contains(".next.next.next"), "{text}");
        // A newtype and a list, a newtype and an option: two levels for each.
        assert!(
            nested::<Tree>(&length(1).repeat(1_000_000))
                .unwrap_err()
                .contains("nests deeper")
        );
        assert!(
            nested::<Wrapper>(&[1].repeat(1_000_000))
                .unwrap_err()
                .contains("nests deeper")
        );
    });
}

#[test]
fn row_05_what_was_decoded_can_be_walked_on_a_small_stack() {
    let _alone = alone();
    on_small_stacks(|| {
        let bytes = nest(64);
        let value: Nest = CodecId::BINCODE
            .decode(&bytes, &Budget::for_message(bytes.len()))
            .unwrap();
        assert_eq!(CodecId::BINCODE.encode(&value, 256).unwrap(), bytes);
        drop(value);
    });
}

/// A byte buffer that asks for ownership of its bytes.
mod serde_bytes_buf {
    use serde::de::{Deserialize, Deserializer, Visitor};

    #[derive(Debug)]
    pub(crate) struct Buf;

    impl<'de> Deserialize<'de> for Buf {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_byte_buf(Self)
        }
    }

    impl Visitor<'_> for Buf {
        type Value = Self;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_byte_buf<E>(self, _: Vec<u8>) -> Result<Self, E> {
            Ok(self)
        }
    }
}
