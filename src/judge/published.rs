//! Finds the listeners that receive the traffic of published ports. Removes published ports that a program also serves.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::program_identity::IdentifiedProcess;
use crate::join::Entry;
use crate::model::{Endpoint, Netns, Peer, Protocol, Snapshot, Socket, State};

/// The namespace, local end and destination of a published port; `None` for an entry that is not a published port.
pub(super) type Key = Option<(Option<u64>, Endpoint, Peer)>;

pub(super) fn key(entry: &Entry) -> Key {
    let socket = &entry.socket;
    let to = socket.forwarding.as_ref()?.to;
    Some((inode(socket.netns.as_ref()), socket.local.clone(), to))
}

/// The sockets of published ports, by namespace, protocol and port.
pub(super) type PublishedPorts = HashMap<(Option<u64>, Protocol, u16), Socket>;

pub(super) fn published_ports(entries: &[Entry]) -> PublishedPorts {
    let published = entries.iter().filter(|entry| entry.socket.forwarding.is_some());
    published.map(|entry| (entry.socket.port_key(), entry.socket.clone())).collect()
}

/// Returns the published port, if dockerd only reserves the port with this socket. Without its userland proxy, dockerd
/// binds published ports only to keep other programs away. A firewall rule forwards the traffic.
pub(super) fn reserved_by_dockerd<'p>(
    ports: &'p PublishedPorts,
    entry: &Entry,
    processes: &[IdentifiedProcess<'_>],
) -> Option<&'p Socket> {
    let is_dockerd = |process: &IdentifiedProcess<'_>| {
        process.program_name() == Some("dockerd") && !process.is_replaceable()
    };
    let port = ports.get(&entry.socket.port_key()).filter(|_| entry.socket.forwarding.is_none())?;
    let (own, rule) = (entry.socket.local.address, port.local.address);
    let covers = rule == own || rule.is_unspecified();
    (covers && !processes.is_empty() && processes.iter().all(is_dockerd)).then_some(port)
}

/// The listeners that receive traffic to addresses of this machine and of its containers.
pub(super) struct LocalListeners<'e> {
    /// The addresses of all sockets, with their namespaces.
    own: HashSet<(Option<u64>, IpAddr)>,
    on_port: HashMap<(Protocol, u16), Vec<&'e Entry>>,
    snapshot: &'e Snapshot,
}

impl<'e> LocalListeners<'e> {
    /// `entries` must be the entries of `snapshot`.
    pub(super) fn new(entries: &'e [Entry], snapshot: &'e Snapshot) -> Self {
        let place = |socket: &Socket| (inode(socket.netns.as_ref()), socket.local.address);
        let own = entries.iter().map(|entry| place(&entry.socket)).collect();
        LocalListeners { own, on_port: by_port(entries), snapshot }
    }

    /// Returns the listener that receives the traffic from the namespace `netns` to the address and port `to`. If
    /// `netns` has this address, only listeners in `netns` count. Otherwise, listeners count in any scanned namespace
    /// that has the address.
    pub(super) fn receiving(&self, protocol: Protocol, netns: Option<&Netns>, to: Peer) -> Option<&'e Entry> {
        // A listener on the wildcard address receives only traffic to its own namespace. Destinations on other machines
        // do not count.
        let is_own = to.address.is_unspecified()
            || to.address.is_loopback()
            || self.own.contains(&(inode(netns), to.address))
            || self.is_of_interface(netns, to.address);
        let has_address = |socket: &Socket| match is_own {
            true => socket.netns.as_ref() == netns,
            false => self.is_of_interface(socket.netns.as_ref(), to.address),
        };
        let receives = |socket: &Socket| {
            let own = socket.local.address;
            let is_there = own == to.address
                || (own.is_unspecified()
                    && (own.is_ipv4() == to.address.is_ipv4() || socket.v6only == Some(false)));
            let is_published = socket.state == State::Published;
            is_there && !is_published && socket.state.accepts_traffic() && has_address(socket)
        };
        let mut there = self.on_port.get(&(protocol, to.port))?.iter().copied();
        there.find(|other| receives(&other.socket))
    }

    fn is_of_interface(&self, netns: Option<&Netns>, wanted: IpAddr) -> bool {
        let netns = inode(netns);
        let interfaces = self.snapshot.firewalls.iter().filter(|firewall| firewall.netns == netns);
        let mut addresses =
            interfaces.flat_map(|firewall| &firewall.interfaces).flat_map(|interface| &interface.addresses);
        let namespaces = self.snapshot.namespaces.iter();
        let mut others = namespaces.filter(|other| Some(other.netns.inode) == netns);
        addresses.any(|(address, _)| *address == wanted)
            || others.any(|other| other.addresses.contains(&wanted))
    }
}

fn inode(netns: Option<&Netns>) -> Option<u64> {
    netns.map(|netns| netns.inode)
}

/// Returns the listener that receives the traffic of each published port, on this machine or in one of its containers.
pub(super) fn services_behind(entries: &[Entry], snapshot: &Snapshot) -> HashMap<Key, Entry> {
    let published = entries.iter().filter_map(|entry| Some((entry, entry.socket.forwarding.as_ref()?.to)));
    if published.clone().next().is_none() {
        return HashMap::new();
    }
    let local = LocalListeners::new(entries, snapshot);
    published
        .filter_map(|(entry, to)| {
            let socket = &entry.socket;
            let behind = local.receiving(socket.local.protocol, socket.netns.as_ref(), to)?;
            Some((key(entry), behind.clone()))
        })
        .collect()
}

/// The published ports that lead to a listener in another network namespace. The key is the namespace, protocol and
/// port of this listener.
pub(super) type PortsLeadingTo = HashMap<(Option<u64>, Protocol, u16), Vec<Endpoint>>;

pub(super) fn ports_leading_to(entries: &[Entry], snapshot: &Snapshot) -> PortsLeadingTo {
    let mut ports = PortsLeadingTo::new();
    if entries.iter().all(|entry| entry.socket.netns.is_none()) {
        return ports;
    }
    let local = LocalListeners::new(entries, snapshot);
    for entry in entries.iter().filter(|entry| entry.socket.state.accepts_traffic()) {
        let socket = &entry.socket;
        let by_proxy = || entry.processes.iter().find_map(|process| Peer::behind_docker_proxy(process));
        let to = socket.forwarding.as_ref().map(|forwarding| forwarding.to).or_else(by_proxy);
        let receiving = |to| local.receiving(socket.local.protocol, socket.netns.as_ref(), to);
        let Some(behind) = to.and_then(receiving).filter(|behind| behind.socket.netns != socket.netns) else {
            continue;
        };
        let leading = ports.entry(behind.socket.port_key()).or_default();
        if !leading.contains(&socket.local) {
            leading.push(socket.local.clone());
        }
    }
    ports
}

/// Returns the entries that can receive traffic, by protocol and port. Without this index, each search would read all
/// entries.
pub(super) fn by_port(entries: &[Entry]) -> HashMap<(Protocol, u16), Vec<&Entry>> {
    let mut on_port: HashMap<_, Vec<&Entry>> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.socket.state.holds_port()) {
        on_port.entry((entry.socket.local.protocol, entry.socket.local.port)).or_default().push(entry);
    }
    on_port
}

/// Removes a published port if a program also serves it. The program listens on the same port, and forwards to the same
/// destination.
pub(super) fn remove_duplicates(entries: &mut Vec<Entry>) {
    type Place = (Protocol, u16, Peer);
    let place = |entry: &Entry| -> Option<Place> {
        Some((entry.socket.local.protocol, entry.socket.local.port, entry.forwards_to()?))
    };
    let served: HashSet<(Place, IpAddr)> = entries
        .iter()
        .filter(|entry| entry.socket.state != State::Published)
        .filter_map(|entry| Some((place(entry)?, entry.socket.local.address)))
        .collect();
    if served.is_empty() {
        return;
    }
    entries.retain(|entry| {
        entry.socket.state != State::Published
            || place(entry).is_none_or(|place| !served.contains(&(place, entry.socket.local.address)))
    });
}

#[cfg(test)]
mod tests {
    use crate::findings::reach::Exposed;
    use crate::judge::judge;
    use crate::judge::tests::{program_process, seen, socket};
    use crate::model::{Forwarding, Namespace, Netns, Owner, Peer, Process, State};
    use crate::registry::Registry;

    /// A web terminal in a container is judged by the port under which it is published.
    #[test]
    fn the_service_in_the_namespace_of_a_container() {
        let to = Peer { address: [172, 17, 0, 2].into(), port: 7681 };
        let line = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 7681";
        let proxy =
            Process { uid: Some(0), ..program_process(90, "docker-proxy", "/usr/bin/docker-proxy", line) };
        let terminal = program_process(8, "ttyd", "/usr/bin/ttyd", "ttyd -W bash");
        let netns = |inode| Some(Netns { inode, name: None });
        let mut inside = socket("tcp/0.0.0.0:7681", Owner::Held(vec![8].into()));
        std::sync::Arc::make_mut(&mut inside.attributes).netns = netns(5);
        let mut rule = socket("tcp/0.0.0.0:8080", Owner::Kernel);
        rule.state = State::Published;
        let forwarding = Some(Forwarding { to, rule: "a rule".to_owned(), container: None });
        std::sync::Arc::make_mut(&mut rule.attributes).forwarding = forwarding;
        for (name, published) in
            [("docker-proxy", socket("tcp/0.0.0.0:8080", Owner::Held(vec![90].into()))), ("a rule", rule)]
        {
            for (address, found) in [([172, 17, 0, 2], Some("web-terminal")), ([172, 17, 0, 3], None)] {
                let mut snapshot =
                    seen(vec![published.clone(), inside.clone()], vec![proxy.clone(), terminal.clone()]);
                snapshot.namespaces = vec![Namespace {
                    netns: Netns { inode: 5, name: None },
                    addresses: vec![address.into()],
                    ephemeral: Vec::new(),
                    reserved: Vec::new(),
                    ephemeral_source: String::new(),
                }];
                let report = judge(snapshot, Registry::embedded());
                let entry = report.entries.iter().find(|entry| entry.socket.local.port == 8080).unwrap();
                let exposed = entry.findings().iter().find_map(|finding| Exposed::of(&finding.evidence));
                assert_eq!(exposed.map(|exposed| exposed.service), found, "{name}");
            }
        }
    }

    #[test]
    fn dockerd_serves_nothing_on_a_published_port() {
        let to = Peer { address: [172, 17, 0, 2].into(), port: 6379 };
        let published = || {
            let mut published = socket("tcp/0.0.0.0:5432", Owner::Kernel);
            published.state = State::Published;
            let forwarding = Some(Forwarding { to, rule: "a rule".to_owned(), container: None });
            std::sync::Arc::make_mut(&mut published.attributes).forwarding = forwarding;
            published
        };
        for (name, rule, exe, row) in [
            ("a published port", Some(published()), "/usr/bin/dockerd", Some(("redis", true))),
            ("its own port", None, "/usr/bin/dockerd", Some(("docker-api-unknown", false))),
            ("a file of a user", Some(published()), "/home/u/dockerd", None),
        ] {
            let own = socket("tcp/0.0.0.0:5432", Owner::Held(vec![7].into()));
            let sockets = rule.into_iter().chain([own]).collect();
            let report = judge(
                seen(sockets, vec![program_process(7, "dockerd", exe, "dockerd")]),
                Registry::embedded(),
            );
            let entry = report.entries.iter().find(|entry| entry.socket.state == State::Listen).unwrap();
            let codes: Vec<_> = entry.findings().iter().map(|found| found.flag().code()).collect();
            if let Some((service, is_reserved)) = row {
                let found =
                    entry.findings().iter().find_map(|finding| Exposed::of(&finding.evidence)).unwrap();
                assert_eq!(found.service, service, "{name}");
                assert_eq!(entry.forwards_to(), is_reserved.then_some(to), "{name}");
                assert_eq!(codes.contains(&"impostor"), !is_reserved, "{name}: {codes:?}");
                assert_eq!(report.entries.len(), 1, "{name}");
            } else {
                assert!(codes.contains(&"impostor"), "{name}: {codes:?}");
            }
        }
    }
}
