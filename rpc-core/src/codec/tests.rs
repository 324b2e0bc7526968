//! The seam itself: names of codecs, limits of the output, texts of errors.

use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    id: u64,
    tags: Vec<String>,
    state: State,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Waiting,
    Running { worker: String },
    Failed(u8, bool),
}

fn job() -> Job {
    Job {
        id: 7,
        tags: vec!["a".into(), "b".into()],
        state: State::Running {
            worker: "ok".into(),
        },
    }
}

/// The error of decoding `bytes` with a mistake in them.
#[track_caller]
fn refused<'de, T: Deserialize<'de> + fmt::Debug>(bytes: &'de [u8]) -> String {
    let budget = Budget::for_message(bytes.len());
    CodecId::BINCODE
        .decode_arguments::<T>(bytes, None, &budget)
        .unwrap_err()
        .message()
        .to_owned()
}

/// A length or a `u64` on the wire.
fn long(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// The number of a variant on the wire.
fn variant(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

#[test]
fn every_codec_has_one_number_and_one_name() {
    for &codec in CodecId::ALL {
        assert_eq!(CodecId::from_wire(codec.to_wire()), Some(codec));
    }
    assert_eq!(CodecId::BINCODE.to_wire(), 1);
    assert_eq!(CodecId::BINCODE.to_string(), "bincode");
    assert_eq!(CodecId::from_wire(0), None);
    assert_eq!(CodecId::from_wire(255), None);
}

#[test]
fn values_come_back_from_every_codec() {
    for &codec in CodecId::ALL {
        let bytes = codec.encode(&job(), 1024).unwrap();
        let decoded: Job = codec
            .decode(&bytes, &Budget::for_message(bytes.len()))
            .unwrap();
        assert_eq!(decoded, job(), "{codec}");
    }
}

#[test]
fn arguments_borrow_from_the_message() {
    for &codec in CodecId::ALL {
        let bytes = codec.encode(&("text", [1_u8, 2].as_slice()), 64).unwrap();
        let (text, block): (&str, &[u8]) = codec
            .decode(&bytes, &Budget::for_message(bytes.len()))
            .unwrap();
        assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
        assert_eq!((text, block), ("text", [1, 2].as_slice()));
    }
}

#[test]
fn large_bytes_are_a_part_of_their_message_and_small_ones_keep_nothing_of_it() {
    for &codec in CodecId::ALL {
        for (length, shared) in [(100, false), (SHARED_MIN, true)] {
            let message = codec
                .encode(&Bytes::from(vec![7; length]), 1 << 20)
                .unwrap();
            let budget = Budget::for_message(message.len());
            let bytes: Bytes = codec.decode_shared(message.clone(), &budget).unwrap();
            assert_eq!(bytes, vec![7; length]);
            let inside = message.as_ptr_range().contains(&bytes.as_ptr());
            assert_eq!(inside, shared, "{codec}: {length} bytes");
            let list: Vec<u8> = codec.decode_shared(message.clone(), &budget).unwrap();
            assert_eq!(list, bytes);
            let cut = message.slice(..message.len() - 1);
            codec
                .decode_shared::<Bytes>(cut.clone(), &budget)
                .unwrap_err();
            codec.decode_shared::<Vec<u8>>(cut, &budget).unwrap_err();
        }
    }
}

#[test]
fn a_slice_is_seen_as_bytes_where_it_is_one() {
    struct Written(std::cell::Cell<usize>);
    impl Serialize for Written {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            serializer.serialize_u8(1)
        }
    }
    let elements = [const { Written(std::cell::Cell::new(0)) }; 3];
    let each = CodecId::BINCODE
        .encode(&BlobRef(&elements[..]), 64)
        .unwrap();
    let block = CodecId::BINCODE
        .encode(&BlobRef(&[1_u8; 3][..]), 64)
        .unwrap();
    assert_eq!(each, block);
    assert!(elements.iter().all(|element| element.0.get() == 1));
}

#[test]
fn the_output_ends_at_its_limit() {
    for &codec in CodecId::ALL {
        let length = codec.encode(&job(), 1024).unwrap().len();
        assert!(codec.encode(&job(), length).is_ok());
        let error = codec.encode(&job(), length - 1).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
        assert!(
            error
                .message()
                .contains(&format!("the limit of {} bytes", length - 1)),
            "{error}"
        );
    }
}

#[test]
fn an_endless_value_stops_at_the_limit() {
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(ExactLen(std::iter::repeat_n(7_u64, usize::MAX)))
        }
    }
    struct ExactLen<I>(I);
    impl<I: Iterator> IntoIterator for ExactLen<I> {
        type Item = I::Item;
        type IntoIter = I;
        fn into_iter(self) -> I {
            self.0
        }
    }
    for &codec in CodecId::ALL {
        let mut buffer = Vec::new();
        let error = codec.encode_into(&Endless, &mut buffer, 1000).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
        assert!(buffer.capacity() < 4096);
    }
}

#[test]
fn a_refused_value_leaves_the_buffer_as_it_was() {
    let mut buffer = Vec::from(&b"frame"[..]);
    for &codec in CodecId::ALL {
        assert!(codec.encode_into(&job(), &mut buffer, 5).is_err());
        assert_eq!(buffer, b"frame"[..]);
        codec.encode_into(&(), &mut buffer, 0).unwrap();
    }
    CodecId::BINCODE.encode_into(&1_u8, &mut buffer, 1).unwrap();
    assert_eq!(buffer, b"frame\x01"[..]);
}

#[test]
fn a_value_that_panics_leaves_the_buffer_as_it_was() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("on purpose")
        }
    }
    let mut buffer = Vec::from(&b"frame"[..]);
    for &codec in CodecId::ALL {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            codec.encode_into(&("half", Panics), &mut buffer, 1024)
        }))
        .unwrap_err();
        assert_eq!(buffer, b"frame"[..]);
    }
}

#[test]
fn a_limit_holds_in_a_buffer_with_room_and_where_the_value_hides_the_error() {
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_tuple(2)?;
            let _ = list.serialize_element("far too much");
            list.serialize_element(&1_u8)?;
            list.end()
        }
    }
    for capacity in [0, 1024] {
        for &codec in CodecId::ALL {
            let mut buffer = Vec::with_capacity(capacity);
            let error = codec.encode_into(&Stubborn, &mut buffer, 10).unwrap_err();
            assert_eq!(error.code(), Code::TooLarge, "{codec}: {error}");
            assert!(buffer.is_empty());
        }
    }
}

#[test]
fn row_02_errors_name_the_argument_the_path_and_the_byte() {
    // Argument 1 is 5, argument 2 a job whose second tag is cut off.
    let bytes = [&[5][..], &long(7), &long(2), &long(1), b"a", &long(9), b"b"].concat();
    assert_eq!(
        refused::<(u8, Job)>(&bytes),
        "argument 2, .tags[1], byte 34: 9 bytes are declared, and only 1 are left"
    );
    assert_eq!(
        refused::<(u8, Job)>(&[&[5][..], &long(7), &long(0)].concat()),
        "argument 2, .state, byte 17: the message ends 4 bytes too early"
    );
    assert_eq!(
        refused::<(Job,)>(&[&long(7)[..], &long(0), &variant(2), &[1, 9]].concat()),
        "argument 1, .state::Failed[1], byte 22: 9 stands for neither `false` nor `true`"
    );
    let map = [&long(2)[..], &[1, 1, 2, 8]].concat();
    assert!(
        refused::<(std::collections::BTreeMap<u8, bool>,)>(&map)
            .starts_with("argument 1, [value 1], byte 12: 8 stands for")
    );
    // A return value is not an argument.
    let error = CodecId::BINCODE.decode::<(u8, bool)>(&[1, 2], &Budget::for_message(2));
    assert_eq!(
        error.unwrap_err().message(),
        "[1], byte 2: 2 stands for neither `false` nor `true`"
    );
}

#[test]
fn row_05_every_kind_of_nesting_costs_a_level() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Newtype<T>(T);
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Struct<T> {
        inner: T,
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    enum Enum<T> {
        Newtype(T),
        Tuple(T, ()),
        Struct { inner: T },
    }

    #[track_caller]
    fn levels<'de, T: Deserialize<'de> + fmt::Debug>(bytes: &'de [u8], levels: usize) {
        let mut budget = Budget::for_message(bytes.len());
        budget.depth = levels;
        CodecId::BINCODE.decode::<T>(bytes, &budget).unwrap();
        budget.depth = levels - 1;
        CodecId::BINCODE.decode::<T>(bytes, &budget).unwrap_err();
    }

    levels::<Newtype<u8>>(&[1], 1);
    levels::<Newtype<Newtype<u8>>>(&[1], 2);
    levels::<Struct<Struct<u8>>>(&[1], 2);
    levels::<(u8, (u8, (u8,)))>(&[1, 1, 1], 3);
    levels::<[[u8; 1]; 1]>(&[1], 2);
    levels::<Option<Option<u8>>>(&[1, 1, 1], 2);
    levels::<Vec<Vec<u8>>>(&[&long(1)[..], &long(1), &[1]].concat(), 2);
    let map = [&long(1)[..], &[1, 1, 1]].concat();
    levels::<std::collections::BTreeMap<Newtype2, Option<u8>>>(&map, 2);
    levels::<Enum<Enum<u8>>>(&[&variant(0)[..], &variant(0), &[1]].concat(), 2);
    levels::<Enum<Enum<u8>>>(&[&variant(1)[..], &variant(2), &[1]].concat(), 2);
    levels::<Box<Struct<Box<u8>>>>(&[1], 1);
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Newtype2(u8);

#[test]
fn row_06_trailing_bytes_are_refused() {
    assert_eq!(
        refused::<(u8,)>(&[1, 2, 3]),
        "byte 1: 2 bytes follow after the value"
    );
    assert_eq!(
        refused::<()>(&[0]),
        "byte 0: 1 bytes follow after the value"
    );
}

#[test]
fn row_06_bytes_that_stand_for_no_value() {
    let contains = |text: String, part: &str| assert!(text.contains(part), "{text}");
    contains(refused::<bool>(&[2]), "neither `false` nor `true`");
    contains(refused::<Option<u8>>(&[2, 0]), "neither `None` nor `Some`");
    contains(refused::<char>(&[0xff]), "not a character");
    // A surrogate in three bytes.
    contains(refused::<char>(&[0xed, 0xa0, 0x80]), "not a character");
    contains(
        refused::<String>(&[&long(2)[..], &[0xc3, 0x28]].concat()),
        "not UTF-8",
    );
    contains(refused::<State>(&variant(3)), "variant index 0 <= i < 3");
    contains(refused::<u8>(&[]), "ends 1 bytes too early");
    contains(refused::<u64>(&[1, 2]), "ends 6 bytes too early");
    contains(refused::<std::num::NonZeroU8>(&[0]), "nonzero u8");
}

#[test]
fn a_type_that_asks_for_a_self_describing_format_is_told_so() {
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Untagged {
        Number(u8),
    }
    assert!(refused::<Untagged>(&[1]).contains("`untagged`"));
}

#[test]
fn text_of_the_type_is_cut_and_escaped() {
    #[derive(Debug)]
    struct Chatty;
    impl<'de> Deserialize<'de> for Chatty {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Err(serde::de::Error::custom(text))
        }
    }
    let bytes = CodecId::BINCODE
        .encode(&format!("\u{1b}[31m{}", "x".repeat(900)), 1024)
        .unwrap();
    let text = refused::<Chatty>(&bytes);
    assert!(
        text.len() < 300 && text.contains("\\u{1b}[31m") && text.ends_with("..."),
        "{text}"
    );
}

#[test]
fn a_budget_that_is_spent_says_which_and_what_to_do() {
    let budget = Budget {
        memory: 100,
        depth: 3,
        elements: 10,
    };
    let refused = |bytes: &[u8]| {
        CodecId::BINCODE
            .decode::<Vec<Vec<String>>>(bytes, &budget)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&long(11)),
        "cannot be encoded or decoded: byte 8: 11 elements are declared, which makes more than 10 \
         in one message; if the value is honest, raise the decoding budget"
    );
    assert!(
        refused(&[1, 5, 0, 0, 0, 0, 0].map(long).concat())
            .contains("[0][0], byte 16: the value needs more than 100")
    );
}

#[test]
fn a_message_in_two_parts_is_the_value_wherever_it_was_cut() {
    let value = (7_u32, "text".to_owned(), vec![9_u8; 1000]);
    for &codec in CodecId::ALL {
        let whole = codec.encode(&value, 1 << 20).unwrap();
        let budget = Budget::for_message(whole.len());
        for cut in [0, 1, 5, whole.len() - 1000, whole.len() - 1] {
            let (head, tail) = whole.split_at(cut);
            let split = Split::received(head.to_vec(), tail.to_vec());
            let decoded: (u32, String, Blob<Vec<u8>>) = codec
                .decode_arguments(split.head(), Some(&split), &budget)
                .unwrap();
            assert_eq!((decoded.0, decoded.1, decoded.2.0), value, "{codec}: {cut}");
            // Nothing of it is a block here.
            let split = Split::received(head.to_vec(), tail.to_vec());
            let listed: (u32, String, Vec<u8>) = codec
                .decode_arguments(split.head(), Some(&split), &budget)
                .unwrap();
            assert_eq!(listed, value, "{codec}: {cut}");
        }
    }
}

#[test]
fn the_tail_of_a_message_moves_or_is_lent() {
    for &codec in CodecId::ALL {
        let (length, tail) = Part::of(vec![3_u8; SHARED_MIN + 1]);
        let tail = tail.unwrap();
        let head = codec.encode(&(1_u8, length), 1 << 20).unwrap();
        let budget = Budget::for_message(head.len() + tail.len());
        let message = || Split::received(head.to_vec(), tail.to_vec());
        let split = message();
        let (_, bytes): (u8, &[u8]) = codec
            .decode_arguments(split.head(), Some(&split), &budget)
            .unwrap();
        assert_eq!(bytes.as_ptr(), split.lend().as_ptr());
        assert_eq!(bytes, tail);
        let split = message();
        let (_, list): (u8, Blob<Vec<u8>>) = codec
            .decode_arguments(split.head(), Some(&split), &budget)
            .unwrap();
        assert_eq!(list.0, tail);
        assert!(split.is_spent(), "it was copied");
    }
}

#[test]
fn a_list_of_bytes_takes_the_buffer_of_its_message_over_and_pays_for_it() {
    for &codec in CodecId::ALL {
        let message = codec.encode(&vec![7_u8; 1000], 1 << 20).unwrap();
        let (place, mut budget) = (message.as_ptr(), Budget::for_message(message.len()));
        let list: Vec<u8> = codec.decode_shared(message.clone(), &budget).unwrap();
        assert_ne!(list.as_ptr(), place, "somebody else has it");
        let longer = Bytes::from([&message[..], b"more"].concat());
        codec.decode_shared::<Vec<u8>>(longer, &budget).unwrap_err();
        let message = Bytes::from(message.to_vec());
        let place = message.as_ptr();
        let list: Vec<u8> = codec.decode_shared(message, &budget).unwrap();
        assert_eq!((list.as_ptr(), list), (place, vec![7; 1000]), "{codec}");
        budget.memory = 999;
        let message = codec.encode(&vec![7_u8; 1000], 1 << 20).unwrap();
        codec
            .decode_shared::<Vec<u8>>(message, &budget)
            .unwrap_err();
    }
}

#[test]
fn a_tail_that_does_not_fit_is_an_error() {
    let (length, tail) = Part::of(vec![3_u8; SHARED_MIN + 1]);
    let tail = tail.unwrap();
    let head = CodecId::BINCODE.encode(&length, 64).unwrap();
    let budget = Budget::for_message(head.len() + tail.len());
    for tail in [&tail[1..], &[&tail[..], b"more"].concat()] {
        let split = Split::received(head.to_vec(), tail.to_vec());
        let decoded: Result<Vec<u8>, _> =
            CodecId::BINCODE.decode_owned(split.head(), Some(&split), &budget);
        decoded.unwrap_err();
    }
    let split = Split::received(Vec::new(), tail.to_vec());
    let nothing: Result<(), _> =
        CodecId::BINCODE.decode_arguments(split.head(), Some(&split), &budget);
    nothing.unwrap_err();
}
