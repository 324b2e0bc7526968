//! A host and its plug-in: the host starts a child, speaks to it over the child's standard input and
//! output, sees it crash, and has it started again.
//!
//! ```text
//! cargo run --example plugin
//! ```

use std::env;
use std::process::Command;

use rpc_core::transport::Restart;
use rpc_core::{Channel, Error, serve_stdio, service};

/// What a plug-in of this host can do.
#[service]
pub trait Plugin {
    /// Says who it is.
    async fn describe(&self) -> String;
    /// Turns a text into another.
    async fn transform(&self, text: &str) -> String;
}

/// A plug-in with a mistake.
struct Upper;

impl Plugin for Upper {
    async fn describe(&self) -> String {
        // It cannot come between the bytes of the connection: it goes to the standard error.
        println!("the child: somebody asks who I am");
        format!("upper, process {}", std::process::id())
    }

    async fn transform(&self, text: &str) -> String {
        if text.is_empty() {
            std::process::exit(3);
        }
        text.to_uppercase()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match env::args().nth(1).as_deref() {
        Some("child") => serve_stdio(PluginServer::new(Upper)).await,
        _ => host().await,
    }
}

async fn host() -> Result<(), Error> {
    // This very program, in its other role. Without a `Restart` policy, and in one line, it is
    // `PluginClient::spawn(command).await?`, with `use rpc_core::Client`.
    let mut command = Command::new(env::current_exe().expect("this program is a file"));
    command.arg("child");
    let channel = Channel::builder_for(command).restart(Restart::on_failure());
    let plugin = PluginClient::new(channel.connect().await?);

    let first = plugin.describe().await?;
    println!("the plug-in is {first}");
    println!(
        "transform(\"hello\") = {}",
        plugin.transform("hello").await?
    );

    let error = plugin.transform("").await.expect_err("it exits");
    println!("transform(\"\"): {error}; executed: {}", error.executed());

    let second = plugin.describe().await?;
    assert_ne!(first, second, "another process answers");
    println!(
        "the plug-in is back: {}",
        plugin.transform("and well").await?
    );
    Ok(())
}
