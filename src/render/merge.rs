//! Merges the sockets of one server into one row, for people: its IPv4 and IPv6 sockets on every address or on
//! loopback, and the sockets that its threads or workers have on one address. Machine formats keep every socket.
//!
//! Sockets are merged only if a row shows the same values for both. A hidden owner proves nothing, so hidden sockets
//! are not merged.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::findings::{FindingFamily, Flag};
use crate::join::Entry;
use crate::model::{Endpoint, Owner, RunTarget, Severity, Socket, State};

/// Returns one entry per row, in the same order.
#[must_use]
pub fn merge(entries: Vec<Entry>) -> Vec<Entry> {
    twins(workers(entries))
}

/// The common features of two sockets of one server, except for the address.
type Place = (Option<u64>, State, Endpoint);

/// Returns the place of a socket at `address`.
fn place(socket: &Socket, address: IpAddr) -> Place {
    let netns = socket.netns.as_ref().map(|netns| netns.inode);
    (netns, socket.state, Endpoint { address, ..socket.local.clone() })
}

/// Merges the sockets that the threads or workers of one server have on one address.
fn workers(entries: Vec<Entry>) -> Vec<Entry> {
    let mut rows: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut places: HashMap<Place, Vec<usize>> = HashMap::new();
    for entry in entries {
        if entry.socket.peer.is_some()
            || entry.socket.port().is_none()
            || entry.socket.owner.pids().is_empty()
        {
            rows.push(entry);
            continue;
        }
        let at_place = places.entry(place(&entry.socket, entry.socket.local.address)).or_default();
        match at_place.iter().find(|at| rows.get(**at).is_some_and(|row| is_of_one_server(row, &entry))) {
            Some(at) => absorb(&mut rows[*at], &entry),
            None => {
                at_place.push(rows.len());
                rows.push(entry);
            }
        }
    }
    rows
}

/// Merges the IPv4 and the IPv6 socket that one process has on every address, or on loopback.
fn twins(entries: Vec<Entry>) -> Vec<Entry> {
    let mut rows: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut places: HashMap<Place, usize> = HashMap::new();
    for entry in entries {
        let address = entry.socket.local.address;
        if entry.socket.port().is_none() {
            rows.push(entry);
            continue;
        }
        let twin = twin(address).and_then(|twin| places.get(&place(&entry.socket, twin)).copied());
        let twin = twin.and_then(|at| rows.get_mut(at)).filter(|row| {
            row.other_address().is_none()
                && row.socket.owner == entry.socket.owner
                && shows_the_same(row, &entry)
        });
        match twin {
            Some(row) => {
                absorb(row, &entry);
                row.set_other_address(address);
            }
            None => {
                if entry.socket.peer.is_none() && matches!(entry.socket.owner, Owner::Held(_) | Owner::Kernel)
                {
                    places.insert(place(&entry.socket, address), rows.len());
                }
                rows.push(entry);
            }
        }
    }
    rows
}

/// Returns the equivalent address of the other family: every address, or this machine.
fn twin(address: IpAddr) -> Option<IpAddr> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let pairs = [
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    pairs.into_iter().find_map(|(four, six)| match address {
        _ if address == four => Some(six),
        _ if address == six => Some(four),
        _ => None,
    })
}

/// Returns whether two sockets on one address belong to threads or workers of one server: they have the same processes,
/// or all their processes run the same program as the same users.
fn is_of_one_server(one: &Entry, other: &Entry) -> bool {
    let programs = |entry: &Entry| {
        let all_read = entry.processes.len() == entry.socket.owner.pids().len();
        let programs = entry.processes.iter().map(|process| {
            let file = process.exe.as_ref().map(|exe| exe.path.clone())?;
            Some((file, RunTarget::of(process), process.uid))
        });
        programs.collect::<Option<BTreeSet<_>>>().filter(|_| all_read)
    };
    shows_the_same(one, other)
        && (one.socket.owner == other.socket.owner
            || programs(one).is_some_and(|own| programs(other).as_ref() == Some(&own)))
}

/// Returns whether a row shows the same values for both sockets, except for address and processes. A finding about
/// one of several sockets on a port needs each of them.
fn shows_the_same(one: &Entry, other: &Entry) -> bool {
    let is_of_socket = |entry: &Entry| {
        entry.findings().iter().any(|finding| finding.flag().family() == FindingFamily::Socket)
    };
    let flags = |entry: &Entry| -> Vec<(Flag, Severity)> {
        entry.findings().iter().map(|finding| (finding.flag(), finding.severity)).collect()
    };
    !is_of_socket(one)
        && one.exposure == other.exposure
        && one.reach().map(|reach| reach.kind) == other.reach().map(|reach| reach.kind)
        && one.service() == other.service()
        && (&one.socket.unit, &one.socket.container) == (&other.socket.unit, &other.socket.container)
        && flags(one) == flags(other)
}

/// Adds the processes and connections of another socket of the same server to a row.
fn absorb(row: &mut Entry, other: &Entry) {
    if let (Owner::Held(own), Owner::Held(others)) = (&mut row.socket.owner, &other.socket.owner)
        && own != others
    {
        let pids: BTreeSet<_> = own.iter().chain(others.iter()).copied().collect();
        *own = Arc::new(pids.into_iter().collect());
        let processes = Arc::make_mut(&mut row.processes);
        processes.extend(other.processes.iter().cloned());
        processes.sort_by_key(|process| process.pid);
        processes.dedup_by_key(|process| process.pid);
    }
    row.connections = match (row.connections, other.connections) {
        (Some(own), Some(others)) => Some(own.saturating_add(others)),
        (own, others) => own.or(others),
    };
}
