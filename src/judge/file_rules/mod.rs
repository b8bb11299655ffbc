//! Rules about the program files of processes. A process that could not be read has no finding.

use super::subject::JudgedListener;
use crate::findings::file::{
    DeletedExecutable, ModifiedExecutable, ModifiedProgram, RunningScript, RunsFromMemory,
    WritableExecutable, WritableProgram,
};
use crate::findings::{Evidence, RunningProgram};
use crate::join::Entry;
use crate::model::{Exe, ExeState, Origin, OriginKind, Process, ReplaceableBy, Severity};

fn running(process: &Process, exe: &Exe) -> RunningProgram {
    RunningProgram { pid: process.pid, name: process.name.clone(), exe: exe.path.clone() }
}

fn programs(listener: &Entry) -> impl Iterator<Item = (&Process, &Exe)> {
    listener.processes.iter().filter_map(|process| Some((&**process, process.exe.as_ref()?)))
}

fn with_state(entry: &Entry, state: ExeState) -> Vec<RunningProgram> {
    programs(entry)
        .filter(|(_, exe)| exe.state == state)
        .map(|(process, exe)| running(process, exe))
        .collect()
}

/// Returns the evidence of `deleted-executable`. Replaced files are listed apart from deleted files, because an upgrade
/// usually replaces a file. An upgrade deletes a file only if its path contains the version, such as
/// `/usr/lib/jvm/java-17.0.9/bin/java`.
pub(super) fn deleted_executable(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let replaced = with_state(subject.listener, ExeState::Replaced);
    let gone = with_state(subject.listener, ExeState::Deleted);
    let scripts = deleted_scripts(subject.listener);
    let is_upgrade = scripts.is_empty() && gone.iter().all(|program| is_expected(subject, program));
    let severity = if is_upgrade { Severity::Notice } else { Severity::Warning };
    (!replaced.is_empty() || !gone.is_empty() || !scripts.is_empty())
        .then(|| DeletedExecutable { replaced, gone, scripts, severity }.into())
}

/// Returns whether an upgrade probably deleted the program file. Only root could have created this file, and the
/// program is an interpreter or on its usual port.
fn is_expected(subject: &JudgedListener<'_>, program: &RunningProgram) -> bool {
    subject.processes.iter().filter(|one| one.process.pid == program.pid).any(|one| {
        (subject.is_on_own_port() || one.is_interpreted())
            && ReplaceableBy::of_file(one.process) == ReplaceableBy::Root
    })
}

fn deleted_scripts(entry: &Entry) -> Vec<RunningScript> {
    let found = programs(entry).filter_map(|(process, exe)| {
        let script = process.script.as_ref()?;
        let is_deleted = script.origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::Deleted);
        is_deleted.then(|| RunningScript { running: running(process, exe), script: script.path.clone() })
    });
    found.collect()
}

/// Returns the evidence of `modified-executable`. A file without a checksum in its package is not judged.
pub(super) fn modified_executable(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let found: Vec<_> = programs(subject.listener)
        .filter_map(|(process, exe)| {
            let origin = process.origin.as_ref().filter(|origin| origin.modified == Some(true))?;
            let (package, version) = (origin.package.clone()?, origin.version.clone());
            Some(ModifiedProgram { running: running(process, exe), package, version })
        })
        .collect();
    (!found.is_empty()).then(|| ModifiedExecutable { found }.into())
}

pub(super) fn runs_from_memory(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let found = with_state(subject.listener, ExeState::Memfd);
    (!found.is_empty()).then(|| RunsFromMemory { found }.into())
}

pub(super) fn writable_executable(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let found: Vec<_> = programs(subject.listener)
        .filter(|(_, exe)| exe.state != ExeState::Memfd)
        .filter_map(|(process, exe)| {
            let (script, writable) = world_writable(process, exe)?;
            Some(WritableProgram { running: running(process, exe), script, writable })
        })
        .collect();
    let only_built_for_a_run =
        programs(subject.listener).all(|(process, exe)| is_built_for_a_run(process, exe));
    let severity = if only_built_for_a_run { Severity::Notice } else { Severity::Critical };
    (!found.is_empty()).then(|| WritableExecutable { found, severity }.into())
}

/// Returns whether `go run` or `go test` built the program. The file is then in a directory of the Go tool, such as
/// `/tmp/go-build3123456789/b001/exe/main`. Any user can create this path, so programs of root are not recognized.
fn is_built_for_a_run(process: &Process, exe: &Exe) -> bool {
    let Some(path) = exe.path.strip_prefix("/tmp/go-build") else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (run, package, is_program) = match parts[..] {
        [run, package, "exe", _] => (run, package, true),
        [run, package, test] => (run, package, test.ends_with(".test")),
        _ => return false,
    };
    is_program
        && process.uid.is_some_and(|uid| uid != 0)
        && is_number(run)
        && package.strip_prefix('b').is_some_and(is_number)
}

/// Returns the code that any user can replace, and the world-writable file or directory that makes this possible. The
/// code is the path of a script or library, or `None` for the program file.
fn world_writable(process: &Process, exe: &Exe) -> Option<(Option<String>, String)> {
    let open = |origin: Option<&Origin>| {
        let origin = origin.filter(|origin| origin.kind == OriginKind::Open)?;
        origin.writable.clone()
    };
    if let Some(writable) =
        open(process.origin.as_ref()).or_else(|| exe.open_directories.iter().flatten().next().cloned())
    {
        return Some((None, writable));
    }
    let mut files = process.script.iter().chain(&process.code);
    files.find_map(|file| Some((Some(file.path.clone()), open(file.origin.as_ref())?)))
}

#[cfg(test)]
mod tests;
