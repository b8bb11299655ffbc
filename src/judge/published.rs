//! Finds the listeners that receive the traffic of published ports, and removes published ports that a program also
//! serves.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::program_identity::IdentifiedProcess;
use crate::join::Entry;
use crate::model::{Endpoint, Firewall, Netns, Peer, Protocol, Socket, State};

/// The namespace, local end and destination of a published port; `None` for any other entry.
pub(super) type Key = Option<(Option<u64>, Endpoint, Peer)>;

pub(super) fn key(entry: &Entry) -> Key {
    let socket = &entry.socket;
    let to = socket.forwarding.as_ref()?.to;
    Some((socket.netns.as_ref().map(|netns| netns.inode), socket.local.clone(), to))
}

/// The sockets of published ports, by namespace, protocol and port.
pub(super) type PublishedPorts = HashMap<(Option<u64>, Protocol, u16), Socket>;

pub(super) fn published_ports(entries: &[Entry]) -> PublishedPorts {
    let published = entries.iter().filter(|entry| entry.socket.forwarding.is_some());
    published.map(|entry| (entry.socket.port_key(), entry.socket.clone())).collect()
}

/// Returns the published port if dockerd only reserves the port with this socket; else `None`. Without its userland
/// proxy, dockerd binds published ports only to keep other programs away: a firewall rule forwards the traffic.
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

/// The listeners that receive traffic for addresses of this machine.
pub(super) struct LocalListeners<'e> {
    /// The addresses of all sockets.
    own: HashSet<IpAddr>,
    on_port: HashMap<(Protocol, u16), Vec<&'e Entry>>,
    firewalls: &'e [Firewall],
}

impl<'e> LocalListeners<'e> {
    pub(super) fn new(entries: &'e [Entry], firewalls: &'e [Firewall]) -> Self {
        let own = entries.iter().map(|entry| entry.socket.local.address).collect();
        LocalListeners { own, on_port: by_port(entries), firewalls }
    }

    /// Returns the listener that receives traffic to `to` in a network namespace.
    pub(super) fn receiving(&self, protocol: Protocol, netns: Option<&Netns>, to: Peer) -> Option<&'e Entry> {
        // A listener on the wildcard address receives only traffic for this machine, so destinations on other machines
        // do not count.
        let is_own = to.address.is_unspecified()
            || to.address.is_loopback()
            || self.own.contains(&to.address)
            || self.is_of_interface(netns, to.address);
        let receives = |socket: &Socket| {
            let own = socket.local.address;
            let is_there = own == to.address
                || (own.is_unspecified()
                    && (own.is_ipv4() == to.address.is_ipv4() || socket.v6only == Some(false)));
            let is_published = socket.state == State::Published;
            is_there && !is_published && socket.state.accepts_traffic() && socket.netns.as_ref() == netns
        };
        let mut there = self.on_port.get(&(protocol, to.port)).filter(|_| is_own)?.iter().copied();
        there.find(|other| receives(&other.socket))
    }

    fn is_of_interface(&self, netns: Option<&Netns>, wanted: IpAddr) -> bool {
        let netns = netns.map(|netns| netns.inode);
        let interfaces = self.firewalls.iter().filter(|firewall| firewall.netns == netns);
        let mut addresses =
            interfaces.flat_map(|firewall| &firewall.interfaces).flat_map(|interface| &interface.addresses);
        addresses.any(|(address, _)| *address == wanted)
    }
}

/// Returns the listener on this machine that receives the traffic of each published port.
pub(super) fn services_behind(entries: &[Entry], firewalls: &[Firewall]) -> HashMap<Key, Entry> {
    let published = entries.iter().filter_map(|entry| Some((entry, entry.socket.forwarding.as_ref()?.to)));
    if published.clone().next().is_none() {
        return HashMap::new();
    }
    let local = LocalListeners::new(entries, firewalls);
    published
        .filter_map(|(entry, to)| {
            let socket = &entry.socket;
            let behind = local.receiving(socket.local.protocol, socket.netns.as_ref(), to)?;
            Some((key(entry), behind.clone()))
        })
        .collect()
}

/// Returns the entries that can receive traffic, by protocol and port. Without this index, the search would be
/// quadratic.
pub(super) fn by_port(entries: &[Entry]) -> HashMap<(Protocol, u16), Vec<&Entry>> {
    let mut on_port: HashMap<_, Vec<&Entry>> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.socket.state.holds_port()) {
        on_port.entry((entry.socket.local.protocol, entry.socket.local.port)).or_default().push(entry);
    }
    on_port
}

/// Removes a published port if a program of the container engine listens on its port and forwards to its destination.
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
    use crate::model::{Forwarding, Owner, Peer, State};
    use crate::registry::Registry;

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
