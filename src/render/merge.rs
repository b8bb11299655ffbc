//! Merges the sockets of one server into one row, for people. Sockets can be merged in two cases:
//!
//! - An IPv4 and an IPv6 socket are both on every address, or both on loopback.
//! - Threads or workers have sockets on one address.
//!
//! Two sockets are merged only if a row would show the same values for both. If their owners are hidden, they must also
//! have the same unit, control group, user and probable owner, and differ only in the address family.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::slice;
use std::sync::Arc;

use crate::findings::{FindingFamily, Flag};
use crate::join::Entry;
use crate::model::{Owner, OwnerEvidence, Protocol, RunTarget, Severity, State};

pub fn merge(mut entries: Vec<Entry>) -> Vec<Entry> {
    let rows = rows(&entries.iter().collect::<Vec<_>>());
    let mut is_first = vec![false; entries.len()];
    for MergedRow { first, merged } in rows {
        is_first[first] = true;
        if let Some(merged) = merged {
            entries[first] = merged.entry;
        }
    }
    let mut is_first = is_first.into_iter();
    entries.retain(|_| is_first.next() == Some(true));
    entries
}

/// Returns the index of the row that shows each entry.
pub(super) fn row_of_each(entries: &[&Entry]) -> Vec<usize> {
    let mut row_of = vec![0; entries.len()];
    for (number, row) in rows(entries).iter().enumerate() {
        for member in row.members() {
            row_of[*member] = number;
        }
    }
    row_of
}

/// A row of a listing. Most rows stand for one entry. The entry is not copied, because a listing may have 100,000 rows.
#[derive(Clone, Debug)]
pub struct MergedRow {
    pub first: usize,
    merged: Option<Box<Merged>>,
}

#[derive(Clone, Debug)]
struct Merged {
    entry: Entry,
    members: Vec<usize>,
}

impl MergedRow {
    pub fn into_merged(self) -> Option<Entry> {
        self.merged.map(|merged| merged.entry)
    }

    fn entry<'e>(&'e self, entries: &[&'e Entry]) -> &'e Entry {
        self.merged.as_ref().map_or(entries[self.first], |merged| &merged.entry)
    }

    fn members(&self) -> &[usize] {
        self.merged.as_ref().map_or(slice::from_ref(&self.first), |merged| &merged.members)
    }

    fn absorb(&mut self, other: &Self, entries: &[&Entry]) {
        let first = self.first;
        let alone = || Box::new(Merged { entry: entries[first].clone(), members: vec![first] });
        let Merged { entry: row, members } = &mut **self.merged.get_or_insert_with(alone);
        members.extend(other.members());
        let other = other.entry(entries);
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

    fn set_other_address(&mut self, address: IpAddr) {
        if let Some(merged) = &mut self.merged {
            merged.entry.set_other_address(address);
        }
    }
}

pub fn rows(entries: &[&Entry]) -> Vec<MergedRow> {
    let mut by_place: Vec<usize> = (0..entries.len()).collect();
    by_place.sort_by(|one, other| place(entries[*one]).cmp(&place(entries[*other])));
    let mut rows = Vec::with_capacity(entries.len());
    for at_place in by_place.chunk_by(|one, other| place(entries[*one]) == place(entries[*other])) {
        let alone = at_place.iter().map(|at| MergedRow { first: *at, merged: None });
        if at_place.len() == 1 {
            rows.extend(alone);
        } else {
            rows.extend(twins(workers(alone, entries), entries));
        }
    }
    rows.sort_unstable_by_key(|row| row.first);
    rows
}

/// The values that all sockets of one row share. The port comes first, because most comparisons then end at the port.
type Place<'e> = (u16, Option<u64>, State, Protocol, Option<&'e str>);

fn place(entry: &Entry) -> Place<'_> {
    let socket = &entry.socket;
    let netns = socket.netns.as_ref().map(|netns| netns.inode);
    (socket.local.port, netns, socket.state, socket.local.protocol, socket.local.device.as_deref())
}

/// Merges the sockets that the threads or workers of one server have on one address. All rows have the same `Place`.
fn workers(alone: impl Iterator<Item = MergedRow>, entries: &[&Entry]) -> Vec<MergedRow> {
    let mut rows: Vec<MergedRow> = Vec::new();
    let mut by_address: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
    for row in alone {
        let entry = row.entry(entries);
        let socket = &entry.socket;
        if socket.peer.is_some() || socket.port().is_none() || socket.owner.pids().is_empty() {
            rows.push(row);
            continue;
        }
        let at_address = by_address.entry(socket.local.address).or_default();
        let is_same = |at: &&usize| is_of_one_server(rows[**at].entry(entries), entry);
        match at_address.iter().find(is_same) {
            Some(at) => rows[*at].absorb(&row, entries),
            None => {
                at_address.push(rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

/// Merges the IPv4 and the IPv6 socket that one process has on every address, or on loopback. All rows have the same
/// `Place`.
fn twins(merged: Vec<MergedRow>, entries: &[&Entry]) -> Vec<MergedRow> {
    let mut rows: Vec<MergedRow> = Vec::with_capacity(merged.len());
    let mut by_address: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for row in merged {
        let entry = row.entry(entries);
        let socket = &entry.socket;
        let address = socket.local.address;
        let Some(twin) = twin(address).filter(|_| socket.port().is_some()) else {
            rows.push(row);
            continue;
        };
        let twin = by_address.get(&twin).copied().filter(|at| {
            let twin = rows[*at].entry(entries);
            twin.other_address().is_none()
                && (twin.socket.owner == socket.owner || is_published_twice(twin, entry))
                && (socket.owner != Owner::Hidden || is_probably_of_one_owner(twin, entry))
                && shows_the_same(twin, entry)
        });
        match twin {
            Some(at) => {
                rows[at].absorb(&row, entries);
                rows[at].set_other_address(address);
            }
            None => {
                let may_merge = matches!(socket.owner, Owner::Held(_) | Owner::Kernel | Owner::Hidden);
                if socket.peer.is_none() && may_merge {
                    by_address.insert(address, rows.len());
                }
                rows.push(row);
            }
        }
    }
    rows
}

/// Returns `::` for `0.0.0.0`, `::1` for `127.0.0.1`, and the reverse. `None` for every other address.
pub(super) fn twin(address: IpAddr) -> Option<IpAddr> {
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

/// Returns whether two hidden owners look the same. They must have the same control group and user, and the same
/// probable owner. If neither socket has a probable owner, both must have a unit.
///
/// Two probable owners that forward a port to one place count as the same.
fn is_probably_of_one_owner(one: &Entry, other: &Entry) -> bool {
    let is_same_owner = match (one.inferred_owner(), other.inferred_owner()) {
        (Some(own), Some(others)) => match (own.evidence, others.evidence) {
            (OwnerEvidence::Forwards(to), OwnerEvidence::Forwards(other_to)) => to == other_to,
            _ => own.process.pid == others.process.pid,
        },
        (None, None) => one.socket.unit.is_some(),
        _ => false,
    };
    let (one, other) = (&one.socket, &other.socket);
    is_same_owner && one.uid.is_some() && (one.uid, &one.cgroup) == (other.uid, &other.cgroup)
}

/// Returns whether two processes of one program forward a port to one place. For example, docker-proxy runs one process
/// for each address family.
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

/// Returns whether two sockets on one address belong to one server. Their processes must be the same, or run the same
/// programs as the same users.
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

/// Returns whether a row would show the same values for both sockets. Address and processes may differ. A socket with a
/// finding about the socket itself stays separate.
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
