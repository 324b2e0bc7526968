//! What a process between a client and a server makes of a request: the same, in its own words.

use std::collections::BTreeMap;

use rpc_core::private;
use rpc_core::{Code, CodecId, Error, Executed, Reply, Service};

use super::{BorrowsServer, Calc, CalculatorServer, Lender, Point, WideServer, encode, method};

/// The bytes of a request are as their sender chose them; what comes out was written here.
#[test]
fn arguments_are_encoded_again_as_they_were() {
    let server = BorrowsServer::new(Lender);
    let points = vec![Point { x: 1, y: 0 }, Point { x: 2, y: 0 }];
    let many = (
        "a",
        [1_u8].as_slice(),
        Point { x: 1, y: 2 },
        None::<&str>,
        9_u64,
    );
    for (name, arguments) in [
        ("text", encode(("four",))),
        ("data", encode((vec![1_u8, 255],))),
        ("point", encode((Point { x: 1, y: 2 },))),
        ("points", encode((points,))),
        ("maybe", encode((Some("some"),))),
        ("maybe", encode((None::<&str>,))),
        ("cow", encode(("moo",))),
        ("pair", encode((("a", 1_u8),))),
        ("pair_by_reference", encode((("a", 1_u8),))),
        ("words", encode((["b", "c"].as_slice(),))),
        ("map", encode((BTreeMap::from([("key", 1_u8)]),))),
        ("many", encode(many)),
    ] {
        assert_eq!(
            recode(&server, name, &arguments).unwrap(),
            arguments,
            "{name}"
        );
    }
    let wide = encode([1_u8; 16]);
    assert_eq!(recode(&WideServer::new(Calc), "sum", &wide).unwrap(), wide);
    assert_eq!(
        recode(&CalculatorServer::new(Calc), "nothing", &[]).unwrap(),
        []
    );
}

#[test]
fn what_does_not_decode_is_not_encoded_again() {
    let server = BorrowsServer::new(Lender);
    // A length of what would be the whole memory, a list of few bytes and great weight, and a byte too
    // many.
    let many = 1_u64 << 60;
    let mut long = encode((["b", "c"].as_slice(),));
    long.push(0);
    for (name, bytes) in [
        ("text", encode(many)),
        ("points", encode(many)),
        ("words", long),
    ] {
        let error = recode(&server, name, &bytes).unwrap_err();
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Codec, Executed::No),
            "{error}"
        );
    }
}

/// The arguments as a process between the client and the server hands them on.
fn recode(server: &impl Service, name: &str, arguments: &[u8]) -> Result<Vec<u8>, Error> {
    let method = method(server, name);
    let request = private::request(method, arguments.to_vec());
    match private::recode_request(&request, CodecId::BINCODE) {
        Ok(payload) => Ok(payload.to_vec()),
        Err(Reply::Failure(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}
