//! What the matchmaker may answer instead of doing what it was asked to.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InstanceId, LeaseId, Query, Revision};

/// The expected outcomes of the matchmaker's methods. Each says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nobody offers the service in a version that will do.
    NotFound {
        /// What was looked for.
        query: Query,
        /// The versions on offer that the query does not accept, highest first; at most 16.
        offered: Vec<String>,
    },
    /// The lease is not, or no longer, known.
    LeaseLost {
        /// Which one.
        lease: LeaseId,
    },
    /// The instance is, or was, registered under this incarnation or a higher one.
    StaleIncarnation {
        /// The highest incarnation known; the next registration must exceed it.
        current: u64,
    },
    /// The record has changed since the revision that the caller knows.
    Fenced {
        /// The revision it has now.
        current: Revision,
    },
    /// The instance belongs to another principal.
    NotOwner {
        /// Which one.
        instance: InstanceId,
    },
    /// A service name is malformed.
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A version is not a semantic version.
    InvalidVersion {
        /// The version.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A version requirement is not a semver range.
    InvalidRequirement {
        /// The requirement.
        requirement: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An address is malformed, or means nothing to other processes.
    InvalidAddress {
        /// The address.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A registration is malformed in another way.
    InvalidRegistration {
        /// What is wrong with it.
        problem: String,
    },
    /// The caller has reached a limit.
    QuotaExceeded {
        /// What there would be too much of.
        what: String,
        /// How much is allowed.
        limit: u64,
    },
    /// The store behind the matchmaker could not confirm the change.
    Unavailable {
        /// What went wrong.
        problem: String,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { query, offered } => {
                write!(f, "no instance of {:?}", query.name)?;
                if let Some(requirement) = &query.version_requirement {
                    write!(f, " in a version that matches {requirement:?}")?;
                }
                f.write_str(" is registered; ")?;
                if offered.is_empty() {
                    f.write_str("start the service, or check the name against `matchmaker list`")
                } else {
                    write!(f, "versions on offer: {}", offered.join(", "))
                }
            }
            Self::LeaseLost { lease } => write!(
                f,
                "lease {:x} has ended (it expired, its connection closed, or the matchmaker \
                 restarted); register again",
                lease.0
            ),
            Self::StaleIncarnation { current } => write!(
                f,
                "the instance has been registered as incarnation {current} already; register with \
                 a higher one"
            ),
            Self::Fenced { current } => write!(
                f,
                "the record has changed since and is now at revision {current}; use the revision \
                 of the last registration"
            ),
            Self::NotOwner { instance } => write!(
                f,
                "instance {instance} belongs to another principal; draw a new instance id, or act \
                 as the user that registered it"
            ),
            Self::InvalidName { name, problem } => {
                write!(f, "invalid service name {name:?}: {problem}")
            }
            Self::InvalidVersion { version, problem } => {
                write!(
                    f,
                    "invalid version {version:?}: {problem}; write it as in 1.2.0"
                )
            }
            Self::InvalidRequirement {
                requirement,
                problem,
            } => write!(
                f,
                "invalid version requirement {requirement:?}: {problem}; write it as in ^1, \
                 \">=1.2, <2\" or 1.2.*"
            ),
            Self::InvalidAddress { address, problem } => {
                write!(f, "address {address:?} cannot be registered: {problem}")
            }
            Self::InvalidRegistration { problem } => write!(f, "invalid registration: {problem}"),
            Self::QuotaExceeded { what, limit } => write!(
                f,
                "too many or too large: {what} (the limit is {limit}); release some, or raise the \
                 matchmaker's limit"
            ),
            Self::Unavailable { problem } => write!(
                f,
                "the matchmaker's store could not confirm the change: {problem}; try again"
            ),
        }
    }
}

impl StdError for RegistryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_found_names_what_is_on_offer() {
        let query = Query::new("Calculator").with_version("^2");
        let error = RegistryError::NotFound {
            query,
            offered: vec!["1.2.0".into()],
        };
        assert_eq!(
            error.to_string(),
            "no instance of \"Calculator\" in a version that matches \"^2\" is registered; \
             versions on offer: 1.2.0"
        );
    }
}
