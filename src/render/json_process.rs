//! Processes in JSON.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::json_container::ContainerRow;
use crate::model::{Exe, Origin, OriginKind, Pid, Process};

/// A process that owns a socket. If the process could not be read, only its pid is known.
pub(super) struct ProcessRow<'a> {
    pub(super) pid: Pid,
    pub(super) process: Option<&'a Process>,
}

impl Serialize for ProcessRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let process = self.process;
        let exe = process.and_then(|process| process.exe.as_ref());
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("pid", &self.pid)?;
        fields.serialize_entry("name", &process.and_then(|p| p.name.as_deref()))?;
        fields.serialize_entry("exe", &exe.map(|exe| &exe.path))?;
        fields.serialize_entry("exe_state", &exe.map(|exe| exe.state))?;
        fields.serialize_entry("exe_deleted", &exe.map(Exe::is_deleted))?;
        fields.serialize_entry("loader", &process.and_then(|p| p.loader.as_deref()))?;
        fields.serialize_entry("origin", &process.and_then(|p| p.origin.as_ref()).map(ProgramOrigin::new))?;
        fields.serialize_entry("script", &process.and_then(|p| p.script.as_ref()).map(Script::new))?;
        fields
            .serialize_entry("cmdline", &process.map(|p| &p.cmdline).filter(|cmdline| !cmdline.is_empty()))?;
        fields.serialize_entry("cwd", &process.and_then(|p| p.cwd.as_deref()))?;
        fields.serialize_entry("project", &process.and_then(|p| p.project.as_deref()))?;
        fields.serialize_entry("state", &process.and_then(|p| p.state).map(state_name))?;
        fields.serialize_entry("uid", &process.and_then(|p| p.uid))?;
        fields.serialize_entry("user", &process.and_then(|p| p.user.as_deref()))?;
        fields.serialize_entry("started", &process.and_then(|p| p.started))?;
        fields.serialize_entry("parents", &process.map(|p| &p.parents))?;
        fields.serialize_entry("unit", &process.and_then(|p| p.unit.as_deref()))?;
        fields.serialize_entry("container", &process.and_then(|p| p.container_name()))?;
        fields.serialize_entry(
            "container_details",
            &process.and_then(|p| p.container_details.as_deref()).map(ContainerRow::new),
        )?;
        fields.end()
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
