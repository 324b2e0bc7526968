//! What a daemon is told before it starts: where to listen and how to log.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rpc_core::discovery::matchmaker::DEFAULT_ADDRESS;
use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, ServeArgs};
use crate::registry::Limits;

/// The name of the default Unix socket in its directory.
const SOCKET_NAME: &str = "matchmaker.sock";

/// Everything a daemon is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The addresses to listen on, at least one.
    pub listen: Vec<String>,
    /// What registrants may occupy.
    pub limits: Limits,
    /// Clear text may come from other hosts: without it, `tcp://` is for the loopback addresses.
    pub insecure: bool,
    /// Where to answer who looks for a matchmaker in the local network; nowhere unless it is said.
    pub lan: Option<SocketAddr>,
    /// The certificate for `tls://` addresses, and which registrants and clients to let in.
    #[cfg(feature = "tls")]
    pub tls: Option<rpc_core::ServerTls>,
}

impl Config {
    /// A daemon that listens at `addresses` and has the default limits.
    pub fn listening_at<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            listen: addresses.into_iter().map(Into::into).collect(),
            limits: Limits::default(),
            insecure: false,
            lan: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The configuration that a command line asks for. Without `--listen` it is [`DEFAULT_ADDRESS`]
    /// and, on Unix, the default socket, whose directory is made when it has to be.
    ///
    /// # Errors
    /// A directory for the default socket that cannot be made or that others can write to.
    pub fn from_args(args: &ServeArgs, insecure: bool) -> anyhow::Result<Self> {
        let mut listen = args.listen.clone();
        if listen.is_empty() {
            listen.push(DEFAULT_ADDRESS.to_owned());
            #[cfg(unix)]
            {
                let socket = DefaultSocket::of_this_process();
                socket.prepare()?;
                let path = socket
                    .path
                    .to_str()
                    .context("the path of the socket is not UTF-8")?;
                listen.push(format!("unix:{path}"));
            }
        }
        Ok(Self {
            listen,
            limits: Limits::default(),
            insecure,
            lan: args.lan,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }
}

/// Where the daemon's Unix socket is when nothing else is said:
///
/// - `$XDG_RUNTIME_DIR/matchmaker.sock`, where that variable holds an absolute path;
/// - `/run/matchmaker.sock` for root;
/// - `/tmp/matchmaker-UID/matchmaker.sock` for everybody else, in a directory of mode 0700.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultSocket {
    /// The path of the socket.
    pub path: PathBuf,
    /// The directory to make first, for its owner alone, in a place where everybody may make one.
    own_directory: Option<PathBuf>,
    uid: u32,
}

impl DefaultSocket {
    /// The default socket of a user whose runtime directory is `runtime_dir`.
    pub fn new(runtime_dir: Option<&OsStr>, uid: u32) -> Self {
        let runtime_dir = runtime_dir
            .map(Path::new)
            .filter(|directory| directory.is_absolute());
        match runtime_dir {
            Some(directory) => Self {
                path: directory.join(SOCKET_NAME),
                own_directory: None,
                uid,
            },
            None if uid == 0 => Self {
                path: Path::new("/run").join(SOCKET_NAME),
                own_directory: None,
                uid,
            },
            None => Self::within(Path::new("/tmp"), uid),
        }
    }

    /// The default socket of the user that runs this process.
    #[cfg(unix)]
    pub fn of_this_process() -> Self {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR");
        Self::new(runtime_dir.as_deref(), rustix::process::getuid().as_raw())
    }

    /// Makes the directory of the socket where the user needs one of its own.
    ///
    /// # Errors
    /// Somebody else's directory, or one that others can enter: whoever controls it could put a
    /// socket of his own in the place of ours.
    #[cfg(unix)]
    pub fn prepare(&self) -> anyhow::Result<()> {
        use std::io::ErrorKind;
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};

        let Some(directory) = &self.own_directory else {
            return Ok(());
        };
        let shown = directory.display();
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make the directory {shown}"));
            }
            _ => {}
        }
        // Not followed: a link here is somebody's trap.
        let found = std::fs::symlink_metadata(directory)
            .with_context(|| format!("cannot look at the directory {shown}"))?;
        anyhow::ensure!(
            found.is_dir() && found.uid() == self.uid && found.mode() & 0o077 == 0,
            "{shown} is not a directory that user {} alone can enter; remove it, or say --listen",
            self.uid
        );
        Ok(())
    }

    fn within(shared: &Path, uid: u32) -> Self {
        let directory = shared.join(format!("matchmaker-{uid}"));
        Self {
            path: directory.join(SOCKET_NAME),
            own_directory: Some(directory),
            uid,
        }
    }
}

/// Sends the log to standard error: standard output is for data.
///
/// # Errors
/// A filter that cannot be read, or a log that somebody has set up before.
pub fn start_logging(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("cannot read the filter {filter:?}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // The default prints to standard error what cannot be written there, and panics.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(runtime_dir: Option<&str>, uid: u32) -> String {
        let socket = DefaultSocket::new(runtime_dir.map(OsStr::new), uid);
        socket.path.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_default_socket_is_where_it_is_documented() {
        assert_eq!(
            path(Some("/run/user/1000"), 1000),
            "/run/user/1000/matchmaker.sock"
        );
        assert_eq!(path(None, 0), "/run/matchmaker.sock");
        assert_eq!(path(None, 1000), "/tmp/matchmaker-1000/matchmaker.sock");
        // A relative runtime directory would mean another place in every process.
        assert_eq!(
            path(Some("run"), 1000),
            "/tmp/matchmaker-1000/matchmaker.sock"
        );
        assert_eq!(path(Some(""), 0), "/run/matchmaker.sock");
    }

    #[test]
    fn addresses_that_are_asked_for_are_the_only_ones() {
        let args = ServeArgs {
            listen: vec!["tcp://127.0.0.1:0".into()],
            lan: None,
            log: "info".into(),
            log_format: LogFormat::Text,
        };
        assert_eq!(
            Config::from_args(&args, false).unwrap().listen,
            ["tcp://127.0.0.1:0"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_a_private_directory_will_do() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let shared = std::env::temp_dir().join(format!("mm-config-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&shared).unwrap();
        let uid = rustix::process::getuid().as_raw();
        let socket = DefaultSocket::within(&shared, uid);
        let directory = socket.own_directory.clone().unwrap();
        let mode = || {
            std::fs::symlink_metadata(&directory)
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };

        socket.prepare().unwrap();
        assert_eq!(mode(), 0o700);
        socket.prepare().unwrap();

        // Others can enter.
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        let refused = socket.prepare().unwrap_err().to_string();
        assert!(refused.contains("say --listen"), "{refused}");
        // It belongs to somebody else.
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
        assert!(
            DefaultSocket {
                uid: uid + 1,
                ..socket.clone()
            }
            .prepare()
            .is_err()
        );
        // It is a link to a directory that would do.
        std::fs::rename(&directory, shared.join("elsewhere")).unwrap();
        symlink(shared.join("elsewhere"), &directory).unwrap();
        assert!(socket.prepare().is_err());

        std::fs::remove_dir_all(&shared).unwrap();
    }
}
