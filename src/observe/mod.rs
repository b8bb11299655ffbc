//! Scans this machine with calls to the operating system. A part that cannot be seen becomes a [`crate::model::Gap`]
//! of the snapshot.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use crate::model::Scope;
use crate::model::{
    DeepScanResult, HostScope, InferredOwner, Namespaces, Pid, Process, Rights, Snapshot, Socket,
};

#[cfg(target_os = "linux")]
#[doc(hidden)]
pub mod linux;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
#[doc(hidden)]
pub mod portable;
pub mod progress;
#[cfg(not(target_os = "linux"))]
mod rescan;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod unsupported;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "linux")]
use linux::PollState;
#[cfg(target_os = "linux")]
pub(crate) use linux::fuse_is_mounted;
#[cfg(any(target_os = "macos", windows))]
use portable as system;
#[cfg(not(target_os = "linux"))]
use rescan::PollState;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
use unsupported as system;

/// The sources of sockets and processes on this system.
pub const SOURCES: &str = if cfg!(target_os = "linux") {
    "sock_diag over netlink, /proc"
} else if cfg!(target_os = "macos") {
    "libproc, sysctl, launchctl"
} else if cfg!(windows) {
    "the tables of the IP Helper (netstat2), processes (sysinfo), accounts, services, netsh"
} else {
    "none; this system can only read snapshots (--from)"
};

/// The namespaces to scan in order to find every listener.
pub const EVERYWHERE: Namespaces = if cfg!(target_os = "linux") { Namespaces::All } else { Namespaces::Own };

/// Returns the namespaces that an audit scans if the user chooses none.
///
/// An audit scans all namespaces that can be found, if portolan may read every process and is in the first network
/// namespace. Otherwise it scans only its own namespace. It also scans only its own namespace if `part` is
/// [`HostScope::Namespace`].
#[must_use]
pub fn audited_namespaces(part: HostScope) -> Namespaces {
    #[cfg(target_os = "linux")]
    if part != HostScope::Namespace && linux::is_in_first_namespace() {
        return Namespaces::All;
    }
    let _ = part;
    Namespaces::Own
}

/// The reason why nothing could be observed.
#[derive(Debug)]
pub struct Error(
    /// The reason, in lower case.
    pub String,
);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Scans this machine.
///
/// # Errors
///
/// Returns an error only if nothing can be observed on this system. A part that could not be seen becomes a gap in the
/// snapshot.
pub fn observe(scope: &Scope) -> Result<Snapshot, Error> {
    system::observe(scope)
}

/// Makes a deep scan. It searches for contradictions between the tables, and for ports that are in use without a
/// visible socket.
///
/// # Errors
///
/// Returns an error if a requested network namespace cannot be found. Any other part that could not be scanned becomes
/// a gap. On a system without deep scans, the result is one gap.
pub fn deep(namespaces: &Namespaces) -> Result<DeepScanResult, Error> {
    #[cfg(target_os = "linux")]
    return linux::deep::deep_scan(namespaces);
    #[cfg(not(target_os = "linux"))]
    return rescan::deep(namespaces);
}

/// Scans repeatedly.
///
/// On Linux, owners are searched again only if a socket or a known owner has changed, or after a long interval.
#[derive(Debug)]
pub struct Observer {
    scope: Scope,
    memory: PollState,
}

impl Observer {
    /// Makes an observer that has not scanned yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Observer { scope, memory: PollState::default() }
    }

    /// Scans and returns a snapshot; `None` if nothing changed since the last scan.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`observe`].
    pub fn scan(&mut self) -> Result<Option<Snapshot>, Error> {
        self.memory.scan(&self.scope)
    }
}

/// Reads the details that a fast scan skips: start time, ancestors, working directory, and the package of the
/// program. A detail that cannot be read in a short time stays unknown.
pub fn read_rest(processes: &mut [Process]) {
    system::read_rest(processes);
}

/// Returns the probable owner of each hidden socket, in the same order. The owner is `None` if no process, or more than
/// one, can be the owner.
#[must_use]
pub fn inferred_owners(hidden: &[&Socket]) -> Vec<Option<Arc<InferredOwner>>> {
    system::inferred_owners(hidden)
}

/// Returns what the user may do on this machine without `sudo`.
#[must_use]
pub fn rights() -> Rights {
    system::rights()
}

/// Returns whether the system knows a user with this name.
#[must_use]
pub fn is_user(name: &str) -> bool {
    system::is_user(name)
}

/// Returns the addresses of the network interface with this name. Returns `None` if there is no interface with this
/// name. Always returns `None` on systems other than Linux.
#[must_use]
pub fn interface_addresses(name: &str) -> Option<Vec<IpAddr>> {
    system::interface_addresses(name)
}

/// Returns whether clients that connect to this address reach this machine. Returns false for a wildcard or multicast
/// address.
#[must_use]
pub fn is_own_address(address: IpAddr) -> bool {
    let is_one = !address.is_unspecified() && !address.is_multicast();
    is_one && (address.is_loopback() || system::is_own_address(address))
}

/// Returns whether any visible process has this name, with or without sockets.
#[must_use]
pub fn is_running(name: &str) -> bool {
    system::is_running(name)
}

/// Returns whether the process with this ID has a socket among its descriptors. Returns false if the descriptors cannot
/// be read. Always returns false on systems other than Linux.
#[must_use]
pub fn has_socket(pid: Pid) -> bool {
    let is_socket = |descriptor: std::fs::DirEntry| {
        std::fs::read_link(descriptor.path())
            .is_ok_and(|link| link.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
    };
    cfg!(target_os = "linux")
        && std::fs::read_dir(format!("/proc/{pid}/fd"))
            .is_ok_and(|descriptors| descriptors.flatten().any(is_socket))
}

/// A process, its parent, and the groups that can end together with the process: the unit, the container and the pid
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeProcess {
    /// The process ID.
    pub pid: Pid,
    /// The process ID of its parent.
    pub parent: Pid,
    /// The name.
    pub name: String,
    /// Whether the process has a controlling terminal.
    pub has_terminal: bool,
    /// The systemd unit, in the form of [`crate::model::Process::unit`].
    pub unit: Option<String>,
    /// The container, in the form of [`crate::model::Process::container`].
    pub container: Option<String>,
    /// Whether the container is inside another container.
    pub is_in_nested_container: bool,
    /// The pid namespace; `None` if it is unknown or portolan's own.
    pub pid_namespace: Option<String>,
    /// Whether the process is the first process of its pid namespace. If it ends, the kernel kills all processes in the
    /// namespace.
    pub is_first_in_namespace: bool,
}

/// Returns every visible process (Linux).
#[cfg(target_os = "linux")]
#[must_use]
pub fn process_tree() -> Vec<TreeProcess> {
    linux::process_tree()
}
