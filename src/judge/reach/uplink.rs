//! Finds how other machines reach a network namespace inside this machine, such as the namespace of a container. Their
//! packets come through the parent, which is a namespace with an interface that leads to the inner namespace.

use std::collections::HashMap;
use std::net::IpAddr;

use super::destinations::Class;
use super::packet::Delivery;
use super::{Firewalls, View, Way};
use crate::model::firewall::Interface;
use crate::model::{Family, Firewall, Reach, ReachKind, Socket};

/// The reasons why it is not known whether other machines can reach a namespace.
const NOT_SCANNED: &str = "the outer network namespace was not scanned (use --netns all)";
const ROUTER: &str = "another network namespace leads to the outer network namespace, and can pass on packets from other machines";
const NESTED: &str =
    "the outer network namespace is itself inside another one, which portolan does not evaluate";

#[derive(Debug)]
pub(super) struct Parent {
    netns: Option<u64>,
    /// The inode of the other namespace; `None` if it is not known.
    leads_to: Option<u64>,
}

/// Returns the namespaces with an interface that leads to another namespace. The key has the index of the interface and
/// the index of its other end.
pub(super) fn parents(firewalls: &[Firewall]) -> HashMap<(u32, u32), Vec<Parent>> {
    let mut parents: HashMap<_, Vec<_>> = HashMap::new();
    for firewall in firewalls {
        for interface in &firewall.interfaces {
            if let Some(peer) = interface.peer {
                let parent = Parent { netns: firewall.netns, leads_to: interface.peer_netns };
                parents.entry((interface.index, peer)).or_default().push(parent);
            }
        }
    }
    parents
}

impl Firewalls<'_> {
    /// Returns which clients on other machines can send packets to a socket in a namespace inside this machine. Only
    /// the rules of the parents count, not the rules of the namespace itself.
    ///
    /// - [`ReachKind::Filtered`] means that no client can.
    /// - [`ReachKind::Open`] means that every client that has a route can.
    pub(super) fn way_to(&mut self, socket: &Socket) -> Reach {
        let netns = socket.netns.as_ref().map(|netns| netns.inode);
        let Some(inside) = self.views.get(&netns).map(|view| view.firewall) else { return Reach::open() };
        let uplinks = inside.interfaces.iter().filter(|one| one.is_up && one.peer.is_some());
        let addresses = addresses(socket, inside);
        let mut ways = Vec::new();
        for Interface { index, peer, .. } in uplinks {
            let peer = peer.unwrap_or_default();
            let parents = self.parents.get(&(peer, *index)).into_iter().flatten();
            let parents = parents.filter(|parent| parent.netns != netns);
            // If the namespace of the other end is not known, every namespace with an interface of these indices
            // counts.
            let is_known = parents.clone().any(|parent| parent.leads_to == netns);
            let parents = parents.filter(|parent| match parent.leads_to {
                None => !is_known,
                known => known == netns,
            });
            let parents: Vec<Option<u64>> = parents.map(|parent| parent.netns).collect();
            if parents.is_empty() {
                ways.push(Reach::unknown(NOT_SCANNED));
            }
            for parent in parents {
                let way = self.views.get_mut(&parent).map(|view| view.way_through(peer, &addresses, socket));
                let is_closed = |way: &Reach| !way.kind.lets_in_other_machines() || way.through_process;
                if way.as_ref().is_some_and(is_closed) && self.has_router(parent, peer, netns) {
                    ways.push(Reach::unknown(ROUTER));
                }
                ways.extend(way);
            }
        }
        // If a process has a tun or tap device open, fewer clients can come this way than other unknown ways. This way
        // is therefore the last choice.
        ways.sort_by_key(|way| way.through_process);
        let order = [ReachKind::Open, ReachKind::Unknown, ReachKind::Limited];
        let widest = order.into_iter().find_map(|kind| ways.iter().find(|way| way.kind == kind));
        widest.cloned().unwrap_or(Reach { kind: ReachKind::Filtered, ..Reach::open() })
    }
}

impl Firewalls<'_> {
    /// Returns whether packets of other machines can come through a further namespace and reach the interface `link` of
    /// `parent` unfiltered. This is possible in two cases:
    /// - The further namespace is on the same bridge as `link`.
    /// - `parent` is behind a tun or tap device. Only the process that has the device open is expected to send packets
    ///   there.
    fn has_router(&self, parent: Option<u64>, link: u32, inside: Option<u64>) -> bool {
        let Some(firewall) = self.views.get(&parent).map(|view| view.firewall) else { return false };
        let bridge = firewall.interfaces.iter().find(|one| one.index == link).and_then(|link| link.master);
        let is_behind_process = firewall.netns.is_some() && firewall.tun.is_some();
        let mut visited = vec![parent, inside];
        firewall.interfaces.iter().any(|one| {
            let is_joined = is_behind_process || bridge.is_some() && one.master == bridge;
            is_joined && one.index != link && self.leads_outside(parent, one, &mut visited)
        })
    }

    /// Returns whether the namespace at the other end of an interface passes on packets of other machines. It does so
    /// if one of its interfaces leads outside, directly or through further namespaces. A namespace that was not scanned
    /// may do so too.
    fn leads_outside(&self, from: Option<u64>, link: &Interface, visited: &mut Vec<Option<u64>>) -> bool {
        let Some(peer) = link.peer.filter(|_| link.is_up) else { return false };
        let ends = self.parents.get(&(peer, link.index)).into_iter().flatten();
        let ends = ends.filter(|end| {
            end.netns != from
                && (link.peer_netns.is_none() || end.netns == link.peer_netns)
                && (end.leads_to.is_none() || end.leads_to == from)
        });
        let ends: Vec<Option<u64>> = ends.map(|end| end.netns).collect();
        ends.is_empty()
            || ends.into_iter().any(|end| {
                if visited.contains(&end) {
                    return false;
                }
                visited.push(end);
                let Some(view) = self.views.get(&end) else { return true };
                let firewall = view.firewall;
                let Some(entry) = firewall.interfaces.iter().find(|one| one.index == peer) else {
                    return true;
                };
                let passes_on = firewall.is_refused
                    || firewall.unread.is_some()
                    || firewall.forwards.contains(&true)
                    || entry.master.is_some()
                    || view.carries_to(entry).is_some();
                let mut others = firewall.interfaces.iter().filter(|one| one.index != peer);
                passes_on
                    && (!firewall.is_internal || others.any(|one| self.leads_outside(end, one, visited)))
            })
    }
}

/// Returns the addresses of a namespace to which packets for a socket can be routed.
fn addresses(socket: &Socket, inside: &Firewall) -> Vec<IpAddr> {
    let own = socket.local.address;
    let is_served = |address: &IpAddr| {
        own == *address
            || own.is_unspecified()
                && (own.is_ipv4() == address.is_ipv4() || own.is_ipv6() && socket.v6only != Some(true))
    };
    let is_routed = |address: &IpAddr| match address {
        IpAddr::V4(four) => !four.is_loopback() && !four.is_link_local(),
        IpAddr::V6(six) => !six.is_loopback() && !six.is_unicast_link_local(),
    };
    let all = inside.interfaces.iter().filter(|one| one.is_up).flat_map(|one| &one.addresses);
    all.map(|(address, _)| *address).filter(|address| is_served(address) && is_routed(address)).collect()
}

impl View<'_> {
    /// Returns which clients on other machines can send packets to a socket at these addresses. The packets pass
    /// through this namespace, and leave on its interface with the index `link`.
    fn way_through(&mut self, link: u32, addresses: &[IpAddr], socket: &Socket) -> Reach {
        let firewall = self.firewall;
        let with_index = |index: u32| firewall.interfaces.iter().find(|one| one.index == index);
        let Some(link) = with_index(link).filter(|link| link.is_up) else { return closed() };
        let leaves_on = match link.master.map(with_index) {
            None => link,
            Some(Some(bridge)) if bridge.is_local_only => bridge,
            // A member of the bridge leads to other machines. Packets of these machines reach the socket without being
            // routed.
            Some(_) => return Reach::open(),
        };
        if firewall.is_refused {
            return Reach { kind: ReachKind::Unknown, ..Reach::open() };
        }
        if let Some(why) = &firewall.unread {
            return Reach::unknown(why);
        }
        match &firewall.tun {
            Some(device) if firewall.netns.is_some() => return Reach::through_process(device),
            _ if firewall.netns.is_some() && firewall.is_internal => return Reach::unknown(NESTED),
            _ => {}
        }
        if let Some(why) = self.carries_to(link) {
            return Reach::unknown(&why);
        }
        let is_forwarded =
            |address: &&IpAddr| firewall.forwards[usize::from(Family::of(**address) == Family::Ipv6)];
        let addresses: Vec<IpAddr> = addresses.iter().filter(is_forwarded).copied().collect();
        if addresses.is_empty() {
            return closed();
        }
        if self.chains.is_empty() && firewall.interfaces.iter().all(|one| one.uncertain.is_none()) {
            return Reach::open();
        }
        let Some(protocol) = socket.local.protocol.number() else {
            return Reach::unknown("portolan does not evaluate rules for this protocol");
        };
        let Some(groups) = self.classes.outer_groups(firewall) else {
            return Reach::unknown("this machine has too many interfaces and addresses");
        };
        let classes = addresses.iter().flat_map(|address| {
            groups.iter().map(|interface| Class {
                interface: *interface,
                address: *address,
                alike: vec![*address],
                delivery: Delivery::Unicast,
                is_ordinary: true,
                is_uncertain: false,
            })
        });
        let name = leaves_on.name.clone();
        let way = Way {
            protocol,
            port: socket.local.port,
            has_socket: true,
            forwarded_to: None,
            leaves_on: Some(&name),
        };
        let results = self.results(classes.collect(), &way);
        if results.is_empty() { closed() } else { self.summary(&results) }
    }
}

fn closed() -> Reach {
    Reach { kind: ReachKind::Filtered, ..Reach::open() }
}
