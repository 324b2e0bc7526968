//! Rules for what stands in the files.

use std::path::Path;

use crate::repository::{check, files, text};

/// The most lines of a file: more of them hide a noun.
const LINES_MAX: usize = 500;

/// Files that may be longer, up to so many lines, and why.
const LONG: &[(&str, usize, &str)] = &[
    (
        "rpc-core/src/shape/probe.rs",
        600,
        "serde's traits for reading, method by method",
    ),
    (
        "rpc-core/src/shape/tests.rs",
        700,
        "cases, one after the other",
    ),
    (
        "rpc-core/src/proto/tests/pair.rs",
        700,
        "two ends, a network and its clock, used together",
    ),
    (
        "matchmaker/src/registry/mod.rs",
        550,
        "the contract of the registry stands on one type",
    ),
    (
        "matchmaker/src/registry/tests.rs",
        600,
        "histories, one after the other",
    ),
    (
        "benches/compare/src/peers/generated/capnp/calls_capnp.rs",
        1000,
        "written by a generator",
    ),
];

/// The most lines of an example: one idea each.
const EXAMPLE_LINES_MAX: usize = 85;

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    assert!(text("Cargo.toml").contains("unsafe_code = \"forbid\""));
    let mut broken = files(".", "Cargo.toml");
    broken.retain(|path| {
        let crate_of_its_own = path != "Cargo.toml" && path != LENIENT;
        crate_of_its_own && !text(path).contains("[lints]\nworkspace = true")
    });
    check("a crate without `[lints] workspace = true`", &broken);
    let workspace = text("Cargo.toml");
    let lints = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.replace("[workspace.", "["));
        let lines = lines.skip_while(|line| !line.starts_with("[lints."));
        let lines = lines.filter(|line| line.starts_with("[lints.") || line.ends_with("\"warn\""));
        lines.collect()
    };
    assert_eq!(lints(&text(LENIENT)), lints(&workspace), "{LENIENT}");
    assert!(text(LENIENT).contains("unsafe_code = \"deny\""));
}

/// The crate in which modules say `unsafe`: its lints are those of the workspace, one by one.
const LENIENT: &str = "rpc-core/Cargo.toml";

#[test]
fn two_modules_say_unsafe() {
    let allows = concat!("allow(unsafe", "_code)");
    let mut lenient = files("rpc-core", ".rs");
    lenient.retain(|path| text(path).contains(allows));
    lenient.sort();
    let idle = "rpc-core/src/server/subserver/idle.rs";
    let sockopt = "rpc-core/src/transport/sockopt.rs";
    assert_eq!(lenient, [idle, sockopt]);
}

#[test]
fn files_are_short() {
    let mut broken = Vec::new();
    for path in files(".", ".rs") {
        let lines = text(&path).lines().count();
        let long = LONG.iter().find(|(long, ..)| *long == path);
        let most = long.map_or(LINES_MAX, |(_, most, _)| *most);
        if lines > most {
            broken.push(format!("{path}: {lines} lines, at most {most}"));
        }
    }
    check(
        "a long file hides a noun: part it, or add it to LONG with a reason",
        &broken,
    );
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let mut broken = Vec::new();
    for path in [".rs", ".md", ".toml", "run"]
        .iter()
        .flat_map(|ending| files(".", ending))
    {
        for (number, line) in text(&path).lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    check("do it now, or leave it out", &broken);
}

#[test]
fn the_oldest_compiler_can_read_the_code() {
    let mut broken = Vec::new();
    for path in files(".", ".rs") {
        for (number, line) in text(&path).lines().enumerate() {
            let line = line.trim();
            let chained = concat!("&& ", "let ");
            if line.contains(chained) && !line.starts_with("//") {
                broken.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    check(
        "chains of `if let` came after the `rust-version` of this workspace",
        &broken,
    );
}

#[test]
fn examples_are_small_and_run_by_the_gate() {
    let gate = text(".ci/run");
    let mut broken = Vec::new();
    for path in files("examples/examples", ".rs") {
        let lines = text(&path).lines().count();
        if lines > EXAMPLE_LINES_MAX {
            broken.push(format!(
                "{path}: {lines} lines, at most {EXAMPLE_LINES_MAX}"
            ));
        }
        let name = Path::new(&path)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !gate.contains(&name) {
            broken.push(format!("{path} is not run by .ci/run"));
        }
    }
    check("an example is one idea, and it works", &broken);
}
