//! What a subserver may use up.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits of a process; what is absent is not limited beyond what the main process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Bytes of memory that it writes to: heap, stacks of threads.
    pub(crate) memory: Option<u64>,
    /// Seconds of computing.
    pub(crate) cpu: Option<u64>,
    /// Open descriptors.
    pub(crate) files: Option<u64>,
    /// Milliseconds for which a thread may compute without a pause before it stands back. The
    /// [`Sentry`](super::Sentry) holds it to that.
    pub(crate) patience: Option<u64>,
}

impl Resources {
    /// Holds this process to them, for good.
    pub(crate) fn apply(self) -> io::Result<()> {
        // Not the address space: the allocator reserves more of that than it ever uses.
        lower(Resource::Data, self.memory)?;
        lower(Resource::Cpu, self.cpu)?;
        lower(Resource::Nofile, self.files)
    }
}

fn lower(resource: Resource, to: Option<u64>) -> io::Result<()> {
    let Some(to) = to else {
        return Ok(());
    };
    // Nobody may raise what the main process itself is held to.
    let to = getrlimit(resource).maximum.map_or(to, |most| most.min(to));
    let limit = Rlimit {
        current: Some(to),
        maximum: Some(to),
    };
    Ok(setrlimit(resource, limit)?)
}
