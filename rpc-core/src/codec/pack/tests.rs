//! What cannot be encoded, and what is said of it.

use serde::Serialize;

use crate::codec::CodecId;
use crate::error::Code;

#[test]
fn a_value_that_cannot_be_encoded_says_why() {
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today\n"))
        }
    }
    let error = CodecId::BINCODE.encode(&Stubborn, 64).unwrap_err();
    assert_eq!(error.code(), Code::Codec);
    assert_eq!(
        error.message(),
        "bincode cannot encode the value: not today\\n"
    );
}

/// The other side would take the next field for it, and might even find nothing wrong.
#[test]
fn a_field_that_is_left_out_is_refused() {
    fn is_no(it: &bool) -> bool {
        !it
    }
    #[derive(Serialize)]
    struct Paper {
        #[serde(skip_serializing_if = "is_no")]
        secret: bool,
        body: u8,
    }
    #[derive(Serialize)]
    enum Letter {
        Sealed {
            #[serde(skip_serializing_if = "is_no")]
            secret: bool,
            body: u8,
        },
    }
    for secret in [true, false] {
        let paper = CodecId::BINCODE.encode(&Paper { secret, body: 7 }, 64);
        let letter = CodecId::BINCODE.encode(&Letter::Sealed { secret, body: 7 }, 64);
        for encoded in [paper, letter] {
            match encoded {
                Ok(bytes) => assert!(secret && bytes.ends_with(&[1, 7])),
                Err(error) => {
                    assert!(!secret);
                    let text = error.to_string();
                    assert!(text.contains("the field `secret` is left out"), "{text}");
                    assert!(text.contains("`skip_serializing_if`"), "{text}");
                }
            }
        }
    }
}

#[test]
fn a_struct_that_is_flattened_is_told_what_it_needs() {
    #[derive(Serialize)]
    struct Inner {
        number: u8,
    }
    #[derive(Serialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
    }
    let outer = Outer {
        inner: Inner { number: 1 },
    };
    let text = CodecId::BINCODE.encode(&outer, 64).unwrap_err().to_string();
    assert!(text.contains("`#[serde(flatten)]`"), "{text}");
}
