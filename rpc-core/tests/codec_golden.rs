//! The bytes on the wire, frozen: a change of any of them breaks every peer in the field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use rpc_core::CodecId;
use rpc_core::codec::{Blob, BlobRef, Budget};
use serde::{Deserialize, Serialize};

/// Lines of `codec name hex`.
const VECTORS: &str = include_str!("golden/codec.txt");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    id: u64,
    name: String,
    retries: Option<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Metres(f64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i16, i16),
    Rectangle { width: u32, height: u32 },
}

/// The vectors of one codec, each of which is checked once.
struct Golden {
    codec: CodecId,
    checked: usize,
    wrong: String,
}

impl Golden {
    #[track_caller]
    fn check<T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug>(
        &mut self,
        name: &str,
        value: T,
    ) {
        self.checked += 1;
        let bytes = self.codec.encode(&value, 1 << 20).unwrap();
        let line = format!("{} {name} {}", self.codec, hex(&bytes));
        if !VECTORS
            .lines()
            .any(|vector| vector.trim_end() == line.trim_end())
        {
            writeln!(self.wrong, "{line}").unwrap();
        }
        let budget = Budget::for_message(bytes.len());
        let decoded: T = self.codec.decode(&bytes, &budget).unwrap();
        assert_eq!(decoded, value, "{name}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn encodings_are_frozen() {
    for &codec in CodecId::ALL {
        let mut golden = Golden {
            codec,
            checked: 0,
            wrong: String::new(),
        };
        all(&mut golden);
        assert!(
            golden.wrong.is_empty(),
            "these encodings are not the frozen ones:\n{}",
            golden.wrong
        );
        let name = codec.to_string();
        let frozen = VECTORS
            .lines()
            .filter(|line| line.split(' ').next() == Some(&name))
            .count();
        assert_eq!(
            golden.checked, frozen,
            "a frozen vector of {codec} is checked by nothing"
        );
    }
}

fn all(golden: &mut Golden) {
    golden.check("unit", ());
    golden.check("bool_false", false);
    golden.check("bool_true", true);
    golden.check("u8_255", 255_u8);
    golden.check("i8_min", i8::MIN);
    golden.check("u16_250", 250_u16);
    golden.check("u16_251", 251_u16);
    golden.check("u16_max", u16::MAX);
    golden.check("u32_65535", 65_535_u32);
    golden.check("u32_65536", 65_536_u32);
    golden.check("u32_max", u32::MAX);
    golden.check("u64_0", 0_u64);
    golden.check("u64_2_pow_32", 1_u64 << 32);
    golden.check("u64_max", u64::MAX);
    golden.check("u128_2_pow_64", 1_u128 << 64);
    golden.check("u128_max", u128::MAX);
    golden.check("i16_minus_1", -1_i16);
    golden.check("i32_1", 1_i32);
    golden.check("i32_minus_126", -126_i32);
    golden.check("i64_min", i64::MIN);
    golden.check("i64_max", i64::MAX);
    golden.check("i128_min", i128::MIN);
    golden.check("usize_1000", 1000_usize);
    golden.check("f32_one_half", 0.5_f32);
    golden.check("f64_minus_two", -2.0_f64);
    golden.check("char_a", 'a');
    golden.check("char_crab", '\u{1f980}');
    golden.check("string_empty", String::new());
    golden.check("string_utf8", "na\u{ef}ve".to_owned());
    golden.check("cow", Cow::<str>::Owned("cow".into()));
    golden.check("bytes", Bytes::from_static(&[0, 1, 255]));
    golden.check("vec_u8", vec![0_u8, 1, 255]);
    golden.check("vec_i64", vec![0_i64, -1, 1, 1_000_000]);
    golden.check("vec_of_251", vec![7_u8; 251]);
    golden.check("vec_empty", Vec::<String>::new());
    golden.check("array", [1_u16, 2, 3]);
    golden.check("tuple", (1_u8, "two".to_owned(), 3.0_f32));
    golden.check("none", None::<u32>);
    golden.check("some", Some(7_u32));
    golden.check("some_none", Some(None::<u8>));
    golden.check(
        "map",
        BTreeMap::from([("a".to_owned(), 1_u8), ("b".to_owned(), 2)]),
    );
    golden.check(
        "struct",
        Job {
            id: 300,
            name: "job".into(),
            retries: Some(3),
        },
    );
    golden.check("unit_struct", Unit);
    golden.check("newtype", Metres(1.5));
    golden.check("variant_unit", Shape::Point);
    golden.check("variant_newtype", Shape::Circle(2.0));
    golden.check("variant_tuple", Shape::Line(-1, 1));
    golden.check(
        "variant_struct",
        Shape::Rectangle {
            width: 640,
            height: 480,
        },
    );
    golden.check("result_ok", Ok::<u8, String>(1));
    golden.check("result_err", Err::<u8, String>("no".into()));
    golden.check("duration", Duration::new(3, 500));
    golden.check("ip_v4", IpAddr::V4(Ipv4Addr::LOCALHOST));
    golden.check("arguments", ("divide".to_owned(), 1.0_f64, 0.0_f64));
}

#[test]
fn a_blob_has_the_bytes_of_what_it_wraps() {
    #[track_caller]
    fn same<T>(value: T)
    where
        T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug + Clone + 'static,
    {
        for &codec in CodecId::ALL {
            let plain = codec.encode(&value, 1 << 20).unwrap();
            let wrapped = codec.encode(&Blob(value.clone()), 1 << 20).unwrap();
            let borrowed = codec.encode(&BlobRef(&value), 1 << 20).unwrap();
            assert_eq!((&plain, &plain), (&wrapped, &borrowed));
            let budget = Budget::for_message(plain.len());
            let decoded: Blob<T> = codec.decode(&plain, &budget).unwrap();
            assert_eq!(decoded, Blob(value.clone()));
            let decoded: T = codec.decode(&wrapped, &budget).unwrap();
            assert_eq!(decoded, value);
        }
    }

    for n in [0, 1, 250, 251, 70_000] {
        same(vec![9_u8; n]);
        same(Bytes::from(vec![9_u8; n]));
        same(vec![9_u16; n]);
        same("x".repeat(n));
        same(Some(vec![n as u8]));
        for &codec in CodecId::ALL {
            let bytes: Vec<u8> = (0..n).map(|at| at as u8).collect();
            let plain = codec.encode(&bytes[..], 1 << 20).unwrap();
            assert_eq!(codec.encode(&BlobRef(&bytes[..]), 1 << 20).unwrap(), plain);
            let wide: Vec<i32> = bytes.iter().map(|&byte| byte.into()).collect();
            let plain = codec.encode(&wide[..], 1 << 20).unwrap();
            assert_eq!(codec.encode(&BlobRef(&wide[..]), 1 << 20).unwrap(), plain);
        }
    }
}
