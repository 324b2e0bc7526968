//! What the compiler says about a faulty service, and which services it must accept without a
//! word. A case is named after its mistake; `TRYBUILD=overwrite` rewrites the expected messages,
//! which are then read by a person.

#[test]
fn mistakes_are_named_with_their_repair() {
    trybuild::TestCases::new().compile_fail("ui/fail/*/*.rs");
}

#[test]
fn good_services_compile_without_a_warning() {
    trybuild::TestCases::new().pass("ui/pass/*/*.rs");
}
