//! The files of the repository, as the rules read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that other programs use.
pub(crate) const CRATES: [&str; 3] = ["rpc-core", "rpc-macros", "matchmaker"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace is above").to_owned()
}

/// The text of a file, named from the root of the repository.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files under `folder` whose names end so, named from the root, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
            let path = entry.expect("an entry can be read").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let path = path.strip_prefix(root()).expect("it is below the root");
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

/// Fails with every place where a rule is broken.
pub(crate) fn check(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The source of a module without its tests, which stand at its end, and without comments.
pub(crate) fn code(path: &str) -> String {
    let text = text(path);
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{')
    });
    let lines = lines.iter().take(tests.unwrap_or(lines.len()));
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.copied().collect::<Vec<_>>().join("\n")
}

/// Whether a module is compiled for tests only, as the file that declares it says.
fn is_test_only(path: &str) -> bool {
    let path = Path::new(path);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = path.parent().expect("a file is in a folder");
    if folder.file_name().is_some_and(|name| name == "tests") || stem == "tests" {
        return true;
    }
    let declarer = [
        folder.join("mod.rs"),
        folder.with_extension("rs"),
        folder.join("lib.rs"),
    ];
    declarer.iter().any(|declarer| {
        let text = fs::read_to_string(root().join(declarer)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .windows(2)
            .any(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(&format!("mod {stem};")))
    })
}

/// The files of a crate that end up in programs.
pub(crate) fn sources(folder: &str) -> Vec<String> {
    let all = files(folder, ".rs").into_iter();
    all.filter(|path| !is_test_only(path)).collect()
}

/// A chapter of a document, from its heading to the next one of the same rank or above.
pub(crate) fn chapter(document: &str, heading: &str) -> String {
    let rank = heading.chars().take_while(|&c| c == '#').count();
    let text = text(document);
    let mut lines = text.lines().skip_while(|line| *line != heading);
    let first = lines
        .next()
        .unwrap_or_else(|| panic!("{document} has no heading {heading:?}"));
    let ends = |line: &&str| {
        let marks = line.chars().take_while(|&c| c == '#').count();
        !(1..=rank).contains(&marks)
    };
    let rest: Vec<&str> = lines.take_while(ends).collect();
    format!("{first}\n{}", rest.join("\n"))
}

/// The rows of all tables in a text, without heads, cell by cell.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &&&str| line.starts_with('|') && !line.starts_with("|---");
    let heads: BTreeSet<&str> = lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("|---"))
        .map(|pair| pair[0])
        .collect();
    let rows = lines
        .iter()
        .filter(is_row)
        .filter(|line| !heads.contains(**line));
    rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// The texts in backticks.
pub(crate) fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
