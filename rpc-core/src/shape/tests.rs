//! Types as they look to a probe, and the sentences about two of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroI64, NonZeroU8};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::{Blob, CodecId};

#[track_caller]
fn looks<'de, T: Deserialize<'de>>(expected: &str) {
    assert_eq!(Shape::of::<T>().to_string(), expected);
}

/// Equal on the wire.
#[track_caller]
fn same<'a, 'b, T: Deserialize<'a>, U: Deserialize<'b>>() {
    let hash = |shape: Shape| shape.hash(Fnv::new()).0;
    assert_eq!(hash(Shape::of::<T>()), hash(Shape::of::<U>()));
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Job {
    id: u64,
    name: String,
    retries: Option<u8>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
enum State {
    Waiting,
    Running(String),
    Failed { code: i32, fatal: bool },
    Moved(u16, u16),
}

#[test]
fn scalars() {
    looks::<bool>("bool");
    looks::<(i8, i16, i32, i64, i128)>("(i8, i16, i32, i64, i128)");
    looks::<(u8, u16, u32, u64, u128)>("(u8, u16, u32, u64, u128)");
    looks::<(f32, f64, char, ())>("(f32, f64, char, ())");
    looks::<(usize, isize)>("(u64, i64)");
}

#[test]
fn strings_and_bytes_are_one_shape_each() {
    looks::<String>("String");
    same::<String, &str>();
    same::<String, Cow<'_, str>>();
    same::<String, Box<str>>();
    same::<String, PathBuf>();
    looks::<Vec<u8>>("Vec<u8>");
    same::<Vec<u8>, &[u8]>();
    same::<Vec<u8>, Bytes>();
    same::<Vec<u8>, Blob<Vec<u8>>>();
    same::<Vec<u8>, HashSet<u8>>();
}

#[test]
fn containers() {
    looks::<Option<Option<u8>>>("Option<Option<u8>>");
    looks::<Vec<Vec<String>>>("Vec<Vec<String>>");
    looks::<HashMap<String, Vec<f64>>>("HashMap<String, Vec<f64>>");
    same::<HashMap<u8, bool>, BTreeMap<u8, bool>>();
    looks::<[u16; 3]>("(u16, u16, u16)");
    looks::<[u16; 8]>("[u16; 8]");
    looks::<(u8,)>("(u8,)");
    looks::<PhantomData<u64>>("()");
    looks::<Result<u8, String>>("Result { Ok(u8), Err(String) }");
}

#[test]
fn structs_and_enums_show_what_is_in_them() {
    looks::<Job>("Job { id: u64, name: String, retries: Option<u8> }");
    looks::<State>(
        "State { Waiting, Running(String), Failed { code: i32, fatal: bool }, Moved(u16, u16) }",
    );
    looks::<Vec<(Job, State)>>(
        "Vec<(Job { id: u64, name: String, retries: Option<u8> }, State { Waiting, \
         Running(String), Failed { code: i32, fatal: bool }, Moved(u16, u16) })>",
    );
}

#[test]
fn enums_inside_enums_are_seen_whole() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Inner {
        A,
        B(u8),
        C(Innermost),
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Innermost {
        X(i8),
        Y,
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Outer {
        One(Inner),
        Two {
            first: Inner,
            second: Vec<Innermost>,
        },
    }
    looks::<(Outer, Option<Inner>)>(
        "(Outer { One(Inner { A, B(u8), C(Innermost { X(i8), Y }) }), Two { first: Inner { A, \
         B(u8), C(Innermost { X(i8), Y }) }, second: Vec<Innermost { X(i8), Y }> } }, \
         Option<Inner { A, B(u8), C(Innermost { X(i8), Y }) }>)",
    );
}

#[test]
fn newtypes_and_boxes_are_what_they_wrap() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Metres(f64);
    #[derive(Deserialize)]
    #[serde(transparent)]
    #[allow(dead_code)]
    struct Clear {
        value: Box<f64>,
    }
    same::<Metres, f64>();
    same::<Clear, f64>();
    same::<Vec<Box<Metres>>, Vec<f64>>();
}

#[test]
fn types_of_the_standard_library() {
    looks::<Duration>("Duration { secs: u64, nanos: u32 }");
    looks::<SystemTime>("SystemTime { secs_since_epoch: u64, nanos_since_epoch: u32 }");
    looks::<Ipv6Addr>("[u8; 16]");
    looks::<IpAddr>("IpAddr { V4(u8, u8, u8, u8), V6([u8; 16]) }");
    assert!(
        Shape::of::<SocketAddr>()
            .to_string()
            .starts_with("SocketAddr { V4((u8, u8, u8, u8), u16), V6([u8; 16], u16")
    );
    looks::<std::ops::Range<u8>>("Range { start: u8, end: u8 }");
    looks::<std::ffi::OsString>("OsString { Unix(Vec<u8>), Windows(_) }");
}

#[test]
fn types_that_object_to_some_values_are_offered_others() {
    #[derive(Deserialize)]
    #[serde(try_from = "u32")]
    struct Odd;
    impl TryFrom<u32> for Odd {
        type Error = &'static str;
        fn try_from(number: u32) -> Result<Self, &'static str> {
            (number % 2 == 1).then_some(Self).ok_or("even")
        }
    }
    #[derive(Deserialize)]
    #[serde(try_from = "Vec<u64>")]
    struct NotEmpty;
    impl TryFrom<Vec<u64>> for NotEmpty {
        type Error = &'static str;
        fn try_from(list: Vec<u64>) -> Result<Self, &'static str> {
            (!list.is_empty()).then_some(Self).ok_or("empty")
        }
    }
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    struct Address;
    impl TryFrom<String> for Address {
        type Error = std::net::AddrParseError;
        fn try_from(text: String) -> Result<Self, Self::Error> {
            text.parse::<SocketAddr>().map(|_| Self)
        }
    }
    looks::<(NonZeroU8, NonZeroI64, String)>("(u8, i64, String)");
    looks::<(Option<NonZeroU8>, bool)>("(Option<u8>, bool)");
    looks::<Odd>("u32");
    looks::<(Odd, Vec<Odd>, Option<Odd>, HashMap<u8, Odd>, bool)>(
        "(u32, Vec<u32>, Option<u32>, HashMap<u8, u32>, bool)",
    );
    looks::<(NotEmpty, NotEmpty, Address, u8)>("(Vec<u64>, Vec<u64>, String, u8)");
}

#[test]
fn a_type_that_refuses_hides_only_what_comes_after_it() {
    struct Never;
    impl<'de> Deserialize<'de> for Never {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u32::deserialize(deserializer)?;
            Err(serde::de::Error::custom("never"))
        }
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Choice {
        Bad(Never),
        Good(State),
        Worse { a: u8, b: Never, c: u8 },
    }
    looks::<Never>("u32");
    looks::<(u8, Never, u8)>("(u8, u32, _)");
    looks::<(Option<Never>, Vec<Never>, HashMap<u8, Never>, u8)>(
        "(Option<u32>, Vec<u32>, HashMap<u8, u32>, u8)",
    );
    looks::<(Choice, u8)>(
        "(Choice { Bad(u32), Good(State { Waiting, Running(String), Failed { code: i32, fatal: \
         bool }, Moved(u16, u16) }), Worse { a: u8, b: u32, c: _ } }, u8)",
    );
}

#[test]
fn types_that_want_a_self_describing_format_are_opaque() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Untagged {
        Number(u8),
    }
    #[derive(Deserialize)]
    #[serde(tag = "kind")]
    #[allow(dead_code)]
    enum Tagged {
        Number { n: u8 },
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Flat {
        #[serde(flatten)]
        inner: HashMap<String, u8>,
    }
    looks::<Untagged>("_");
    looks::<Tagged>("_");
    looks::<Flat>("HashMap<_, _>");
    looks::<(u8, Option<Untagged>, u8)>("(u8, Option<_>, u8)");
}

#[test]
fn types_that_contain_themselves_end() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Chain {
        label: u8,
        next: Option<Box<Self>>,
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Tree(Vec<Self>);
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Expression {
        Negate(Box<Self>),
        Add(Box<Self>, Box<Self>),
        Call { name: String, arguments: Vec<Self> },
        Number(f64),
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Ping {
        Pong(Box<Pong>),
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Pong {
        Ping(Box<Ping>),
        Both(Box<Ping>, Box<Self>),
        End(u8),
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Endless {
        Again(Box<Self>),
    }
    looks::<Chain>("Chain { label: u8, next: Option<Self> }");
    looks::<Tree>("Vec<Self>");
    assert_eq!(
        Shape::of::<Tree>(),
        Shape::Seq(Box::new(Shape::Recursive(1)))
    );
    looks::<Expression>(
        "Expression { Negate(Self), Add(Self, Self), Call { name: String, arguments: Vec<Self> }, \
         Number(f64) }",
    );
    looks::<Ping>("Ping { Pong(Pong { Ping(Self), Both(Self, Self), End(u8) }) }");
    looks::<Pong>("Pong { Ping(Ping { Pong(Self) }), Both(Ping { Pong(Self) }, Self), End(u8) }");
    looks::<(u8, Endless)>("(u8, Endless { Again(Self) })");
}

#[test]
fn wide_types_are_seen_whole_and_bounded() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Pair<T> {
        left: T,
        right: T,
    }
    type P2<T> = Pair<Pair<T>>;
    type P8<T> = P2<P2<P2<P2<T>>>>;
    // 2^16 leaves as a tree, 17 types. Each probe visits the 2^16 - 1 pairs, and a few probes are
    // enough.
    let visits = probe::watch::<P8<P8<u8>>>().visits;
    assert!(visits < 10 << 16, "{visits} visits");
    let shape = Shape::of::<P8<P8<u8>>>();
    assert_eq!(shape, Shape::of::<P8<P8<u8>>>());
    let method = MethodShape {
        arguments: vec![shape],
        returns: Shape::Unit,
        error: None,
    };
    assert!(method.to_bytes().len() <= BYTES_MAX);
    assert!(MethodShape::from_bytes(&method.to_bytes()).is_some());
}

fn method(arguments: Vec<Shape>, returns: Shape, error: Option<Shape>) -> MethodShape {
    MethodShape {
        arguments,
        returns,
        error,
    }
}

#[test]
fn fingerprints_are_frozen() {
    let golden = include_str!("../../tests/golden/shape.txt");
    let methods = [
        ("nothing", method(vec![], Shape::of::<()>(), None)),
        (
            "add",
            method(vec![Shape::of::<i64>(); 2], Shape::of::<i64>(), None),
        ),
        (
            "divide",
            method(
                vec![Shape::of::<f64>(); 2],
                Shape::of::<f64>(),
                Some(Shape::of::<State>()),
            ),
        ),
        (
            "submit",
            method(vec![Shape::of::<Job>()], Shape::of::<Option<u32>>(), None),
        ),
        (
            "search",
            method(
                vec![Shape::of::<&str>(), Shape::of::<HashMap<String, Vec<u8>>>()],
                Shape::of::<Vec<(Duration, [u16; 3])>>(),
                Some(Shape::of::<String>()),
            ),
        ),
    ];
    let lines: String = methods
        .iter()
        .map(|(name, shape)| format!("{name} {:016x} {shape}\n", shape.fingerprint()))
        .collect();
    let frozen: String = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(lines, frozen, "\n{lines}");
}

#[test]
fn fingerprints_tell_apart_what_the_wire_tells_apart() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Xy {
        x: f64,
        y: f64,
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Yx {
        y: f64,
        x: f64,
    }
    let shapes = [
        method(vec![], Shape::Unit, None),
        method(vec![Shape::Unit], Shape::Unit, None),
        method(vec![Shape::U8, Shape::U16], Shape::Unit, None),
        method(vec![Shape::U16, Shape::U8], Shape::Unit, None),
        method(vec![Shape::U8], Shape::U16, None),
        method(vec![Shape::of::<(u8, u16)>()], Shape::Unit, None),
        method(vec![Shape::of::<((u8,), u16)>()], Shape::Unit, None),
        method(vec![Shape::of::<Xy>()], Shape::Unit, None),
        method(vec![Shape::of::<Yx>()], Shape::Unit, None),
        method(vec![Shape::of::<State>()], Shape::Unit, None),
        method(vec![], Shape::U8, Some(Shape::U8)),
        method(vec![], Shape::of::<Result<u8, u8>>(), None),
    ];
    let distinct: HashSet<u64> = shapes.iter().map(MethodShape::fingerprint).collect();
    assert_eq!(distinct.len(), shapes.len());
}

#[test]
fn a_method_shape_travels() {
    let shape = method(
        vec![Shape::of::<Job>(), Shape::of::<Vec<State>>()],
        Shape::of::<HashMap<String, u8>>(),
        Some(Shape::of::<State>()),
    );
    let bytes = shape.to_bytes();
    assert_eq!(MethodShape::from_bytes(&bytes), Some(shape));
    assert_eq!(MethodShape::from_bytes(&bytes[1..]), None);
    assert_eq!(MethodShape::from_bytes(&[]), None);
}

#[test]
fn a_shape_travels_as_bincode_writes_it() {
    let part = |shape| Part {
        name: "part".to_owned(),
        shape,
    };
    let mut arguments = bytes::LEAVES.to_vec();
    arguments.extend([
        Shape::Option(Box::new(Shape::U8)),
        Shape::Seq(Box::new(Shape::Str)),
        Shape::Map(Box::new(Shape::Char), Box::new(Shape::Unit)),
        Shape::Tuple(vec![Shape::I8, Shape::Bytes]),
        Shape::Struct {
            name: "Job".to_owned(),
            fields: vec![part(Shape::Bool), part(Shape::Recursive(1))],
        },
        Shape::Enum {
            name: "State".to_owned(),
            variants: vec![part(Shape::Unit), part(Shape::F64)],
        },
        Shape::Recursive(7),
    ]);
    for error in [None, Some(Shape::Opaque)] {
        let shape = method(arguments.clone(), Shape::U128, error);
        let bytes = shape.to_bytes();
        assert_eq!(CodecId::BINCODE.encode(&shape, BYTES_MAX).unwrap(), bytes);
        assert_eq!(MethodShape::from_bytes(&bytes), Some(shape));
    }
}

#[test]
fn row_56_a_hostile_shape_is_refused() {
    let deep = |levels: usize| {
        let shape = (0..levels).fold(Shape::U8, |inner, _| Shape::Option(Box::new(inner)));
        CodecId::BINCODE
            .encode(&method(vec![shape], Shape::Unit, None), usize::MAX)
            .unwrap()
    };
    assert!(MethodShape::from_bytes(&deep(DEPTH_MAX)).is_some());
    assert!(MethodShape::from_bytes(&deep(1000)).is_none());
    let wide = method(vec![Shape::Unit; BYTES_MAX + 1], Shape::Unit, None);
    let wide = CodecId::BINCODE.encode(&wide, usize::MAX).unwrap();
    assert!(MethodShape::from_bytes(&wide).is_none());
    let name = "\u{1b}[31m".to_owned();
    let named = method(
        vec![Shape::Struct {
            name,
            fields: vec![],
        }],
        Shape::Unit,
        None,
    );
    assert!(MethodShape::from_bytes(&named.to_bytes()).is_none());

    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let valid = method(vec![Shape::of::<Job>()], Shape::of::<State>(), None).to_bytes();
    for _ in 0..20_000 {
        let mut bytes = valid.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
        }
        if let Some(shape) = MethodShape::from_bytes(&bytes) {
            let _ = first_difference(&shape, &shape.clone(), &[]);
            let _ = (shape.fingerprint(), shape.to_string(), shape.to_bytes());
        }
    }
}

mod sentences {
    use super::*;

    #[track_caller]
    fn argument<'a, 'b, T: Deserialize<'a>, U: Deserialize<'b>>(expected: &str) {
        let client = method(vec![Shape::Bool, Shape::of::<T>()], Shape::Unit, None);
        let server = method(vec![Shape::Bool, Shape::of::<U>()], Shape::Unit, None);
        let sentence = first_difference(&client, &server, &["flag", "job"]);
        assert_eq!(
            sentence.as_deref(),
            (!expected.is_empty()).then_some(expected)
        );
    }

    mod old {
        use super::super::*;
        #[derive(Deserialize)]
        #[allow(dead_code)]
        pub(super) struct Job {
            pub(super) id: u64,
            pub(super) tags: Vec<Tag>,
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        pub(super) struct Tag {
            pub(super) text: String,
            pub(super) weight: f32,
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        pub(super) enum State {
            Waiting,
            Running(u8),
        }
    }

    #[test]
    fn of_equal_shapes_there_is_none() {
        argument::<Job, Job>("");
        argument::<&str, String>("");
    }

    #[test]
    fn another_type() {
        argument::<f64, f32>("argument 2 `job`: this client sends f64, the server expects f32");
        argument::<Vec<String>, String>(
            "argument 2 `job`: this client sends Vec<String>, the server expects String",
        );
        argument::<State, u8>(
            "argument 2 `job`: this client sends the enum State, the server expects u8",
        );
    }

    #[test]
    fn a_field_more_or_less_or_moved() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Job {
            id: u64,
            tags: Vec<old::Tag>,
            priority: u8,
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Moved {
            tags: Vec<old::Tag>,
            id: u64,
        }
        argument::<old::Job, Job>(
            "argument 2 `job`: the server's `Job` has field `priority: u8` that this client lacks",
        );
        argument::<Job, old::Job>(
            "argument 2 `job`: this client's `Job` has field `priority: u8` that the server lacks",
        );
        argument::<old::Job, Moved>(
            "argument 2 `job`: the fields of `Job` are in another order: where this client has \
             `id`, the server has `tags`",
        );
    }

    #[test]
    fn a_difference_deep_inside() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Job {
            id: u64,
            tags: Vec<Tag>,
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Tag {
            text: String,
            weight: f64,
        }
        argument::<old::Job, Job>(
            "argument 2 `job`, field `tags` of `Job`, an element of it, field `weight` of `Tag`: \
             this client sends f32, the server expects f64",
        );
        argument::<(u8, Option<u8>), (u8, Option<u16>)>(
            "argument 2 `job`, element 1, the value in it: this client sends u8, the server \
             expects u16",
        );
    }

    #[test]
    fn variants() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        enum State {
            Waiting,
            Running(u8),
            Failed { code: i32 },
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        enum Other {
            Waiting,
            Running(u16),
        }
        argument::<old::State, State>(
            "argument 2 `job`: the server's `State` has variant `Failed { code: i32 }` that this \
             client lacks",
        );
        argument::<old::State, Other>(
            "argument 2 `job`, variant `Running` of `State`: this client sends u8, the server \
             expects u16",
        );
    }

    #[test]
    fn arguments_returns_and_errors() {
        let base = method(vec![Shape::U8; 2], Shape::F64, None);
        let check = |other: MethodShape, expected: &str| {
            assert_eq!(
                first_difference(&base, &other, &["a", "b"]).as_deref(),
                Some(expected)
            );
        };
        check(
            method(vec![Shape::U8; 3], Shape::F64, None),
            "this client sends 2 arguments, the server expects 3",
        );
        check(
            method(vec![Shape::U8; 2], Shape::F32, None),
            "return value: this client expects f64, the server sends f32",
        );
        check(
            method(
                vec![Shape::U8; 2],
                Shape::F64,
                Some(Shape::of::<old::State>()),
            ),
            "return value: this client expects no `Result`, the server sends one with the error \
             State",
        );
    }

    #[test]
    fn a_sentence_is_not_longer_than_300_characters() {
        let fields = (0..100)
            .map(|n| Part {
                name: format!("field_{n}"),
                shape: Shape::U8,
            })
            .collect::<Vec<_>>();
        let long = Shape::Struct {
            name: String::new(),
            fields,
        };
        let sentence = first_difference(
            &method(vec![long], Shape::Unit, None),
            &method(vec![Shape::U8], Shape::Unit, None),
            &[],
        );
        assert_eq!(sentence.unwrap().chars().count(), 303);
    }
}

#[test]
fn what_a_probe_is_told_is_what_serde_serializes() {
    // The shape is read from `Deserialize`; `Serialize` of the same type must agree.
    #[derive(Serialize, Deserialize)]
    struct Both {
        a: u8,
        b: (),
    }
    looks::<Both>("Both { a: u8, b: () }");
    assert_eq!(
        CodecId::BINCODE
            .encode(&Both { a: 1, b: () }, 9)
            .unwrap()
            .len(),
        1
    );
}
