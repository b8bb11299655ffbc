//! Turns a listener and its processes into findings. The rules perform no input or output, and do not read the clock.

pub mod audit;
mod danger_rules;
pub mod deep;
mod file_rules;
mod free_ports;
mod how_to_stop;
mod identity_rules;
mod kill_plan;
mod listener;
mod loopback;
mod packet_rules;
mod program_identity;
mod published;
mod reach;
mod registry_rules;
mod relayed;
mod rules;
mod service;
mod severity;
mod socket_rules;
mod socket_sharing;
mod ssh_clients;
mod started_by;
mod subject;
#[cfg(test)]
pub(crate) mod tests;
mod tool_rules;
mod unjudged;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use serde::Serialize;

pub use self::free_ports::{FreePort, FreePorts, RefusedPort, free_ports};
pub use self::how_to_stop::HowToStop;
pub use self::kill_plan::{KillCaller, KillRefusal, KillStep, kill_plan};
pub use self::listener::Listener;
pub use self::program_identity::picked_from;
pub use self::relayed::{MOST_RELAYS, relay_targets};
pub use self::severity::{possible_severities, usual_severity};
use self::ssh_clients::{ssh_clients, with_clients};
use self::started_by::is_ssh_server;
pub use self::started_by::{ContainerManager, Session, StartedBy};
pub use crate::findings::{Finding, Flag};
pub use crate::join::Entry;
use crate::join::join;
use crate::model::{
    Context, Direction, Matched, PortVerdict, Process, Protocol, Rights, SearchHit, Snapshot, State,
};
use crate::registry::Registry;

/// A snapshot after its sockets were joined with their processes and judged.
#[derive(Clone, Debug)]
pub struct Report {
    /// The snapshot. Its sockets and processes have moved into the entries.
    pub snapshot: Snapshot,
    /// The number of sockets in the snapshot.
    pub seen: usize,
    /// The requested sockets, in the order of listings.
    pub entries: Vec<Entry>,
    /// The registry by which the entries were judged.
    pub registry: Registry,
    /// The user's question, which the entries answer.
    pub question: Question,
    /// What the user may do without `sudo`. A renderer shows commands that fit these rights.
    pub rights: Rights,
}

/// The user's question, which decides which gaps matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Whether the user named a target or a filter.
    pub is_narrowed: bool,
    /// The number of sockets that were left out, because too little is known to decide whether they match.
    pub undecided: usize,
    /// Whether the data comes from a saved snapshot.
    pub is_saved: bool,
    /// The port, if the question is about one port and nothing else.
    pub port: Option<u16>,
}

impl Report {
    /// Removes the command lines from all processes and all findings.
    pub fn remove_command_lines(&mut self) {
        self.change_processes(|one| {
            let (cmdline, debugger_options, socket_commands) = (Vec::new(), Vec::new(), Vec::new());
            Some(Process { cmdline, debugger_options, socket_commands, ..one.clone() })
        });
        self.entries.iter_mut().for_each(Entry::remove_command_lines);
    }

    /// Replaces each process by the process in `read` that has the same pid. The findings do not change.
    pub fn complete_processes(&mut self, read: &[Process]) {
        self.change_processes(|one| read.iter().find(|read| read.pid == one.pid).cloned());
    }

    /// Adds the number of connections to each listener. The numbers come from a later report.
    pub fn add_connections(&mut self, later: &Report) {
        let identity = |entry: &Entry| (entry.socket.local.clone(), entry.socket.cookie, entry.socket.inode);
        let counts: HashMap<_, _> =
            later.entries.iter().map(|entry| (identity(entry), entry.connections)).collect();
        for entry in &mut self.entries {
            entry.connections = counts.get(&identity(entry)).copied().flatten().or(entry.connections);
        }
        self.snapshot.scope.states.push(State::Established);
    }

    /// Returns whether any listener was started in a session over SSH.
    #[must_use]
    pub fn has_ssh_sessions(&self) -> bool {
        let processes = self.entries.iter().flat_map(|entry| &*entry.processes);
        processes.flat_map(|process| &process.parents).any(is_ssh_server)
    }

    /// Adds the address of the SSH client to each process that was started over SSH. `connections` has the listeners
    /// and the established connections.
    pub fn add_ssh_clients(&mut self, connections: &Snapshot) {
        let clients = ssh_clients(connections);
        self.change_processes(|one| with_clients(one, &clients));
    }

    /// Replaces each process for which `change` returns a new process.
    fn change_processes(&mut self, change: impl Fn(&Process) -> Option<Process>) {
        // Entries share lists of processes. A list is identified by its memory address. The old lists are kept until
        // the end, so that no new list gets the address of an old list.
        let mut lists = HashMap::new();
        for entry in &mut self.entries {
            let old = Arc::clone(&entry.processes);
            let (_, new) = lists.entry(Arc::as_ptr(&old)).or_insert_with(|| {
                let changed = |one: &Arc<Process>| change(one).map_or_else(|| Arc::clone(one), Arc::new);
                let new = Arc::new(old.iter().map(changed).collect());
                (old, new)
            });
            entry.processes = Arc::clone(new);
        }
    }
}

/// Joins and judges a snapshot.
#[must_use]
pub fn judge(mut snapshot: Snapshot, registry: Registry) -> Report {
    let seen = snapshot.sockets.len();
    let (sockets, processes) = (mem::take(&mut snapshot.sockets), mem::take(&mut snapshot.processes));
    let mut entries = join(sockets, processes, &snapshot, &registry);
    let mut identities = program_identity::Identities::default();
    let behind = published::services_behind(&entries, &snapshot);
    let relayed = relayed::services_behind_relays(&entries, &behind, &snapshot, &mut identities);
    let published_ports = published::published_ports(&entries);
    let leading = published::ports_leading_to(&entries, &snapshot);
    let forwardings = entries.iter().filter_map(|entry| entry.socket.forwarding.as_ref());
    let forwarded = forwardings.map(|forwarding| (forwarding.to, forwarding.rule.clone())).collect();
    let mut firewalls = reach::Firewalls::new(&snapshot.firewalls, forwarded);
    let mut reach_from_link =
        loopback::find_reachable(&mut entries, &mut identities, &mut firewalls, &published_ports);
    let is_order_changed = !reach_from_link.is_empty();
    for at in 0..entries.len() {
        let (before, rest) = entries.split_at_mut(at);
        let Some(entry) = rest.first_mut() else { continue };
        let behind = behind.get(&published::key(entry));
        let processes = &identities.processes(behind.unwrap_or(entry));
        let services = relayed.get(&at).map(Vec::as_slice).unwrap_or_default();
        let relayed: Vec<_> =
            services.iter().map(|found| (found, identities.processes(&found.service))).collect();
        let usual = (behind.is_none() && entry.socket.port().is_some())
            .then(|| program_identity::usual(entry, processes))
            .flatten();
        let reserved = published::reserved_by_dockerd(&published_ports, entry, processes);
        let forwarding =
            entry.socket.forwarding.as_ref().or_else(|| reserved.and_then(|port| port.forwarding.as_ref()));
        let forwards_to =
            forwarding.map(|forwarding| forwarding.to).or_else(|| service::forwards_to(processes));
        let reach = firewalls.reach(reserved.unwrap_or(&entry.socket), forwards_to);
        let reach = reach.or_else(|| reach_from_link.remove(&at));
        let published_as = leading.get(&entry.socket.port_key()).map(Vec::as_slice);
        let subject = subject::JudgedListener {
            listener: entry,
            processes,
            usual,
            forwarding,
            relayed: &relayed,
            reach: reach.as_deref(),
            published_as: published_as.unwrap_or_default(),
            snapshot: &snapshot,
            registry: &registry,
        };
        let service = service::running(entry, processes).filter(|_| reserved.is_none());
        let container = forwarding.and_then(|forwarding| forwarding.container.clone());
        let mut target = forwards_to.map(|to| service::forward_target(to, processes, container));
        if let (Some(target), Some(behind)) = (&mut target, behind) {
            target.pids = behind.socket.owner.pids().to_vec();
            target.served_by = service::main_process(behind);
        }
        entry.add_findings(rules::findings(&subject));
        service.into_iter().for_each(|service| entry.set_service(service));
        published_as.into_iter().for_each(|ports| entry.set_published_as(ports.to_vec()));
        target.into_iter().for_each(|target| entry.set_forwards_to(target));
        if let Some(usual) = usual {
            entry.set_usual(usual);
        }
        if let Some(reach) = reach {
            entry.set_reach(reach);
        }
        if let Some(before) = before.last() {
            entry.share_judgement(before);
        }
    }
    let unevaluated = firewalls.gap();
    service::join_forwarded(&mut entries, &snapshot);
    published::remove_duplicates(&mut entries);
    if is_order_changed {
        entries.sort_by_key(|entry| entry.exposure);
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
    let unjudged = unjudged::gaps(&entries, &snapshot.gaps, &snapshot.host.os);
    snapshot.gaps.extend(unjudged);
    snapshot.gaps.extend(unevaluated);
    Report {
        rights: Rights::of(&snapshot.host),
        snapshot,
        seen,
        entries,
        registry,
        question: Question::default(),
    }
}

/// The answer of `explain` for one port and protocol.
#[derive(Clone, Debug)]
pub struct Explained<'r> {
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The registry's verdict on the port and protocol.
    pub verdict: PortVerdict,
    /// The listeners on the port at the time of the snapshot.
    pub listeners: Vec<&'r Entry>,
    /// The connections that use the port at the time of the snapshot.
    pub connections: Vec<&'r Entry>,
    /// Further facts about the port.
    pub context: Context,
}

/// A query, and its interpretation.
#[derive(Clone, Debug, Serialize)]
pub struct Query<'a> {
    /// The query as the user typed it.
    pub text: &'a str,
    /// The kind of thing that the query names.
    pub matched: Matched,
    /// The number of results of this query that no earlier query had. A result is a port and a protocol.
    #[serde(skip)]
    pub added: usize,
    /// The ports that a search for words found, the best first. Empty for every other query.
    pub hits: Vec<SearchHit>,
}

/// Explains one port and protocol. The context is filled in only if `in_full` is true, because it takes longer to find
/// than the verdict.
#[must_use]
pub fn explain<'r>(report: &'r Report, port: u16, protocol: Protocol, in_full: bool) -> Explained<'r> {
    let verdict = report.registry.verdict(port, protocol);
    let on_it = report.entries.iter().filter(|judged| {
        let local = &judged.socket.local;
        (local.port, local.protocol) == (port, protocol)
    });
    let (listeners, mut connections): (Vec<_>, Vec<_>) =
        on_it.partition(|judged| judged.socket.state.holds_port());
    // Connections that a listener accepted are left out, because they belong to this listener.
    connections.retain(|connection| connection.direction != Some(Direction::In));
    let mut context = Context::default();
    if in_full {
        context = report.registry.context(port, protocol, &verdict);
        context.ephemeral = registry_rules::ephemeral_here(&report.snapshot, port, protocol, &listeners);
    }
    Explained { port, protocol, verdict, listeners, connections, context }
}
