//! Findings about the program file of a process.

use serde::Serialize;

use super::text::{FEW, first_of};
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback, RunningProgram};
use crate::model::Severity;

/// A program runs from memory. It has no file, or its file existed only in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunsFromMemory {
    pub found: Vec<RunningProgram>,
}

impl FindingKind for RunsFromMemory {
    const INFO: FindingInfo = FindingInfo {
        code: "runs-from-memory",
        family: FindingFamily::File,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Lower,
        description: "the program runs from memory, without a file on disk",
        why: "Installed programs have a file; code that avoids the disk avoids scanners and package checks.",
        remedy: "find out who started the process before you end it: the program is not on disk, and is lost when the process ends",
    };

    fn sentence(&self) -> String {
        let runs = if self.found.len() > 1 { "run" } else { "runs" };
        format!("{} {runs} from memory, without a file on disk.", RunningProgram::list(&self.found))
    }
}

/// A program with a file that any user can replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WritableProgram {
    #[serde(flatten)]
    pub running: RunningProgram,
    /// The script, jar, class path or library that any user can replace; `None` if any user can replace the program
    /// file itself.
    pub script: Option<String>,
    /// The world-writable file or directory that lets any user replace the file.
    pub writable: String,
}

/// Any user can replace the program file, script, class path or library that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WritableExecutable {
    pub found: Vec<WritableProgram>,
    /// Notice if a build tool built every program for a single run, otherwise critical.
    #[serde(skip)]
    pub severity: Severity,
}

impl WritableProgram {
    fn text(&self) -> String {
        let program = self.running.text();
        let runs = match &self.script {
            Some(script) => format!("{program} runs {script}"),
            None => program,
        };
        format!("{runs}; {} is world-writable", self.writable)
    }
}

impl FindingKind for WritableExecutable {
    const INFO: FindingInfo = FindingInfo {
        code: "writable-executable",
        family: FindingFamily::File,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Lower,
        description: "any user can write to the program file, script, class path or library, or to a directory above it",
        why: "Any user can put code there, and the service runs this code with its own rights.",
        remedy: "find out who put the code there; if the service is intended, install it in a directory \
            that only root can write to, such as /usr/local/bin",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Notice, Severity::Critical];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let programs: Vec<String> = self.found.iter().map(WritableProgram::text).collect();
        format!(
            "Any user can write to the program, script or library, or to a directory above it: {}.",
            first_of(&programs, FEW)
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningScript {
    #[serde(flatten)]
    pub running: RunningProgram,
    pub script: String,
}

/// The program file or the script is gone, or the program file was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeletedExecutable {
    /// Processes with another file at the path of their program file.
    pub replaced: Vec<RunningProgram>,
    /// Processes without a file at the path of their program file.
    pub gone: Vec<RunningProgram>,
    /// Interpreters whose script is gone. A replaced script is not listed, because the interpreter may have read the
    /// new file.
    pub scripts: Vec<RunningScript>,
    /// Notice if an upgrade is the likely cause.
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for DeletedExecutable {
    const INFO: FindingInfo = FindingInfo {
        code: "deleted-executable",
        family: FindingFamily::File,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "the program file of the process was deleted or replaced, or its script was deleted",
        why: "After an upgrade, the process still runs the old file, without the fixes. If the file no \
            longer exists at its path, someone may have removed the program on purpose.",
        remedy: "if the program file no longer exists, find out why; then restart the service",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Notice, Severity::Warning];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let mut said = Vec::new();
        if !self.replaced.is_empty() {
            said.push(format!(
                "The program file was replaced while the program was running (for example by an upgrade): {}.",
                RunningProgram::list(&self.replaced)
            ));
        }
        if !self.gone.is_empty() {
            said.push(format!("The program file was deleted: {}.", RunningProgram::list(&self.gone)));
        }
        if !self.scripts.is_empty() {
            let scripts: Vec<String> = self
                .scripts
                .iter()
                .map(|RunningScript { running, script }| format!("{script}, which {} runs", running.text()))
                .collect();
            said.push(format!("The script was deleted: {}.", first_of(&scripts, FEW)));
        }
        said.join(" ")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModifiedProgram {
    #[serde(flatten)]
    pub running: RunningProgram,
    pub package: String,
    pub version: Option<String>,
}

/// The program file differs from the file that its package installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModifiedExecutable {
    pub found: Vec<ModifiedProgram>,
}

impl ModifiedProgram {
    fn text(&self) -> String {
        let version = self.version.iter().map(|version| format!(" {version}")).collect::<String>();
        format!("{} from {}{version}", self.running.text(), self.package)
    }
}

impl FindingKind for ModifiedExecutable {
    const INFO: FindingInfo = FindingInfo {
        code: "modified-executable",
        family: FindingFamily::File,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "the program file differs from the file that its package installed (only audit checks this)",
        why: "The package manager did not make this change. An attacker who adds a backdoor to a \
            program causes the same difference.",
        remedy: "keep a copy of the file, find out who changed the file, then reinstall the package; if you made the change yourself, register the change (on Debian with dpkg-divert)",
    };

    fn sentence(&self) -> String {
        let programs: Vec<String> = self.found.iter().map(ModifiedProgram::text).collect();
        format!(
            "The checksum of the program file differs from the one in the package database: {}.",
            first_of(&programs, FEW)
        )
    }
}

family!(File: RunsFromMemory, WritableExecutable, DeletedExecutable, ModifiedExecutable);
