//! A process that owns a socket.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::relays::{RelayRoute, SocketCommand};
use super::{Container, named};

/// The maximum number of bytes that are read from a command line: twice the kernel's limit for one argument
/// (`MAX_ARG_STRLEN`, linux/binfmts.h).
pub(crate) const LONGEST_COMMAND_LINE: usize = 256 * 1024;

/// Returns the last component of a Unix or Windows path.
pub(crate) fn file_name(path: &str) -> &str {
    let separator = path.bytes().rposition(|byte| matches!(byte, b'/' | b'\\'));
    separator.map_or(path, |at| &path[at + 1..])
}

/// A process ID in the pid namespace in which portolan runs.
pub type Pid = u32;

named! {
    /// Whether the file that a process runs is still at its path.
    pub enum ExeState {
        /// The file at the path is the running file, as far as is known.
        Present = "present",
        /// The running file was deleted, and there is no file at its path.
        Deleted = "deleted",
        /// The running file was replaced: another file is at its path, as after an upgrade.
        Replaced = "replaced",
        /// The program was never a file on disk (`memfd_create(2)`).
        Memfd = "memfd",
    }
}

/// The program file of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exe {
    /// The path, without the mark that the kernel appends to the path of a deleted file. Bytes that are not UTF-8
    /// become U+FFFD.
    pub path: String,
    /// Whether the file is still at its path.
    pub state: ExeState,
    /// The world-writable directories above the file, nearest first; `None` if they are not known.
    #[serde(default, rename = "open_folders", skip_serializing_if = "Option::is_none")]
    pub open_directories: Option<Vec<String>>,
}

impl Exe {
    /// Returns whether the running file is no longer at its path.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        !matches!(self.state, ExeState::Present)
    }
}

named! {
    /// The users who can replace a file that a process runs. The order is from the most to the least trustworthy file.
    pub enum OriginKind {
        /// Only root can replace the file, and a package installed it. Only an audit and a card look up packages.
        Package = "package",
        /// Only root, or the root user of its container, can replace the file.
        System = "system",
        /// A user other than root can replace the file: its owner, a group, or the owner of a directory above it.
        User = "user",
        /// Any user can replace or create the file: the file or a directory above it is world-writable.
        Open = "open",
        /// The file at the path was deleted or replaced, for example by an upgrade.
        Deleted = "deleted",
        /// The program was never a file on disk (`memfd_create(2)`).
        Memory = "memory",
        /// The path leads to another file, because something is mounted over it.
        Elsewhere = "elsewhere",
    }
}

/// The users who can replace a file that a process runs. If these users are not known, the snapshot has a gap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The kind of user who can replace the file.
    pub kind: OriginKind,
    /// The writable file or directory that makes the replacement possible, for [`OriginKind::User`] and
    /// [`OriginKind::Open`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writable: Option<String>,
    /// For [`OriginKind::User`], the ID of the only user who can replace the file. For a program file with
    /// [`OriginKind::Deleted`], the ID of the only user who could have created the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The package that installed the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The version of that package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the file differs from the file that the package installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<bool>,
    /// Whether portolan sees another file, or no file, at this path. For example, the process is in a container with
    /// its own root directory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_in_other_tree: bool,
}

impl Origin {
    /// Returns an origin with only its kind.
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

/// The script, jar or class path in the command line of an interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// The absolute path. For a class path, the path of its least trustworthy element.
    pub path: String,
    /// The origin of the file; `None` if it is not known.
    pub origin: Option<Origin>,
    /// Whether the file is a compiled program. No interpreter can run a compiled program, so the command line does not
    /// show what the process really runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_program: bool,
}

/// The settings in the configuration file of a server that decide who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Configuration {
    /// The path as the process sees it.
    pub path: String,
    /// The deciding settings. Empty if the file was changed after the process started.
    pub settings: Vec<AccessSetting>,
    /// The file that was changed after the process started: the configuration file, an included file, or a directory of
    /// included files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

named! {
    /// The clients that a server admits, from the fewest to the most.
    pub enum AdmittedClients {
        /// Only clients on this machine.
        Local = "local",
        /// Only clients with an address that the configuration lists.
        Listed = "listed",
        /// Clients with a password or a certificate.
        Authenticated = "authenticated",
        /// Every client.
        Anyone = "anyone",
    }
}

/// A setting that decides who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessSetting {
    /// The port to which the setting applies; `None` for every port of the server.
    pub port: Option<u16>,
    /// The setting in short, without a secret value.
    pub setting: String,
    /// The clients that the setting admits.
    pub clients: AdmittedClients,
}

/// An ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parent {
    /// The process ID.
    pub pid: Pid,
    /// The name.
    pub name: String,
    /// The effective user ID (Unix).
    #[serde(default)]
    pub uid: Option<u32>,
    /// The name of the user.
    #[serde(default)]
    pub user: Option<String>,
    /// The address of the client, if the process serves one session over SSH.
    #[serde(skip)]
    pub client: Option<IpAddr>,
}

impl Parent {
    /// Returns an ancestor whose user is not known.
    #[must_use]
    pub const fn new(pid: Pid, name: String) -> Self {
        Parent { pid, name, uid: None, user: None, client: None }
    }
}

/// One process; `(pid, started)` is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// The process ID.
    pub pid: Pid,
    /// The name of the process in the kernel. The process can set this name. If a loader runs the program, the name of
    /// the loader is replaced by the name of the program.
    pub name: Option<String>,
    /// The program file, if it could be read. If a loader runs the program, this is the file of the program, not of the
    /// loader.
    pub exe: Option<Exe>,
    /// The path of the loader that runs the program in its own process: the dynamic loader or an emulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// The users who can replace the program file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The script of the process, if its program is an interpreter and its command line names a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// Further files with code that the process runs, if a user other than root can replace them. The least trustworthy
    /// file comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<Script>,
    /// Whether the memory of the process contains code of its program file; `None` if this was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_program_mapped: Option<bool>,
    /// Whether `/proc` does not list the process, or a mount covers its directory in `/proc` (Linux).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The name of the nearest version-controlled directory at or above the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The state, as the letter in `proc_pid_stat(5)`: `R`, `S`, `T`, `Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
    /// The command line, one element for each argument, without the path and the options of a loader. Empty if there is
    /// no command line, or if it could not be read.
    pub cmdline: Vec<String>,
    /// The effective user ID (Unix).
    pub uid: Option<u32>,
    /// The name of the user.
    pub user: Option<String>,
    /// The start time.
    pub started: Option<Timestamp>,
    /// The ancestors that could be read, nearest first.
    pub parents: Vec<Parent>,
    /// The systemd unit (Linux), the services separated by commas (Windows), or the launchd label (macOS).
    pub unit: Option<String>,
    /// The container of the process (Linux).
    pub container: Option<String>,
    /// The container's data from the files of its manager (Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_details: Option<Arc<Container>>,
    /// The container to which the program forwards a port (Linux). `None` if the program forwards no port to a
    /// container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards_to_container: Option<Arc<Container>>,
    /// The settings of the configuration file that decide who may connect. They are read only if other machines can
    /// reach a socket of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// The destinations of a relay, from a configuration file; `None` if they are not known or not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_routes: Option<Vec<RelayRoute>>,
    /// If the process is systemd or inetd: the programs that it starts for sockets that other machines can reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub socket_commands: Vec<SocketCommand>,
    /// The debugger options in the environment, in the form of command-line options. They are read only if other
    /// machines can reach a socket of the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debugger_options: Vec<String>,
}

impl Process {
    /// Returns whether the paths of the program file and of the script can be trusted. A user can start a process in a
    /// root directory of their own, with any file at any path. So only three kinds of root directories are trusted:
    /// those of portolan, of root's containers and of root's services.
    #[must_use]
    pub fn has_trusted_path(&self) -> bool {
        let is_roots = |group: &Option<String>| group.as_deref().is_some_and(|name| !name.contains('/'));
        let is_service = self.unit.as_deref().is_some_and(|unit| unit.ends_with(".service"));
        let script = self.script.as_ref().and_then(|script| script.origin.as_ref());
        self.origin.iter().chain(script).all(|origin| {
            origin.kind != OriginKind::Elsewhere
                && (!origin.is_in_other_tree
                    || is_roots(&self.container)
                    || (is_service && is_roots(&self.unit)))
        })
    }

    /// Returns the name of the container, or its ID if the name is not known.
    #[must_use]
    pub fn container_name(&self) -> Option<&str> {
        let details = self.container_details.as_ref();
        details.and_then(|details| details.name.as_deref()).or(self.container.as_deref())
    }

    /// Returns a process with only its process ID.
    #[must_use]
    pub const fn unknown(pid: Pid) -> Self {
        Process {
            pid,
            name: None,
            exe: None,
            loader: None,
            origin: None,
            script: None,
            code: Vec::new(),
            is_program_mapped: None,
            is_hidden: false,
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
            relay_routes: None,
            socket_commands: Vec::new(),
            debugger_options: Vec::new(),
        }
    }
}
