//! Who may know whom, and what the pure layers may not know at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{CRATES, chapter, check, code, quoted, rows, sources};

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let chapter = chapter("ARCHITECTURE.md", "## 4. Who may import whom");
    let allowed: BTreeMap<String, BTreeSet<String>> = rows(&chapter)
        .iter()
        .map(|row| {
            (
                quoted(&row[0]).concat(),
                quoted(&row[1]).into_iter().collect(),
            )
        })
        .collect();
    let mut broken = Vec::new();
    for path in sources("rpc-core/src") {
        let inside = path
            .trim_start_matches("rpc-core/src/")
            .trim_end_matches(".rs");
        let module = inside.split('/').next().unwrap_or_default();
        if module == "lib" {
            continue;
        }
        let Some(allowed) = allowed.get(module) else {
            broken.push(format!("{module} has no row in chapter 4"));
            continue;
        };
        for import in imports(&code(&path)) {
            if import != module && !allowed.contains(&import) {
                broken.push(format!("{path} imports {import}"));
            }
        }
    }
    check("an import against the arrows of ARCHITECTURE.md", &broken);
}

/// The modules that follow upon `crate::`. Names of types are re-exports of the root.
fn imports(code: &str) -> BTreeSet<String> {
    let after = code.split("crate::").skip(1);
    let names = after.map(|rest| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
    });
    let names = names.map(String::from_iter);
    names
        .filter(|name: &String| name.starts_with(|c: char| c.is_lowercase()))
        .collect()
}

#[test]
fn the_registry_knows_nobody_and_the_store_knows_only_the_registry() {
    let mut broken = Vec::new();
    let parts: [(&str, &[&str]); 2] = [
        ("registry", &["registry"]),
        ("store", &["registry", "store"]),
    ];
    for (part, allowed) in parts {
        for path in sources(&format!("matchmaker/src/{part}")) {
            for import in imports(&code(&path)) {
                if !allowed.contains(&import.as_str()) {
                    broken.push(format!("{path} imports {import}"));
                }
            }
        }
    }
    check("an import against the arrows of ARCHITECTURE.md", &broken);
}

#[test]
fn the_pure_layers_know_no_runtime_no_socket_and_no_clock() {
    let pure = ["wire", "codec", "shape", "proto"].map(|module| format!("rpc-core/src/{module}"));
    let pure = pure
        .into_iter()
        .chain(["matchmaker/src/registry".to_owned()]);
    let impure = [
        "tokio",
        "std::fs",
        "std::thread",
        "std::io",
        "std::process",
        "std::env",
        "Instant::now",
        "SystemTime::now",
        "Mutex",
        "TcpStream",
        "UdpSocket",
        "UnixStream",
        "async fn",
        ".await",
    ];
    let mut broken = Vec::new();
    for path in pure.flat_map(|folder| sources(&folder)) {
        let code = code(&path);
        let found = impure.iter().filter(|word| code.contains(*word));
        broken.extend(found.map(|word| format!("{path} names {word}")));
    }
    check("time and bytes are arguments of the pure layers", &broken);
}

#[test]
fn one_file_names_bincode() {
    let broken: Vec<_> = CRATES
        .iter()
        .flat_map(|krate| sources(&format!("{krate}/src")))
        .filter(|path| path != "rpc-core/src/codec/bincode.rs")
        .filter(|path| {
            let code = code(path).replace("self::bincode::", "");
            code.contains("bincode::") || code.contains("use bincode")
        })
        .collect();
    check("only codec/bincode.rs may name the crate", &broken);
}

#[test]
fn deadlines_are_counted_on_a_monotonic_clock() {
    let paths = CRATES
        .iter()
        .flat_map(|krate| sources(&format!("{krate}/src")));
    let broken: Vec<_> = paths
        .filter(|path| code(path).contains("SystemTime::now"))
        .collect();
    check("the wall clock jumps", &broken);
}
