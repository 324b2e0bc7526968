//! The rendezvous daemon.
