//! What a deep look found: ports that are taken though no table shows by whom, and tables that contradict each other.

use std::net::IpAddr;

use serde::Serialize;

use super::{Family, Gap, Netns, Note, Protocol, State, named};

named! {
    /// A place where the system tells of its sockets.
    pub enum Source {
        /// The kernel's socket diagnosis, asked by this program itself.
        Netlink = "netlink",
        /// The text tables below `/proc`.
        ProcNet = "proc-net",
        /// The same diagnosis, asked and read by the crate netstat2.
        Netstat2 = "netstat2",
    }
}

/// A socket that one source shows and another does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local address.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Its state, where a source that shows it tells.
    pub state: Option<State>,
    /// Its inode.
    pub inode: u64,
    /// Its network namespace; `None` where it is the observer's own.
    pub netns: Option<Netns>,
    /// Who shows it.
    pub shown_by: Vec<Source>,
    /// Who does not.
    pub missing_from: Vec<Source>,
}

/// A port that cannot be bound because it is taken, although no table shows a socket that takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TakenPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The family it was tried in.
    pub family: Family,
    /// The port.
    pub port: u16,
    /// The network namespace; `None` where it is the observer's own.
    pub netns: Option<Netns>,
    /// How often it was tried, and found taken each time.
    pub tries: u32,
    /// Whether the tables would have shown a TCP socket that is bound and does not listen. Where not, it may be one.
    pub bound_told: bool,
}

/// Everything a deep look found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeepLook {
    /// How many network namespaces were looked into.
    pub namespaces: u64,
    /// How many sockets the sources were compared on.
    pub sockets: u64,
    /// How many ports were tried, each protocol and family by itself.
    pub ports: u64,
    /// Where the sources differ.
    pub disagreements: Vec<Disagreement>,
    /// What is taken and not shown.
    pub taken: Vec<TakenPort>,
    /// What could not be looked at.
    pub gaps: Vec<Gap>,
    /// What such a look cannot find.
    pub notes: Vec<Note>,
}
