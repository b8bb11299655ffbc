//! What a test is about: an entry, or a place where an audit found no entry.

use std::net::IpAddr;

use super::Answer;
use crate::findings::Finding;
use crate::join::Entry;
use crate::model::{Exposure, Owner, Process, Protocol, Socket};

/// An entry or a place.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    Entry(&'a Entry),
    /// A place where a policy requires an entry, or where an entry used to be; `None` means any.
    Place {
        protocol: Option<Protocol>,
        address: Option<IpAddr>,
        port: Option<u16>,
    },
}

/// How many of an entry's processes must match: one is enough for a filter, a policy asks for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    Every,
}

impl<'a> Subject<'a> {
    pub(crate) fn socket(&self) -> Option<&'a Socket> {
        match self {
            Subject::Entry(entry) => Some(&entry.socket),
            Subject::Place { .. } => None,
        }
    }

    pub(crate) fn protocol(&self) -> Option<Protocol> {
        match self {
            Subject::Entry(entry) => Some(entry.socket.local.protocol),
            Subject::Place { protocol, .. } => *protocol,
        }
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Subject::Entry(entry) => Some(entry.socket.local.address),
            Subject::Place { address, .. } => *address,
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Subject::Entry(entry) => Some(entry.socket.local.port),
            Subject::Place { port, .. } => *port,
        }
    }

    pub(crate) fn exposure(&self) -> Option<Exposure> {
        match self {
            Subject::Entry(entry) => Some(entry.exposure),
            Subject::Place { address, .. } => address.map(|address| Exposure::of(address, None)),
        }
    }

    pub(crate) fn findings(&self) -> Option<&'a [Finding]> {
        match self {
            Subject::Entry(entry) => Some(entry.findings()),
            Subject::Place { .. } => None,
        }
    }

    /// Returns the processes that could be read.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &'a Process> + use<'a> {
        let processes = match self {
            Subject::Entry(entry) => &entry.processes[..],
            Subject::Place { .. } => &[],
        };
        processes.iter().map(|process| &**process)
    }

    /// Asks about the processes that own a socket. A process that could not be read is `Unknown`; so is every process of a
    /// place. The kernel is not a process: the answer for its sockets is no.
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
