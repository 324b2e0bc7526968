//! Generators on token streams: what comes out for what goes in.
