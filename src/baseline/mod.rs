//! Fingerprints of listeners, and the difference between two snapshots.
//!
//! A fingerprint has no pid, inode or cookie, so a restart is not a change. An unknown value equals any value. So a
//! process that is hidden in only one snapshot is not a change.

mod clients;
mod compare;
mod findings;
mod weakened;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use self::clients::ClientChange;
use crate::judge::Entry;
use crate::model::{ExeState, Exposure, Forwarding, Netns, Owner, Protocol, RunTarget};

pub use self::compare::{Comparison, NotCompared, NotComparedReason, ReportedChange, compare, difference};
pub use self::findings::{add_to, since};
pub use crate::findings::change::ChangeKind;

/// A network namespace, identified by its container, or else by its name. The container and the name stay the same
/// after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetnsIdentity<'a> {
    /// The namespace in which portolan runs.
    Own,
    /// The namespace of this container. A restarted container has another namespace, but the same ID.
    Container(&'a str),
    Named(&'a str),
    /// A namespace without a name, identified by its inode.
    Numbered(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerAddress<'a> {
    pub protocol: Protocol,
    pub port: u16,
    pub netns: NetnsIdentity<'a>,
    pub address: IpAddr,
    pub device: Option<&'a str>,
}

/// A program, identified by its file, or by its name if the file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProgramIdentity<'a> {
    File {
        path: &'a str,
        /// The script of an interpreter, or the arguments of a relay.
        runs: RunTarget,
        /// Whether the path is unreliable, because a user may have chosen the root directory of the process. The user
        /// may then have chosen the file at this path.
        is_elsewhere: bool,
    },
    /// The name that the process gave itself.
    Name(&'a str),
}

/// The maximum number of programs of a listener that are compared one by one. A real listener has one to three
/// programs. A crafted file could have many, and the comparison would take quadratic time.
const MOST_COMPARED: usize = 16;

impl ProgramIdentity<'_> {
    /// Returns whether two programs may be the same. An unknown script of an interpreter equals any script.
    fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (
                ProgramIdentity::File { path, runs, is_elsewhere },
                ProgramIdentity::File { path: its_path, runs: its_runs, is_elsewhere: it_is_elsewhere },
            ) => path == its_path && is_elsewhere == it_is_elsewhere && runs.may_be(its_runs),
            _ => self == other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerOwner<'a> {
    /// One or more programs, in ascending order, each once.
    Programs(Vec<ProgramIdentity<'a>>),
    /// The kernel. If a rule forwards the port, the destination is included.
    Kernel(Option<Destination<'a>>),
    Unseen,
}

impl ListenerOwner<'_> {
    /// Returns whether two owners may be the same. Owners that cannot be compared may be the same too, for example a
    /// program file and the name of a process.
    fn may_be(&self, other: &Self) -> bool {
        if let (ListenerOwner::Kernel(Some(a)), ListenerOwner::Kernel(Some(b))) = (self, other) {
            return a.may_be(b);
        }
        let (ListenerOwner::Programs(a), ListenerOwner::Programs(b)) = (self, other) else {
            return self == other;
        };
        let has = |all: &[ProgramIdentity<'_>], one| all.iter().any(|other| other.may_be(one));
        let fits = a.len().max(b.len()) <= MOST_COMPARED
            && a.iter().all(|one| has(b, one))
            && b.iter().all(|one| has(a, one));
        let is_file = |program: &ProgramIdentity<'_>| matches!(program, ProgramIdentity::File { .. });
        let (files, others) = (a.iter().all(is_file), b.iter().all(is_file));
        a == b || fits || (files != others && !a.is_empty() && !b.is_empty())
    }
}

/// The destination of a forwarded port. A container is identified by its name, because its address may change at every
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination<'a> {
    Container(&'a str, u16),
    Address(IpAddr, u16),
}

impl<'a> Destination<'a> {
    fn of(forwarding: &'a Forwarding) -> Self {
        let port = forwarding.to.port;
        match forwarding.container.as_deref().and_then(|container| container.name.as_deref()) {
            Some(name) => Destination::Container(name, port),
            None => Destination::Address(forwarding.to.address, port),
        }
    }

    fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Destination::Container(_, port), Destination::Address(_, its_port))
            | (Destination::Address(_, port), Destination::Container(_, its_port)) => port == its_port,
            _ => self == other,
        }
    }
}

/// A user, identified by number, or by name if there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserIdentity<'a> {
    Number(u32),
    Name(&'a str),
}

/// The features by which a listener is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint<'a> {
    pub place: ListenerAddress<'a>,
    pub owner: ListenerOwner<'a>,
    /// The user who created the socket, or else the user of a process; `None` if neither was visible.
    pub user: Option<UserIdentity<'a>>,
}

impl<'a> Fingerprint<'a> {
    pub fn of(listener: &'a Entry) -> Self {
        let socket = &listener.socket;
        let netns = match (&socket.netns, &socket.container) {
            (None, _) => NetnsIdentity::Own,
            (Some(_), Some(container)) => NetnsIdentity::Container(container),
            (Some(Netns { name: Some(name), .. }), None) => NetnsIdentity::Named(name),
            (Some(Netns { inode, name: None }), None) => NetnsIdentity::Numbered(*inode),
        };
        let place = ListenerAddress {
            protocol: socket.local.protocol,
            port: socket.local.port,
            netns,
            address: socket.local.address,
            device: socket.local.device.as_deref(),
        };
        let user = |number: Option<u32>, name: Option<&'a str>| {
            number.map(UserIdentity::Number).or_else(|| name.map(UserIdentity::Name))
        };
        let of_processes = || listener.processes.iter().find_map(|p| user(p.uid, p.user.as_deref()));
        Fingerprint {
            place,
            owner: owner(listener),
            user: user(socket.uid, socket.user.as_deref()).or_else(of_processes),
        }
    }

    /// Returns whether two fingerprints of one place may be the same. A part that was not visible equals any value.
    fn may_be(&self, other: &Self) -> bool {
        let unseen = |f: &Self| f.owner == ListenerOwner::Unseen;
        let users = self.user == other.user || self.user.is_none() || other.user.is_none();
        users && (self.owner.may_be(&other.owner) || unseen(self) || unseen(other))
    }

    /// Returns the fingerprint without the address and the device. So the result stays the same if the service moves to
    /// another address.
    fn service(&self) -> (Protocol, u16, NetnsIdentity<'a>, ListenerOwner<'a>, Option<UserIdentity<'a>>) {
        (self.place.protocol, self.place.port, self.place.netns, self.owner.clone(), self.user)
    }
}

fn owner<'a>(listener: &'a Entry) -> ListenerOwner<'a> {
    if listener.socket.owner == Owner::Kernel {
        return ListenerOwner::Kernel(listener.socket.forwarding.as_ref().map(Destination::of));
    }
    let mut programs: Vec<_> = listener
        .processes
        .iter()
        .filter_map(|process| match (&process.exe, &process.name) {
            (Some(exe), _) => Some(ProgramIdentity::File {
                path: exe.path.as_str(),
                runs: RunTarget::of(process),
                is_elsewhere: !process.has_trusted_path(),
            }),
            (None, Some(name)) => Some(ProgramIdentity::Name(name.as_str())),
            (None, None) => None,
        })
        .collect();
    programs.sort_unstable();
    programs.dedup();
    if programs.is_empty() { ListenerOwner::Unseen } else { ListenerOwner::Programs(programs) }
}

#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub kind: ChangeKind,
    /// The listener in the later snapshot, or in the earlier snapshot if the listener vanished.
    pub listener: &'a Entry,
    /// The listener in the earlier snapshot; `None` if the listener appeared or vanished.
    pub before: Option<&'a Entry>,
    /// Whether the two listeners are only probably the same service. If so, a process was not visible, but the unit and
    /// the user are the same.
    pub is_probable: bool,
}

type Pair<'a> = (&'a Entry, &'a Entry);

#[derive(Default)]
struct MatchedListeners<'a> {
    /// The pairs without a change. A value that was not visible counts as equal to any value.
    same: Vec<Pair<'a>>,
    changes: Vec<Change<'a>>,
}

/// Matches the listeners port by port. This saves memory, because the fingerprints of all listeners take more memory
/// than the listeners (measured).
fn matched<'a>(before: &'a [Entry], after: &'a [Entry]) -> MatchedListeners<'a> {
    let sides = before.iter().map(|entry| (entry, false)).chain(after.iter().map(|entry| (entry, true)));
    let mut sides: Vec<(&'a Entry, bool)> = sides.collect();
    let port = |entry: &Entry| (entry.socket.local.protocol, entry.socket.local.port);
    sides.sort_by_key(|(entry, _)| port(entry));
    let mut all = MatchedListeners::default();
    for on_port in sides.chunk_by(|(one, _), (other, _)| port(one) == port(other)) {
        let of_side = |is_after| {
            let entries = on_port.iter().filter(|(_, after)| *after == is_after);
            entries.map(|(entry, _)| *entry).collect::<Vec<_>>()
        };
        let MatchedListeners { same, changes } = matched_on_port(&of_side(false), &of_side(true));
        all.same.extend(same);
        all.changes.extend(changes);
    }
    sort(&mut all.changes);
    all
}

fn sort(changes: &mut [Change<'_>]) {
    changes.sort_by_cached_key(|change| {
        let print = Fingerprint::of(change.listener);
        (change.listener.exposure, print.place.port, print, change.kind)
    });
}

fn matched_on_port<'a>(before: &[&'a Entry], after: &[&'a Entry]) -> MatchedListeners<'a> {
    let (mut old, mut new) = (by_fingerprint(before), by_fingerprint(after));
    let change =
        |kind, (before, listener)| Change { kind, listener, before: Some(before), is_probable: false };
    let mut changes: Vec<_> =
        replaced(before, after, &old).into_iter().map(|pair| change(ChangeKind::Replaced, pair)).collect();
    let both: Vec<_> = old.keys().filter(|print| new.contains_key(*print)).cloned().collect();
    let mut same: Vec<_> =
        both.iter().filter_map(|print| Some((old.remove(print)?, new.remove(print)?))).collect();
    // Listeners that may be the same are paired first, and are not a change.
    let place = |print: &Fingerprint<'a>| print.place;
    let likely = pair(&mut old, &mut new, place, |a, b| a.may_be(b).then_some(()));
    same.extend(likely.into_iter().map(|(_, was, is)| (was, is)));
    let mut by_firewall = Vec::new();
    same.retain(|pair| match client_change(*pair) {
        Some(kind) => {
            by_firewall.push(change(kind, *pair));
            false
        }
        None => true,
    });
    changes.extend(by_firewall);
    let same_place = pair(&mut old, &mut new, place, |_, _| Some(()));
    changes.extend(same_place.into_iter().map(|(_, was, is)| change(ChangeKind::Changed, (was, is))));
    let to_other_address = pair(&mut old, &mut new, Fingerprint::service, |a, b| {
        let reach = |f: &Fingerprint<'_>| Exposure::of(f.place.address, f.place.device);
        // `probably_moved` handles listeners with an unknown owner, because they need more evidence.
        if a.owner == ListenerOwner::Unseen { None } else { moved(reach(a), reach(b)) }
    });
    changes.extend(to_other_address.into_iter().map(|(kind, was, is)| change(kind, (was, is))));
    for (kind, pair) in probably_moved(&mut old, &mut new) {
        changes.push(Change { is_probable: true, ..change(kind, pair) });
    }
    let alone = |kind| move |listener| Change { kind, listener, before: None, is_probable: false };
    changes.extend(old.into_values().map(alone(ChangeKind::Vanished)));
    changes.extend(new.into_values().map(alone(ChangeKind::Appeared)));
    MatchedListeners { same, changes }
}

/// Returns the change of a listener that moved from one exposure to another; `None` if the exposure is the same.
fn moved(was: Exposure, is: Exposure) -> Option<ChangeKind> {
    // Exposure is ordered from most to least exposed.
    match is.cmp(&was) {
        Ordering::Less => Some(ChangeKind::Widened),
        Ordering::Greater => Some(ChangeKind::Narrowed),
        Ordering::Equal => None,
    }
}

/// Removes from `old` and `new` the listeners that probably moved to another address, and returns them.
///
/// The process of such a listener was not visible in at least one snapshot. The service unit, the control group and the
/// user are the same in both. No other listener of the unit and the user appeared or vanished on the port. Sockets of
/// one family are matched first.
fn probably_moved<'a>(
    old: &mut ByFingerprint<'a>,
    new: &mut ByFingerprint<'a>,
) -> Vec<(ChangeKind, Pair<'a>)> {
    type Side<'a> = Vec<(Fingerprint<'a>, &'a Entry)>;
    let mut found = Vec::new();
    for is_by_family in [true, false] {
        let mut services: BTreeMap<_, [Side<'a>; 2]> = BTreeMap::new();
        for (side, listeners) in [&*old, &*new].into_iter().enumerate() {
            for (print, entry) in listeners {
                let Some(service) = unit_service(print, entry) else { continue };
                let family = is_by_family.then_some(print.place.address.is_ipv6());
                services.entry((family, service)).or_default()[side].push((print.clone(), *entry));
            }
        }
        for sides in services.into_values() {
            let ([(print, was)], [(new_print, is)]) = (&*sides[0], &*sides[1]) else { continue };
            let is_unseen = [print, new_print].iter().any(|one| one.owner == ListenerOwner::Unseen);
            if let Some(kind) = moved(was.exposure, is.exposure).filter(|_| is_unseen) {
                old.remove(print);
                new.remove(new_print);
                found.push((kind, (*was, *is)));
            }
        }
    }
    found
}

/// Returns the network namespace, the unit, the control group and the user of a listener. `None` if one of them is not
/// known, or if the unit is not a service. For example, a login session is not a service, and contains unrelated
/// programs.
fn unit_service<'a>(
    print: &Fingerprint<'a>,
    entry: &'a Entry,
) -> Option<(NetnsIdentity<'a>, &'a str, &'a str, UserIdentity<'a>)> {
    let unit = entry.socket.unit.as_deref().filter(|unit| unit.ends_with(".service"))?;
    Some((print.place.netns, unit, entry.socket.cgroup.as_deref()?, print.user?))
}

/// Returns `Widened` if a listener has new clients, and `Narrowed` if it has only lost clients; otherwise `None`.
///
/// The cause is the packet filter, or a socket on `[::]` that began or stopped to accept IPv4 clients.
fn client_change((was, is): Pair<'_>) -> Option<ChangeKind> {
    let families = match (was.socket.takes_only_ipv6(), is.socket.takes_only_ipv6()) {
        (Some(true), Some(false)) => ClientChange::Widened,
        (Some(false), Some(true)) => ClientChange::Narrowed,
        _ => ClientChange::Same,
    };
    let changes = [families, clients::change(was.reach(), is.reach())];
    let has = |change| changes.contains(&change);
    match () {
        () if has(ClientChange::Widened) => Some(ChangeKind::Widened),
        () if has(ClientChange::Narrowed) => Some(ChangeKind::Narrowed),
        () => None,
    }
}

/// Returns the listeners whose program file was deleted or replaced since the earlier snapshot.
fn replaced<'a>(before: &[&'a Entry], after: &[&'a Entry], old: &ByFingerprint<'a>) -> Vec<Pair<'a>> {
    let known: BTreeSet<_> = before.iter().copied().flat_map(missing_files).collect();
    let mut found = ByFingerprint::new();
    for judged in after
        .iter()
        .copied()
        .filter(|judged| missing_files(judged).any(|missing_files| !known.contains(&missing_files)))
    {
        let print = Fingerprint::of(judged);
        if old.contains_key(&print) {
            let first = found.entry(print).or_insert(judged);
            if judged.order(first) == Ordering::Less {
                *first = judged;
            }
        }
    }
    found.into_iter().filter_map(|(print, is)| Some((*old.get(&print)?, is))).collect()
}

/// Returns the program files that are no longer at their paths. Each has the fingerprint of its listener, and the state
/// of the file.
fn missing_files<'a>(
    judged: &'a Entry,
) -> impl Iterator<Item = (Fingerprint<'a>, &'a str, &'static str)> + use<'a> {
    let print = Fingerprint::of(judged);
    let files: BTreeSet<_> = judged
        .processes
        .iter()
        .filter_map(|process| process.exe.as_ref())
        .filter_map(|exe| {
            let became = match exe.state {
                ExeState::Present => return None,
                ExeState::Deleted => "deleted",
                ExeState::Replaced => "replaced",
                ExeState::Memfd => "memory",
            };
            Some((exe.path.as_str(), became))
        })
        .collect();
    files.into_iter().map(move |(path, became)| (print.clone(), path, became))
}

type ByFingerprint<'a> = BTreeMap<Fingerprint<'a>, &'a Entry>;

/// Groups the listeners by fingerprint, and keeps the first listener of each group in the order of listings.
fn by_fingerprint<'a>(listeners: &[&'a Entry]) -> ByFingerprint<'a> {
    let mut by_fingerprint = ByFingerprint::new();
    for &judged in listeners {
        let first = by_fingerprint.entry(Fingerprint::of(judged)).or_insert(judged);
        if judged.order(first) == Ordering::Less {
            *first = judged;
        }
    }
    by_fingerprint
}

/// The maximum number of compared pairs of listeners with the same key. On real systems, at most 300 listeners of one
/// service change at once. A crafted file could have more, and the comparison would take quadratic time.
const MOST_PAIRS: usize = 100_000;

/// Removes pairs from `old` and `new`, and returns them. The two listeners of a pair have the same `key`, and `fits`
/// accepts them.
///
/// The pair with the lowest fingerprint is chosen first, so that swapping the snapshots gives the same pairs.
fn pair<'a, K: Ord, T>(
    old: &mut ByFingerprint<'a>,
    new: &mut ByFingerprint<'a>,
    key: impl Fn(&Fingerprint<'a>) -> K,
    fits: impl Fn(&Fingerprint<'a>, &Fingerprint<'a>) -> Option<T>,
) -> Vec<(T, &'a Entry, &'a Entry)> {
    let mut sides: BTreeMap<K, [Vec<&Fingerprint<'a>>; 2]> = BTreeMap::new();
    for (side, prints) in [&*old, &*new].into_iter().enumerate() {
        for print in prints.keys() {
            sides.entry(key(print)).or_default()[side].push(print);
        }
    }
    let mut fitting = Vec::new();
    for [was, is] in sides.into_values() {
        if was.len().saturating_mul(is.len()) <= MOST_PAIRS {
            let pairs = was.iter().flat_map(|was| is.iter().map(move |is| (*was, *is)));
            fitting.extend(pairs.filter_map(|(was, is)| Some((was.clone(), is.clone(), fits(was, is)?))));
        }
    }
    let lesser_first = |pair: &(Fingerprint<'a>, Fingerprint<'a>, T)| {
        let (a, b) = (pair.0.clone(), pair.1.clone());
        if a < b { (a, b) } else { (b, a) }
    };
    fitting.sort_by_cached_key(lesser_first);
    let mut pairs = Vec::new();
    for (was, is, what) in fitting {
        if let (Some(before), Some(after)) = (old.get(&was), new.get(&is)) {
            pairs.push((what, *before, *after));
            old.remove(&was);
            new.remove(&is);
        }
    }
    pairs
}

#[cfg(test)]
mod tests;
