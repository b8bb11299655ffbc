//! The listener that a rule judges.

use super::program_identity::IdentifiedProcess;
use super::relayed::RelayedService;
use crate::join::Entry;
use crate::model::{Endpoint, Forwarding, Reach, Snapshot, UsualProgram};
use crate::registry::Registry;

/// All data that a rule may use.
pub(super) struct JudgedListener<'s> {
    pub(super) listener: &'s Entry,
    /// The processes that own the socket, if they could be read.
    pub(super) processes: &'s [IdentifiedProcess<'s>],
    /// The usual program of the port, if every process runs such a program.
    pub(super) usual: Option<UsualProgram>,
    /// The destination to which a rule forwards the traffic.
    pub(super) forwarding: Option<&'s Forwarding>,
    /// The services on this machine to which a relay passes the connections, and the processes of each service.
    pub(super) relayed: &'s [(&'s RelayedService, Vec<IdentifiedProcess<'s>>)],
    /// The clients that can reach the listener according to the packet filter.
    pub(super) reach: Option<&'s Reach>,
    /// The published ports that lead to the listener from another network namespace.
    pub(super) published_as: &'s [Endpoint],
    pub(super) snapshot: &'s Snapshot,
    pub(super) registry: &'s Registry,
}

impl JudgedListener<'_> {
    /// Returns whether other machines can reach the listener, by its address and the packet filter. If the packet
    /// filter is not known, only the address decides.
    pub(super) fn is_reachable_from_outside(&self) -> bool {
        self.listener.exposure.is_reachable_from_outside()
            && self.reach.is_none_or(|reach| reach.kind.lets_in_other_machines())
    }

    /// Returns whether the process only reserves the port, while the kernel forwards the traffic of the port.
    pub(super) fn is_reserved(&self) -> bool {
        self.forwarding.is_some() && self.listener.socket.forwarding.is_none()
    }

    /// Returns whether this port is a usual port of the program. A program that serves any port does not count.
    pub(super) fn is_on_own_port(&self) -> bool {
        self.usual.is_some_and(|usual| !usual.any_port)
    }
}
