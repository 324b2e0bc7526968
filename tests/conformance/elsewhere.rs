//! Sites whose servers have their clients in other processes, which run the same case.

use std::collections::HashMap;
use std::env;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::book;
use super::service::LATEST;
use super::site::ANOTHER;

/// Names the variables that say where the servers of a case are.
const VARIABLE: &str = "CONFORMANCE_SITE_";

/// Where servers are.
static ADDRESSES: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

/// This program, made to run this case alone.
pub(crate) fn same_case(case: &str) -> Command {
    let test = case.trim_end_matches(ANOTHER);
    let mut command = Command::new("/proc/self/exe");
    command.args([test, "--exact", "--nocapture"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let log = LATEST.with_borrow(Clone::clone).expect("there is a log");
    command.env(book::VARIABLE, book::share(log));
    let addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
    for (other, address) in addresses.iter().flatten() {
        if other.trim_end_matches(ANOTHER) == test {
            command.env(format!("{VARIABLE}{other}"), address);
        }
    }
    command
}

/// Notes where the server of a site is. In a process that serves for the case, says where the
/// server of the test is.
pub(crate) fn meet(case: &str, address: Option<String>) -> Option<String> {
    if let Ok(there) = env::var(format!("{VARIABLE}{case}")) {
        return Some(there);
    }
    let mut addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
    let addresses = addresses.get_or_insert_default();
    addresses.insert(case.to_owned(), address.clone()?);
    address
}
