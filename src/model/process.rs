//! A process that owns a socket.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::named;

/// A process id as the observer's own pid namespace numbers it.
pub type Pid = u32;

named! {
    /// Whether the file that a process runs is still at its path.
    pub enum ExeState {
        /// The file at the path is the one that runs, or nothing says otherwise.
        Present = "present",
        /// The file is gone and nothing stands at its path.
        Deleted = "deleted",
        /// The file is gone and another stands at its path: an upgrade does this.
        Replaced = "replaced",
        /// It never was a file on disk: `memfd_create(2)`.
        Memfd = "memfd",
    }
}

/// The program file of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exe {
    /// Its path, without any mark the kernel appends; bytes that are not UTF-8 are U+FFFD.
    pub path: String,
    /// What became of it.
    pub state: ExeState,
    /// The world-writable directories above it, nearest first; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_folders: Option<Vec<String>>,
}

impl Exe {
    /// Whether the file that runs is no longer at its path.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        !matches!(self.state, ExeState::Present)
    }
}

named! {
    /// Who can replace a file that a process runs, from what vouches most for it to what vouches least.
    pub enum OriginKind {
        /// Only root can replace it, and a package installed it. Only an audit looks packages up.
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

/// Who can replace a file that a process runs. Where that could not be found out there is no `Origin` and a gap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Who can.
    pub kind: OriginKind,
    /// The file or directory that makes it so, where the kind is [`OriginKind::User`] or [`OriginKind::Open`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writable: Option<String>,
    /// The user id of who can, where the kind is [`OriginKind::User`] and it is one user.
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
}

impl Origin {
    /// An origin of which nothing but the kind is known.
    #[must_use]
    pub const fn of(kind: OriginKind) -> Self {
        Origin { kind, writable: None, uid: None, package: None, version: None, modified: None }
    }
}

/// The script, jar or class path that an interpreter runs, as its command line names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// Its absolute path; of a class path, the element that vouches least.
    pub path: String,
    /// Who can replace it; `None` where that could not be found out.
    pub origin: Option<Origin>,
}

/// An ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parent {
    /// Its id.
    pub pid: Pid,
    /// Its name.
    pub name: String,
}

/// One process; `(pid, started)` is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// The name it goes by, as the kernel gives it: the process itself can set it.
    pub name: Option<String>,
    /// Its program file, where that could be read.
    pub exe: Option<Exe>,
    /// Who can replace that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What it runs, where its program is an interpreter and its command line names a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// Its working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whether it runs, sleeps or is stopped: the letter of `proc_pid_stat(5)`, as `R`, `S`, `T`, `Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
    /// Its command line, argument by argument; empty where there is none or it could not be read.
    pub cmdline: Vec<String>,
    /// Its effective user id (Unix).
    pub uid: Option<u32>,
    /// The name of its user.
    pub user: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Its ancestors, nearest first, as far as they could be read.
    pub parents: Vec<Parent>,
    /// The systemd unit it runs in (Linux), the services it hosts, parted by commas (Windows), or launchd's label (macOS).
    pub unit: Option<String>,
    /// The container it runs in (Linux).
    pub container: Option<String>,
}

impl Process {
    /// A process of which nothing could be read.
    #[must_use]
    pub const fn unknown(pid: Pid) -> Self {
        Process {
            pid,
            name: None,
            exe: None,
            origin: None,
            script: None,
            cwd: None,
            state: None,
            cmdline: Vec::new(),
            uid: None,
            user: None,
            started: None,
            parents: Vec::new(),
            unit: None,
            container: None,
        }
    }
}
