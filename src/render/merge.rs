//! Merges the sockets of one server into one row, for people: its IPv4 and IPv6 sockets on every address or on
//! loopback, and the sockets that its threads or workers have on one address. Machine formats keep every socket.
//!
//! Two sockets are merged only if a row would show the same values for both. Sockets with hidden owners are not
//! merged, because they may belong to different servers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::findings::{FindingFamily, Flag};
use crate::join::Entry;
use crate::model::{Endpoint, Owner, RunTarget, Severity, Socket, State};

/// Returns one entry per row, in the same order.
#[must_use]
pub fn merge(entries: Vec<Entry>) -> Vec<Entry> {
    rows(entries.into_iter().map(Cow::Owned)).into_iter().map(|row| row.entry.into_owned()).collect()
}

/// Returns for each entry the number of its row, so that findings on the sockets of one row can be counted once.
#[must_use]
pub(super) fn row_of_each(entries: &[&Entry]) -> Vec<usize> {
    let mut row_of = vec![0; entries.len()];
    let rows = rows(entries.iter().map(|entry| Cow::Borrowed(*entry)));
    for (number, row) in rows.iter().enumerate() {
        for member in &row.members {
            if let Some(row) = row_of.get_mut(*member) {
                *row = number;
            }
        }
    }
    row_of
}

/// A row: an entry that was merged with no other entry is borrowed.
#[derive(Clone, Debug)]
pub struct MergedRow<'e> {
    /// The merged entry.
    pub entry: Cow<'e, Entry>,
    /// The indices of the entries of this row.
    pub members: Vec<usize>,
}

/// Returns the rows of some entries, in the same order.
#[must_use]
pub fn rows<'e>(entries: impl Iterator<Item = Cow<'e, Entry>>) -> Vec<MergedRow<'e>> {
    let alone = |(at, entry)| MergedRow { entry, members: vec![at] };
    twins(workers(entries.enumerate().map(alone)))
}

/// The common features of two sockets of one server, except the address. The port comes first, because it decides most
/// comparisons.
type Place = (u16, Option<u64>, State, Endpoint);

/// Returns the place of a socket at `address`.
fn place(socket: &Socket, address: IpAddr) -> Place {
    let netns = socket.netns.as_ref().map(|netns| netns.inode);
    (socket.local.port, netns, socket.state, Endpoint { address, ..socket.local.clone() })
}

/// Merges the sockets that the threads or workers of one server have on one address.
fn workers<'e>(entries: impl Iterator<Item = MergedRow<'e>>) -> Vec<MergedRow<'e>> {
    let mut rows: Vec<MergedRow<'_>> = Vec::with_capacity(entries.size_hint().0);
    let mut places: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for row in entries {
        let socket = &row.entry.socket;
        if socket.peer.is_some() || socket.port().is_none() || socket.owner.pids().is_empty() {
            rows.push(row);
            continue;
        }
        let at_place = places.entry(place(socket, socket.local.address)).or_default();
        let is_same =
            |at: &&usize| rows.get(**at).is_some_and(|own| is_of_one_server(&own.entry, &row.entry));
        match at_place.iter().find(is_same) {
            Some(at) => absorb(&mut rows[*at], &row),
            None => {
                at_place.push(rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

/// Merges the IPv4 and the IPv6 socket that one process has on every address, or on loopback.
fn twins(merged: Vec<MergedRow<'_>>) -> Vec<MergedRow<'_>> {
    let mut rows: Vec<MergedRow<'_>> = Vec::with_capacity(merged.len());
    let mut places: BTreeMap<Place, usize> = BTreeMap::new();
    for row in merged {
        let socket = &row.entry.socket;
        let address = socket.local.address;
        if socket.port().is_none() {
            rows.push(row);
            continue;
        }
        let Some(twin) = twin(address) else {
            rows.push(row);
            continue;
        };
        let twin = places.get(&place(socket, twin)).copied();
        let twin = twin.and_then(|at| rows.get_mut(at)).filter(|twin| {
            twin.entry.other_address().is_none()
                && (twin.entry.socket.owner == socket.owner || is_published_twice(&twin.entry, &row.entry))
                && shows_the_same(&twin.entry, &row.entry)
        });
        match twin {
            Some(twin) => {
                absorb(twin, &row);
                twin.entry.to_mut().set_other_address(address);
            }
            None => {
                if socket.peer.is_none() && matches!(socket.owner, Owner::Held(_) | Owner::Kernel) {
                    places.insert(place(socket, address), rows.len());
                }
                rows.push(row);
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

/// Returns whether two processes of one program forward the same port to the same place. docker-proxy runs one
/// process for each address family.
fn is_published_twice(one: &Entry, other: &Entry) -> bool {
    one.forwards_to().is_some() && one.forwards_to() == other.forwards_to() && {
        let programs = |entry: &Entry| {
            entry
                .processes
                .iter()
                .map(|process| Some((process.exe.as_ref()?.path.clone(), process.uid)))
                .collect()
        };
        let (own, others): (Vec<_>, Vec<_>) = (programs(one), programs(other));
        !own.is_empty() && own == others && own.iter().all(Option::is_some)
    }
}

/// Returns whether two sockets on one address belong to threads or workers of one server: they have the same
/// processes, or all their processes run the same program as the same users.
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

/// Returns whether a row would show the same values for both sockets, except for address and processes. If a finding
/// is about one of several sockets on a port, the sockets stay separate.
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
fn absorb(row: &mut MergedRow<'_>, other: &MergedRow<'_>) {
    row.members.extend(&other.members);
    let (row, other) = (row.entry.to_mut(), &other.entry);
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
