//! Finds the clients of sessions over SSH, by the connections of the processes that serve these sessions.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::started_by::is_ssh_server;
use crate::model::{Parent, Pid, Process, Snapshot, State, unmapped};

/// The address of the client, by the process that serves its session.
pub(super) type SshClients = BTreeMap<Pid, IpAddr>;

/// Returns the client of each process whose accepted connections all come from one address. Other processes are left
/// out. For example, a session that forwards a port may have connections from several addresses.
pub(super) fn ssh_clients(connections: &Snapshot) -> SshClients {
    let sockets = || connections.sockets.iter();
    let of_listeners: HashSet<u16> =
        sockets().filter(|socket| socket.state == State::Listen).map(|socket| socket.local.port).collect();
    let mut addresses: BTreeMap<Pid, BTreeSet<IpAddr>> = BTreeMap::new();
    for socket in sockets().filter(|socket| socket.state == State::Established) {
        let Some(peer) = socket.peer.filter(|_| of_listeners.contains(&socket.local.port)) else { continue };
        for pid in socket.owner.pids() {
            addresses.entry(*pid).or_default().insert(unmapped(peer.address));
        }
    }
    let only = |(pid, addresses): (Pid, BTreeSet<IpAddr>)| {
        let mut addresses = addresses.into_iter();
        addresses.next().filter(|_| addresses.next().is_none()).map(|address| (pid, address))
    };
    addresses.into_iter().filter_map(only).collect()
}

/// Returns a copy of the process with the client addresses of the SSH servers that started it. `None` if no client is
/// known.
pub(super) fn with_clients(process: &Process, clients: &SshClients) -> Option<Process> {
    let has_client = |parent: &Parent| is_ssh_server(parent) && clients.contains_key(&parent.pid);
    process.parents.iter().any(has_client).then(|| {
        let mut process = process.clone();
        for parent in process.parents.iter_mut().filter(|parent| has_client(parent)) {
            parent.client = clients.get(&parent.pid).copied();
        }
        process
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{program_process, seen, socket};
    use super::super::{Listener, Session, StartedBy, judge};
    use super::*;
    use crate::model::{Owner, Peer, Socket};
    use crate::registry::Registry;

    #[test]
    fn the_client_of_a_session() {
        let connection = |local: &str, peer: [u8; 4], pids: &[Pid]| Socket {
            state: State::Established,
            peer: Some(Peer { address: peer.into(), port: 50123 }),
            ..socket(local, Owner::Held(pids.to_vec().into()))
        };
        let own = || connection("tcp/10.9.0.2:22", [10, 9, 0, 1], &[60, 61]);
        let forwarded = || connection("tcp/127.0.0.1:8080", [127, 0, 0, 1], &[61]);
        let other = || connection("tcp/10.9.0.2:22", [10, 9, 0, 7], &[70, 71]);
        for (name, connections, client) in [
            ("its connection", vec![own(), other()], Some([10, 9, 0, 1])),
            ("two connections from one address", vec![own(), own()], Some([10, 9, 0, 1])),
            ("a client of a forwarded port", vec![own(), forwarded()], None),
            ("only another session", vec![other()], None),
            ("no connection was read", vec![], None),
        ] {
            let parents = [(65, "bash"), (61, "sshd"), (60, "sshd"), (9, "sshd"), (1, "systemd")]
                .map(|(pid, name)| Parent::new(pid, name.to_owned()));
            let server = Process {
                parents: parents.to_vec(),
                ..program_process(66, "server", "/usr/bin/server", "server")
            };
            let mut sockets = vec![
                socket("tcp/0.0.0.0:22", Owner::Held(vec![9].into())),
                socket("tcp/0.0.0.0:8080", Owner::Held(vec![66].into())),
            ];
            sockets.extend(connections);
            let connections = seen(sockets.clone(), vec![]);
            let mut report = judge(seen(sockets, vec![server]), Registry::embedded());
            assert!(report.has_ssh_sessions(), "{name}");
            report.add_ssh_clients(&connections);
            let listeners = Listener::all(&report.entries);
            let listener = listeners.iter().find(|listener| listener.main().is_some()).unwrap();
            let session = match StartedBy::of(listener, "linux") {
                Some(StartedBy::Shell { session, .. }) => session,
                _ => None,
            };
            assert_eq!(session, Some(Session::Ssh(client.map(IpAddr::from))), "{name}");
        }
    }
}
