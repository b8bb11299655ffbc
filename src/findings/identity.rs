//! Findings about the identity of the process.

use serde::Serialize;

use super::text::{capitalized, first_of, list, sentence};
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback};
use crate::model::{Pid, ReplaceableBy, RestsOn, Severity, file_name, named};

/// A process that listens on the port of a guarded service, but is not a known server of this service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownProcess {
    pub pid: Pid,
    /// The name of the program file or of the script. If neither is known, the name of the process.
    pub program: String,
    /// The products that have a program with this name. Empty if no product is known.
    pub products: Vec<&'static str>,
    pub rests_on: RestsOn,
    /// The script, if an interpreter runs one.
    #[serde(skip)]
    pub script: Option<String>,
}

impl UnknownProcess {
    /// Returns the name of the program. For an interpreter, the script follows: `node app.js`.
    fn name(&self) -> String {
        let script = self.script.as_deref().map(file_name);
        match script.filter(|script| *script != self.program) {
            Some(script) => format!("{} {script}", self.program),
            None => self.program.clone(),
        }
    }
}

/// Processes listen on the port of a guarded service (a row of `guarded.tsv`), but are not known servers of the
/// service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Impostor {
    pub service: &'static str,
    pub expected: Vec<&'static str>,
    pub found: Vec<UnknownProcess>,
    /// The reason why an unknown program on this port is suspicious.
    pub why: &'static str,
    /// The users who can replace the file that a process runs. If there are several processes, the file that is easiest
    /// to replace counts.
    #[serde(skip)]
    pub file: ReplaceableBy,
    /// The kind of program that the process name suggests. If there are several processes, the first kind in the order
    /// of [`FittingName`] counts.
    #[serde(skip)]
    pub fitting_name: FittingName,
    /// A file of code that the process has loaded, and that a user who is not root can replace.
    #[serde(skip)]
    pub code: Option<String>,
}

/// The kind of program that the name of a process suggests, from the least to the most expected on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FittingName {
    /// The name of a program that is not expected on the port.
    None,
    /// The name of a program that opens ports for other programs.
    Forwarder,
    /// The name of a program that serves the port.
    Server,
}

/// The maximum number of expected programs in a sentence. The other programs are only counted.
const EXPECTED: usize = 6;

impl FindingKind for Impostor {
    const INFO: FindingInfo = FindingInfo {
        code: "impostor",
        family: FindingFamily::Identity,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "a program that is not a known server listens on the port of a well-known service",
        why: "Clients send passwords and data to this port without checking which program answers.",
        remedy: "find out who started the program; if the program is intended, allow it in the policy",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Notice, Severity::Warning, Severity::Critical];

    /// Returns the severity:
    /// - critical if any user can replace the program
    /// - critical if a user who is not root can replace the program, and its name does not fit the port
    /// - notice if only root can replace the program, and its command line names a known server
    /// - otherwise warning, because people run servers from their home directories
    fn severity(&self) -> Severity {
        match (self.file, self.fitting_name) {
            (ReplaceableBy::Anyone, _) | (ReplaceableBy::User, FittingName::None) => Severity::Critical,
            (ReplaceableBy::Root, FittingName::Server) => Severity::Notice,
            _ => Self::INFO.severity,
        }
    }

    fn sentence(&self) -> String {
        // Processes of the same program share one text.
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        for unknown in &self.found {
            let UnknownProcess { pid, rests_on, products, .. } = unknown;
            let program = unknown.name();
            let mut about = products.join(" or ");
            if *rests_on == RestsOn::Name {
                about =
                    format!("{about}{}identified by its name only", if about.is_empty() { "" } else { "; " });
            }
            let about = if about.is_empty() { program } else { format!("{program} [{about}]") };
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
            FittingName::Server => Some("a server of that service"),
            FittingName::Forwarder => Some("a program that forwards ports"),
            FittingName::None => None,
        };
        if let Some(named_like) = named_like {
            let but = match self.file {
                _ if self.code.is_some() => "a user who is not root can change code that the program runs",
                ReplaceableBy::Anyone => "any user can write to the program file or to a directory above it",
                ReplaceableBy::Root => {
                    "only the command line has this name, and a process can rewrite \
                        its command line"
                }
                ReplaceableBy::Unknown => "the script in its command line was not found",
                _ => "a user who is not root can write to the program file or to a directory above it",
            };
            let file = self.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            return format!(
                "{} {listens} on the port of {} and {is} named like {named_like}, but {but}{file}. {}",
                list(&found),
                self.service,
                sentence(self.why)
            );
        }
        let known = if found.len() > 1 { "known servers" } else { "a known server" };
        format!(
            "{} {listens} on the port of {}, but {is} not {known} of that service ({}). {}",
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
    pub pid: Pid,
    /// The name of the program file. If the file is not known, the name of the process.
    pub program: String,
    /// The arguments, separated by spaces and cut if they are too long.
    pub command: String,
}

impl Tool {
    fn text(&self) -> String {
        format!("{} (pid {})", self.program, self.pid)
    }
}

/// The socket belongs to a shell, or to a program that starts a shell for each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShellListener {
    #[serde(flatten)]
    pub tool: Tool,
    pub is_shell: bool,
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for ShellListener {
    const INFO: FindingInfo = FindingInfo {
        code: "shell-listener",
        family: FindingFamily::Identity,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "the socket belongs to a shell, or to a program that runs commands for its clients",
        why: "Anyone who connects can run commands as the user of the process.",
        remedy: "find out who started the process, and end it (portolan kill shows how)",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Warning, Severity::Critical];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let does =
            if self.is_shell { "is a shell and owns the socket" } else { "runs commands for its clients" };
        format!("{} {does}. Its command line: {}", self.tool.text(), sentence(&self.tool.command))
    }

    fn card_sentence(&self) -> String {
        format!("{} {}", self.sentence(), Self::INFO.why)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdHoc {
    #[serde(flatten)]
    pub tool: Tool,
    /// What the tool does with a connection: `relay`, `listen` or `start`.
    pub used_for: &'static str,
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for AdHoc {
    const INFO: FindingInfo = FindingInfo {
        code: "ad-hoc",
        family: FindingFamily::Identity,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "the listener is netcat, socat or code given on the command line: a tool for short tasks, not a service",
        why: "A listener of this kind is not maintained and has no access control.",
        remedy: "if the process is no longer needed, end it; otherwise make it a service and allow it in the policy",
    };
    const SEVERITIES: &'static [Severity] =
        &[Severity::Info, Severity::Notice, Severity::Warning, Severity::Critical];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let is = match self.used_for {
            "relay" => "is a tool for short tasks and forwards connections",
            "start" => "does not serve the port itself but starts another program",
            _ => "is a tool for short tasks and waits for data",
        };
        format!("{} {is}. Its command line: {}", self.tool.text(), sentence(&self.tool.command))
    }
}

/// A program used for tunnels, remote control, interception, attack or mining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DualUse {
    #[serde(flatten)]
    pub tool: Tool,
    /// `tunnel`, `remote-control`, `attack`, `miner`, `interception` or `proxy`.
    pub kind: &'static str,
    /// The purpose of the program: one sentence.
    pub what: &'static str,
    /// The technique of MITRE ATT&CK; empty if there is none.
    pub attack: &'static str,
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
        remedy: "find out who started the program and why; if the program is intended, allow it in the policy",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Notice, Severity::Warning];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        format!("{} has the name of a known tool ({}): {}", self.tool.text(), self.kind, sentence(self.what))
    }
}

/// A process with a name that does not match its program file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Masquerading {
    pub pid: Pid,
    pub claims: String,
    pub exe: String,
    pub by: Disguise,
}

named! {
    /// The ways in which a process disguises itself.
    pub enum Disguise {
        /// The process has the name of a kernel thread.
        KernelThread = "kernel-thread",
        /// Another file is mounted over the path of the running program.
        Mount = "mount",
        /// The command line contains the name of a well-known server.
        Name = "name",
        /// The command line of an interpreter names a compiled program as the script.
        Script = "script",
        /// The code of the process does not come from its program file.
        ProgramFile = "program-file",
    }
}

impl FindingKind for Masquerading {
    const INFO: FindingInfo = FindingInfo {
        code: "masquerading",
        family: FindingFamily::Identity,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "a process has the name of a kernel thread, or of a program that it does not run",
        why: "This does not happen by accident: a process takes a familiar name to hide what it is.",
        remedy: "treat the machine as compromised until you know who started the process",
    };

    fn sentence(&self) -> String {
        let Masquerading { pid, claims, exe, by } = self;
        match by {
            Disguise::Mount => {
                format!("Process {pid} runs {exe}, but a mount now shows another file at this path.")
            }
            Disguise::KernelThread => format!(
                "Process {pid} calls itself {claims}, the name of a kernel thread, but runs the program {exe}."
            ),
            Disguise::Name => format!("Process {pid} calls itself {claims}, but runs the program {exe}."),
            Disguise::Script => format!(
                "The command line of process {pid} names the script {claims}, but this file is a \
                    compiled program. {exe} cannot run a compiled program, so the process runs other \
                    code."
            ),
            Disguise::ProgramFile => format!(
                "The kernel names {exe} as the program of process {pid}, but the memory of the process contains no code of \
                 that file."
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HiddenProcess {
    pub pids: Vec<Pid>,
}

impl FindingKind for HiddenProcess {
    const INFO: FindingInfo = FindingInfo {
        code: "hidden-process",
        family: FindingFamily::Identity,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "the process exists, but /proc does not show it",
        why: "Rootkits hide their processes in this way; ordinary programs do not.",
        remedy: "treat the machine as compromised until you know who hid the process",
    };

    fn sentence(&self) -> String {
        let pids: Vec<String> = self.pids.iter().map(Pid::to_string).collect();
        let (process, owns) = if pids.len() > 1 { ("Processes", "own") } else { ("Process", "owns") };
        format!(
            "{process} {} {owns} the socket, but /proc does not show {}.",
            list(&pids),
            if pids.len() > 1 { "them" } else { "it" }
        )
    }
}

/// An unknown program that other machines can reach. Its port is guarded, or a user can replace its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unfamiliar {
    pub found: Vec<UnknownProcess>,
    /// The service that usually runs on the port, if there is one.
    pub service: Option<&'static str>,
    /// Whether a user who is not root can replace the program or its script.
    pub is_replaceable: bool,
    /// The script that a user who is not root can replace. `None` if only the program file can be replaced, or if
    /// neither can.
    #[serde(skip)]
    pub replaceable_script: Option<String>,
    /// The user of the process, if only this user and root can replace the program and its script.
    #[serde(skip)]
    pub own_user: Option<String>,
    pub is_named_like_a_server: bool,
    /// A file of code that the process has loaded, and that a user who is not root can replace.
    #[serde(skip)]
    pub code: Option<String>,
    /// Whether the firewall could not be checked. The firewall may refuse all other machines.
    #[serde(skip)]
    pub is_firewall_unknown: bool,
}

impl FindingKind for Unfamiliar {
    const INFO: FindingInfo = FindingInfo {
        code: "unfamiliar",
        family: FindingFamily::Identity,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "other machines can reach an unknown program",
        why: "The program can be a service of your own, a test that somebody forgot, or a backdoor.",
        remedy: "check that you know the program and that other machines should reach it",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Notice, Severity::Warning];

    fn severity(&self) -> Severity {
        if self.is_named_like_a_server { Severity::Warning } else { Self::INFO.severity }
    }

    fn sentence(&self) -> String {
        let unless =
            if self.is_firewall_unknown { ", unless a firewall refuses them (not checked)" } else { "" };
        if self.is_named_like_a_server {
            let names: Vec<String> =
                self.found.iter().map(|one| format!("{} (pid {})", one.name(), one.pid)).collect();
            let (has, program) = if names.len() > 1 { ("have", "programs") } else { ("has", "program") };
            let but = match &self.code {
                Some(code) => {
                    format!("a user who is not root can change code that the program runs ({code})")
                }
                None => "a user who is not root can write to the program file or to a directory above it"
                    .to_owned(),
            };
            return format!(
                "{} {has} the name of a well-known server, but {but}, and other machines can reach the {program}{unless}.",
                list(&names)
            );
        }
        let names: Vec<String> =
            self.found.iter().map(|found| format!("{} (pid {})", found.name(), found.pid)).collect();
        let (is, its, it) = if names.len() > 1 {
            ("are not known programs", "their", "them")
        } else {
            ("is not a known program", "its", "it")
        };
        let mut text = format!("{} {is}, and other machines can reach {it}{unless}.", list(&names));
        if let Some(service) = self.service {
            text.push_str(&format!(" {service} usually uses this port."));
        }
        if let Some(code) = &self.code {
            text.push_str(&format!(
                " A user who is not root can write to code that the program runs: {code}."
            ));
        } else if let Some(user) = &self.own_user {
            let file = self
                .replaceable_script
                .as_ref()
                .map_or("program file.".to_owned(), |script| format!("script: {script}."));
            text.push_str(&format!(" {} own user, {user}, can change {its} {file}", capitalized(its)));
        } else if let Some(script) = &self.replaceable_script {
            text.push_str(&format!(
                " A user who is not root can write to {its} script or to a directory above it: {script}."
            ));
        } else if self.is_replaceable {
            text.push_str(&format!(
                " A user who is not root can write to {its} program file or to a directory above it."
            ));
        }
        text
    }
}

/// Returns how a program was identified, as a phrase.
pub(crate) const fn identified(on: RestsOn) -> &'static str {
    match on {
        RestsOn::Exe => "by its program file",
        RestsOn::Cmdline => "by its command line",
        RestsOn::Name => "by its name only",
        RestsOn::Unit => "by its system service",
    }
}

family!(Identity: Impostor, HiddenProcess, Masquerading, ShellListener, AdHoc, DualUse, Unfamiliar);
