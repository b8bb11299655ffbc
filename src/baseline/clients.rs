//! Compares the clients that the packet filter lets in before and after a change.
//!
//! Single addresses that the filter excludes are ignored, because tools such as fail2ban ban and unban addresses all
//! the time.

use crate::model::{ClientGroup, Clients, Network, Reach, ReachKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientChange {
    Same,
    /// New clients are let in, even if others are now excluded.
    Widened,
    Narrowed,
    Unknown,
}

/// Returns how the clients changed. An argument is `None` if the packet filter was not read, or if other machines
/// cannot reach the address. If exactly one argument is `None`, the change is unknown.
pub(super) fn change(was: Option<&Reach>, is: Option<&Reach>) -> ClientChange {
    let (was, is) = match (was, is) {
        (None, None) => return ClientChange::Same,
        (Some(was), Some(is)) if ![was.kind, is.kind].contains(&ReachKind::Unknown) => (was, is),
        _ => return ClientChange::Unknown,
    };
    let (old, new) = (groups(was), groups(is));
    let covers_one = |all: &[ClientGroup], one: &ClientGroup| all.iter().any(|other| covers(other, one));
    let is_within = new.iter().all(|group| covers_one(&old, group));
    let was_within = old.iter().all(|group| covers_one(&new, group));
    match (is_within, was_within) {
        (true, true) if is_cut(was) || is_cut(is) => all_clients(was, is),
        (true, true) => ClientChange::Same,
        (true, false) => ClientChange::Narrowed,
        (false, _) => ClientChange::Widened,
    }
}

/// Returns whether the list of clients, or a list of exceptions in it, was cut because it is long.
fn is_cut(reach: &Reach) -> bool {
    reach.more > 0 || reach.from.iter().any(|group| group.has_more_exceptions)
}

/// Compares two lists that begin with the same clients. At least one of the lists is cut, so the count and the hash of
/// all clients decide.
fn all_clients(was: &Reach, is: &Reach) -> ClientChange {
    match (was.all, is.all) {
        (Some(was), Some(is)) if was.hash == is.hash => ClientChange::Same,
        (Some(was), Some(is)) if was.count > is.count => ClientChange::Narrowed,
        // The two sides have different clients, and the later side has at least as many. So it has new clients.
        (Some(_), Some(_)) => ClientChange::Widened,
        _ => ClientChange::Unknown,
    }
}

fn groups(reach: &Reach) -> Vec<ClientGroup> {
    match reach.kind {
        ReachKind::Open => vec![Clients::Anyone.into()],
        _ => reach.from.clone(),
    }
}

/// Returns the excluded networks of a group, without single addresses. A cut list cannot be compared, so it counts as
/// empty.
fn excluded(group: &ClientGroup) -> Vec<Network> {
    let networks = group.except.iter().filter(|_| !group.has_more_exceptions);
    networks.filter(|network| network.address().is_none()).copied().collect()
}

/// Returns whether every client in `other` is also in `one`.
fn covers(one: &ClientGroup, other: &ClientGroup) -> bool {
    let (but, other_but) = (excluded(one), excluded(other));
    let is_outside_all = |network: Network| but.iter().all(|one| is_outside(*one, network, &other_but));
    let who = match (one.who, other.who) {
        (Clients::Network(own), Clients::Network(network)) => own.covers(network) && is_outside_all(network),
        (Clients::Anyone, Clients::Network(network)) => is_outside_all(network),
        (Clients::AnyIpv4, Clients::Network(network)) => network.is_ipv4() && is_outside_all(network),
        (Clients::AnyIpv6, Clients::Network(network)) => !network.is_ipv4() && is_outside_all(network),
        (every, others) if every.is_everyone() && others.is_everyone() => {
            let is_excluded = |one: &Network| other_but.iter().any(|other| other.covers(*one));
            (every == Clients::Anyone || every == others) && but.iter().all(is_excluded)
        }
        (Clients::Anyone, _) => but.is_empty(),
        (own, others) => own == others && one.except == other.except,
    };
    let has_every_place = one.on.is_empty() && one.to.is_empty();
    who && (has_every_place || (&one.on, &one.to) == (&other.on, &other.to))
}

/// Returns whether `one` and `network` have no address in common, or an exception in `but` covers `one`.
fn is_outside(one: Network, network: Network, but: &[Network]) -> bool {
    !(one.covers(network) || network.covers(one)) || but.iter().any(|except| except.covers(one))
}

#[cfg(test)]
mod tests {
    use super::ClientChange::{Narrowed, Same, Unknown, Widened};
    use super::*;
    use crate::model::AllClients;

    fn limited(from: &[&str]) -> Option<Reach> {
        let from = from.iter().map(|&text| text.into()).collect();
        Some(Reach { kind: ReachKind::Limited, from, ..Reach::open() })
    }

    #[test]
    fn changes_of_clients() {
        let open = || Some(Reach::open());
        let filtered = || Some(Reach { kind: ReachKind::Filtered, ..Reach::open() });
        let unknown = || Some(Reach::unknown("x"));
        let ten = || limited(&["10.0.0.0/8"]);
        let cut = |count, hash| {
            let all = Some(AllClients { count, hash });
            Some(Reach { more: 3, all, ..limited(&["10.0.0.0/8"]).unwrap() })
        };
        let others = |hash| {
            let all = Some(AllClients { count: 9, hash });
            Some(Reach { all, ..limited(&["anyone but 10.0.0.0/8, 11.0.0.0/8 and other networks"]).unwrap() })
        };
        for (name, was, is, wanted) in [
            ("a long list", cut(40, 1), cut(40, 1), Same),
            ("more in a long list", cut(40, 1), cut(41, 2), Widened),
            ("less in a long list", cut(40, 1), cut(39, 2), Narrowed),
            ("others in a long list", cut(40, 1), cut(40, 2), Widened),
            ("other exceptions in a long list", others(1), others(2), Widened),
            ("a long list of exceptions", others(1), others(1), Same),
            ("both open", open(), open(), Same),
            ("no firewall on this system", None, None, Same),
            ("opened", filtered(), open(), Widened),
            ("closed", open(), filtered(), Narrowed),
            ("limited", open(), ten(), Narrowed),
            ("no longer limited", ten(), open(), Widened),
            ("some let in", filtered(), ten(), Widened),
            ("nobody let in any more", ten(), filtered(), Narrowed),
            ("not known before", unknown(), open(), Unknown),
            ("not known now", open(), unknown(), Unknown),
            ("not known at all", unknown(), unknown(), Unknown),
            ("read on one side", None, open(), Unknown),
            ("a larger network", limited(&["10.1.0.0/16"]), ten(), Widened),
            ("a smaller network", ten(), limited(&["10.1.0.0/16"]), Narrowed),
            ("another network", ten(), limited(&["192.168.0.0/16"]), Widened),
            ("one network more", ten(), limited(&["10.0.0.0/8", "192.168.0.0/16"]), Widened),
            ("another order", limited(&["10.0.0.0/8", "::1"]), limited(&["::1", "10.0.0.0/8"]), Same),
            ("on one interface", ten(), limited(&["10.0.0.0/8 on eth0"]), Narrowed),
            ("on another interface", limited(&["anyone on eth0"]), limited(&["anyone on eth1"]), Widened),
            ("a family", limited(&["any IPv4 address"]), open(), Widened),
            ("a network of a family", limited(&["any IPv4 address"]), ten(), Narrowed),
            ("a ban", open(), limited(&["anyone but 203.0.113.5"]), Same),
            ("another ban", limited(&["anyone but 203.0.113.5"]), limited(&["anyone but ::1"]), Same),
            ("an excluded network", open(), limited(&["anyone but 10.0.0.0/8"]), Narrowed),
            ("a ban in a network", ten(), limited(&["10.0.0.0/8 but 10.9.0.1"]), Same),
            ("an excluded part", ten(), limited(&["10.0.0.0/8 but 10.9.0.0/16"]), Narrowed),
            ("a part no longer excluded", limited(&["10.0.0.0/8 but 10.9.0.0/16"]), ten(), Widened),
            ("the part itself", limited(&["10.0.0.0/8 but 10.9.0.0/16"]), limited(&["10.9.0.0/16"]), Widened),
            ("another part", limited(&["10.0.0.0/8 but 10.9.0.0/16"]), limited(&["10.8.0.0/16"]), Narrowed),
            ("no longer excluded", limited(&["anyone but 10.0.0.0/8, 9.9.9.9"]), open(), Widened),
        ] {
            assert_eq!(change(was.as_ref(), is.as_ref()), wanted, "{name}");
        }
    }
}
