//! TLS: each way in which a certificate can be wrong, and what is said about it; who is let in, whom
//! calls go to, and what the silent can do.
#![allow(missing_docs)]

mod connect;
mod identity;
mod material;
mod matrix;
mod odd;
mod pair;
mod reload;
mod silent;
