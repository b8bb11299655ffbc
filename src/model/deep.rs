//! The results of a deep scan: ports that are in use without a visible socket, and tables that contradict each other.

use std::net::IpAddr;

use serde::Serialize;

use super::{Family, Gap, Netns, Note, Protocol, State, named};

named! {
    /// A source that lists the system's sockets.
    pub enum Source {
        /// `sock_diag`, queried by this program itself.
        Netlink = "netlink",
        /// The text tables below `/proc`.
        ProcNet = "proc-net",
        /// `sock_diag`, queried and parsed by the crate netstat2.
        Netstat2 = "netstat2",
    }
}

/// A socket that one source shows and another source does not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local address.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// The state, if known.
    pub state: Option<State>,
    /// Its inode.
    pub inode: u64,
    /// The network namespace of the socket; `None` for the namespace in which portolan runs.
    pub netns: Option<Netns>,
    /// The sources that show the socket.
    pub shown_by: Vec<Source>,
    /// The sources that do not show the socket.
    pub missing_from: Vec<Source>,
}

/// A port that cannot be bound because it is in use, although no table shows a socket on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TakenPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address family in which the port was tried.
    pub family: Family,
    /// The port.
    pub port: u16,
    /// The network namespace; `None` for the namespace in which portolan runs.
    pub netns: Option<Netns>,
    /// The number of attempts to bind the port. All failed because the port was in use.
    pub tries: u32,
    /// Whether the tables show TCP sockets that are bound but do not listen. If false, a bound socket may be using the
    /// port.
    #[serde(rename = "bound_told")]
    pub lists_bound_sockets: bool,
}

/// The results of a deep scan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeepScanResult {
    /// The number of network namespaces that were scanned.
    pub namespaces: u64,
    /// The number of sockets that were compared.
    pub sockets: u64,
    /// The number of ports that were tried, counted separately for each protocol and family.
    pub ports: u64,
    /// The sockets on which the sources differ.
    pub disagreements: Vec<Disagreement>,
    /// The ports that are in use without a visible socket.
    pub taken: Vec<TakenPort>,
    /// The parts that could not be scanned.
    pub gaps: Vec<Gap>,
    /// The limits of a deep scan.
    pub notes: Vec<Note>,
}
