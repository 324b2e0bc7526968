//! What is encoded and decoded.

use rpc_core::codec::{Blob, BlobRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

/// A value of the comparison.
pub(crate) trait Value: Serialize + DeserializeOwned + PartialEq + 'static {}

impl<T: Serialize + DeserializeOwned + PartialEq + 'static> Value for T {}

/// The arguments of `add`.
pub(crate) fn pair() -> (i64, i64) {
    (2, 3_000_000)
}

/// A typical message.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    id: u64,
    name: String,
    owner: Option<String>,
    tags: Vec<String>,
    retries: Vec<u32>,
    state: State,
    place: Place,
    priority: i32,
    weight: f64,
    paused: bool,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Place {
    host: String,
    port: u16,
    zone: Option<u8>,
}

#[derive(PartialEq, Serialize, Deserialize)]
enum State {
    Waiting,
    Running { worker: String, since: u64 },
    Failed(i32, String),
}

/// A value of [`Job`] in which every kind of member holds something.
pub(crate) fn job() -> Job {
    let states = [
        State::Waiting,
        State::Failed(1, "the disk is full".into()),
        State::Running {
            worker: "worker-17".into(),
            since: 1_760_000_000,
        },
    ];
    Job {
        id: 90_210,
        name: "thumbnails of the spring collection".into(),
        owner: Some("ada@example.com".into()),
        tags: vec!["images".into(), "nightly".into(), "low-priority".into()],
        retries: vec![1, 2, 4, 8, 16, 300],
        state: states.into_iter().next_back().expect("there are three"),
        place: Place {
            host: "render-03.internal".into(),
            port: 7111,
            zone: Some(2),
        },
        priority: -5,
        weight: 0.75,
        paused: false,
    }
}

/// Numbers of one byte in a variable-length format.
pub(crate) fn small_numbers() -> Vec<u64> {
    (0..1000).map(|number| number % 250).collect()
}

/// Numbers of all lengths, most of them long, as hashes and times are.
pub(crate) fn large_numbers() -> Vec<u64> {
    (1..=1000_u64)
        .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect()
}

/// A hundred words.
pub(crate) fn strings() -> Vec<String> {
    (0..100).map(|number| format!("string {number}")).collect()
}

/// Bytes that are not all the same.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Bytes that are sent as the argument `&[u8]` is.
#[derive(PartialEq, Deserialize)]
#[serde(from = "Blob<Vec<u8>>")]
pub(crate) struct Slice(pub(crate) Vec<u8>);

impl From<Blob<Vec<u8>>> for Slice {
    fn from(blob: Blob<Vec<u8>>) -> Self {
        Self(blob.0)
    }
}

impl Serialize for Slice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BlobRef(&self.0[..]).serialize(serializer)
    }
}
