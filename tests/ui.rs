//! What the compiler says about a faulty service, and which services it must accept without a
//! word. A case is named after its mistake; `TRYBUILD=overwrite` rewrites the expected messages,
//! which are then read by a person.

use std::process::Command;

/// The compiler whose words the expected messages are. Our own sentences do not depend on it, but
/// how it sets them out changes from release to release.
const RUSTC: &str = "1.95.";

#[test]
fn mistakes_are_named_with_their_repair() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .unwrap()
        .stdout;
    let version = String::from_utf8(version).unwrap();
    if !version.contains(&format!("rustc {RUSTC}")) {
        eprintln!("SKIPPED: the expected messages are those of rustc {RUSTC}x, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("ui/fail/*/*.rs");
}

#[test]
fn good_services_compile_without_a_warning() {
    trybuild::TestCases::new().pass("ui/pass/*/*.rs");
}
