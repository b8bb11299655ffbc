//! The probable owner of a socket whose owner is hidden.

use super::{Peer, Process};

/// The process that probably owns a socket with a hidden owner. The scan did not see that the process has the socket, so
/// no rule uses this process.
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
    /// The control group of the socket has no other program. The process started the other processes of the group.
    OnlyProgram {
        /// The number of processes in the control group.
        count: usize,
    },
    /// Of the processes in the control group, only this one runs as the user of the socket and has the port on its
    /// command line. A shell that started the process does not count.
    NamesPort,
    /// Of the processes in the unit of the socket, only this one runs as the user of the socket and is neither a shell
    /// nor part of a login session, such as tmux.
    OnlyServer,
    /// The command line of docker-proxy names the protocol, address and port of the socket, and this destination.
    Forwards(Peer),
}
