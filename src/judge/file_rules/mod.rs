//! Rules about the program files of the processes. A process that could not be read is not accused.

use super::rules::Subject;
use crate::findings::file::{DeletedExecutable, OddExecutable, OddProgram, Place};
use crate::findings::{Evidence, Running};
use crate::join::Entry;
use crate::model::{Exe, ExeState, Process};

fn running(process: &Process, exe: &Exe) -> Running {
    Running { pid: process.pid, name: process.name.clone(), exe: exe.path.clone() }
}

fn programs<'l>(listener: &'l Entry) -> impl Iterator<Item = (&'l Process, &'l Exe)> {
    listener.processes.iter().filter_map(|process| Some((&**process, process.exe.as_ref()?)))
}

/// A file that was replaced is an upgrade's doing; one that is gone is a question. What runs from memory never had
/// a file, which is odd in another way.
pub(super) fn deleted_executable(subject: &Subject<'_>) -> Option<Evidence> {
    let those = |state: ExeState| {
        programs(subject.listener)
            .filter(|(_, exe)| exe.state == state)
            .map(|(process, exe)| running(process, exe))
            .collect::<Vec<_>>()
    };
    let (replaced, gone) = (those(ExeState::Replaced), those(ExeState::Deleted));
    (!replaced.is_empty() || !gone.is_empty()).then(|| DeletedExecutable { replaced, gone }.into())
}

pub(super) fn odd_executable(subject: &Subject<'_>) -> Option<Evidence> {
    let odd = |(process, exe): (&Process, &Exe)| {
        Some(OddProgram { running: running(process, exe), place: odd_place(exe)? })
    };
    let found: Vec<OddProgram> = programs(subject.listener).filter_map(odd).collect();
    (!found.is_empty()).then(|| OddExecutable { found }.into())
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

#[cfg(test)]
mod tests;
