//! The subject of a condition: an entry, or an address at which an audit found no listener.

use super::Answer;
use crate::findings::Finding;
use crate::join::Subject;
use crate::model::{Exposure, Owner, Process, Socket};

/// The processes of an entry that must match: at least one process for a filter, every process for a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    Every,
}

impl<'a> Subject<'a> {
    pub(crate) fn socket(&self) -> Option<&'a Socket> {
        match self {
            Subject::Entry(entry) => Some(&entry.socket),
            Subject::NoListener { .. } => None,
        }
    }

    pub(crate) fn exposure(&self) -> Option<Exposure> {
        match self {
            Subject::Entry(entry) => Some(entry.exposure),
            Subject::NoListener { address, .. } => address.map(|address| Exposure::of(address, None)),
        }
    }

    pub(crate) fn findings(&self) -> Option<&'a [Finding]> {
        match self {
            Subject::Entry(entry) => Some(entry.findings()),
            Subject::NoListener { .. } => None,
        }
    }

    /// Returns the processes that could be read.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &'a Process> + use<'a> {
        let processes = match self {
            Subject::Entry(entry) => &entry.processes[..],
            Subject::NoListener { .. } => &[],
        };
        processes.iter().map(|process| &**process)
    }

    /// Asks about the processes that own a socket. A process that could not be read gives the answer `Unknown`, and so
    /// does an address without a listener. A socket of the kernel gives the answer `No`.
    pub(crate) fn ask_processes(&self, quantifier: Quantifier, is: impl Fn(&'a Process) -> Answer) -> Answer {
        let Some(socket) = self.socket() else { return Answer::Unknown };
        let unread = match &socket.owner {
            Owner::Kernel => return Answer::No,
            Owner::Held(pids) if pids.len() == self.processes().count() => None,
            _ => Some(Answer::Unknown),
        };
        let answers = self.processes().map(is).chain(unread);
        match quantifier {
            Quantifier::Any => Answer::any(answers),
            Quantifier::Every => Answer::all(answers),
        }
    }
}
