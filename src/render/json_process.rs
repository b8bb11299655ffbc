//! Processes in JSON.

use jiff::Timestamp;
use serde::Serialize;

use super::json_container::ContainerRow;
use crate::model::{ExeState, Origin, OriginKind, Parent, Pid, Process};

#[derive(Default, Serialize)]
pub(super) struct ProcessRow<'a> {
    pid: Pid,
    name: Option<&'a str>,
    exe: Option<&'a str>,
    exe_state: Option<ExeState>,
    exe_deleted: Option<bool>,
    origin: Option<ProgramOrigin<'a>>,
    script: Option<Script<'a>>,
    cmdline: Option<&'a [String]>,
    cwd: Option<&'a str>,
    project: Option<&'a str>,
    state: Option<&'static str>,
    uid: Option<u32>,
    user: Option<&'a str>,
    started: Option<Timestamp>,
    parents: Option<&'a [Parent]>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    container_details: Option<ContainerRow<'a>>,
}

impl<'a> ProcessRow<'a> {
    /// Returns the row of a process that could not be read.
    pub(super) fn of_pid(pid: Pid) -> Self {
        ProcessRow { pid, ..ProcessRow::default() }
    }

    pub(super) fn new(process: &'a Process) -> Self {
        let exe = process.exe.as_ref();
        ProcessRow {
            pid: process.pid,
            name: process.name.as_deref(),
            exe: exe.map(|exe| exe.path.as_str()),
            exe_state: exe.map(|exe| exe.state),
            exe_deleted: exe.map(crate::model::Exe::is_deleted),
            origin: process.origin.as_ref().map(ProgramOrigin::new),
            script: process.script.as_ref().map(Script::new),
            cmdline: Some(&*process.cmdline).filter(|cmdline| !cmdline.is_empty()),
            cwd: process.cwd.as_deref(),
            project: process.project.as_deref(),
            state: process.state.map(state_name),
            uid: process.uid,
            user: process.user.as_deref(),
            started: process.started,
            parents: Some(&process.parents),
            unit: process.unit.as_deref(),
            container: process.container_name(),
            container_details: process.container_details.as_deref().map(ContainerRow::new),
        }
    }
}

/// Returns the state of a process by its letter in `/proc/PID/stat` (proc_pid_stat(5)).
const fn state_name(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk-sleep",
        'I' => "idle",
        'T' => "stopped",
        't' => "traced",
        'Z' => "zombie",
        'X' | 'x' => "dead",
        _ => "other",
    }
}

/// The script, archive or class path that an interpreter runs.
#[derive(Serialize)]
struct Script<'a> {
    path: &'a str,
    origin: Option<ProgramOrigin<'a>>,
}

impl<'a> Script<'a> {
    fn new(script: &'a crate::model::Script) -> Self {
        Script { path: &script.path, origin: script.origin.as_ref().map(ProgramOrigin::new) }
    }
}

/// The users who can replace the program file, and the package that installed it.
#[derive(Serialize)]
struct ProgramOrigin<'a> {
    kind: OriginKind,
    writable: Option<&'a str>,
    package: Option<&'a str>,
    version: Option<&'a str>,
    modified: Option<bool>,
}

impl<'a> ProgramOrigin<'a> {
    fn new(origin: &'a Origin) -> Self {
        ProgramOrigin {
            kind: origin.kind,
            writable: origin.writable.as_deref(),
            package: origin.package.as_deref(),
            version: origin.version.as_deref(),
            modified: origin.modified,
        }
    }
}
