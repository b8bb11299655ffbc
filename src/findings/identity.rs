//! Findings about the identity of the process.

use serde::Serialize;

use super::text::{first_of, list, sentence};
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback};
use crate::model::{Pid, ReplaceableBy, RestsOn, Severity, named};

/// A process that listens on the port of a guarded service and is not known to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownProcess {
    /// The process.
    pub pid: Pid,
    /// The name of its file, of its script, or of the process.
    pub program: String,
    /// What that program is, if it is known; several if a name does not distinguish them.
    pub products: Vec<&'static str>,
    /// What the identification rests on.
    pub rests_on: RestsOn,
}

/// A process on a guarded service's port that is not among the programs known to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Impostor {
    /// The guarded service.
    pub service: &'static str,
    /// The programs known to serve it.
    pub expected: Vec<&'static str>,
    /// The processes that listen on the port instead.
    pub found: Vec<UnknownProcess>,
    /// Why an unknown program there is suspicious.
    pub why: &'static str,
    /// Who can have put the files there that run; the least trustworthy of them.
    #[serde(skip)]
    pub file: ReplaceableBy,
    /// Which program all the processes are at least named like.
    #[serde(skip)]
    pub fitting_name: FittingName,
    /// The file of code that was loaded into a program, if that is why a user can change what runs.
    #[serde(skip)]
    pub code: Option<String>,
}

/// Which program the name of a process fits; in rising order of what the name explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FittingName {
    /// No program that could be expected there.
    None,
    /// A program that holds ports for others.
    Forwarder,
    /// A program that serves the port.
    Server,
}

/// A sentence names this many expected programs and counts the rest.
const EXPECTED: usize = 6;

impl FindingKind for Impostor {
    const INFO: FindingInfo = FindingInfo {
        code: "impostor",
        family: FindingFamily::Identity,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "a program listens on the port of a well-known service and is not a known server of it",
        why: "Clients send passwords and data to this port without checking which program answers.",
        remedy: "find out who started the program; if it belongs here, allow it in the policy",
    };

    /// The severity is lower if only a command line that a user can have rewritten proves the name, and critical if
    /// anyone can have put the program there, or if a user who is not root can and the program's name does not fit
    /// either: people do run such servers and forwarders from their home directories.
    fn severity(&self) -> Severity {
        match (self.file, self.fitting_name) {
            (ReplaceableBy::Anyone, _) | (ReplaceableBy::User, FittingName::None) => Severity::Critical,
            (ReplaceableBy::Root, FittingName::Server) => Severity::Notice,
            _ => Self::INFO.severity,
        }
    }

    fn sentence(&self) -> String {
        // The sentence has one text for each program, even if several processes run it.
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        for UnknownProcess { program, pid, rests_on, products } in &self.found {
            let mut about = products.join(" or ");
            if *rests_on == RestsOn::Name {
                about =
                    format!("{about}{}identified by its name only", if about.is_empty() { "" } else { "; " });
            }
            let about = if about.is_empty() { program.clone() } else { format!("{program} [{about}]") };
            match groups.iter_mut().find(|(known, _)| *known == about) {
                Some((_, pids)) => pids.push(*pid),
                None => groups.push((about, vec![*pid])),
            }
        }
        let found: Vec<String> = groups
            .iter()
            .map(|(about, pids)| match pids.as_slice() {
                [first, _, ..] => format!("{about} (pid {first} and {} more)", pids.len() - 1),
                _ => format!("{about} (pid {})", pids.first().copied().unwrap_or_default()),
            })
            .collect();
        let expected: Vec<String> = self.expected.iter().map(|&name| name.to_owned()).collect();
        let (listens, is) = if found.len() > 1 { ("listen", "are") } else { ("listens", "is") };
        let named_like = match self.fitting_name {
            FittingName::Server => Some("its server"),
            FittingName::Forwarder => Some("a program that forwards ports"),
            FittingName::None => None,
        };
        if let Some(named_like) = named_like {
            let but = match self.file {
                _ if self.code.is_some() => "it runs code of a user who is not root",
                ReplaceableBy::Anyone => "anyone can have put the program file there",
                ReplaceableBy::Root => "only its command line says so, and a process can rewrite that",
                ReplaceableBy::Unknown => "the script that its command line names was not found",
                _ => "a user who is not root can replace the program file",
            };
            let file = self.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            return format!(
                "{} {listens} on the port of {} and {is} named like {named_like}, but {but}{file}. {}",
                list(&found),
                self.service,
                sentence(self.why)
            );
        }
        format!(
            "{} {listens} on the port of {}, but {is} not a known server of it ({}). {}",
            list(&found),
            self.service,
            first_of(&expected, EXPECTED),
            sentence(self.why)
        )
    }
}

/// A tool that a person started for a short task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// The process.
    pub pid: Pid,
    /// The name of its program file, else of the process.
    pub program: String,
    /// Its arguments, joined by blanks and cut if they are long.
    pub command: String,
}

impl Tool {
    fn text(&self) -> String {
        format!("{} (pid {})", self.program, self.pid)
    }
}

/// A shell, or a program that starts a shell for each connection, owns the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShellListener {
    /// The process.
    #[serde(flatten)]
    pub tool: Tool,
    /// Whether the process is itself a shell.
    pub is_shell: bool,
    /// The severity from the table of tools.
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for ShellListener {
    const INFO: FindingInfo = FindingInfo {
        code: "shell-listener",
        family: FindingFamily::Identity,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "a shell, or a program that runs commands for its clients, owns the socket",
        why: "Anyone who connects can run commands as the user of the process.",
        remedy: "end the process with kill, and find out who started it",
    };

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let does =
            if self.is_shell { "is a shell and owns the socket" } else { "runs commands for its clients" };
        format!("{} {does}. Its command line: {}", self.tool.text(), sentence(&self.tool.command))
    }
}

/// The listener is a tool for a short task, not a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdHoc {
    /// The process.
    #[serde(flatten)]
    pub tool: Tool,
    /// What it does with a connection: `relay` or `listen`.
    pub used_for: &'static str,
    /// The severity from the table of tools.
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for AdHoc {
    const INFO: FindingInfo = FindingInfo {
        code: "ad-hoc",
        family: FindingFamily::Identity,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "netcat, socat or code given on the command line listens: a temporary tool, not a service",
        why: "A temporary tool is not maintained and has no access control.",
        remedy: "end the process if it is no longer needed; if it belongs here, make it a service and allow it in the policy",
    };

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let does = if self.used_for == "relay" { "forwards connections" } else { "waits for data" };
        format!(
            "{} is a temporary tool and {does}. Its command line: {}",
            self.tool.text(),
            sentence(&self.tool.command)
        )
    }
}

/// A program used for tunnels, remote control, interception, attack or mining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DualUse {
    /// The process.
    #[serde(flatten)]
    pub tool: Tool,
    /// `tunnel`, `remote-control`, `attack`, `miner`, `interception` or `proxy`.
    pub kind: &'static str,
    /// What it does: one sentence.
    pub what: &'static str,
    /// The technique of MITRE ATT&CK; empty if there is none.
    pub attack: &'static str,
    /// The severity from the table of tools.
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for DualUse {
    const INFO: FindingInfo = FindingInfo {
        code: "dual-use",
        family: FindingFamily::Identity,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "a program used for tunnels, remote control, interception, attack or mining",
        why: "Administrators use such programs, and so do intruders.",
        remedy: "find out who started it and why; if it belongs here, allow it in the policy",
    };

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        format!(
            "{} is named like a program for this use ({}): {}",
            self.tool.text(),
            self.kind,
            sentence(self.what)
        )
    }
}

/// A process calls itself something that its program file is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Masquerading {
    /// The process.
    pub pid: Pid,
    /// What it calls itself.
    pub claims: String,
    /// The path of its program file.
    pub exe: String,
    /// How it makes itself look like something else.
    pub by: Disguise,
}

named! {
    /// How a process makes itself look like something else.
    pub enum Disguise {
        /// It has the name of a kernel thread.
        KernelThread = "kernel-thread",
        /// The file that runs is mounted over the file of that name.
        Mount = "mount",
        /// Its command line calls it a well-known server.
        Name = "name",
        /// It is an interpreter, and its command line names a compiled program as its script.
        Script = "script",
        /// Its code does not come from the file that the kernel calls its program.
        ProgramFile = "program-file",
    }
}

impl FindingKind for Masquerading {
    const INFO: FindingInfo = FindingInfo {
        code: "masquerading",
        family: FindingFamily::Identity,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "a process calls itself a kernel thread, or another program than its file",
        why: "Programs do not take the name of the kernel or of a known server by accident.",
        remedy: "treat the machine as compromised until you know who started the process",
    };

    fn sentence(&self) -> String {
        let Masquerading { pid, claims, exe, by } = self;
        match by {
            Disguise::Mount => format!(
                "Process {pid} runs as {exe}, but the file at that path is another one: something is mounted there."
            ),
            Disguise::KernelThread => format!(
                "Process {pid} calls itself {claims}, the name of a kernel thread, but runs the program {exe}."
            ),
            Disguise::Name => format!("Process {pid} calls itself {claims}, but runs the program {exe}."),
            Disguise::Script => format!(
                "The command line of process {pid} names {claims} as its script, but that file is a compiled program: \
                 {exe} cannot run it and runs other code."
            ),
            Disguise::ProgramFile => format!(
                "The kernel names {exe} as the program of process {pid}, but the memory of the process contains no code of \
                 that file."
            ),
        }
    }
}

/// An unknown program that other machines can reach, on a guarded port or from a file that a user can replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unfamiliar {
    /// The processes.
    pub found: Vec<UnknownProcess>,
    /// The service that usually has the port; `None` if the port belongs to none.
    pub service: Option<&'static str>,
    /// Whether a user who is not root can replace the program or its script.
    pub is_replaceable: bool,
    /// Whether the file nevertheless has the name of a well-known server.
    pub is_named_like_a_server: bool,
    /// The file of code that was loaded into a program, if that is why a user can change what runs.
    #[serde(skip)]
    pub code: Option<String>,
}

impl FindingKind for Unfamiliar {
    const INFO: FindingInfo = FindingInfo {
        code: "unfamiliar",
        family: FindingFamily::Identity,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "other machines can reach a program that is not known",
        why: "The program is not a known service, so its purpose is unclear.",
        remedy: "check that you know the program and that other machines should reach it",
    };

    fn severity(&self) -> Severity {
        if self.is_named_like_a_server { Severity::Warning } else { Self::INFO.severity }
    }

    fn sentence(&self) -> String {
        if self.is_named_like_a_server {
            let names: Vec<String> =
                self.found.iter().map(|one| format!("{} (pid {})", one.program, one.pid)).collect();
            let but = match &self.code {
                Some(code) => format!("it runs code of a user who is not root ({code})"),
                None => "a user who is not root can replace its program file".to_owned(),
            };
            return format!(
                "{} has the name of a well-known server, but {but}, and other machines can reach it.",
                list(&names)
            );
        }
        let names: Vec<String> =
            self.found.iter().map(|found| format!("{} (pid {})", found.program, found.pid)).collect();
        let (is, its) = if names.len() > 1 {
            ("are not known programs", "their")
        } else {
            ("is not a known program", "its")
        };
        let mut text = format!("{} {is}, and other machines can reach it.", list(&names));
        if let Some(service) = self.service {
            text.push_str(&format!(" The port is usually that of {service}."));
        }
        if let Some(code) = &self.code {
            text.push_str(&format!(" A user who is not root can replace code that it runs: {code}."));
        } else if self.is_replaceable {
            text.push_str(&format!(" A user who is not root can replace {its} program file."));
        }
        text
    }
}

/// Returns a phrase that says what the identification of a program rests on.
pub(crate) const fn identified(on: RestsOn) -> &'static str {
    match on {
        RestsOn::Exe => "by its program file",
        RestsOn::Cmdline => "by its command line",
        RestsOn::Name => "by its name only",
        RestsOn::Unit => "by its system service",
    }
}

family!(Identity: Impostor, Masquerading, ShellListener, AdHoc, DualUse, Unfamiliar);
