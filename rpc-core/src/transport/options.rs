//! What connections and listeners are told beside their address. It knows no transport: each takes
//! out what concerns it.

/// What a connection is told beside the address that it leads to.
///
/// The default asks for nothing out of the ordinary.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    insecure: bool,
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows clear text (`tcp://`, `udp://`) to hosts other than this one: whoever is on the way
    /// can read it and change it, and nobody knows who answers. Without it such a connection fails
    /// as [`Code::Insecure`](crate::Code::Insecure).
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Whether clear text may leave this host.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }
}

/// What a listener is told beside the address that it stands at.
///
/// The default asks for nothing out of the ordinary.
#[derive(Clone, Debug, Default)]
pub struct ListenOptions {
    insecure: bool,
    group: Option<u32>,
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows clear text (`tcp://`, `udp://`) at addresses that other hosts reach, wildcards
    /// included: whoever is on the way can read it and change it, and nobody knows who calls.
    /// Without it such a listener fails as [`Code::Insecure`](crate::Code::Insecure).
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Whether clear text may come from other hosts.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// Lets processes of this group connect to a well-known pipe (`fifo:`), beside those of the
    /// server's own user. The server must be a member of the group, or root. `gid` is the group's
    /// number.
    ///
    /// Members of the group can keep the pipe full, and nothing else: they see neither each other's
    /// connections nor the names of their pipes.
    #[must_use]
    pub fn allow_group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// The group whose processes may connect to a well-known pipe.
    pub fn allowed_group(&self) -> Option<u32> {
        self.group
    }
}
