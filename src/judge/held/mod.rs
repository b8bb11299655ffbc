//! What is wrong with a listener whatever its port: what its holders run, and what becomes of who connects.
//!
//! Each rule looks at one listener and its holders. A holder that could not be read is not accused.

use crate::join::Entry;
use crate::model::{
    Evidence, Exe, ExeState, OddProgram, Owner, Place, Process, Protocol, Running, Snapshot, State,
};

/// Everything there is to say.
pub(super) fn evidence(listener: &Entry, observation: &Snapshot) -> impl Iterator<Item = Evidence> + use<> {
    [
        deleted_executable(listener),
        odd_executable(listener),
        backlog_full(listener),
        bound_only(listener, observation),
        kernel(listener),
    ]
    .into_iter()
    .flatten()
}

fn running(process: &Process, exe: &Exe) -> Running {
    Running { pid: process.pid, name: process.name.clone(), exe: exe.path.clone() }
}

fn programs<'l>(listener: &'l Entry) -> impl Iterator<Item = (&'l Process, &'l Exe)> {
    listener.processes.iter().filter_map(|process| Some((&**process, process.exe.as_ref()?)))
}

/// A file that was replaced is an upgrade's doing; one that is gone is a question. What runs from memory never had
/// a file, which is odd in another way.
fn deleted_executable(listener: &Entry) -> Option<Evidence> {
    let those = |state: ExeState| {
        programs(listener)
            .filter(|(_, exe)| exe.state == state)
            .map(|(process, exe)| running(process, exe))
            .collect::<Vec<_>>()
    };
    let (replaced, gone) = (those(ExeState::Replaced), those(ExeState::Deleted));
    (!replaced.is_empty() || !gone.is_empty()).then_some(Evidence::DeletedExecutable { replaced, gone })
}

fn odd_executable(listener: &Entry) -> Option<Evidence> {
    let odd = |(process, exe): (&Process, &Exe)| {
        Some(OddProgram { running: running(process, exe), place: odd_place(exe)? })
    };
    let found: Vec<OddProgram> = programs(listener).filter_map(odd).collect();
    (!found.is_empty()).then_some(Evidence::OddExecutable { found })
}

/// What is odd about where a file lies, the gravest. The name of the file itself does not count: NixOS hides the
/// programs that it wraps.
fn odd_place(exe: &Exe) -> Option<Place> {
    if exe.state == ExeState::Memfd {
        return Some(Place::Memory);
    }
    if let Some(folder) = exe.open_folders.iter().flatten().next() {
        return Some(Place::WorldWritable { folder: folder.clone() });
    }
    let mut folder = exe.path.as_str();
    while let Some((above, _)) = folder.rsplit_once('/') {
        folder = above;
        let name = folder.rsplit('/').next().unwrap_or_default();
        if name.starts_with('.') && !matches!(name, "." | "..") {
            return Some(Place::Hidden { folder: folder.to_owned() });
        }
    }
    None
}

/// The kernel refuses new connections when more wait than the limit says, not when as many do (`sk_acceptq_is_full`
/// of net/sock.h): one that waits at a limit of one is an ordinary moment.
fn backlog_full(listener: &Entry) -> Option<Evidence> {
    let socket = &listener.socket;
    let queues = socket.queues?;
    let full = socket.local.protocol == Protocol::Tcp
        && socket.state == State::Listen
        && queues.receive > queues.send;
    full.then_some(Evidence::BacklogFull { waiting: queues.receive, limit: queues.send })
}

fn bound_only(listener: &Entry, observation: &Snapshot) -> Option<Evidence> {
    let socket = &listener.socket;
    if socket.local.protocol != Protocol::Tcp || socket.state != State::Bound {
        return None;
    }
    Some(Evidence::BoundOnly { kernel_range: observation.ephemeral_range(socket) })
}

fn kernel(listener: &Entry) -> Option<Evidence> {
    let socket = &listener.socket;
    (socket.owner == Owner::Kernel).then_some(Evidence::Kernel { inode: socket.inode })
}

#[cfg(test)]
mod tests;
