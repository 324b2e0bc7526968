//! What the documents say is true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::repository::{CRATES, chapter, check, files, quoted, root, rows, sources, text};

/// All documents but those in dot folders.
fn documents() -> Vec<String> {
    files(".", ".md")
}

#[test]
fn the_code_map_names_every_file() {
    let document = text("ARCHITECTURE.md");
    let folders: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix("/`"))
        .collect();
    let mut broken = Vec::new();
    let mut mapped: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for folder in &folders {
        let chapter = chapter("ARCHITECTURE.md", &format!("### `{folder}/`"));
        let named: BTreeSet<String> = rows(&chapter)
            .iter()
            .flat_map(|row| quoted(&row[0]))
            .collect();
        for name in &named {
            if !root().join(folder).join(name).is_file() {
                broken.push(format!("{folder}/{name} is in the map and not there"));
            }
        }
        mapped.insert(folder, named);
    }
    for path in CRATES
        .iter()
        .flat_map(|krate| sources(&format!("{krate}/src")))
    {
        let inside = |folder: &&&str| path.starts_with(&format!("{folder}/"));
        let nearest = folders
            .iter()
            .filter(inside)
            .max_by_key(|folder| folder.len());
        let named = nearest.is_some_and(|folder| {
            mapped[*folder].contains(path.trim_start_matches(&format!("{folder}/")))
        });
        if !named {
            broken.push(format!("{path} is not in the map"));
        }
    }
    check("chapter 3 of ARCHITECTURE.md", &broken);
}

#[test]
fn the_life_of_a_call_names_functions_that_exist() {
    let chapter = chapter("ARCHITECTURE.md", "## 6. The life of a call");
    let rows = rows(&chapter);
    assert!(rows.len() > 30, "the chapter has tables");
    let mut broken = Vec::new();
    for row in rows {
        let (file, function) = (quoted(&row[1]).concat(), quoted(&row[2]).concat());
        let name = function.rsplit("::").next().unwrap_or_default();
        let text = if file.is_empty() {
            String::new()
        } else {
            text(&file)
        };
        let declared = ["(", "<"].map(|after| format!("fn {name}{after}"));
        if !declared.iter().any(|declared| text.contains(declared)) {
            broken.push(format!(
                "step {}: {file} has no function {function}",
                row[0]
            ));
        }
    }
    check("chapter 6 of ARCHITECTURE.md", &broken);
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let body = without_code(&text(&document));
        for (at, _) in body.match_indices("](") {
            let link = body[at + 2..].split(')').next().unwrap_or_default();
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&document).parent().unwrap_or(Path::new(""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                folder.join(file).to_string_lossy().into_owned()
            };
            let there = root().join(&target).exists();
            if !there || (!anchor.is_empty() && !anchors(&text(&target)).contains(anchor)) {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    check("a link that leads nowhere", &broken);
}

/// A document without its blocks of code and its texts in backticks.
fn without_code(text: &str) -> String {
    let outside: Vec<&str> = text.split("```").step_by(2).collect();
    outside.join("").split('`').step_by(2).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let outside: Vec<&str> = text.split("```").step_by(2).collect();
    let outside = outside.join("");
    let headings = outside.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn no_document_sends_people_to_packages_of_others() {
    let names = ["rpc-core", "rpc-macros", "matchmaker", "bincode"];
    let verbs = ["cargo add", "cargo install"];
    let phrases: Vec<String> = verbs
        .iter()
        .flat_map(|verb| names.iter().map(move |name| format!("{verb} {name}")))
        .collect();
    let paths = [".md", ".rs", ".toml"]
        .iter()
        .flat_map(|ending| files(".", ending));
    let broken: Vec<_> = paths
        .filter(|path| phrases.iter().any(|phrase| text(path).contains(phrase)))
        .collect();
    check(
        "on the registry these names are somebody else's, or do not compile",
        &broken,
    );
}

#[test]
fn the_program_in_the_readme_is_the_example_hello() {
    let readme = text("README.md");
    let program = readme
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let example = text("examples/examples/hello.rs");
    let (_, example) = example.split_once("\n\n").expect("a head and a program");
    assert_eq!(program, Some(example));
}

#[test]
fn each_promise_of_the_readme_has_its_tests() {
    let chapter = chapter("README.md", "## What is promised, and what shows it");
    let commands: Vec<String> = rows(&chapter)
        .iter()
        .flat_map(|row| quoted(&row[1]))
        .collect();
    let mut tests = 0;
    for command in commands {
        let Some(rest) = command.strip_prefix("cargo test -p ") else {
            continue;
        };
        tests += 1;
        let words: Vec<&str> = rest.split(' ').collect();
        let places = match *words {
            ["tests", "--test", suite] => vec![
                format!("tests/{suite}/main.rs"),
                format!("tests/{suite}.rs"),
            ],
            ["tests", "--test", suite, module] => vec![format!("tests/{suite}/{module}.rs")],
            [krate, "--test", suite] => vec![format!("{krate}/tests/{suite}.rs")],
            [krate, "--lib", module] => vec![format!("{krate}/src/{module}/mod.rs")],
            _ => Vec::new(),
        };
        assert!(
            places.iter().any(|place| root().join(place).is_file()),
            "`{command}` tests nothing"
        );
    }
    assert!(tests > 10, "the table names tests");
}

#[test]
fn the_readme_tells_what_the_gate_runs() {
    let (readme, gate) = (text("README.md"), text(".ci/run"));
    for command in ["cargo test --workspace", "cargo run --example calculator "] {
        assert!(readme.contains(command), "the README says `{command}`");
    }
    let gate = gate.replace(" --locked", "").replace(" --quiet", "");
    for command in [
        "cargo test --workspace",
        "cargo run -p matchmaker -- serve",
        "-- list",
    ] {
        assert!(gate.contains(command), "the gate runs `{command}`");
    }
}
