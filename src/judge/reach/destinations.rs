//! Groups the packets that can arrive for a socket, by interface and destination address. The rules treat all packets
//! of one group alike. Such a group is called a class.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::conditions::is_called;
use super::constants::Constants;
use super::packet::{Delivery, InterfaceName};
use crate::model::address_set::{AddressSet, number};
use crate::model::firewall::{Interface, LocalRoute};
use crate::model::{Family, Firewall, Network, Socket, State, unmapped};

/// The maximum number of classes that are evaluated.
const MOST: usize = 4096;
/// The maximum number of comparisons. Interfaces are compared with addresses, and with the names in the rules.
const MOST_COMPARISONS: usize = 8_000_000;

/// The packets that arrive on one group of interfaces for one range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    pub(super) interface: usize,
    /// The rules are evaluated for this address only. The result is valid for every address of the class.
    pub(super) address: IpAddr,
    /// The addresses of this machine that belong to the class.
    pub(super) alike: Vec<IpAddr>,
    pub(super) delivery: Delivery,
    /// Whether ordinary clients send these packets. Packets on a bridge for containers count only if no other interface
    /// is up.
    pub(super) is_ordinary: bool,
    /// Whether it is uncertain that this machine accepts packets for the address.
    pub(super) is_uncertain: bool,
}

/// A group of interfaces that all rules treat alike.
#[derive(Debug)]
struct Group {
    members: Vec<usize>,
    is_up: bool,
    /// Whether only this machine sends packets to the interfaces.
    is_local_only: bool,
    is_ordinary: bool,
}

#[derive(Debug)]
pub(super) struct Classes {
    groups: Vec<Group>,
    /// The classes of packets for a socket on the wildcard address, for each family.
    wildcard: [Vec<Class>; 2],
    is_complete: bool,
}

impl Classes {
    pub(super) fn of(firewall: &Firewall, constants: &Constants<'_>) -> Self {
        let addresses: usize = firewall.interfaces.iter().map(|interface| interface.addresses.len()).sum();
        let comparisons = firewall.interfaces.len().saturating_mul(addresses.max(constants.names.len()));
        if comparisons > MOST_COMPARISONS {
            return Classes { groups: Vec::new(), wildcard: Default::default(), is_complete: false };
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut known = HashMap::new();
        for (at, interface) in firewall.interfaces.iter().enumerate() {
            if interface.is_loopback || interface.is_port {
                continue;
            }
            let names: Vec<bool> =
                constants.names.iter().map(|name| is_called(&interface.name, name)).collect();
            let is_local_only = interface.is_local_only;
            let key = (names, interface.uncertain.as_deref(), is_local_only, interface.routes_localnet);
            let group = *known.entry(key).or_insert_with(|| {
                groups.push(Group { members: Vec::new(), is_up: false, is_local_only, is_ordinary: false });
                groups.len() - 1
            });
            groups[group].members.push(at);
            groups[group].is_up |= interface.is_up;
        }
        if groups.iter().all(|group| !group.is_up) {
            groups.iter_mut().for_each(|group| group.is_up = true);
        }
        let has_outside = groups.iter().any(|group| group.is_up && !group.is_local_only);
        for group in &mut groups {
            group.is_ordinary = group.is_up && !(group.is_local_only && has_outside);
        }
        let mut classes = Classes { groups, wildcard: Default::default(), is_complete: true };
        let wildcard = [Family::Ipv4, Family::Ipv6].map(|family| classes.at_any(family, firewall, constants));
        classes.is_complete = wildcard.iter().all(|classes| classes.len() < MOST);
        classes.wildcard = wildcard;
        classes
    }

    /// Returns the classes of packets for a socket on the wildcard address.
    fn at_any(&self, family: Family, firewall: &Firewall, constants: &Constants<'_>) -> Vec<Class> {
        let own = firewall.interfaces.iter().enumerate().flat_map(|(at, interface)| {
            interface.addresses.iter().map(move |(address, prefix)| (at, *address, *prefix))
        });
        let own = own.filter(|(_, address, _)| Family::of(*address) == family && !address.is_loopback());
        let mut classes = HashSet::new();
        let mut insert =
            |group: usize, address: IpAddr, delivery: Delivery, is_ordinary: bool, is_uncertain: bool| {
                if classes.len() < MOST {
                    let is_ordinary = is_ordinary && self.groups[group].is_ordinary;
                    let key = (group, constants.address_class(address), delivery, is_ordinary, is_uncertain);
                    classes.insert((key, address));
                }
            };
        for route in firewall.local_routes.iter().filter(|route| Family::of(route.first) == family) {
            for address in representatives(route, constants) {
                for group in 0..self.groups.len() {
                    insert(group, address, Delivery::Unicast, !route.uncertain, route.uncertain);
                }
            }
        }
        let mut add = |group: usize, address: IpAddr, delivery: Delivery, is_ordinary: bool| {
            insert(group, address, delivery, is_ordinary, false);
        };
        let mut has_address = false;
        for (at, address, prefix) in own {
            has_address = true;
            for (number, group) in self.groups.iter().enumerate() {
                // A link-local address can be reached only on its own interface.
                if is_link_local(address) && !group.members.contains(&at) {
                    continue;
                }
                add(number, address, Delivery::Unicast, true);
                if let Some(broadcast) = broadcast(address, prefix) {
                    add(number, broadcast, Delivery::Broadcast, false);
                }
            }
        }
        for group in 0..self.groups.len() {
            if family == Family::Ipv4 && has_address {
                add(group, Ipv4Addr::BROADCAST.into(), Delivery::Broadcast, false);
            }
            let (first, last): (IpAddr, IpAddr) = match family {
                Family::Ipv4 => ([224, 0, 0, 1].into(), [239, 255, 255, 255].into()),
                Family::Ipv6 => {
                    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(), Ipv6Addr::from_bits(u128::MAX).into())
                }
            };
            if has_address {
                for address in within(first, last, constants) {
                    add(group, address, Delivery::Multicast, false);
                }
            }
        }
        let mut chosen = HashMap::new();
        let mut all: Vec<_> = classes.into_iter().collect();
        all.sort_unstable_by_key(|(_, address)| *address);
        for ((interface, class, delivery, is_ordinary, is_uncertain), address) in all {
            let class = (interface, class, delivery);
            let alike = Vec::new();
            let new = Class { interface, address, alike, delivery, is_ordinary, is_uncertain };
            let entry: &mut Class = chosen.entry(class).or_insert(new);
            entry.is_ordinary |= is_ordinary;
            entry.is_uncertain &= is_uncertain;
            if entry.alike.last() != Some(&address) {
                entry.alike.push(address);
            }
        }
        let mut classes: Vec<Class> = chosen.into_values().collect();
        classes.sort_unstable();
        classes
    }

    /// Returns the classes of packets that a socket receives; `None` if there are too many.
    pub(super) fn of_socket(&self, socket: &Socket, firewall: &Firewall) -> Option<Vec<Class>> {
        if !self.is_complete {
            return None;
        }
        let address = unmapped(socket.local.address);
        let mut classes: Vec<Class> = match address {
            IpAddr::V4(four) if four.is_unspecified() => self.wildcard[0].clone(),
            IpAddr::V6(six) if six.is_unspecified() => {
                let is_dual = socket.v6only != Some(true) && socket.state != State::Published;
                let [four, six] = &self.wildcard;
                six.iter().chain(four.iter().filter(|_| is_dual)).cloned().collect()
            }
            _ => {
                let delivery = delivery(address, firewall);
                let is_here = |group: &Group| {
                    let mut own = group.members.iter().flat_map(|at| &firewall.interfaces[*at].addresses);
                    !is_link_local(address) || own.any(|(own, _)| *own == address)
                };
                let groups = self.groups.iter().enumerate().filter(|(_, group)| is_here(group));
                groups
                    .map(|(interface, group)| Class {
                        interface,
                        address,
                        alike: vec![address],
                        delivery,
                        is_ordinary: group.is_ordinary,
                        is_uncertain: false,
                    })
                    .collect()
            }
        };
        // A TCP connection has exactly one receiver, so packets for broadcast and multicast addresses do not count.
        if !socket.local.protocol.is_datagram() {
            classes.retain(|class| class.delivery == Delivery::Unicast);
        }
        if let Some(device) = &socket.local.device {
            let has_device =
                |group: &Group| group.members.iter().any(|at| firewall.interfaces[*at].name == **device);
            classes.retain(|class| has_device(&self.groups[class.interface]));
        }
        Some(classes)
    }

    /// Returns whether only this machine, including its containers, sends packets of the class.
    pub(super) fn is_local_only(&self, class: &Class) -> bool {
        self.groups.get(class.interface).is_some_and(|group| group.is_local_only)
    }

    /// Returns whether only this machine sends packets of the class, and the interfaces are up.
    pub(super) fn is_inside(&self, class: &Class) -> bool {
        self.groups.get(class.interface).is_some_and(|group| group.is_local_only && group.is_up)
    }

    /// Returns the groups of interfaces on which packets of other machines arrive. `None` if there are too many groups.
    /// Interfaces that lead to other network namespaces count only if there is no other interface.
    pub(super) fn outer_groups(&self, firewall: &Firewall) -> Option<Vec<usize>> {
        let up: Vec<usize> = (0..self.groups.len())
            .filter(|at| self.groups[*at].is_up && !self.groups[*at].is_local_only)
            .collect();
        let is_outer =
            |at: &usize| self.groups[*at].members.iter().any(|at| firewall.interfaces[*at].peer.is_none());
        let outer: Vec<usize> = up.iter().copied().filter(is_outer).collect();
        self.is_complete.then_some(if outer.is_empty() { up } else { outer })
    }

    pub(super) fn interface<'f>(&self, class: &Class, firewall: &'f Firewall) -> Option<&'f Interface> {
        let at = self.groups.get(class.interface)?.members.first()?;
        firewall.interfaces.get(*at)
    }

    pub(super) fn names<'f>(&self, group: usize, firewall: &'f Firewall) -> impl Iterator<Item = &'f str> {
        let members = self.groups.get(group).map(|group| group.members.clone()).unwrap_or_default();
        members.into_iter().filter_map(|at| Some(&*firewall.interfaces.get(at)?.name))
    }

    /// Returns the interface on which packets to an address leave. This is the interface with the smallest network that
    /// contains the address. `Unknown` if no network contains the address.
    pub(super) fn way_to(&self, address: IpAddr, firewall: &Firewall) -> InterfaceName {
        let networks = firewall.interfaces.iter().flat_map(|interface| {
            interface.addresses.iter().map(move |(own, prefix)| (interface, *own, *prefix))
        });
        let mut here = networks.filter(|(_, own, prefix)| is_in_network(address, *own, *prefix));
        let Some((first, _, longest)) = here.next() else { return InterfaceName::Unknown };
        let (mut found, mut longest) = (first, longest);
        for (interface, _, prefix) in here {
            if prefix > longest {
                (found, longest) = (interface, prefix);
            }
        }
        InterfaceName::Known(found.name.clone())
    }
}

/// Returns the addresses of ordinary clients: all addresses except reserved addresses and addresses of this machine. A
/// rule that drops packets only from the excepted addresses leaves a port open.
pub(super) fn ordinary_clients(family: Family, firewall: &Firewall) -> AddressSet {
    let own = firewall.interfaces.iter().flat_map(|interface| &interface.addresses);
    let own = own.filter(|(address, _)| Family::of(*address) == family);
    let own = AddressSet::of(own.map(|(address, _)| (number(*address), number(*address))).collect());
    unreserved_clients(family).without(&own, family)
}

/// Returns the addresses that are neither multicast, broadcast nor reserved.
pub(super) fn unreserved_clients(family: Family) -> AddressSet {
    let reserved: &[(&str, &str)] = match family {
        Family::Ipv4 => &[
            ("0.0.0.0", "0.255.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("224.0.0.0", "255.255.255.255"),
        ],
        Family::Ipv6 => &[
            ("::", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ],
    };
    let parsed = |text: &str| text.parse().map(number).unwrap_or_default();
    let excluded = reserved.iter().map(|(first, last)| (parsed(first), parsed(last)));
    AddressSet::of(excluded.collect()).complement(family)
}

/// Returns the addresses from which the kernel accepts no packet of another machine.
pub(super) fn impossible_clients(family: Family) -> AddressSet {
    let ranges: [(IpAddr, IpAddr); 2] = match family {
        Family::Ipv4 => [
            ([127, 0, 0, 0].into(), [127, 255, 255, 255].into()),
            ([224, 0, 0, 0].into(), [239, 255, 255, 255].into()),
        ],
        Family::Ipv6 => [
            (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
            (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), Ipv6Addr::from_bits(u128::MAX).into()),
        ],
    };
    AddressSet::of(ranges.map(|(first, last)| (number(first), number(last))).to_vec())
}

/// Returns one address of each range into which the constants divide the addresses from `first` to `last`.
fn within(first: IpAddr, last: IpAddr, constants: &Constants<'_>) -> impl Iterator<Item = IpAddr> {
    let bounds = constants.addresses_within(first, last).filter_map(move |bound| match first {
        IpAddr::V4(_) => u32::try_from(bound).ok().map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(_) => Some(Ipv6Addr::from_bits(bound).into()),
    });
    bounds.chain([first])
}

/// Returns one address of each range into which the constants divide a local route. Link-local addresses are left out,
/// and so are addresses to which other machines never send packets.
fn representatives(route: &LocalRoute, constants: &Constants<'_>) -> impl Iterator<Item = IpAddr> {
    // If the first address of a range is left out, an address in the middle can represent the range.
    let middle: [IpAddr; 3] =
        [[1, 0, 0, 0].into(), [128, 0, 0, 0].into(), Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into()];
    let middle = middle.into_iter().filter(|address| route.contains(*address));
    let counts = |address: &IpAddr| {
        let is_reserved = match address {
            IpAddr::V4(four) => matches!(four.octets(), [0 | 127 | 240..=255, ..]),
            IpAddr::V6(six) => six.is_unspecified() || six.is_loopback(),
        };
        !is_reserved && !address.is_multicast() && !is_link_local(*address)
    };
    within(route.first, route.last, constants).chain(middle).filter(counts)
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn delivery(address: IpAddr, firewall: &Firewall) -> Delivery {
    let mut networks = firewall.interfaces.iter().flat_map(|interface| &interface.addresses);
    if address.is_multicast() {
        Delivery::Multicast
    } else if networks.any(|(own, prefix)| broadcast(*own, *prefix) == Some(address))
        || address == IpAddr::V4(Ipv4Addr::BROADCAST)
    {
        Delivery::Broadcast
    } else {
        Delivery::Unicast
    }
}

fn broadcast(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let network = Network::new(address, prefix).filter(|_| address.is_ipv4() && prefix < 31)?;
    Some(network.bounds().1)
}

fn is_in_network(address: IpAddr, own: IpAddr, prefix: u8) -> bool {
    Network::new(own, prefix).is_some_and(|network| network.unmapped().contains(address))
}
