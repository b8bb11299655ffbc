//! Identifies the service of a listener, and the destination of a forwarding program.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::listener::has_ancestor_in;
use super::program_identity::{IdentifiedProcess, by_socket_unit, by_unit, is_opener};
use super::published::by_port;
use crate::join::Entry;
use crate::model::{
    Container, ForwardTarget, ListenerService, Owner, Peer, Pid, Process, ServiceBy, Snapshot, unmapped,
};
use crate::registry::programs::ListedProgram;
use crate::registry::tools::packet_program;

/// Returns the service of the first known program. Programs such as systemd do not count, because they only open
/// sockets. If no program is known, or if the owner is hidden, the name of the unit decides.
pub(super) fn running(listener: &Entry, processes: &[IdentifiedProcess<'_>]) -> Option<ListenerService> {
    let local = &listener.socket.local;
    if listener.socket.port().is_none() {
        let known = |process: &IdentifiedProcess<'_>| packet_program(process.command_line()?);
        let product = Some(processes.iter().find_map(known)?.what);
        return Some(ListenerService { name: None, product, by: ServiceBy::Process });
    }
    let registered: Vec<_> = listener.verdict.assignments.iter().map(|assigned| assigned.service).collect();
    let service = |program: ListedProgram, by| {
        let name = Some(program.service(local.port, local.protocol, &registered));
        ListenerService { name, product: Some(program.product), by }
    };
    if listener.socket.owner == Owner::Hidden {
        return by_unit(listener).map(|program| service(program, ServiceBy::Unit));
    }
    let by_process = processes.iter().filter(|process| !is_opener(process)).find_map(|process| {
        let identity = process.identity.as_deref()?;
        let program = identity.serving(local.port, local.protocol).or_else(|| identity.program())?;
        Some(service(program, ServiceBy::Process))
    });
    by_process.or_else(|| {
        let program = processes.iter().find_map(|process| by_socket_unit(process, listener))?;
        Some(service(program, ServiceBy::Unit))
    })
}

/// Returns the destination to which docker-proxy forwards the port; `None` if no process is docker-proxy.
pub(super) fn forwards_to(processes: &[IdentifiedProcess<'_>]) -> Option<Peer> {
    processes.iter().find_map(|process| Peer::behind_docker_proxy(process.process))
}

pub(super) fn forward_target(
    to: Peer,
    processes: &[IdentifiedProcess<'_>],
    known: Option<Arc<Container>>,
) -> ForwardTarget {
    let of_proxy = || processes.iter().find_map(|proxy| proxy.process.forwards_to_container.clone());
    let container = known.or_else(of_proxy);
    ForwardTarget { address: to.address, port: to.port, container, pids: Vec::new(), served_by: None }
}

/// Finds the processes that listen at the destination of each forwarded port. They are in the namespace or in the
/// container that has the address.
pub(super) fn join_forwarded(entries: &mut [Entry], snapshot: &Snapshot) {
    let is_forwarded = |entry: &Entry| entry.forward_target().is_some();
    if !entries.iter().any(is_forwarded) {
        return;
    }
    let mut joined = Vec::new();
    let on_port = by_port(entries);
    for (at, entry) in entries.iter().enumerate() {
        let Some(to) = entry.forward_target() else { continue };
        let serves = |entry: &&&Entry| {
            let address = entry.socket.local.address;
            let is_there = address.is_unspecified() || unmapped(address) == to.address;
            is_there && is_in_place(entry, to, snapshot)
        };
        let there = on_port.get(&(entry.socket.local.protocol, to.port)).into_iter().flatten();
        let behind: Vec<&Entry> = there.filter(serves).copied().collect();
        let pids: BTreeSet<Pid> =
            behind.iter().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
        let container = to.container.clone().or_else(|| {
            let mut processes = behind.iter().flat_map(|entry| &*entry.processes);
            processes.find_map(|process| process.container_details.clone())
        });
        if !pids.is_empty() {
            let served_by = behind.first().and_then(|entry| main_process(entry));
            let pids = pids.into_iter().collect();
            let to = ForwardTarget { pids, container, served_by, ..to.clone() };
            joined.push((at, to));
        }
    }
    for (at, to) in joined {
        entries[at].set_forwards_to(to);
    }
}

/// Returns the first process of an entry that was not started by another owner; `None` if no process could be read.
pub(super) fn main_process(entry: &Entry) -> Option<Arc<Process>> {
    let owner = &entry.socket.owner;
    let mut processes = entry.processes.iter();
    processes.find(|process| !has_ancestor_in(process, owner)).cloned()
}

/// Returns whether a socket is in a network namespace with the address of the destination, or in the container of the
/// destination.
fn is_in_place(entry: &Entry, to: &ForwardTarget, snapshot: &Snapshot) -> bool {
    let Some(netns) = &entry.socket.netns else { return false };
    let has_address = snapshot
        .namespaces
        .iter()
        .any(|place| place.netns.inode == netns.inode && place.addresses.contains(&to.address));
    let is_container = to.container.as_ref().is_some_and(|container| {
        let groups = entry.processes.iter().map(|process| process.container.as_deref());
        groups.chain([entry.socket.container.as_deref()]).any(|group| group == Some(&container.id))
    });
    has_address || is_container
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::judge;
    use crate::judge::tests::{program_process, seen, socket};
    use crate::model::{Container, Namespace, Netns, Owner, Socket, SocketAttributes};
    use crate::registry::Registry;
    use std::sync::Arc;

    /// A port is forwarded to 172.17.0.2:8080. Two namespaces have a listener on that port.
    #[test]
    fn the_listener_behind_a_published_port() {
        let id = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
        let named = Arc::new(Container { id: id.to_owned(), ..Container::default() });
        let line = "docker-proxy -proto tcp -container-ip 172.17.0.2 -container-port 8080";
        let behind = |local: &str, container: Option<&Arc<Container>>, group: &str, addresses: [u64; 2]| {
            let mut proxy = program_process(7, "docker-proxy", "/usr/bin/docker-proxy", line);
            proxy.forwards_to_container = container.cloned();
            let inside = |inode: u64, pid: Pid, group: &str| {
                let attributes = SocketAttributes {
                    netns: Some(Netns { inode, name: None }),
                    container: Some(group.to_owned()),
                    ..SocketAttributes::default()
                };
                Socket { attributes: attributes.into(), ..socket(local, Owner::Held(vec![pid].into())) }
            };
            let published = socket("tcp/0.0.0.0:80", Owner::Held(vec![7].into()));
            let sockets = vec![published, inside(1, 8, group), inside(2, 9, "other")];
            let mut snapshot = seen(sockets, vec![proxy]);
            snapshot.namespaces = [1, 2]
                .map(|inode| Namespace {
                    netns: Netns { inode, name: None },
                    addresses: vec![[172, 17, 0, if addresses.contains(&inode) { 2 } else { 9 }].into()],
                    ephemeral: Vec::new(),
                    reserved: Vec::new(),
                    ephemeral_source: String::new(),
                })
                .into();
            let report = judge(snapshot, Registry::embedded());
            let entry = report.entries.iter().find(|entry| entry.socket.local.port == 80).unwrap();
            entry.forward_target().unwrap().pids.clone()
        };
        let every = "tcp/0.0.0.0:8080";
        assert_eq!(behind(every, None, "x", [1, 0]), [8], "the namespace that has the address");
        assert_eq!(behind(every, Some(&named), id, [0, 0]), [8], "the container that has the address");
        assert_eq!(behind("tcp/172.17.0.2:8080", None, "x", [0, 2]), [9], "bound to the address");
        assert_eq!(behind("tcp/127.0.0.1:8080", None, "x", [1, 2]), [0; 0], "bound to loopback");
        assert_eq!(behind("udp/0.0.0.0:8080", None, "x", [1, 2]), [0; 0], "another protocol");
        assert_eq!(behind(every, None, "x", [0, 0]), [0; 0], "nobody has the address");
    }
}
