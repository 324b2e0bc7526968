//! Both ends of the handshake over a well-known pipe, made by hand and step by step from
//! PROTOCOL.md and not from the crate, so that a test can stop at any of them.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};

/// The steps of a client, in their order.
pub const CLIENT_STEPS: [&str; 8] = [
    "opened the well-known pipe",
    "made the pipe up",
    "opened the pipe up",
    "made the pipe down",
    "opened the pipe down, and said the nonce",
    "said the record",
    "said hello",
    "was answered",
];

/// The steps of a server, in their order.
pub const SERVER_STEPS: [&str; 7] = [
    "made the well-known pipe",
    "read a record",
    "opened the pipe down",
    "opened the pipe up",
    "removed the names",
    "said the nonce",
    "answered hello",
];

/// Magic and a HELLO for version 1 and bincode, without options.
const HELLO: [u8; 46] = *b"\xf8RPC\r\n\x1a\n\
    \x16\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\
    \x01\0\x01\0\0\0\x40\0\0\x01\0\0\0\0\x10\0\0\0\x01\0\x01\x01";

/// Magic and an ANSWER that accepts it.
const ANSWER: [u8; 60] = *b"\xf8RPC\r\n\x1a\n\
    \x24\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\
    \0\x01\0\x01\0\0\x40\0\0\x01\0\0\0\0\x10\0\0\0\x01\0\
    instance-of-test";

/// The bytes of a record.
pub fn record(id: [u8; 16], nonce: [u8; 16]) -> [u8; 128] {
    let mut bytes = [0; 128];
    bytes[..8].copy_from_slice(b"\xf8WKP\r\n\x1a\n");
    bytes[8] = 1;
    bytes[10] = 128;
    bytes[16..32].copy_from_slice(&id);
    bytes[32..48].copy_from_slice(&nonce);
    let sum = crc32c(&bytes[..124]);
    bytes[124..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Bit by bit, as the definition has it.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// What a client or server holds that has come to some step.
#[derive(Debug, Default)]
pub struct Peer {
    /// The descriptors that it has opened.
    pub open: Vec<OwnedFd>,
}

/// Where the pipes of a pair are.
pub fn pair(pipe: &Path, id: [u8; 16]) -> (PathBuf, PathBuf) {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = |way| directory(pipe).join(format!("{digits}.{way}"));
    (name("up"), name("down"))
}

/// Where clients make their pipes.
pub fn directory(pipe: &Path) -> PathBuf {
    let mut name = pipe.as_os_str().to_owned();
    name.push(".d");
    name.into()
}

/// Opens a pipe without blocking.
///
/// # Errors
/// What the system says.
pub fn open_pipe(path: &Path, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Makes a pipe that only this user may open.
///
/// # Errors
/// What the system says.
pub fn make_pipe(path: &Path) -> io::Result<()> {
    Ok(mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?)
}

/// Goes the first `steps` steps of a client.
///
/// # Errors
/// What the system says, or that nobody answers.
pub fn client(pipe: &Path, id: [u8; 16], nonce: [u8; 16], steps: usize) -> io::Result<Peer> {
    let (up, down) = pair(pipe, id);
    let mut peer = Peer::default();
    let well_known = open_pipe(pipe, OFlags::WRONLY)?;
    if steps > 1 {
        make_pipe(&up)?;
    }
    if steps > 2 {
        peer.open.push(open_pipe(&up, OFlags::RDONLY)?);
        peer.open.push(open_pipe(&up, OFlags::WRONLY)?);
    }
    if steps > 3 {
        make_pipe(&down)?;
    }
    if steps > 4 {
        peer.open.push(open_pipe(&down, OFlags::RDONLY)?);
        write(&peer.open[1], &nonce)?;
    }
    if steps > 5 {
        write(&well_known, &record(id, nonce))?;
    }
    if steps > 6 {
        write(&peer.open[1], &HELLO)?;
    }
    if steps > 7 {
        let mut said = [0; 16 + ANSWER.len()];
        read(&peer.open[2], &mut said)?;
        if said[..16] != nonce {
            return Err(ErrorKind::InvalidData.into());
        }
        // The server is there now, and from here on an end of file is its death.
        peer.open.remove(0);
        return Ok(peer);
    }
    peer.open.push(well_known);
    Ok(peer)
}

/// Goes the first `steps` steps of a server, for one client. `listed` is called when clients may
/// come.
///
/// # Errors
/// What the system says, or that nobody comes.
pub fn server(pipe: &Path, steps: usize, listed: impl FnOnce()) -> io::Result<Peer> {
    let directory = directory(pipe);
    let mut peer = Peer::default();
    fs::create_dir(&directory)?;
    rustix::fs::chmod(&directory, Mode::RWXU)?;
    make_pipe(pipe)?;
    peer.open.push(open_pipe(pipe, OFlags::RDWR)?);
    listed();
    if steps < 2 {
        // So late that clients have come.
        std::thread::sleep(Duration::from_millis(50));
        return Ok(peer);
    }
    let mut said = [0; 128];
    read(&peer.open[0], &mut said)?;
    let id = said[16..32].try_into().expect("16 bytes");
    let (up, down) = pair(pipe, id);
    if steps > 2 {
        peer.open.push(open_pipe(&down, OFlags::WRONLY)?);
    }
    if steps > 3 {
        peer.open.push(open_pipe(&up, OFlags::RDONLY)?);
    }
    if steps > 4 {
        fs::remove_file(&up)?;
        fs::remove_file(&down)?;
    }
    if steps > 5 {
        write(&peer.open[1], &said[32..48])?;
    }
    if steps > 6 {
        let mut hello = [0; 16 + HELLO.len()];
        read(&peer.open[2], &mut hello)?;
        write(&peer.open[1], &ANSWER)?;
    }
    Ok(peer)
}

fn write(pipe: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    match rustix::io::write(pipe, bytes)? {
        count if count == bytes.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// Reads so many bytes.
///
/// # Errors
/// What the system says, or that they do not come.
pub fn read(pipe: &OwnedFd, bytes: &mut [u8]) -> io::Result<()> {
    let begin = Instant::now();
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::read(pipe, &mut bytes[filled..]) {
            Ok(count) if count > 0 => filled += count,
            Ok(_) | Err(rustix::io::Errno::AGAIN) if begin.elapsed() < super::LIMIT => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
