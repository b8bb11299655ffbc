//! Pure rules: from a joined listener to findings. No input, no output, no clock, no prose.

pub mod audit;
mod danger_rules;
pub mod deep;
mod file_rules;
mod identity_rules;
mod program_identity;
mod registry_rules;
mod rules;
mod severity;
mod socket_rules;
mod socket_sharing;
mod subject;
#[cfg(test)]
pub(crate) mod tests;
mod tool_rules;

use std::mem;

pub use self::severity::usual_severity;
pub use crate::join::Entry;
use crate::join::join;
use crate::model::{Context, Matched, Protocol, Snapshot, Verdict};
use crate::registry::Registry;

/// A snapshot, joined and judged: everything a renderer needs.
#[derive(Clone, Debug)]
pub struct Report {
    /// When and where it was taken, what was asked for, and what could not be seen. Its sockets and processes have moved
    /// into the entries.
    pub snapshot: Snapshot,
    /// How many sockets the snapshot had.
    pub seen: usize,
    /// The sockets asked for, in the order of listings.
    pub entries: Vec<Entry>,
    /// The registry that judged them.
    pub registry: Registry,
}

/// Joins and judges a snapshot.
#[must_use]
pub fn judge(mut snapshot: Snapshot, registry: Registry) -> Report {
    let seen = snapshot.sockets.len();
    let (sockets, processes) = (mem::take(&mut snapshot.sockets), mem::take(&mut snapshot.processes));
    let mut entries = join(sockets, processes, &registry);
    let mut identities = program_identity::Identities::default();
    for entry in &mut entries {
        let processes = &identities.processes(entry);
        let usual = program_identity::usual(entry, processes);
        let subject =
            subject::Subject { listener: entry, processes, usual, snapshot: &snapshot, registry: &registry };
        entry.add_findings(rules::findings(&subject));
        if let Some(usual) = usual {
            entry.set_usual(usual);
        }
    }
    for (at, evidence) in socket_sharing::evidence(entries.iter(), &mut identities) {
        let entry = &mut entries[at];
        let exposure = entry.exposure;
        entry.add_findings(
            evidence
                .into_iter()
                .map(|evidence| severity::finding(evidence, exposure, severity::Trust::Unproven)),
        );
    }
    Report { snapshot, seen, entries, registry }
}

/// What `explain` tells of one port and protocol.
#[derive(Clone, Debug)]
pub struct Explained<'r> {
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The registry's verdict on them.
    pub verdict: Verdict,
    /// Who listens there here and now.
    pub listeners: Vec<&'r Entry>,
    /// Who else uses the port here and now: connections from it or through it.
    pub connections: Vec<&'r Entry>,
    /// What is worth telling beside.
    pub context: Context,
}

/// What was asked for, and what it turned out to be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// As typed.
    pub text: &'a str,
    /// What it is.
    pub matched: Matched,
    /// How many ports and protocols it added to the answer.
    pub added: usize,
}

/// What a report tells of one port and protocol; with what is worth telling beside only `in_full`, for it takes longer
/// to find than the verdict.
#[must_use]
pub fn explain<'r>(report: &'r Report, port: u16, protocol: Protocol, in_full: bool) -> Explained<'r> {
    let verdict = report.registry.verdict(port, protocol);
    let on_it = report.entries.iter().filter(|judged| {
        let local = &judged.socket.local;
        (local.port, local.protocol) == (port, protocol)
    });
    let (listeners, connections): (Vec<_>, Vec<_>) =
        on_it.partition(|judged| judged.socket.state.holds_port());
    let mut context = Context::default();
    if in_full {
        context = report.registry.context(port, protocol, &verdict);
        context.ephemeral = registry_rules::ephemeral_here(&report.snapshot, port, protocol, &listeners);
    }
    Explained { port, protocol, verdict, listeners, connections, context }
}
