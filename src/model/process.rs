//! A process that holds a socket.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::named;

/// A process id as the observer's own pid namespace numbers it.
pub type Pid = u32;

named! {
    /// What became of the file a process runs.
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
    /// The folders above it into which anybody may write, nearest first; `None` where that is not known. Older captures
    /// lack it, and come out as they went in.
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
