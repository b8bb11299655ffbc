//! The probable owner of a socket whose owner is hidden.

use super::{Peer, Process};

/// The process that probably owns a socket with a hidden owner. Nothing proves that the process has the socket, so the
/// rules of an audit do not judge this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredOwner {
    /// The process, with only the data that every user can read.
    pub process: Process,
    /// The reason why the process is the probable owner.
    pub evidence: OwnerEvidence,
}

/// The reason why a process probably owns a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerEvidence {
    /// All processes in the control group of the socket run the same program. This process started the other processes.
    OnlyProgram {
        /// The number of processes in the control group.
        count: usize,
    },
    /// Only this process of the control group runs as the user of the socket and has the port on its command line. A
    /// shell that started this process does not count.
    NamesPort,
    /// Only this process of the socket's unit runs as the user of the socket and can be a server. Shells do not count,
    /// and neither do programs of a login session, such as tmux.
    OnlyServer,
    /// The process is docker-proxy. Its command line names the protocol, address and port of the socket, and this
    /// destination.
    Forwards(Peer),
}
