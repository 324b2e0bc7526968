//! Runs a program that may do less than this one.
//!
//! ```text
//! test-confined [--user UID GID] [--without-sockets] PROGRAM ARGS..
//! ```
//!
//! As another user, who is in no other group; or so that socket(2) and socketpair(2) fail as not
//! permitted, in the program and in all that it starts, as in some sandboxes. It becomes the
//! program: in such a sandbox `std` cannot start a child as another user, because it wants a
//! socketpair for that.

#[cfg(target_os = "linux")]
fn main() {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    let mut arguments = std::env::args_os().skip(1).peekable();
    let mut user = None;
    if arguments.next_if(|argument| argument == "--user").is_some() {
        let mut number = || arguments.next()?.to_str()?.parse::<u32>().ok();
        user = number().zip(number());
        assert!(user.is_some(), "two numbers follow upon --user");
    }
    let refuses = arguments.next_if(|argument| argument == "--without-sockets");
    let mut command = Command::new(arguments.next().expect("a program"));
    command.args(arguments);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    if refuses.is_some() {
        refuse_sockets();
    }
    let error = command.exec();
    panic!("{command:?}: {error}");
}

#[cfg(target_os = "linux")]
fn refuse_sockets() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

    /// The numbers of socket(2) and socketpair(2).
    const REFUSED: [i64; 2] = if cfg!(target_arch = "x86_64") {
        [41, 53]
    } else {
        // The table that all younger architectures share.
        [198, 199]
    };
    const NOT_PERMITTED: u32 = 1;

    let filter = SeccompFilter::new(
        REFUSED.map(|number| (number, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::Errno(NOT_PERMITTED),
        TargetArch::try_from(std::env::consts::ARCH).expect("a machine with seccomp"),
    );
    let filter: BpfProgram = filter
        .and_then(BpfProgram::try_from)
        .expect("the filter is right");
    apply_filter(&filter).expect("a filter can be set");
}

#[cfg(not(target_os = "linux"))]
fn main() {
    panic!("this system has no such filter");
}
