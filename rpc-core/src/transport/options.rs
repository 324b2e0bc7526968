//! What connections and listeners are told beside their address. It knows no transport: each takes
//! out what concerns it.

use std::sync::Arc;
use std::time::Duration;

use super::Restart;
#[cfg(feature = "_tls")]
use super::{ClientTls, ServerTls};

/// What a connection is told beside the address that it leads to.
///
/// The default asks for nothing out of the ordinary.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    insecure: bool,
    /// Who must be at the other end: all of them, because code and registry may both say it.
    expected: Arc<[Arc<str>]>,
    #[cfg(feature = "_tls")]
    tls: Option<ClientTls>,
    restart: Restart,
    exit_grace: Option<Duration>,
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says of which user the process must be that listens, as `expect_identity("uid:..")` does. An
    /// abstract name (`unix:@name`) can be taken by any process of the machine while its service is
    /// away; this is how a client notices.
    #[must_use]
    pub fn expect_uid(self, uid: u32) -> Self {
        self.expect_identity(format!("uid:{uid}"))
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

    /// Says who must be at the other end, in the words of
    /// [`Identity::is`](super::Identity::is); said several times, all
    /// must hold. Whoever else is there gets no byte of a call: connecting fails as
    /// [`Code::Unauthenticated`](crate::Code::Unauthenticated). Over TLS it stands instead of the
    /// name of the host.
    #[must_use]
    pub fn expect_identity(mut self, name: impl AsRef<str>) -> Self {
        let known = self.expected.iter().cloned();
        self.expected = known.chain([name.as_ref().into()]).collect();
        self
    }

    /// Who must be at the other end.
    pub(super) fn expected(&self) -> &Arc<[Arc<str>]> {
        &self.expected
    }

    /// The same for somebody else at the other end.
    pub(crate) fn expecting_nobody(mut self) -> Self {
        self.expected = Arc::default();
        self
    }

    /// Says which servers to believe at `tls://`, and who this side is to them. The default is
    /// [`ClientTls::new`].
    #[cfg(feature = "_tls")]
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    #[cfg(feature = "_tls")]
    pub(super) fn client_tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// Whether a child (`exec:`) that has ended is started again; [`Restart::never`] by default.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long a child (`exec:`) may take to end by itself once the connection is dropped and its
    /// standard input closed; then it is killed. [`EXIT_GRACE`](Self::EXIT_GRACE) by default.
    #[must_use]
    pub fn exit_grace(mut self, grace: Duration) -> Self {
        self.exit_grace = Some(grace);
        self
    }

    /// The default of [`exit_grace`](Self::exit_grace): 2 s. A program that reads its standard input
    /// ends in a fraction of that, and one that does not should not be waited for.
    pub const EXIT_GRACE: Duration = Duration::from_secs(2);

    #[cfg(all(unix, feature = "pipes"))]
    pub(super) fn restart_policy(&self) -> Restart {
        self.restart
    }

    #[cfg(all(unix, feature = "pipes"))]
    pub(super) fn grace(&self) -> Duration {
        self.exit_grace.unwrap_or(Self::EXIT_GRACE)
    }
}

/// What a listener is told beside the address that it stands at.
///
/// The default asks for nothing out of the ordinary.
#[derive(Clone, Debug, Default)]
pub struct ListenOptions {
    insecure: bool,
    group: Option<u32>,
    users: Option<Arc<[u32]>>,
    #[cfg(feature = "_tls")]
    tls: Option<ServerTls>,
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

    /// Lets processes of these users, and of no others, connect to a Unix socket (`unix:`). Whoever
    /// else connects is told that it may not
    /// ([`Code::Denied`](crate::Code::Denied), not executed); the kernel says who it is.
    ///
    /// Without a list, the permissions of the socket's file and its directories decide, which by
    /// default lets in the server's own user and root. With one, the list decides: the file may be
    /// opened by everybody, the directories still have to be passed. An abstract name has no file, so
    /// that without a list the server's own user and root may connect.
    ///
    /// Of those whom the modes of a well-known pipe (`fifo:`) let in, it lets in these users alone.
    #[must_use]
    pub fn allow_uids(mut self, uids: impl IntoIterator<Item = u32>) -> Self {
        self.users = Some(uids.into_iter().collect());
        self
    }

    /// The users whose processes may connect to a Unix socket or well-known pipe, if there is a list.
    pub fn allowed_uids(&self) -> Option<&[u32]> {
        self.users.as_deref()
    }

    /// The certificate to show at `tls://`, and which clients to let in. There is no default.
    #[cfg(feature = "_tls")]
    #[must_use]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    #[cfg(feature = "_tls")]
    pub(super) fn server_tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }
}
