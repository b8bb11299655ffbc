//! The policy: the allowed listeners, the required listeners, and the severity of each kind of finding on this host.
//!
//! The first rule whose conditions all match decides. If it is not known whether a rule matches, the listener becomes a
//! gap. This module opens no file, because its caller reads the included files.

mod apply;
mod check;
mod draft;
mod glob;
pub(crate) mod manual;
mod matching;
mod missing;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

use crate::findings::{FindingFamily, Flag};
use crate::model::{Exposure, Network, PortRange, Protocol, Severity};

pub use apply::apply;
pub use check::{Remark, RemarkKind, check, unmatched};
pub use draft::{Draft, DraftNote, Drafted, FlaggedBy, draft, flagging};
pub use glob::Glob;
pub use parse::{Included, parse};

/// The schema of a policy file. A file with another schema is refused.
pub const POLICY_SCHEMA: &str = "portolan.policy/1";

/// The maximum number of rules in all files of a policy.
pub const MOST_RULES: usize = 5_000;

/// The maximum number of files of a policy, including the included files.
pub const MOST_FILES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// The file name, as written on the command line or in `include`.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The reason why a policy cannot be used, in one line, with the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    pub at: Position,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl std::error::Error for PolicyError {}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// The rules for allowed and required listeners. The first rule whose conditions match decides.
    pub allow: Vec<AllowRule>,
    /// The rules for the severity of findings. The first rule whose conditions match decides.
    pub rules: Vec<SeverityRule>,
    pub files: Vec<Arc<str>>,
}

impl Policy {
    /// Returns whether a rule is for listeners outside the network namespace in which portolan runs.
    pub fn names_other_namespaces(&self) -> bool {
        let mut namespaces = self.allow.iter().flat_map(|rule| &rule.namespaces);
        namespaces.any(|namespaces| *namespaces != Namespaces::Own)
    }
}

/// A rule that allows listeners. A listener must meet every condition. An empty list is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AllowRule {
    /// The unique name of the rule, which every verdict shows.
    pub id: String,
    pub at: Position,
    /// The hosts on which the rule applies; empty for all hosts.
    pub hosts: Vec<Glob>,
    pub ports: Vec<Ports>,
    pub protocols: Vec<Protocol>,
    /// The local addresses to which the socket may be bound.
    pub addresses: Vec<Network>,
    pub exposures: Vec<Exposure>,
    pub devices: Vec<Glob>,
    /// The program files. Each process must run one of these files.
    pub executables: Vec<ExecutablePattern>,
    /// What interpreters and relays run: scripts, modules, classes, code or destinations. Each process must run one of
    /// them.
    pub runs: Vec<Glob>,
    /// The users. Each process, or a socket of the kernel, must belong to one of these users.
    pub users: Vec<User>,
    /// The systemd units. Each process must be in one of these units.
    pub units: Vec<Glob>,
    /// The containers. Each process must be in one of these containers.
    pub containers: Vec<Glob>,
    /// The network namespaces; empty for the namespace in which portolan runs.
    pub namespaces: Vec<Namespaces>,
    pub reason: Option<String>,
    /// The person or team that is responsible for the rule.
    pub owner: Option<String>,
    /// The last day on which the rule applies (UTC).
    pub expires: Option<Date>,
    /// The findings that the rule accepts, in addition to findings about the purpose of the port.
    pub accept: Vec<Flag>,
    /// Whether a listener must exist for each combination of protocol, address and port. A port range counts as one
    /// port, and a block of addresses as one address.
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ports {
    Range(PortRange),
    /// The ports that the kernel of the host gives to programs that request any port.
    Ephemeral,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutablePattern {
    Kernel,
    File(Glob),
}

impl ExecutablePattern {
    /// Parses `kernel`, or a pattern of a program's path. A pattern that cannot match an absolute path is refused.
    pub fn named(text: &str) -> Result<Self, String> {
        if text == "kernel" {
            return Ok(ExecutablePattern::Kernel);
        }
        let drive = text.chars().nth(1) == Some(':');
        if !text.starts_with(['/', '\\', '*', '?', '[']) && !drive {
            return Err(format!(
                "\"{text}\" is not an absolute path: write the whole path, \"**/{text}\" for any directory, or \"kernel\" for \
                 sockets of the kernel"
            ));
        }
        Glob::new(text).map(ExecutablePattern::File).map_err(|why| format!("bad pattern \"{text}\": {why}"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    Name(String),
    Number(u32),
}

impl User {
    /// Parses a user name, or a user ID if the text is digits.
    pub fn named(text: &str) -> Self {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map_or_else(|| User::Name(text.to_owned()), User::Number)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// The namespace in which portolan runs.
    Own,
    /// Another namespace without a name.
    Unnamed,
    /// Another namespace, by its name.
    Named(Glob),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeverityRule {
    pub id: String,
    pub at: Position,
    /// The hosts on which the rule applies; empty for all hosts.
    pub hosts: Vec<Glob>,
    pub codes: Vec<Flag>,
    /// The severity; `None` if the rule removes the findings.
    pub severity: Option<Severity>,
    pub reason: String,
    pub owner: Option<String>,
    /// The last day on which the rule applies (UTC).
    pub expires: Option<Date>,
}

/// Returns whether a finding is only about the purpose of a port. If a rule allows the listener, such a finding becomes
/// less severe.
pub fn questions_the_port(flag: Flag) -> bool {
    flag.family() == FindingFamily::Registry
}

impl AllowRule {
    /// Returns whether the rule has no condition, or only conditions on the protocol, the namespace and the host.
    pub fn allows_everything(&self) -> bool {
        let every = |text: &str| text.parse().is_ok_and(|network: Network| self.addresses.contains(&network));
        (self.ports.is_empty() || covers_all_ports(&self.ports))
            && (self.addresses.is_empty() || (every("0.0.0.0/0") && every("::/0")))
            && (self.exposures.is_empty() || Exposure::ALL.iter().all(|e| self.exposures.contains(e)))
            && (self.executables.is_empty()
                || self.executables.iter().any(|p| matches!(p, ExecutablePattern::File(glob) if glob.matches_all() || glob.is_every_path())))
            && self.users.is_empty()
            && self.runs.is_empty()
            // Some listeners have no device, unit or container. Even a pattern for any name excludes these listeners.
            && self.devices.is_empty()
            && self.units.is_empty()
            && self.containers.is_empty()
    }
}

fn covers_all_ports(ports: &[Ports]) -> bool {
    let mut ranges: Vec<PortRange> = ports
        .iter()
        .filter_map(|ports| match ports {
            Ports::Range(range) => Some(*range),
            Ports::Ephemeral => None,
        })
        .collect();
    ranges.sort();
    let mut next: u32 = 1;
    for range in ranges {
        if u32::from(range.low) > next {
            return false;
        }
        next = next.max(u32::from(range.high) + 1);
    }
    next > u32::from(u16::MAX)
}
