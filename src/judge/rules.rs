//! The table of rules: each decides one finding, from one listener and its processes.
//!
//! Rules that compare listeners with each other are in [`super::socket_sharing`].

use super::program_identity::{self, IdentifiedProcess};
use super::{danger_rules, file_rules, registry_rules, severity, socket_rules, tool_rules};
use crate::findings::{Evidence, Finding};
use crate::join::Entry;
use crate::model::{Snapshot, Usual};
use crate::registry::Registry;

/// What a rule may look at.
pub(super) struct Subject<'s> {
    pub(super) listener: &'s Entry,
    /// The processes that hold the socket, as far as they could be read.
    pub(super) processes: &'s [IdentifiedProcess<'s>],
    /// The program that belongs on the port, if every process is one.
    pub(super) usual: Option<Usual>,
    pub(super) snapshot: &'s Snapshot,
    pub(super) registry: &'s Registry,
}

impl Subject<'_> {
    /// Whether the program usually serves this port, and not because it serves any port.
    pub(super) fn is_on_own_port(&self) -> bool {
        self.usual.is_some_and(|usual| !usual.any_port)
    }
}

/// Decides one finding: returns its evidence, or `None` if the listener does not have it.
type Rule = fn(&Subject<'_>) -> Option<Evidence>;

const RULES: &[Rule] = &[
    registry_rules::orphaned,
    registry_rules::ephemeral,
    registry_rules::unexplained,
    program_identity::impostor,
    program_identity::unfamiliar,
    tool_rules::masquerading,
    tool_rules::shell_listener,
    tool_rules::ad_hoc,
    tool_rules::dual_use,
    danger_rules::exposed,
    file_rules::runs_from_memory,
    file_rules::writable_executable,
    file_rules::deleted_executable,
    socket_rules::backlog_full,
    socket_rules::bound_only,
];

/// Returns every finding on one listener. A connection has none: nobody chose its port.
pub(super) fn findings(subject: &Subject<'_>) -> Vec<Finding> {
    if !subject.listener.socket.state.holds_port() {
        return Vec::new();
    }
    let trust = severity::trust(subject.processes);
    let evidence = RULES.iter().filter_map(|rule| rule(subject));
    evidence.map(|evidence| severity::finding(evidence, subject.listener.exposure, trust)).collect()
}
