//! Fingerprints of listeners, and the difference of two observations.
//!
//! A listener is known again by where it is (protocol, address, port, device, network namespace), by the programs
//! that hold it and by its user; never by a pid, an inode or a cookie, so that a restart is no change. What could not
//! be seen differs from nothing: a holder that is hidden in one observation and known in the other has not changed.
//! Nothing is read, written or told here, and what is remarkable about a listener is another room's business.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::join::Listener;
use crate::judge::Judged;
use crate::model::{Exposure, Netns, Owner, Protocol};

/// A network namespace by what outlives it: its name, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Realm<'o> {
    /// The observer's own.
    Own,
    /// The one of this name.
    Named(&'o str),
    /// One without a name, by its inode.
    Numbered(u64),
}

/// Where a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place<'o> {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local port.
    pub port: u16,
    /// Network namespace.
    pub realm: Realm<'o>,
    /// Local address.
    pub address: IpAddr,
    /// The device it is bound to.
    pub device: Option<&'o str>,
}

/// A program, by its file, or by its name where the file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program<'o> {
    /// The path of its file.
    File(&'o str),
    /// What it calls itself.
    Name(&'o str),
}

/// What holds a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holders<'o> {
    /// These programs, at least one.
    Programs(BTreeSet<Program<'o>>),
    /// The kernel itself.
    Kernel,
    /// Something that could not be seen.
    Unseen,
}

/// A user, by number where the system counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User<'o> {
    /// Its number.
    Number(u32),
    /// Its name.
    Name(&'o str),
}

/// By what a listener is known again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint<'o> {
    /// Where it is.
    pub place: Place<'o>,
    /// The programs that hold it.
    pub holders: Holders<'o>,
    /// The user it was made under, else that of its holders; `None` where that could not be seen.
    pub user: Option<User<'o>>,
}

impl<'o> Fingerprint<'o> {
    /// The fingerprint of a listener.
    #[must_use]
    pub fn of(listener: &Listener<'o>) -> Self {
        let socket = listener.socket;
        let realm = match &socket.netns {
            None => Realm::Own,
            Some(Netns { name: Some(name), .. }) => Realm::Named(name),
            Some(Netns { inode, name: None }) => Realm::Numbered(*inode),
        };
        let place = Place {
            protocol: socket.local.protocol,
            port: socket.local.port,
            realm,
            address: socket.local.address,
            device: socket.local.device.as_deref(),
        };
        let user = |number: Option<u32>, name: Option<&'o str>| {
            number.map(User::Number).or_else(|| name.map(User::Name))
        };
        let of_holders = || listener.processes.iter().find_map(|p| user(p.uid, p.user.as_deref()));
        Fingerprint {
            place,
            holders: holders(listener),
            user: user(socket.uid, socket.user.as_deref()).or_else(of_holders),
        }
    }

    /// Whether two at the same place may be one and the same, as far as was seen.
    fn may_be(&self, other: &Self) -> bool {
        let unseen = |f: &Self| f.holders == Holders::Unseen;
        let users = self.user == other.user || self.user.is_none() || other.user.is_none();
        users && (self.holders == other.holders || unseen(self) || unseen(other))
    }

    /// Whether it is the same service at another address, so that its reach can be compared.
    fn moved_from(&self, other: &Self) -> bool {
        let service = |f: &Self| (f.place.protocol, f.place.port, f.holders.clone(), f.user, f.place.realm);
        self.holders != Holders::Unseen && service(self) == service(other)
    }
}

fn holders<'o>(listener: &Listener<'o>) -> Holders<'o> {
    if listener.socket.owner == Owner::Kernel {
        return Holders::Kernel;
    }
    let programs: BTreeSet<_> = listener
        .processes
        .iter()
        .filter_map(|process| match (&process.exe, &process.name) {
            (Some(exe), _) => Some(Program::File(exe.path.as_str())),
            (None, Some(name)) => Some(Program::Name(name.as_str())),
            (None, None) => None,
        })
        .collect();
    if programs.is_empty() { Holders::Unseen } else { Holders::Programs(programs) }
}

/// What became of a listener from one observation to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is new.
    Appeared,
    /// It is gone.
    Vanished,
    /// At the same place, other programs or another user hold it.
    Changed,
    /// The same service can be reached by more than before.
    Widened,
    /// The same service can be reached by fewer than before.
    Narrowed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [Kind::Appeared, Kind::Vanished, Kind::Changed, Kind::Widened, Kind::Narrowed];

    /// The name in lower case, as in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Appeared => "appeared",
            Kind::Vanished => "vanished",
            Kind::Changed => "changed",
            Kind::Widened => "widened",
            Kind::Narrowed => "narrowed",
        }
    }
}

/// One difference.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a, 'o> {
    /// What became of the listener.
    pub kind: Kind,
    /// The listener: as it is now, or if it vanished, as it was.
    pub listener: &'a Judged<'o>,
    /// What it was before; `None` for one that appeared or vanished.
    pub before: Option<&'a Judged<'o>>,
}

/// What became of the listeners of `before`: nothing, where `after` has the same, in whatever order and however many
/// sockets share a place and a program. The changes are in the order of listings.
#[must_use]
pub fn difference<'a, 'o>(before: &'a [Judged<'o>], after: &'a [Judged<'o>]) -> Vec<Change<'a, 'o>> {
    let (mut old, mut new) = (printed(before), printed(after));
    let both: Vec<_> = old.keys().filter(|print| new.contains_key(*print)).cloned().collect();
    for print in both {
        old.remove(&print);
        new.remove(&print);
    }
    // What may be the same, as far as was seen, is no difference.
    pair(&mut old, &mut new, |a, b| (a.place == b.place && a.may_be(b)).then_some(()));
    let change = |kind, (before, listener)| Change { kind, listener, before: Some(before) };
    let mut changes = Vec::new();
    let same_place = pair(&mut old, &mut new, |a, b| (a.place == b.place).then_some(()));
    changes.extend(same_place.into_iter().map(|(_, was, is)| change(Kind::Changed, (was, is))));
    let moved = pair(&mut old, &mut new, |a, b| {
        let reach = |f: &Fingerprint<'_>| Exposure::of(f.place.address, f.place.device);
        // The worst exposure is the least.
        match reach(b).cmp(&reach(a)) {
            Ordering::Less if b.moved_from(a) => Some(Kind::Widened),
            Ordering::Greater if b.moved_from(a) => Some(Kind::Narrowed),
            _ => None,
        }
    });
    changes.extend(moved.into_iter().map(|(kind, was, is)| change(kind, (was, is))));
    let alone = |kind| move |listener| Change { kind, listener, before: None };
    changes.extend(old.into_values().map(alone(Kind::Vanished)));
    changes.extend(new.into_values().map(alone(Kind::Appeared)));
    changes.sort_by_cached_key(|change| {
        let print = Fingerprint::of(&change.listener.listener);
        (change.listener.listener.exposure, print.place.port, print, change.kind)
    });
    changes
}

type Printed<'a, 'o> = BTreeMap<Fingerprint<'o>, &'a Judged<'o>>;

/// The listeners by their fingerprints; where several share one, the first in the order of listings.
fn printed<'a, 'o>(listeners: &'a [Judged<'o>]) -> Printed<'a, 'o> {
    let mut printed = Printed::new();
    for judged in listeners {
        let first = printed.entry(Fingerprint::of(&judged.listener)).or_insert(judged);
        if judged.listener.order(&first.listener) == Ordering::Less {
            *first = judged;
        }
    }
    printed
}

/// Takes out the pairs that `fits` names, the least first, whichever side the lesser one is on: so that there and back
/// the same are paired.
fn pair<'a, 'o, T>(
    old: &mut Printed<'a, 'o>,
    new: &mut Printed<'a, 'o>,
    fits: impl Fn(&Fingerprint<'o>, &Fingerprint<'o>) -> Option<T>,
) -> Vec<(T, &'a Judged<'o>, &'a Judged<'o>)> {
    // Only what shares a port can fit, so that many changes at once do not cost their square.
    let mut ports: BTreeMap<(Protocol, u16), Vec<&Fingerprint<'o>>> = BTreeMap::new();
    for print in new.keys() {
        ports.entry((print.place.protocol, print.place.port)).or_default().push(print);
    }
    let mut fitting = Vec::new();
    for was in old.keys() {
        let candidates = ports.get(&(was.place.protocol, was.place.port)).into_iter().flatten();
        let fit = candidates.filter_map(|is| Some((was.clone(), (*is).clone(), fits(was, is)?)));
        fitting.extend(fit);
    }
    let lesser_first = |pair: &(Fingerprint<'o>, Fingerprint<'o>, T)| {
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
