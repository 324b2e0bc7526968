//! Writes `src/peers/generated` from the schemas, with each peer's own generator and the options
//! its users would take.
//!
//! Needed only after a change to a schema or to a peer's version. Wants `capnp` and `protoc` on the
//! path; run it with `cargo run --manifest-path benches/compare/schemas/generate/Cargo.toml`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The first line of every generated file.
const HEADER: &str = "// To write this file anew: cargo run --manifest-path \
                      benches/compare/schemas/generate/Cargo.toml\n";

fn main() -> Result<(), Box<dyn Error>> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let generated = schemas.join("../src/peers/generated");
    let folder = |name: &str| -> Result<PathBuf, std::io::Error> {
        let folder = generated.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    };

    let capnp = folder("capnp")?;
    capnpc::CompilerCommand::new()
        .src_prefix(&schemas)
        .file(schemas.join("calls.capnp"))
        .output_path(&capnp)
        // Where the generated code looks for itself.
        .default_parent_module(vec!["peers".into(), "capnp".into()])
        .run()?;

    let tonic = folder("tonic")?;
    tonic_prost_build::configure()
        .out_dir(&tonic)
        .compile_protos(
            &[schemas.join("calls.proto")],
            std::slice::from_ref(&schemas),
        )?;

    let ttrpc = folder("ttrpc")?;
    ttrpc_codegen::Codegen::new()
        .out_dir(&ttrpc)
        .input(schemas.join("calls.proto"))
        .include(&schemas)
        .rust_protobuf()
        .customize(ttrpc_codegen::Customize {
            async_all: true,
            ..Default::default()
        })
        .run()?;
    // The peer's module names the two files itself.
    fs::remove_file(ttrpc.join("mod.rs"))?;

    for folder in [capnp, tonic, ttrpc] {
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let code = fs::read_to_string(&path)?;
            // Unneeded, as no code here is unsafe, and refused where that is forbidden.
            let code = code.replace("#![allow(unsafe_code)]\n", "");
            fs::write(&path, format!("{HEADER}{code}"))?;
        }
    }
    Ok(())
}
