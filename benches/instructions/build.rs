//! Tells the program which compiler built it.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.expect("the compiler says its version").stdout;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    let target = env::var("TARGET").expect("cargo says the target");
    println!("cargo::rustc-env=COMPILER={version}, {target}");
    println!("cargo::rerun-if-changed=build.rs");
}
