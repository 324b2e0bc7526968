//! A child for tests to start, speak to and kill, and a parent that starts one.
//!
//! ```text
//! test-plugin serve [--print LINE] [--note FILE] ..   serves its parent; then writes into the file
//! test-plugin listen                                  the same, with `pipe:` as an address
//! test-plugin call                                    calls its parent, which serves
//! test-plugin deaf                                    serves its parent, and does not leave
//! test-plugin relay PATH                              passes all on to a Unix socket and back
//! test-plugin host METHOD PROGRAM ARGUMENTS ..        starts a child and calls its `METHOD`
//! ```

use std::io;
use std::process::Command;

use rpc_core::{Channel, Client as _, Error, Server, serve_stdio};
use support::plugin::{Child, PluginClient, PluginServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let service = PluginServer::new(Child::default());
    match arguments.next().as_deref() {
        Some("serve") => serve(arguments).await,
        Some("listen") => {
            let builder = Server::builder().service(service).listen("pipe:");
            builder.start().await?.run_until_signal().await
        }
        Some("call") => {
            let parent = PluginClient::new(Channel::connect("pipe:").await?);
            assert_eq!(parent.echo(7).await?, 7);
            parent.print("the child has called").await
        }
        Some("deaf") => {
            serve_stdio(service).await?;
            std::future::pending().await
        }
        Some("relay") => relay(&arguments.next().expect("a path")),
        Some("host") => host(arguments).await,
        other => panic!("there is no {other:?}"),
    }
}

async fn serve(mut arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut note = None;
    while let Some(option) = arguments.next() {
        match (option.as_str(), arguments.next()) {
            ("--print", Some(line)) => {
                println!("{line}");
                print!("and half a line, which is in no pipe yet");
            }
            ("--note", Some(path)) => note = Some(path),
            _ => {}
        }
    }
    serve_stdio(PluginServer::new(Child::default())).await?;
    if let Some(path) = note {
        std::fs::write(path, "left in peace").expect("a note");
    }
    Ok(())
}

/// A program that knows nothing of calls, between a client and a server.
fn relay(path: &str) -> Result<(), Error> {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    let Ok(socket) = UnixStream::connect(path) else {
        // As `cat` would: the reason is for people, the code for the parent.
        eprintln!("nobody listens at {path}");
        std::process::exit(1);
    };
    let to = socket.try_clone().expect("a socket can be cloned");
    std::thread::spawn(move || {
        pump(io::stdin().lock(), &to);
        let _ = to.shutdown(Shutdown::Write);
    });
    pump(&socket, io::stdout().lock());
    Ok(())
}

/// As `io::copy`, but by way of this process: `splice` would hold the pipe while it waits for the
/// socket, and who writes to the pipe would wait too, though it does not want to.
fn pump(mut from: impl io::Read, mut to: impl io::Write) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to
            .write_all(&buffer[..read])
            .and_then(|()| to.flush())
            .is_err()
        {
            return;
        }
    }
}

async fn host(mut arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let method = arguments.next().expect("a method");
    let mut command = Command::new(arguments.next().expect("a program"));
    command.args(arguments);
    let child = PluginClient::spawn(command).await?;
    println!("child {}", child.pid().await?);
    match method.as_str() {
        "print" => child.print("printed by a handler").await,
        "spin" => child.spin().await,
        "hang" => child.hang().await,
        _ => panic!("there is no method {method}"),
    }
}
