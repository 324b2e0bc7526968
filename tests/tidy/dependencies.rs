//! What may be built in, and why.

use std::collections::BTreeSet;
use std::process::Command;

use crate::repository::{CRATES, chapter, check, files, quoted, root, rows, text};

/// The most crates that rpc-core may put into a program, itself included.
const LINKED_CRATES_MAX: usize = 25;

#[test]
fn tokio_is_built_without_what_sandboxes_refuse() {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "-e",
        "features",
        "-i",
        "tokio",
        "--prefix",
        "none",
    ]);
    assert!(
        tree.contains("tokio feature \"rt\""),
        "the tree has features: {tree}"
    );
    let refused = ["signal", "process", "full"].map(|name| format!("tokio feature \"{name}\""));
    let broken: Vec<_> = tree
        .lines()
        .filter(|line| refused.iter().any(|refused| line.starts_with(refused)))
        .map(str::to_owned)
        .collect();
    check("building a runtime must not call socketpair(2)", &broken);
}

#[test]
fn each_dependency_has_its_reason_in_the_architecture() {
    let chapter = chapter("ARCHITECTURE.md", "## 11. Dependencies");
    let named: BTreeSet<String> = rows(&chapter)
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .collect();
    let manifest = text("Cargo.toml");
    let dependencies = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let broken: Vec<_> = dependencies
        .lines()
        .filter_map(|line| line.split_once(" = ").filter(|_| !line.starts_with('#')))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !["rpc-core", "matchmaker", "examples"].contains(&name.as_str()))
        .filter(|name| !named.contains(name))
        .collect();
    check("a dependency without a row in chapter 11", &broken);
}

#[test]
fn each_dependency_is_used() {
    let mut broken = Vec::new();
    for krate in CRATES {
        let manifest = text(&format!("{krate}/Cargo.toml"));
        let code: String = files(krate, ".rs").iter().map(|path| text(path)).collect();
        let names = manifest
            .lines()
            .filter_map(|line| line.split_once(['.', ' ']))
            .filter(|(_, rest)| rest.contains("workspace = true"))
            .map(|(name, _)| name)
            .filter(|name| {
                !["version", "edition", "rust-version", "license", "publish"].contains(name)
            });
        for name in names {
            let path = name.replace('-', "_");
            let named = [
                format!("{path}::"),
                format!("use {path}"),
                format!("crate {path}"),
            ];
            if !named.iter().any(|named| code.contains(named)) {
                broken.push(format!("{krate}: {name}"));
            }
        }
    }
    check("a dependency that no file names", &broken);
}

#[test]
#[cfg(target_os = "linux")]
fn a_user_of_rpc_core_links_few_crates() {
    let count = |edges| {
        let tree = cargo(&[
            "tree",
            "-p",
            "rpc-core",
            "-e",
            edges,
            "--no-dedupe",
            "--prefix",
            "none",
        ]);
        tree.lines().collect::<BTreeSet<_>>().len()
    };
    let (all, linked) = (count("normal"), count("normal,no-proc-macro"));
    assert!(linked <= LINKED_CRATES_MAX, "{linked} crates are linked");
    let chapter = chapter("ARCHITECTURE.md", "## 11. Dependencies");
    let said = format!("prints **{all}**");
    assert!(chapter.contains(&said), "chapter 11 must say: {said}");
    let said = format!("and {linked} that are");
    assert!(chapter.contains(&said), "chapter 11 must say: {said}");
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(arguments)
        .args(["--locked", "--offline"])
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}
