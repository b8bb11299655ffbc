//! The table of rules. Each rule decides whether one listener, with its processes, has one finding.

use super::subject::JudgedListener;
use super::{
    danger_rules, file_rules, identity_rules, packet_rules, registry_rules, severity, socket_rules,
    tool_rules,
};
use crate::findings::{Evidence, Finding, FindingFamily};
use crate::model::{Owner, State};

/// Returns the evidence of one finding; `None` if the listener does not have the finding.
type RuleFn = fn(&JudgedListener<'_>) -> Option<Evidence>;

const RULES: &[RuleFn] = &[
    registry_rules::orphaned,
    registry_rules::ephemeral,
    registry_rules::unexplained,
    identity_rules::impostor,
    identity_rules::unfamiliar,
    identity_rules::hidden_process,
    tool_rules::masquerading,
    tool_rules::shell_listener,
    tool_rules::ad_hoc,
    tool_rules::dual_use,
    danger_rules::exposed,
    socket_rules::published,
    file_rules::runs_from_memory,
    file_rules::writable_executable,
    file_rules::deleted_executable,
    file_rules::modified_executable,
    socket_rules::backlog_full,
    socket_rules::bound_only,
];

/// The rules for a socket without a port. They judge the program only.
const RULES_WITHOUT_PORT: &[RuleFn] = &[
    packet_rules::sniffer,
    identity_rules::hidden_process,
    tool_rules::masquerading,
    file_rules::runs_from_memory,
    file_rules::writable_executable,
    file_rules::deleted_executable,
    file_rules::modified_executable,
];

/// The rules for a socket that only reserves a port. The kernel forwards the traffic of this port.
const RULES_OF_RESERVED_PORT: &[RuleFn] = &[
    danger_rules::exposed,
    identity_rules::hidden_process,
    tool_rules::masquerading,
    file_rules::runs_from_memory,
    file_rules::writable_executable,
    file_rules::deleted_executable,
    file_rules::modified_executable,
];

/// Returns every finding on one listener. A connection has no findings, because the kernel usually chose its port.
pub(super) fn findings(subject: &JudgedListener<'_>) -> Vec<Finding> {
    let rules = match subject.listener.socket.state {
        State::Raw => RULES_WITHOUT_PORT,
        state if state.holds_port() && subject.is_reserved() => RULES_OF_RESERVED_PORT,
        state if state.holds_port() => RULES,
        _ => return Vec::new(),
    };
    let trust = severity::trust(subject.processes);
    let is_owner_hidden = subject.listener.socket.owner == Owner::Hidden;
    let evidence = rules.iter().filter_map(|rule| rule(subject));
    let findings = evidence.map(|evidence| {
        let finding = severity::finding(evidence, subject.listener.exposure, trust);
        let rests_on_owner = finding.flag().family() == FindingFamily::Registry;
        Finding { is_owner_hidden: is_owner_hidden && rests_on_owner, ..finding }
    });
    findings.collect()
}
