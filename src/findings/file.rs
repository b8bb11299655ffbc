//! Findings about the program file of a process.

use serde::Serialize;

use super::text::{FEW, sentence};
use super::{FindingFamily, FindingKind, OnLoopback, Rule, Running};
use crate::model::Severity;

/// The program file is gone or was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeletedExecutable {
    /// Processes whose file was replaced: another file has its path.
    pub replaced: Vec<Running>,
    /// Processes whose file is gone: no file has its path.
    pub gone: Vec<Running>,
}

impl FindingKind for DeletedExecutable {
    const RULE: Rule = Rule {
        code: "deleted-executable",
        family: FindingFamily::File,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "the program file is gone or was replaced",
        why: "What runs is not what lies on the disk: it misses the fixes of an upgrade, or hides what it was.",
        remedy: "restart it; where nothing stands at the path any more, find out why first",
    };

    fn sentence(&self) -> String {
        let mut said = Vec::new();
        if !self.replaced.is_empty() {
            said.push(format!(
                "Another file has taken the place of the one that runs, as an upgrade does: {}.",
                Running::list(&self.replaced)
            ));
        }
        if !self.gone.is_empty() {
            said.push(format!(
                "The file that runs is gone, and nothing stands at its path: {}.",
                Running::list(&self.gone)
            ));
        }
        said.join(" ")
    }
}

/// What is odd about where a program file is, the most serious first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Place {
    /// Memory: there never was a file on disk.
    Memory,
    /// Below a world-writable directory.
    WorldWritable {
        /// The nearest such directory.
        folder: String,
    },
    /// Below a directory whose name begins with a dot.
    Hidden {
        /// The nearest such directory.
        folder: String,
    },
}

/// A program that runs from an odd place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OddProgram {
    /// The process.
    #[serde(flatten)]
    pub running: Running,
    /// The place.
    #[serde(flatten)]
    pub place: Place,
}

/// A program runs from memory, or below a world-writable or a hidden directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OddExecutable {
    /// The programs.
    pub found: Vec<OddProgram>,
}

impl FindingKind for OddExecutable {
    const RULE: Rule = Rule {
        code: "odd-executable",
        family: FindingFamily::File,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Lower,
        description: "the program runs from memory, or below a world-writable or a hidden folder",
        why: "No package installs a program there, and what anybody may put there anybody may run.",
        remedy: "find out who started it, and install what belongs here in a place of its own",
    };

    /// A hidden directory alone weighs less: developers' tools live in hidden directories of their homes.
    fn severity(&self) -> Severity {
        if self.found.iter().all(|odd| matches!(odd.place, Place::Hidden { .. })) {
            Severity::Notice
        } else {
            Self::RULE.severity
        }
    }

    fn sentence(&self) -> String {
        let told: Vec<String> = self
            .found
            .iter()
            .map(|odd| {
                let what = odd.running.text();
                match &odd.place {
                    Place::Memory => format!("{what} runs from memory, without a file on disk"),
                    Place::WorldWritable { folder } => {
                        format!("{what} runs below {folder}, a folder that anybody may write into")
                    }
                    Place::Hidden { folder } => format!("{what} runs below {folder}, a hidden folder"),
                }
            })
            .collect();
        sentence(&match told.len().saturating_sub(FEW) {
            0 => told.join("; "),
            more => format!("{}; and {more} more", told[..FEW].join("; ")),
        })
    }
}

family!(File: DeletedExecutable, OddExecutable);
