//! The probable owner of a socket whose owner is hidden.

use super::Process;

/// The process that probably owns a socket with a hidden owner: the control group of the socket has no other program.
/// No rule uses this process, because the scan did not see that it owns the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredOwner {
    /// The process that started the others. Only its public data is known.
    pub process: Process,
    /// The number of processes in the control group, all of which run the same program.
    pub count: usize,
}
