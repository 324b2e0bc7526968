//! What a child process does for the test that started it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_core::{Context, service};

/// Everything that a child may do to its parent.
#[service(name = "test.Plugin")]
pub trait Plugin {
    /// Answers with its argument.
    async fn echo(&self, value: u64) -> u64;

    /// Answers after a pause with its argument.
    async fn pause(&self, value: u64, pause: Duration) -> u64;

    /// Who answers.
    async fn pid(&self) -> u32;

    /// What the process was started with.
    async fn arguments(&self) -> Vec<String>;

    /// Prints a line, as one does who looks for a mistake.
    async fn print(&self, line: &str);

    /// Answers with so many bytes. The process exits with `code` soon after it has answered `last`
    /// of these calls.
    async fn last_words(&self, bytes: usize, last: u32, code: i32) -> Vec<u8>;

    /// Exits at once.
    async fn exit(&self, code: i32);

    /// Waits for ever.
    async fn hang(&self);

    /// Computes for ever, on the only thread there is.
    async fn spin(&self);

    /// How many bytes came.
    async fn length(&self, bytes: &[u8]) -> usize;

    /// Has its caller echo `value`.
    async fn ask_back(&self, value: u64) -> Option<u64>;
}

/// Does it.
#[derive(Debug, Default)]
pub struct Child {
    answered: AtomicU32,
}

impl Plugin for Child {
    async fn echo(&self, value: u64) -> u64 {
        value
    }

    async fn pause(&self, value: u64, pause: Duration) -> u64 {
        tokio::time::sleep(pause).await;
        value
    }

    async fn pid(&self) -> u32 {
        std::process::id()
    }

    async fn arguments(&self) -> Vec<String> {
        std::env::args().skip(1).collect()
    }

    async fn print(&self, line: &str) {
        println!("{line}");
    }

    async fn last_words(&self, bytes: usize, last: u32, code: i32) -> Vec<u8> {
        if self.answered.fetch_add(1, Ordering::Relaxed) + 1 == last {
            // Its answer leaves with those before it as soon as this function is over.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                std::process::exit(code);
            });
        }
        vec![7; bytes]
    }

    async fn exit(&self, code: i32) {
        std::process::exit(code)
    }

    async fn hang(&self) {
        std::future::pending().await
    }

    async fn spin(&self) {
        loop {
            std::hint::spin_loop();
        }
    }

    async fn length(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    async fn ask_back(&self, value: u64) -> Option<u64> {
        let caller = PluginClient::new(Context::current().caller()?);
        caller.echo(value).await.ok()
    }
}
