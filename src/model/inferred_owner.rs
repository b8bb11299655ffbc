//! The probable owner of a socket whose owner is hidden.

use super::Process;

/// The process that probably owns a hidden socket: the control group of the socket has no other program. The socket
/// itself was not seen in the process, so no rule uses this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredOwner {
    /// The process that started the others. Only its public data is known.
    pub process: Process,
    /// The number of processes in the control group, all of which run the same program.
    pub count: usize,
}
