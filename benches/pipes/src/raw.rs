//! tokio alone: 64 bytes forth and back as they are, which a call cannot go below.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mknodat};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::net::{UnixListener, UnixStream};

use super::{Conduit, Outcome, Process, Times};

/// About the size of a request to add two numbers, with its frame.
const MESSAGE: usize = 64;

pub(crate) async fn serve_stdio() -> io::Result<()> {
    let take = |fd: &dyn AsFd| -> io::Result<OwnedFd> { fd.as_fd().try_clone_to_owned() };
    let input = Receiver::from_owned_fd(take(&io::stdin())?)?;
    let output = Sender::from_owned_fd(take(&io::stdout())?)?;
    serve(input, output).await
}

/// Opens the pipes that the parent has made: it has both of them open to read and to write.
pub(crate) async fn serve_fifo(folder: &Path) -> io::Result<()> {
    let input = OpenOptions::new().open_receiver(folder.join("up"))?;
    let output = OpenOptions::new().open_sender(folder.join("down"))?;
    serve(input, output).await
}

pub(crate) async fn serve_unix(path: &Path) -> io::Result<()> {
    let (stream, _) = UnixListener::bind(path)?.accept().await?;
    let (input, output) = stream.into_split();
    serve(input, output).await
}

async fn serve(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    while input.read_exact(&mut message).await.is_ok() {
        output.write_all(&message).await?;
    }
    Ok(())
}

/// The median time of a ping-pong, in microseconds.
pub(crate) async fn ping_pong(conduit: Conduit, folder: &Path, time: Duration) -> Outcome<f64> {
    match conduit {
        Conduit::Pipe => {
            let mut server = Process::start(&["raw", "pipe"])?;
            let missing = || io::Error::other("the child has no pipes");
            let input = server.0.stdout.take().ok_or_else(missing)?;
            let output = server.0.stdin.take().ok_or_else(missing)?;
            let input = Receiver::from_owned_fd(input.into())?;
            let output = Sender::from_owned_fd(output.into())?;
            play(input, output, time).await
        }
        Conduit::Fifo => {
            for name in ["up", "down"] {
                let path = folder.join(name);
                mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0)?;
            }
            // To read and to write: no end of file before the child is there.
            let mut open = OpenOptions::new();
            let input = open.read_write(true).open_receiver(folder.join("down"))?;
            let output = open.read_write(true).open_sender(folder.join("up"))?;
            let folder = folder.to_str().ok_or("the folder has a name")?;
            let _server = Process::start(&["raw", "fifo", folder])?;
            play(input, output, time).await
        }
        Conduit::Unix => {
            let path = folder.join("raw");
            let name = path.to_str().ok_or("the folder has a name")?;
            let _server = Process::start(&["raw", "unix", name])?;
            let begin = Instant::now();
            let stream = loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => break stream,
                    Err(error) if begin.elapsed() > Duration::from_secs(10) => {
                        return Err(error.into());
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            let (input, output) = stream.into_split();
            play(input, output, time).await
        }
    }
}

async fn play(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    time: Duration,
) -> Outcome<f64> {
    let mut times = Times::new(time);
    let mut message = [0; MESSAGE];
    let mut number = 0_u64;
    while times.goes_on() {
        let sent = Instant::now();
        message[..8].copy_from_slice(&number.to_le_bytes());
        let out = message;
        output.write_all(&out).await?;
        input.read_exact(&mut message).await?;
        assert_eq!(out, message, "wrong answer");
        times.add(sent.elapsed());
        number += 1;
    }
    Ok(times.median())
}
