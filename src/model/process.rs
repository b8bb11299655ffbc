//! A process that owns a socket.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Container, named};

/// Command lines are read up to this many bytes. The kernel allows half of it for one argument (`MAX_ARG_STRLEN` of
/// linux/binfmts.h), so that code in an argument is read in full, and several megabytes for all.
pub(crate) const LONGEST_COMMAND_LINE: usize = 256 * 1024;

/// A process ID in the observer's own pid namespace.
pub type Pid = u32;

named! {
    /// Whether the file that a process runs is still at its path.
    pub enum ExeState {
        /// The file at the path is the one that runs, or there is no evidence otherwise.
        Present = "present",
        /// The file is gone and no file has its path.
        Deleted = "deleted",
        /// The file is gone and another file has its path: an upgrade does this.
        Replaced = "replaced",
        /// It never was a file on disk: `memfd_create(2)`.
        Memfd = "memfd",
    }
}

/// The program file of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exe {
    /// Its path, without any mark that the kernel appends; bytes that are not UTF-8 are U+FFFD.
    pub path: String,
    /// Whether the file is still at its path.
    pub state: ExeState,
    /// The world-writable directories above it, nearest first; `None` if they are not known.
    #[serde(default, rename = "open_folders", skip_serializing_if = "Option::is_none")]
    pub open_directories: Option<Vec<String>>,
}

impl Exe {
    /// Returns whether the file that runs is no longer at its path.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        !matches!(self.state, ExeState::Present)
    }
}

named! {
    /// Who can replace a file that a process runs, from the most to the least trustworthy.
    pub enum OriginKind {
        /// Only root can replace it, and a package installed it. Only an audit and a card look packages up.
        Package = "package",
        /// Only root can replace it, or the root user of its container.
        System = "system",
        /// A user other than root can replace it: its owner, a group, or the owner of a directory above it.
        User = "user",
        /// Anyone can replace it or could have put it there: the file, or a directory above it, is world-writable.
        Open = "open",
        /// It is no longer at its path: deleted, or replaced as by an upgrade.
        Deleted = "deleted",
        /// It never was a file on disk: `memfd_create(2)`.
        Memory = "memory",
        /// Its path leads to another file, because something is mounted over it.
        Elsewhere = "elsewhere",
    }
}

/// Who can replace a file that a process runs. If that is not known, there is a gap instead of an `Origin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The kind of user who can replace it.
    pub kind: OriginKind,
    /// The file or directory that allows this, if the kind is [`OriginKind::User`] or [`OriginKind::Open`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writable: Option<String>,
    /// The ID of the user who can replace it, if the kind is [`OriginKind::User`] and it is a single user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The package that installed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The version of that package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it differs from the file that the package installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<bool>,
    /// Whether its path, followed from the observer's root directory, leads to another file or to none: the process is
    /// in a container or in another directory tree.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_in_other_tree: bool,
}

impl Origin {
    /// Returns an origin of which only the kind is known.
    #[must_use]
    pub const fn of(kind: OriginKind) -> Self {
        Origin {
            kind,
            writable: None,
            uid: None,
            package: None,
            version: None,
            modified: None,
            is_in_other_tree: false,
        }
    }
}

/// The script, jar or class path that an interpreter runs, as its command line names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// Its absolute path; for a class path, the least trustworthy element.
    pub path: String,
    /// Who can replace it; `None` if that is not known.
    pub origin: Option<Origin>,
    /// Whether the file is a compiled program. No interpreter can run such a file, so the command line is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_program: bool,
}

/// What the configuration file of a server says about who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Configuration {
    /// The path as the process knows it.
    pub path: String,
    /// The settings that decide, at least one.
    pub settings: Vec<AccessSetting>,
}

named! {
    /// Which clients a server serves, from the fewest to the most.
    pub enum AdmittedClients {
        /// Clients on this machine only: it refuses the others.
        Local = "local",
        /// Only clients with an address that it lists, such as those of a private network.
        Listed = "listed",
        /// Clients with a password or a certificate.
        Authenticated = "authenticated",
        /// Every client.
        Anyone = "anyone",
    }
}

/// A setting that decides which clients a server serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessSetting {
    /// The port that it is for; `None` for every port of the server.
    pub port: Option<u16>,
    /// The setting in short, without a secret value.
    pub setting: String,
    /// Which clients it admits.
    pub clients: AdmittedClients,
}

/// An ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parent {
    /// Its process ID.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// Its effective user ID (Unix).
    #[serde(default)]
    pub uid: Option<u32>,
    /// The name of its user.
    #[serde(default)]
    pub user: Option<String>,
}

impl Parent {
    /// Returns an ancestor whose user is not known.
    #[must_use]
    pub const fn new(pid: Pid, name: String) -> Self {
        Parent { pid, name, uid: None, user: None }
    }
}

/// One process; `(pid, started)` is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its process ID.
    pub pid: Pid,
    /// The kernel's name for it, which the process itself can set.
    pub name: Option<String>,
    /// Its program file, if it could be read.
    pub exe: Option<Exe>,
    /// Who can replace that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The script that it runs, if its program is an interpreter and its command line names a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// Further files with code that it runs, if a user other than root can have put them there: libraries, and what its
    /// command line loads. The least trustworthy comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<Script>,
    /// Whether code of its program file is in its memory; `None` if that was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_program_mapped: Option<bool>,
    /// Its working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The name of the nearest version-controlled directory at or above its working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Its state, such as running, sleeping or stopped: the letter of `proc_pid_stat(5)`, as `R`, `S`, `T`, `Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
    /// Its command line, one element for each argument; empty if there is none or it could not be read.
    pub cmdline: Vec<String>,
    /// Its effective user ID (Unix).
    pub uid: Option<u32>,
    /// The name of its user.
    pub user: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Its ancestors, nearest first, as far as they could be read.
    pub parents: Vec<Parent>,
    /// The systemd unit that it runs in (Linux), the services that it hosts, separated by commas (Windows), or its
    /// launchd label (macOS).
    pub unit: Option<String>,
    /// The container that it runs in (Linux).
    pub container: Option<String>,
    /// What the files of the container's manager say about it (Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_details: Option<Arc<Container>>,
    /// For a program that forwards a port to a container: that container (Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards_to_container: Option<Arc<Container>>,
    /// What its configuration file says about who may connect. Only an audit reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// The options in its environment that let a debugger connect, as an interpreter reads them there. Only an audit reads
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debugger_options: Vec<String>,
}

impl Process {
    /// Returns whether the path of its program file stands for the same file on the observer's machine, or for a file
    /// that only root can have put there: root makes the containers and system services that have a directory tree of
    /// their own. A user can make a directory tree with any file at any path.
    #[must_use]
    pub fn has_trusted_path(&self) -> bool {
        let is_roots = |group: &Option<String>| group.as_deref().is_some_and(|name| !name.contains('/'));
        let is_service = self.unit.as_deref().is_some_and(|unit| unit.ends_with(".service"));
        self.origin.as_ref().is_none_or(|origin| {
            origin.kind != OriginKind::Elsewhere
                && (!origin.is_in_other_tree
                    || is_roots(&self.container)
                    || (is_service && is_roots(&self.unit)))
        })
    }

    /// Returns its container: the name if that is known, else the ID.
    #[must_use]
    pub fn container_name(&self) -> Option<&str> {
        let details = self.container_details.as_ref();
        details.and_then(|details| details.name.as_deref()).or(self.container.as_deref())
    }

    /// Returns a process of which only the process ID is known.
    #[must_use]
    pub const fn unknown(pid: Pid) -> Self {
        Process {
            pid,
            name: None,
            exe: None,
            origin: None,
            script: None,
            code: Vec::new(),
            is_program_mapped: None,
            cwd: None,
            project: None,
            state: None,
            cmdline: Vec::new(),
            uid: None,
            user: None,
            started: None,
            parents: Vec::new(),
            unit: None,
            container: None,
            container_details: None,
            forwards_to_container: None,
            configuration: None,
            debugger_options: Vec::new(),
        }
    }
}
