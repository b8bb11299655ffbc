//! The direction of connections, and the number of connections of each listener.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{Direction, Peer, Pid, Protocol, Snapshot, Socket, State, unmapped};

/// The place of a listener: (namespace, protocol, port), address, device.
type AddressKey<'s> = ((Option<u64>, Protocol, u16), IpAddr, Option<&'s str>);

#[derive(Default)]
struct Listeners {
    /// The index of the first listener at this place, in the order of listings.
    first: usize,
    /// Whether an IPv6 socket at this place accepts only IPv6 traffic; `None` if this is not known.
    v6only: Option<bool>,
    /// The index of the first listener of each process.
    by_process: HashMap<Pid, usize>,
}

#[derive(Default)]
pub(super) struct Connections {
    /// The side that opened each connection, by the index of the socket. Unknown sides are left out.
    pub(super) directions: HashMap<usize, Direction>,
    /// The number of established connections of each listener, by the index of the socket.
    pub(super) counts: HashMap<usize, u32>,
}

impl Connections {
    pub(super) fn of(sockets: &[Socket], snapshot: &Snapshot) -> Self {
        let mut connections = Connections::default();
        if sockets.iter().all(|socket| socket.peer.is_none()) {
            return connections;
        }
        let mut places: HashMap<AddressKey<'_>, Listeners> = HashMap::new();
        // The sockets are in reverse order. `rev` restores the order of listings.
        for (at, socket) in sockets.iter().enumerate().rev().filter(|(_, socket)| socket.state.holds_port()) {
            let place = (socket.port_key(), socket.local.address, socket.local.device.as_deref());
            let listeners =
                places.entry(place).or_insert_with(|| Listeners { first: at, ..Listeners::default() });
            listeners.v6only = socket.v6only;
            for pid in socket.owner.pids() {
                listeners.by_process.entry(*pid).or_insert(at);
            }
            connections.counts.insert(at, 0);
        }
        for (at, socket) in sockets.iter().enumerate() {
            let Some(peer) = socket.peer else { continue };
            let accepted_by = accepted_by(&places, socket);
            // Only established connections count. In TIME-WAIT, for example, the client is gone.
            let listener = accepted_by.filter(|_| socket.state == State::Established);
            if let Some(count) = listener.and_then(|listener| connections.counts.get_mut(&listener)) {
                *count += 1;
            }
            let direction = match socket.state {
                State::SynSent => Some(Direction::Out),
                State::SynRecv => Some(Direction::In),
                _ if accepted_by.is_some() => Some(Direction::In),
                // The process of this connection may have ended, so it is not known which side opened the connection.
                State::FinWait2 | State::TimeWait if socket.owner.pids().is_empty() => None,
                _ if is_outgoing(&places, socket, peer, snapshot) => Some(Direction::Out),
                _ => None,
            };
            connections.directions.extend(direction.map(|direction| (at, direction)));
        }
        connections
    }
}

/// Returns the listener that probably accepted a connection. A listener that shares a process with the connection is
/// preferred, then the listener with the most specific address. `None` if no listener is on the local address of the
/// connection or on the wildcard address.
fn accepted_by(places: &HashMap<AddressKey<'_>, Listeners>, connection: &Socket) -> Option<usize> {
    let address = connection.local.address;
    let (any, is_mapped) = match address {
        IpAddr::V4(_) => (IpAddr::from(Ipv4Addr::UNSPECIFIED), false),
        IpAddr::V6(six) => (IpAddr::from(Ipv6Addr::UNSPECIFIED), six.to_ipv4_mapped().is_some()),
    };
    let device = connection.local.device.as_deref();
    let key = connection.port_key();
    let found: Vec<&Listeners> = [(address, device), (address, None), (any, device), (any, None)]
        .into_iter()
        .filter_map(|(address, device)| places.get(&(key, address, device)))
        .filter(|listeners| !(is_mapped && listeners.v6only == Some(true)))
        .collect();
    let of_process = |listeners: &&Listeners| {
        connection.owner.pids().iter().find_map(|pid| listeners.by_process.get(pid)).copied()
    };
    found.iter().find_map(of_process).or(found.first().map(|listeners| listeners.first))
}

/// Returns whether this side certainly opened a connection that no listener accepted. This is certain in two cases:
/// - The local port is ephemeral, and the port of the peer is not.
/// - The peer is a listener on this machine.
///
/// Otherwise, a listener that is now closed may have accepted the connection.
fn is_outgoing(
    places: &HashMap<AddressKey<'_>, Listeners>,
    connection: &Socket,
    peer: Peer,
    snapshot: &Snapshot,
) -> bool {
    let (netns, protocol, port) = connection.port_key();
    let ephemeral = snapshot.ephemeral_ports(netns, protocol, Some(connection.local.family()));
    if ephemeral.range_of(port).is_some() && ephemeral.range_of(peer.port).is_none() {
        return true;
    }
    let address = unmapped(peer.address);
    let mapped = match address {
        IpAddr::V4(four) => IpAddr::from(four.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    let is_here = address.is_loopback() || address == unmapped(connection.local.address);
    let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    is_here
        && [address, mapped]
            .into_iter()
            .chain(wildcards)
            .any(|address| places.contains_key(&((netns, protocol, peer.port), address, None)))
}
