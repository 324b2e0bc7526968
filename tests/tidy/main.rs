//! The rules of this repository that nobody should have to remember.
//!
//! Each test is one rule, says where it is broken, and reads nothing but the files of the repository
//! and the answers of `cargo tree`.

mod code;
mod dependencies;
mod documents;
mod layers;
mod repository;
