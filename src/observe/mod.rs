//! Everything that touches the operating system, needs privilege or is slow.
//!
//! One function, [`observe`], on every system; the `cfg` switch is here and nowhere else. It never returns
//! a short list in silence: what could not be seen is a [`crate::model::Gap`] in the observation.

use std::fmt;

pub use crate::model::Scope;
use crate::model::{DeepLook, Namespaces, Snapshot};

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
pub mod portable;
#[cfg(not(target_os = "linux"))]
mod rescan;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod unsupported;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "linux")]
use linux::Memory;
#[cfg(any(target_os = "macos", windows))]
use portable as system;
#[cfg(not(target_os = "linux"))]
use rescan::Memory;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
use unsupported as system;

/// What is asked on this system for sockets and processes.
pub const SOURCES: &str = if cfg!(target_os = "linux") {
    "sock_diag over netlink, /proc"
} else if cfg!(target_os = "macos") {
    "libproc, sysctl, launchctl"
} else if cfg!(windows) {
    "the tables of the IP Helper (netstat2), processes (sysinfo), accounts, services, netsh"
} else {
    "none: only saved observations (--from)"
};

/// The namespaces that hold whatever listens here: all there are, where the system has such a thing.
pub const EVERYWHERE: Namespaces = if cfg!(target_os = "linux") { Namespaces::All } else { Namespaces::Own };

/// Why nothing at all could be observed.
#[derive(Debug)]
pub struct Error(
    /// What went wrong, in lower case.
    pub String,
);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Looks at this machine, now.
///
/// # Errors
/// Only where nothing at all can be observed on this system; anything less is a gap.
pub fn observe(scope: &Scope) -> Result<Snapshot, Error> {
    system::observe(scope)
}

/// Looks deeper than the tables: whether they contradict each other, and whether a port is taken that none shows.
///
/// # Errors
/// Where a network namespace is asked for that is not to be found; anything else that could not be looked at, on this
/// system at all too, is a gap.
pub fn deep(namespaces: &Namespaces) -> Result<DeepLook, Error> {
    #[cfg(target_os = "linux")]
    return linux::deep::look(namespaces);
    #[cfg(not(target_os = "linux"))]
    return rescan::deep(namespaces);
}

/// Looks again and again; what one look has learnt makes the next one cheap, where the system allows it.
///
/// A look that finds every socket and every holder as they were does not ask who else may hold them by now: that is
/// asked anew whenever something changed, and now and then.
#[derive(Debug)]
pub struct Observer {
    scope: Scope,
    memory: Memory,
}

impl Observer {
    /// Nothing is looked at yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Observer { scope, memory: Memory::default() }
    }

    /// Looks now: an observation, or `None` where all is as it was at the last look.
    ///
    /// # Errors
    /// As [`observe`].
    pub fn look(&mut self) -> Result<Option<Snapshot>, Error> {
        self.memory.look(&self.scope)
    }
}

/// Whether the system knows a user of this name.
#[must_use]
pub fn is_user(name: &str) -> bool {
    system::is_user(name)
}

/// Whether any process that can be seen goes by this name, whatever it holds.
#[must_use]
pub fn is_running(name: &str) -> bool {
    system::is_running(name)
}
