//! What the user may do on this machine.

use super::Host;

/// What the user may do without `sudo`. Only the commands in cards, audits and messages depend on these rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Whether the user needs `sudo` to act as root.
    pub needs_sudo: bool,
    /// Whether the user may give commands to the Docker daemon of this machine.
    pub may_use_docker: bool,
}

impl Rights {
    /// Returns the rights of the user who made a snapshot, as far as the snapshot shows them.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Rights { needs_sudo: !host.privileged && host.os != "windows", may_use_docker: host.privileged }
    }
}
