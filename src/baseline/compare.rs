//! Two observations compared: what changed, what only passes, and what cannot be compared.
//!
//! Only what holds a port for whoever comes is compared. A datagram socket, or a TCP socket that is bound and does not
//! listen, on a port that the kernel hands out looks just as a client's does while it waits: such sockets come and go by
//! the second. Where the same program under the same user had one before and has one now, on whatever ports, nothing
//! changed; any other is told, but as passing. A TCP listener never passes; but where the kernel picked its port for it,
//! and the same program under the same user has another such in its stead, it was started again, and nothing changed
//! either. Where a holder was not seen, on either side, or a network namespace was looked into on one side alone, nothing
//! can be said, and that is said.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Fingerprint, Holders, Kind, Place, matched};
use crate::judge::{Judged, Report};
use crate::model::{
    Evidence, Finding, Gap, Namespaces, Netns, Protocol, Snapshot, Socket, Stage, State, named,
};

/// A change, and how much it tells.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a, 'o> {
    /// The change.
    pub change: Change<'a, 'o>,
    /// Whether it looks like a client's socket, which comes and goes.
    pub passing: bool,
    /// Whether the side that lacks the listener saw everything, so that it was or is truly not there.
    pub sure: bool,
}

named! {
    /// Why a listener cannot be compared.
    pub enum Why {
        /// Its holder was not seen, on one side or both.
        Holder = "holder-not-seen",
        /// Some of its holders may not have been seen, on one side or both.
        Holders = "holders-not-all-seen",
        /// The file that a holder runs was not seen on one side, only its name.
        Program = "program-not-seen",
        /// Its user was not seen on one side.
        User = "user-not-seen",
        /// Its network namespace was not looked into on one side.
        Namespace = "namespace-not-looked-into",
    }
}

/// A listener of which cannot be said whether it changed.
#[derive(Clone, Copy, Debug)]
pub struct Unsettled<'a, 'o> {
    /// As it was; `None` where it was not seen.
    pub before: Option<&'a Judged<'o>>,
    /// As it is; `None` where it is not seen.
    pub after: Option<&'a Judged<'o>>,
    /// Why.
    pub why: Why,
}

/// Two observations compared.
#[derive(Clone, Debug)]
pub struct Comparison<'a, 'o> {
    /// The earlier one.
    pub before: &'o Snapshot,
    /// The later one.
    pub after: &'o Snapshot,
    /// How many listeners were compared: of the later one, and what vanished.
    pub compared: usize,
    /// The changes, in the order of listings; those that pass come last.
    pub changes: Vec<Told<'a, 'o>>,
    /// What could not be compared.
    pub unsettled: Vec<Unsettled<'a, 'o>>,
}

impl Comparison<'_, '_> {
    /// Whether anything changed, but for what passes.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changes.iter().any(|told| !told.passing)
    }

    /// Whether everything was seen on both sides and could be compared.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.before.is_complete() && self.after.is_complete() && self.unsettled.is_empty()
    }
}

/// Compares two reports.
#[must_use]
pub fn compare<'a, 'o>(before: &'a Report<'o>, after: &'a Report<'o>) -> Comparison<'a, 'o> {
    let found = matched(&before.listeners, &after.listeners);
    let (before, after) = (before.observation, after.observation);
    let mut unsettled: Vec<Unsettled<'a, 'o>> = Vec::new();
    let holds_port = |judged: &Judged<'_>| judged.listener.socket.state.holds_port();
    for (was, is) in found.same.iter().filter(|(_, is)| holds_port(is)) {
        if let Some(why) = unseen(was, is) {
            unsettled.push(Unsettled { before: Some(was), after: Some(is), why });
        }
    }
    let mut compared = found.same.iter().filter(|(_, is)| holds_port(is)).count();
    let mut changes = Vec::new();
    for change in found.changes.into_iter().filter(|change| holds_port(change.listener)) {
        let Change { kind, listener, before: was } = change;
        let passing = match kind {
            Kind::Appeared => passes(listener, after),
            Kind::Vanished => passes(listener, before),
            _ => false,
        };
        let lacks = match kind {
            Kind::Appeared => Some(before),
            Kind::Vanished => Some(after),
            _ => None,
        };
        let why = match (was, lacks) {
            (_, Some(lacks)) if !looked_into(lacks, listener.listener.socket) => Some(Why::Namespace),
            (Some(was), _) if kind == Kind::Changed && may_lack_holders(was, listener, before, after) => {
                Some(Why::Holders)
            }
            _ => None,
        };
        match why {
            Some(why) => {
                let was = was.or((kind == Kind::Vanished).then_some(listener));
                let is = (kind != Kind::Vanished).then_some(listener);
                unsettled.push(Unsettled { before: was, after: is, why });
            }
            None => {
                compared += 1;
                let sure = lacks.is_none_or(|side| side.gaps.iter().all(|gap| !hides_sockets(gap)));
                changes.push(Told { change, passing, sure });
            }
        }
    }
    quieten(&mut changes);
    // What passes stands last; the rest stays as it was.
    changes.sort_by_key(|told| told.passing);
    Comparison { before, after, compared, changes, unsettled }
}

/// What was not seen of two that may be the same.
fn unseen(was: &Judged<'_>, is: &Judged<'_>) -> Option<Why> {
    let (was, is) = (Fingerprint::of(&was.listener), Fingerprint::of(&is.listener));
    if was.holders == Holders::Unseen || is.holders == Holders::Unseen {
        Some(Why::Holder)
    } else if was.holders != is.holders {
        Some(Why::Program)
    } else if was.user != is.user {
        Some(Why::User)
    } else {
        None
    }
}

/// Whether all that is other is that one side names fewer programs, and did not see every process.
fn may_lack_holders(was: &Judged<'_>, is: &Judged<'_>, before: &Snapshot, after: &Snapshot) -> bool {
    let (was, is) = (Fingerprint::of(&was.listener), Fingerprint::of(&is.listener));
    let (Holders::Programs(old), Holders::Programs(new)) = (&was.holders, &is.holders) else { return false };
    let blind =
        |side: &Snapshot| side.gaps.iter().any(|gap| matches!(gap.stage, Stage::Holders | Stage::Processes));
    let same_user = was.user == is.user;
    same_user && ((old.is_subset(new) && blind(before)) || (new.is_subset(old) && blind(after)))
}

/// Whether a gap may be hiding sockets.
fn hides_sockets(gap: &Gap) -> bool {
    matches!(gap.stage, Stage::Sockets | Stage::Namespaces)
}

/// Whether an observation looked into the network namespace of a socket, or would have if it had been there.
fn looked_into(observation: &Snapshot, socket: &Socket) -> bool {
    let Some(netns) = &socket.netns else {
        // Whoever asks for one by name may mean its own, and then there is no other.
        let called = matches!(observation.asked, Namespaces::Called(_));
        return !called || observation.namespaces.is_empty();
    };
    let same = |other: &Netns| match (&netns.name, &other.name) {
        (Some(name), Some(other)) => name == other,
        _ => netns.inode == other.inode,
    };
    let container = |other: &Socket| other.netns.is_some() && other.container == socket.container;
    observation.asked == Namespaces::All
        || observation.namespaces.iter().any(|namespace| same(&namespace.netns))
        || (socket.container.is_some() && observation.sockets.iter().any(container))
}

/// Whether a listener looks like a client that waits for an answer.
fn passes(judged: &Judged<'_>, observation: &Snapshot) -> bool {
    let socket = judged.listener.socket;
    let datagram = matches!(socket.local.protocol, Protocol::Udp | Protocol::Udplite);
    let waits = match socket.state {
        State::Unconnected => datagram,
        State::Bound => socket.local.protocol == Protocol::Tcp,
        _ => false,
    };
    let (ranges, reserved) = observation.ephemeral_at(socket);
    let lies_in = |ranges: &[crate::model::PortRange]| ranges.iter().any(|r| r.contains(socket.local.port));
    waits && lies_in(&ranges) && !lies_in(reserved)
}

/// By what the program of a socket that passes is known again: its port is not its own choice.
fn portless<'o>(told: &Told<'_, 'o>) -> Fingerprint<'o> {
    let print = Fingerprint::of(&told.change.listener.listener);
    Fingerprint { place: Place { port: 0, ..print.place }, ..print }
}

/// Whether a listener's port is one that the kernel picks for who asks for any, as far as the port tells.
fn was_picked(judged: &Judged<'_>) -> bool {
    let picked = |finding: &Finding| {
        matches!(
            finding.evidence,
            Evidence::Ephemeral { kernel_would_pick: Some(true), may_be_client: false, .. }
        )
    };
    judged.findings().iter().any(picked)
}

/// Drops what came and went on ports that are not its own choice, where the same programs under the same user are on both
/// sides: of what passes all, of listeners whose port was picked for them as many as the other side has.
fn quieten(changes: &mut Vec<Told<'_, '_>>) {
    let mut sides: BTreeMap<(bool, Fingerprint<'_>), [Vec<usize>; 2]> = BTreeMap::new();
    for (at, told) in changes.iter().enumerate() {
        let came = match told.change.kind {
            Kind::Vanished => 0,
            Kind::Appeared => 1,
            _ => continue,
        };
        let print = portless(told);
        let again = match print.holders {
            Holders::Unseen => false,
            Holders::Kernel => told.passing,
            Holders::Programs(_) => told.passing || was_picked(told.change.listener),
        };
        if again {
            sides.entry((told.passing, print)).or_default()[came].push(at);
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
