//! All sockets of the same processes on one port, for example an IPv4 and an IPv6 socket.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::findings::Finding;
use crate::join::Entry;
use crate::model::{Container, Exposure, Owner, Parent, Process, Reach, Snapshot, State, is_container_id};

/// The sockets of the same processes on one port.
#[derive(Clone, Debug)]
pub struct Listener<'r> {
    /// The sockets, in the order of listings. There is at least one.
    pub sockets: Vec<&'r Entry>,
}

impl<'r> Listener<'r> {
    /// Returns the listeners among these entries, in the order of listings.
    #[must_use]
    pub fn all(entries: impl IntoIterator<Item = &'r Entry>) -> Vec<Self> {
        let mut listeners: Vec<Self> = Vec::new();
        // There may be many entries. Only entries with the same port are compared.
        let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
        for entry in entries.into_iter().filter(|entry| entry.socket.state.holds_port()) {
            let same_port = by_port.entry(entry.socket.local.port).or_default();
            match same_port.iter().find(|at| are_of_one(listeners[**at].first(), entry)) {
                Some(at) => listeners[*at].sockets.push(entry),
                None => {
                    same_port.push(listeners.len());
                    listeners.push(Listener { sockets: vec![entry] });
                }
            }
        }
        listeners
    }

    /// Returns the listener that consists of all these entries; `None` if the entries do not form exactly one listener.
    #[must_use]
    pub fn only(entries: &'r [Entry]) -> Option<Self> {
        let (first, others) = entries.split_first()?;
        let is_one = entries.iter().all(|entry| entry.socket.state.holds_port())
            && others.iter().all(|entry| are_of_one(first, entry));
        is_one.then(|| Listener { sockets: entries.iter().collect() })
    }

    /// Returns the first socket. No other socket of the listener is more exposed.
    #[must_use]
    pub fn first(&self) -> &'r Entry {
        self.sockets[0]
    }

    /// Returns the clients that can reach the listener.
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        self.first().exposure
    }

    /// Returns each different set of clients that the packet filter lets in, with the first socket that these clients
    /// can reach.
    #[must_use]
    pub fn reaches(&self) -> Vec<(&'r Entry, &'r Reach)> {
        let mut differing: Vec<(&Entry, &Reach)> = Vec::new();
        for entry in &self.sockets {
            let Some(reach) = entry.reach() else { continue };
            let clients = |reach: &'r Reach| (reach.kind, &reach.from, reach.more);
            if !differing.iter().any(|(_, other)| clients(other) == clients(reach)) {
                differing.push((entry, reach));
            }
        }
        differing
    }

    /// Returns the findings with their sockets, most severe first. Of several findings with the same flag, only the
    /// most severe is returned.
    #[must_use]
    pub fn findings(&self) -> Vec<(&'r Entry, &'r Finding)> {
        let of_entry = |entry: &'r Entry| entry.findings().iter().map(move |finding| (entry, finding));
        let mut found: Vec<_> = self.sockets.iter().flat_map(|entry| of_entry(entry)).collect();
        found.sort_by_key(|(_, finding)| Reverse(finding.severity));
        let mut codes = HashSet::new();
        found.retain(|(_, finding)| codes.insert(finding.flag().code()));
        found
    }

    /// Returns the processes that could be read. The main process, which started the others, comes first.
    #[must_use]
    pub fn processes(&self) -> Vec<&'r Process> {
        let mut processes: Vec<&Process> = self.first().processes.iter().map(|process| &**process).collect();
        // A service manager opens sockets for other processes, so it is last.
        let owner = &self.first().socket.owner;
        let is_manager = |process: &Process| process.pid == 1 || is_user_manager(process);
        processes.sort_by_key(|process| (is_manager(process), has_ancestor_in(process, owner)));
        processes
    }

    /// Returns the main process, the first of [`Listener::processes`]; `None` if no process could be read.
    #[must_use]
    pub fn main(&self) -> Option<&'r Process> {
        self.processes().first().copied()
    }

    /// Returns the current number of connections; `None` if connections were not requested.
    #[must_use]
    pub fn connections(&self, snapshot: &Snapshot) -> Option<u32> {
        let counts = self.sockets.iter().filter(|entry| entry.socket.state == State::Listen);
        let counts: Vec<u32> = counts.map(|entry| entry.connections.unwrap_or(0)).collect();
        (snapshot.scope.states.contains(&State::Established) && !counts.is_empty())
            .then(|| counts.iter().sum())
    }

    /// Returns the systemd socket unit that opened the sockets, if any.
    #[must_use]
    pub fn socket_unit(&self) -> Option<&'r str> {
        self.first().socket.unit.as_deref().filter(|unit| unit.ends_with(".socket") && !unit.contains('/'))
    }

    /// Returns the unit of the main process. If no process could be read, returns the unit of the socket.
    #[must_use]
    pub fn unit(&self) -> Option<&'r str> {
        match self.main() {
            Some(process) if process.pid != 1 => process.unit.as_deref(),
            _ => self.first().socket.unit.as_deref(),
        }
    }

    /// Returns the name of the main process's container, or its ID if it has no name. If no process could be read,
    /// returns the container of the socket.
    #[must_use]
    pub fn container(&self) -> Option<&'r str> {
        match self.main() {
            Some(process) if process.pid != 1 => process.container_name(),
            _ => self.first().container(),
        }
    }

    /// Returns the full ID of the main process's container. If no process could be read, returns the container ID of
    /// the socket.
    #[must_use]
    pub fn container_id(&self) -> Option<&'r str> {
        let group = match self.main() {
            Some(process) if process.pid != 1 => process.container.as_deref(),
            _ => self.first().socket.container.as_deref(),
        };
        let group = group.filter(|group| is_container_id(group))?;
        group.rsplit('/').next()
    }

    /// Returns the data about the main process's container, from the files of the container's manager.
    #[must_use]
    pub fn container_details(&self) -> Option<&'r Container> {
        self.main()?.container_details.as_deref()
    }
}

/// Returns whether two sockets belong to the same processes. For hidden owners, both sockets must also be in the same
/// control group.
fn are_of_one(one: &Entry, other: &Entry) -> bool {
    let (a, b) = (&one.socket, &other.socket);
    let same_port = a.local.port == b.local.port && a.netns == b.netns;
    // docker-proxy runs one process for each address family, so the sockets of one published port may have two owners.
    let is_published_twice = one.forwards_to().is_some() && one.forwards_to() == other.forwards_to();
    let same_owner = match (&a.owner, &b.owner) {
        (Owner::Held(a), Owner::Held(b)) => a == b || is_published_twice,
        (Owner::Hidden, Owner::Hidden) => a.unit.is_some() && (&a.cgroup, a.uid) == (&b.cgroup, b.uid),
        (Owner::Kernel, Owner::Kernel) => true,
        _ => false,
    };
    same_port && same_owner
}

/// Returns whether an owner of the socket, other than pid 1, is an ancestor of the process.
pub(super) fn has_ancestor_in(process: &Process, owner: &Owner) -> bool {
    process.parents.iter().any(|Parent { pid, .. }| *pid != 1 && owner.pids().contains(pid))
}

/// Returns whether a process is the service manager of a user. This process opens the sockets of the user's socket
/// units.
pub(super) fn is_user_manager(process: &Process) -> bool {
    let unit = process.unit.as_deref().and_then(|unit| unit.strip_prefix("user@"));
    unit.is_some_and(|unit| unit.ends_with(".service/init.scope"))
        && process.name.as_deref() == Some("systemd")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::judge::judge;
    use crate::registry::Registry;

    /// Of two findings with the same flag, the more severe finding counts.
    #[test]
    fn the_most_severe_finding_of_several_sockets() {
        let owner = || Owner::Held(Arc::new(vec![7]));
        let sockets = ["tcp/127.0.0.1:22", "tcp/0.0.0.0:22"].map(|local| socket(local, owner())).to_vec();
        let process = program_process(7, "redis-server", "/usr/bin/redis-server", "redis-server");
        let report = judge(seen(sockets, vec![process]), Registry::embedded());
        let of = |findings: Vec<(&Entry, &Finding)>| -> Vec<_> {
            let impostors = findings.into_iter().filter(|(_, finding)| finding.flag().code() == "impostor");
            impostors.map(|(entry, finding)| (entry.exposure, finding.severity)).collect()
        };
        let mut each: Vec<_> = report
            .entries
            .iter()
            .flat_map(|entry| of(entry.findings().iter().map(|finding| (entry, finding)).collect()))
            .collect();
        each.sort_by_key(|(_, severity)| Reverse(*severity));
        assert_eq!(each.len(), 2);
        assert!(each[0].1 > each[1].1, "{each:?}");
        let listing: Vec<&Entry> = report.entries.iter().collect();
        let reversed = listing.iter().rev().copied().collect();
        for sockets in [listing, reversed] {
            assert_eq!(of(Listener { sockets }.findings()), each[..1]);
        }
    }
}
