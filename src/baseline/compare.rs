//! Compares two snapshots: the changes, the transient sockets, and the listeners that cannot be compared.
//!
//! A socket is transient if it may belong to a client, because clients often exist only for seconds. A transient socket
//! is on an ephemeral port. It is a datagram socket, or a TCP socket that is bound but does not listen.
//!
//! Two differences are not reported as changes:
//!
//! - Both snapshots have transient sockets of one program and user. The ports do not matter.
//! - A program was restarted, and its listener got another port from the kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::clients::{self, ClientChange};
use super::{
    Change, ChangeKind, Fingerprint, ListenerAddress, ListenerOwner, MatchedListeners, Pair, ProgramIdentity,
    matched, sort, weakened,
};
use crate::findings::Finding;
use crate::findings::registry::Ephemeral;
use crate::judge::{Entry, Report, picked_from};
use crate::model::{Firewall, Gap, Namespaces, Netns, Snapshot, Socket, Stage, State, named};

#[derive(Clone, Copy, Debug)]
pub struct ReportedChange<'a> {
    pub change: Change<'a>,
    /// Whether the socket is transient, because it may belong to a client.
    pub passing: bool,
    /// Whether the listener certainly did not exist in the other snapshot. This is certain if the scan for that
    /// snapshot saw every socket.
    pub sure: bool,
}

named! {
    pub enum NotComparedReason {
        /// The process was not visible in one or both snapshots.
        Process = "process-not-seen",
        /// Some processes of the listener may not have been visible in one or both snapshots.
        Processes = "processes-not-all-seen",
        /// The program file of a process, or the script of an interpreter, was not visible in one of the snapshots.
        Program = "program-not-seen",
        /// The user was not visible in one of the snapshots.
        User = "user-not-seen",
        /// The network namespace was not scanned for one of the snapshots.
        Namespace = "namespace-not-looked-into",
        /// In one or both snapshots, rules of the firewall or of address translation were not read or not understood.
        Rules = "rules-not-read",
    }
}

#[derive(Clone, Copy, Debug)]
pub struct NotCompared<'a> {
    pub before: Option<&'a Entry>,
    pub after: Option<&'a Entry>,
    pub why: NotComparedReason,
}

#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    pub before: &'a Snapshot,
    pub after: &'a Snapshot,
    /// The number of compared listeners: all listeners of the later snapshot, and the vanished listeners.
    pub compared: usize,
    /// The changes, in the order of listings, with transient changes last.
    pub changes: Vec<ReportedChange<'a>>,
    pub not_compared: Vec<NotCompared<'a>>,
}

impl Comparison<'_> {
    /// Returns whether anything changed, except for transient sockets.
    pub fn changed(&self) -> bool {
        self.changes.iter().any(|reported| !reported.passing)
    }

    /// Returns whether everything was visible in both snapshots and could be compared.
    pub fn is_complete(&self) -> bool {
        self.before.is_complete() && self.after.is_complete() && self.not_compared.is_empty()
    }
}

pub fn compare<'a>(before: &'a Report, after: &'a Report) -> Comparison<'a> {
    let mut found = matched(&before.entries, &after.entries);
    move_weakened(&mut found, before, after);
    let mut not_compared: Vec<NotCompared<'a>> = Vec::new();
    let holds_port = |judged: &Entry| judged.socket.state.holds_port();
    for (was, is) in found.same.iter().filter(|(_, is)| holds_port(is)) {
        let why = unseen(was, is)
            .or(are_clients_unseen(was, is, before, after).then_some(NotComparedReason::Rules));
        if let Some(why) = why {
            not_compared.push(NotCompared { before: Some(was), after: Some(is), why });
        }
    }
    let mut compared = found.same.iter().filter(|(_, is)| holds_port(is)).count();
    let mut changes = Vec::new();
    for change in found.changes.into_iter().filter(|change| holds_port(change.listener)) {
        let Change { kind, listener, before: was, is_probable } = change;
        let passing = match kind {
            ChangeKind::Appeared => after.snapshot.may_be_client(&listener.socket),
            ChangeKind::Vanished => before.snapshot.may_be_client(&listener.socket),
            _ => false,
        };
        let lacks = match kind {
            ChangeKind::Appeared => Some(before),
            ChangeKind::Vanished => Some(after),
            _ => None,
        };
        let why = match (was, lacks) {
            (_, Some(lacks)) if !was_scanned(lacks, &listener.socket) => Some(NotComparedReason::Namespace),
            (_, Some(lacks))
                if listener.socket.state == State::Published
                    && !are_rules_read(&lacks.snapshot, &listener.socket) =>
            {
                Some(NotComparedReason::Rules)
            }
            (Some(was), _)
                if kind == ChangeKind::Changed
                    && may_lack_processes(was, listener, &before.snapshot, &after.snapshot) =>
            {
                Some(NotComparedReason::Processes)
            }
            _ => None,
        };
        match why {
            Some(why) => {
                let was = was.or((kind == ChangeKind::Vanished).then_some(listener));
                let is = (kind != ChangeKind::Vanished).then_some(listener);
                not_compared.push(NotCompared { before: was, after: is, why });
            }
            None => {
                if let Some(was) = was.filter(|was| is_probable || is_by_firewall(was, listener, kind))
                    && let Some(why) = unseen(was, listener)
                {
                    not_compared.push(NotCompared { before: Some(was), after: Some(listener), why });
                }
                compared += 1;
                let sure = lacks.is_none_or(|side| side.snapshot.gaps.iter().all(|gap| !hides_sockets(gap)));
                changes.push(ReportedChange { change, passing, sure });
            }
        }
    }
    drop_restarts(&mut changes);
    // Transient changes come last; the other changes keep their order.
    changes.sort_by_key(|reported| reported.passing);
    Comparison { before: &before.snapshot, after: &after.snapshot, compared, changes, not_compared }
}

/// Returns the changes between two scans of `watch`, in the order of listings. Sockets with equal fingerprints count
/// once. A value that becomes unknown is not a change, because every scan of `watch` has the same privileges.
pub fn difference<'a>(before: &'a Report, after: &'a Report) -> Vec<Change<'a>> {
    let mut found = matched(&before.entries, &after.entries);
    move_weakened(&mut found, before, after);
    found.changes
}

/// Adds a change for each pair whose listener is now less protected, and removes the pair from the unchanged pairs.
/// Pairs whose processes or clients cannot be compared stay unchanged, because their findings may differ without a
/// change.
fn move_weakened(found: &mut MatchedListeners<'_>, before: &Report, after: &Report) {
    let is_read_alike = before.snapshot.scope.packages || !after.snapshot.scope.packages;
    let kind = |entry: &Entry| entry.reach().map(|reach| reach.kind);
    let is_weakened = |(was, is): &Pair<'_>| {
        is_read_alike
            && is.socket.state.holds_port()
            && unseen(was, is).is_none()
            && kind(was) == kind(is)
            && !weakened::worse(was, is).is_empty()
    };
    let (weakened, same): (Vec<_>, Vec<_>) = found.same.drain(..).partition(is_weakened);
    found.same = same;
    let change = |(was, listener)| Change {
        kind: ChangeKind::Weakened,
        listener,
        before: Some(was),
        is_probable: false,
    };
    found.changes.extend(weakened.into_iter().map(change));
    sort(&mut found.changes);
}

/// Returns whether more or fewer clients can reach a listener at the same address. The processes may have changed too.
fn is_by_firewall(was: &Entry, is: &Entry, kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Widened | ChangeKind::Narrowed)
        && Fingerprint::of(was).place == Fingerprint::of(is).place
}

/// Returns why it is unknown whether two matched listeners are the same; `None` if they certainly are.
fn unseen(was: &Entry, is: &Entry) -> Option<NotComparedReason> {
    let (was, is) = (Fingerprint::of(was), Fingerprint::of(is));
    if was.owner == ListenerOwner::Unseen || is.owner == ListenerOwner::Unseen {
        Some(NotComparedReason::Process)
    } else if was.owner != is.owner {
        Some(NotComparedReason::Program)
    } else if was.user != is.user {
        Some(NotComparedReason::User)
    } else {
        None
    }
}

/// Returns whether the packet filter may let in other clients than before, although the scans do not show this. Equal
/// rules let in equal clients, even if the clients are not known.
fn are_clients_unseen(was: &Entry, is: &Entry, before: &Report, after: &Report) -> bool {
    let may_differ = [was, is].iter().all(|entry| entry.socket.state.accepts_traffic())
        && was.exposure == is.exposure
        && clients::change(was.reach(), is.reach()) == ClientChange::Unknown;
    if !may_differ {
        return false;
    }
    let sides = [(before, was), (after, is)].map(|(report, entry)| {
        let firewall = firewall_of(&report.snapshot, &entry.socket)?;
        let Firewall {
            is_refused,
            unread,
            steering,
            interfaces,
            local_routes,
            forwards,
            tables,
            is_internal,
            tun,
            netns: _,
        } = firewall;
        let packets = (interfaces, local_routes, forwards, is_internal, tun);
        (!is_refused && unread.is_none()).then_some((steering, packets, tables))
    });
    sides[0].is_none() || sides[0] != sides[1]
}

fn firewall_of<'s>(snapshot: &'s Snapshot, socket: &Socket) -> Option<&'s Firewall> {
    let netns = socket.netns.as_ref().map(|netns| netns.inode);
    snapshot.firewalls.iter().find(|firewall| firewall.netns == netns)
}

/// Returns whether the rules that forward ports were read in the namespace of a socket.
fn are_rules_read(snapshot: &Snapshot, socket: &Socket) -> bool {
    let is_refused = firewall_of(snapshot, socket).is_some_and(|firewall| firewall.is_refused);
    !is_refused && !snapshot.gaps.iter().any(|gap| gap.stage == Stage::Rules)
}

/// Returns whether two listeners may differ only because some programs of one listener were not visible.
fn may_lack_processes(was: &Entry, is: &Entry, before: &Snapshot, after: &Snapshot) -> bool {
    let (was, is) = (Fingerprint::of(was), Fingerprint::of(is));
    let (ListenerOwner::Programs(old), ListenerOwner::Programs(new)) = (&was.owner, &is.owner) else {
        return false;
    };
    let blind =
        |side: &Snapshot| side.gaps.iter().any(|gap| matches!(gap.stage, Stage::Owners | Stage::Processes));
    let is_subset = |one: &[ProgramIdentity<'_>], of: &[ProgramIdentity<'_>]| {
        one.iter().all(|program| of.binary_search(program).is_ok())
    };
    let same_user = was.user == is.user;
    same_user && ((is_subset(old, new) && blind(before)) || (is_subset(new, old) && blind(after)))
}

fn hides_sockets(gap: &Gap) -> bool {
    matches!(gap.stage, Stage::Sockets | Stage::Namespaces)
}

/// Returns whether a scan covered the network namespace of a socket.
fn was_scanned(report: &Report, socket: &Socket) -> bool {
    let snapshot = &report.snapshot;
    let Some(netns) = &socket.netns else {
        // The socket is in portolan's own namespace. If the user selected another namespace, the snapshot does not list
        // portolan's own namespace.
        let called = matches!(snapshot.scope.namespaces, Namespaces::Called(_));
        return !called || snapshot.namespaces.is_empty();
    };
    let same = |other: &Netns| match (&netns.name, &other.name) {
        (Some(name), Some(other)) => name == other,
        _ => netns.inode == other.inode,
    };
    let container = |other: &Socket| other.netns.is_some() && other.container == socket.container;
    snapshot.scope.namespaces == Namespaces::All
        || snapshot.namespaces.iter().any(|namespace| same(&namespace.netns))
        || (socket.container.is_some() && report.entries.iter().any(|entry| container(&entry.socket)))
}

/// Returns the fingerprint with port 0. This fingerprint stays the same if a program restarts on another port.
fn fingerprint_without_port<'a>(reported: &ReportedChange<'a>) -> Fingerprint<'a> {
    let print = Fingerprint::of(reported.change.listener);
    Fingerprint { place: ListenerAddress { port: 0, ..print.place }, ..print }
}

/// Returns whether a listener probably gets another port after a restart, because the kernel or the program picks a
/// free port.
fn was_port_picked_by_kernel(judged: &Entry) -> bool {
    let picked = |finding: &Finding| {
        Ephemeral::of(&finding.evidence).is_some_and(|port| port.kernel_would_pick == Some(true))
    };
    judged.findings().iter().any(picked) || picked_from(judged).is_some()
}

/// Removes restarts from the changes. In a restart, a listener vanishes, and a listener with the same programs and user
/// appears. The programs chose neither port.
///
/// The vanished listener and the appeared listener are removed as a pair. Transient sockets of one program are all
/// removed, if at least one vanished and at least one appeared.
fn drop_restarts(changes: &mut Vec<ReportedChange<'_>>) {
    let mut sides: BTreeMap<(bool, Fingerprint<'_>), [Vec<usize>; 2]> = BTreeMap::new();
    for (at, reported) in changes.iter().enumerate() {
        let came = match reported.change.kind {
            ChangeKind::Vanished => 0,
            ChangeKind::Appeared => 1,
            _ => continue,
        };
        let print = fingerprint_without_port(reported);
        let again = match print.owner {
            ListenerOwner::Unseen => false,
            ListenerOwner::Kernel(_) => reported.passing,
            ListenerOwner::Programs(_) => {
                reported.passing || was_port_picked_by_kernel(reported.change.listener)
            }
        };
        if again {
            sides.entry((reported.passing, print)).or_default()[came].push(at);
        }
    }
    let mut quiet = BTreeSet::new();
    for ((passing, _), [went, came]) in sides {
        let pairs = went.len().min(came.len());
        let of = |side: Vec<usize>| {
            let all = passing && pairs > 0;
            let count = if all { side.len() } else { pairs };
            side.into_iter().take(count)
        };
        quiet.extend(of(went).chain(of(came)));
    }
    let mut at = 0..;
    changes.retain(|_| at.next().is_none_or(|at| !quiet.contains(&at)));
}
