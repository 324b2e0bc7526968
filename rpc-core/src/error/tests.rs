//! What errors say, and to whom.

use super::*;

#[test]
fn display_says_what_where_and_what_to_do() {
    let error = Error::new(Code::Refused, "nothing listens there")
        .with_address("tcp://127.0.0.1:7000")
        .with_method("Calculator", "add")
        .with_attempt(2)
        .with_hint("start the service, or check the address");
    assert_eq!(
        error.to_string(),
        "Calculator.add at tcp://127.0.0.1:7000: connection refused: nothing listens there \
         (attempt 2); start the service, or check the address"
    );
}

#[test]
fn what_main_shows_is_the_sentence_and_its_causes() {
    let cause = std::io::Error::other("the cable is out");
    let error = Error::new(Code::Disconnected, "").with_source(cause);
    let error = error.with_executed(Executed::Maybe);
    assert_eq!(
        format!("{error:?}"),
        format!("{error} (executed: Maybe): the cable is out")
    );
    assert!(format!("{error:#?}").contains("code: Disconnected"));
    // What names its cause does not say it twice, but for what that does not know.
    let error = error.with_message("the cable");
    let outer = Error::new(Code::Refused, "no matchmaker: the cable").with_source(error);
    assert_eq!(
        format!("{outer:?}"),
        "connection refused: no matchmaker: the cable: the cable is out"
    );
}

#[test]
fn the_nearest_place_names_the_address() {
    let error = Error::new(Code::Io, "")
        .with_address("unix:/a")
        .with_address("unix:/b");
    assert_eq!(error.address(), Some("unix:/a"));
}

#[test]
fn every_code_survives_the_wire() {
    for wire in 0..=u8::MAX {
        let code = Code::from_wire(wire);
        assert!(code.to_wire() == wire || code == Code::Internal);
    }
}

#[test]
fn a_service_error_has_run() {
    assert_eq!(CallError::Service("no").executed(), Executed::Yes);
    assert_eq!(
        CallError::<()>::Rpc(Error::new(Code::Io, "")).executed(),
        Executed::No
    );
}
