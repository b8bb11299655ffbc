//! Combines the results for all classes of packets in one answer. The answer names the clients.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::rc::Rc;

use super::destinations::{Class, Classes, impossible_clients, ordinary_clients, unreserved_clients};
use super::packet::Delivery;
use super::path::Outcome;
use super::walk::Decision;
use crate::model::address_set::AddressSet;
use crate::model::{AllClients, ClientGroup, Clients, Family, Firewall, Network, Reach, ReachKind};

/// The maximum number of groups of clients in an answer. Machine-readable formats have the same limit.
const MOST: usize = 32;
/// The maximum number of excluded networks in one entry.
const FEW: usize = 4;

pub(super) struct ClassResult<'f> {
    pub(super) class: Class,
    pub(super) outcome: Rc<Outcome<'f>>,
}

/// The clients of one class, by what happens to their packets.
struct Fate {
    accepted: AddressSet,
    dropped: AddressSet,
    unclear: AddressSet,
}

/// The clients that can reach a port at one address through one group of interfaces.
struct Accepted<'c> {
    class: &'c Class,
    clients: AddressSet,
}

pub(super) fn summary(results: &[ClassResult<'_>], classes: &Classes, firewall: &Firewall) -> Reach {
    if results.is_empty() {
        return Reach::unknown("no interface was found through which packets can arrive at this listener");
    }
    let clients = [Family::Ipv4, Family::Ipv6].map(|family| ordinary_clients(family, firewall));
    let ordinary = |class: &Class| &clients[usize::from(class.address.is_ipv6())];
    let impossible = [Family::Ipv4, Family::Ipv6].map(impossible_clients);
    let fates: Vec<(&ClassResult<'_>, Fate)> = results
        .iter()
        .map(|result| {
            let family = Family::of(result.class.address);
            (result, fate(&result.outcome, family, &impossible[usize::from(family == Family::Ipv6)]))
        })
        .collect();
    let has_ordinary = fates.iter().any(|(result, _)| result.class.is_ordinary);
    let counts = |result: &&(&ClassResult<'_>, Fate)| !has_ordinary || result.0.class.is_ordinary;
    let is_open = fates.iter().filter(counts).all(|(result, fate)| {
        let ordinary = ordinary(&result.class);
        fate.dropped.and(ordinary).is_empty() && fate.unclear.and(ordinary).is_empty()
    });
    let is_unclear = |(result, fate): &&(&ClassResult<'_>, Fate)| {
        !fate.unclear.and(ordinary(&result.class)).is_empty()
            || (!result.class.is_ordinary && !fate.unclear.is_empty())
    };
    let any_accepted = fates.iter().any(|(_, fate)| !fate.accepted.is_empty());
    let any_unclear = fates.iter().any(|(_, fate)| !fate.unclear.is_empty());
    if is_open {
        let ordinary = fates.iter().filter(counts).map(|(result, _)| *result);
        return Reach { rule: accepting(ordinary), ..Reach::open() };
    }
    if !any_accepted && !any_unclear {
        let rule = deciding(results, |outcome| (&outcome.drops, &outcome.lost), |_| true);
        return Reach { kind: ReachKind::Filtered, rule, ..Reach::open() };
    }
    let unclear = fates.iter().filter(counts).find(is_unclear);
    let unclear =
        unclear.or_else(|| fates.iter().filter(|_| !any_accepted).find(|(_, f)| !f.unclear.is_empty()));
    if let Some((result, fate)) = unclear {
        let doubts = &result.outcome.doubts;
        let doubt = doubts.iter().find(|(_, clients)| !clients.and(&fate.unclear).is_empty());
        return Reach::unknown(doubt.map_or("the effect of the rules is not certain", |(text, _)| *text));
    }
    let accepted = |counted: bool| -> Vec<Accepted<'_>> {
        let wanted = fates.iter().filter(|one| !counted || counts(one));
        wanted
            .map(|(result, fate)| Accepted { class: &result.class, clients: fate.accepted.clone() })
            .collect()
    };
    let mut found = accepted(true);
    let mut kind = ReachKind::Limited;
    if found.iter().all(|one| one.clients.is_empty()) {
        found = accepted(false);
        let mut let_in = found.iter().filter(|one| !one.clients.is_empty());
        if has_ordinary && let_in.all(|one| classes.is_local_only(one.class)) {
            kind = ReachKind::Machine;
        }
    }
    let all = all_clients(&found);
    if kind == ReachKind::Limited {
        // Bridges for containers have no ordinary clients. The answer names these bridges too, because a reader might
        // otherwise believe that they are closed.
        let is_inside = |(result, _): &&(&ClassResult<'_>, Fate)| {
            !result.class.is_ordinary
                && result.class.delivery == Delivery::Unicast
                && !result.class.is_uncertain
                && classes.is_inside(&result.class)
        };
        let inside = fates.iter().filter(|_| has_ordinary).filter(is_inside);
        let inside =
            inside.map(|(result, fate)| Accepted { class: &result.class, clients: fate.accepted.clone() });
        found.extend(inside.filter(|one| !one.clients.is_empty()));
    }
    let mut from = Vec::new();
    let mut more = 0;
    let mut by_family = [Family::Ipv4, Family::Ipv6].map(|family| {
        let own = found.iter().filter(|one| Family::of(one.class.address) == family).collect::<Vec<_>>();
        (!own.is_empty()).then(|| names(&own, ordinary(own[0].class), family, classes, firewall))
    });
    if let [Some(four), Some(six)] = &mut by_family {
        if four == six {
            six.0.clear();
        } else {
            for (groups, name) in [(&mut four.0, Clients::AnyIpv4), (&mut six.0, Clients::AnyIpv6)] {
                rename_everyone(groups, name);
            }
        }
    }
    for (groups, others) in by_family.into_iter().flatten() {
        from.extend(groups);
        more += others;
    }
    more += from.len().saturating_sub(MOST);
    from.truncate(MOST);
    if kind == ReachKind::Machine {
        rename_everyone(&mut from, Clients::Inner);
        from.insert(0, Clients::Machine.into());
    }
    Reach { kind, from, more, rule: limiting(results), all: Some(all), ..Reach::open() }
}

fn rename_everyone(groups: &mut [ClientGroup], name: Clients) {
    for group in groups.iter_mut().filter(|group| group.who == Clients::Anyone) {
        group.who = name;
    }
}

/// Returns whether packets of an ordinary client may arrive with another source address. Containers of this machine do
/// not count, because Docker changes their source addresses for each published port.
pub(super) fn hides_clients(results: &[ClassResult<'_>], firewall: &Firewall) -> bool {
    results.iter().filter(|result| !result.outcome.hidden.is_empty()).any(|ClassResult { class, outcome }| {
        let family = Family::of(class.address);
        let inner = firewall.interfaces.iter().filter(|interface| interface.is_local_only);
        let networks = inner.flat_map(|interface| &interface.addresses);
        let networks = networks.filter_map(|(address, prefix)| Network::new(*address, *prefix));
        let mut clients = outcome.hidden.and(&outcome.arrived).and(&ordinary_clients(family, firewall));
        for network in networks.filter(|network| network.bounds().0.is_ipv4() == (family == Family::Ipv4)) {
            clients = clients.without(&AddressSet::of_network(network), family);
        }
        !clients.is_empty()
    })
}

/// Returns the number and a hash of all clients, for comparisons of two snapshots.
fn all_clients(found: &[Accepted<'_>]) -> AllClients {
    let mut hasher = DefaultHasher::new();
    let mut count = 0_u128;
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut ranges = Vec::new();
        let of_family = found.iter().filter(|one| Family::of(one.class.address) == family);
        of_family.for_each(|one| one.clients.push_to(&mut ranges));
        let clients = AddressSet::of(ranges).without_small_holes();
        clients.hash(&mut hasher);
        count = count.saturating_add(clients.count());
    }
    AllClients { count, hash: hasher.finish() }
}

fn fate(outcome: &Outcome<'_>, family: Family, impossible: &AddressSet) -> Fate {
    let Outcome { arrived, lost, .. } = outcome;
    let unclear = arrived.and(lost);
    Fate {
        accepted: arrived.without(&unclear, family).without(impossible, family),
        dropped: lost.without(&unclear, family).without(impossible, family),
        unclear: unclear.without(impossible, family),
    }
}

/// Returns the rule that accepts or drops the packets of the most clients. If no rule does so, returns the policy of a
/// chain.
fn deciding<'r, 'f: 'r>(
    results: impl IntoIterator<Item = &'r ClassResult<'f>>,
    of: impl for<'o> Fn(&'o Outcome<'f>) -> (&'o Vec<Decision<'f>>, &'o AddressSet),
    counts: impl Fn(&Decision<'f>) -> bool,
) -> Option<String> {
    let mut best: Option<(bool, u128, &str)> = None;
    for result in results {
        let (decisions, clients) = of(&result.outcome);
        for decision in decisions.iter().filter(|decision| counts(decision)) {
            let Decision { text, clients: decided, .. } = decision;
            let rank =
                (result.class.is_ordinary && !text.starts_with("policy "), decided.and(clients).count());
            if rank.1 > 0 && best.is_none_or(|(rule, count, _)| rank > (rule, count)) {
                best = Some((rank.0, rank.1, text));
            }
        }
    }
    best.map(|(.., text)| text.to_owned())
}

/// The maximum number of rules that an answer names.
const FEW_RULES: usize = 3;

/// Returns the rules that accept the packets of all clients. For each group of interfaces, this is the rule that
/// accepts the most clients or, if no rule accepts any, the policy of the last chain.
fn accepting<'r, 'f: 'r>(results: impl Iterator<Item = &'r ClassResult<'f>>) -> Option<String> {
    let mut rules: Vec<String> = Vec::new();
    for result in results {
        let policies = result.outcome.accepts.iter().rev().filter(|one| one.text.starts_with("policy "));
        let policy = policies.max_by_key(|one| one.clients.and(&result.outcome.arrived).count());
        let best = deciding([result], |outcome| (&outcome.accepts, &outcome.arrived), |_| true);
        let best = match policy {
            Some(policy) if best.as_ref().is_some_and(|best| best.starts_with("policy ")) => {
                Some(policy.text.to_owned())
            }
            _ => best,
        };
        rules.extend(best.filter(|best| !rules.contains(best)));
    }
    let more = rules.len().saturating_sub(FEW_RULES);
    rules.truncate(FEW_RULES);
    if more > 0 {
        rules.push(format!("{more} more"));
    }
    (!rules.is_empty()).then(|| rules.join("; "))
}

/// Returns the rule that limits the clients. The first of these rules that exists counts:
/// - the rule that accepts the most clients, if its conditions exclude other clients
/// - the rule that drops the most clients, if its conditions exclude other clients
/// - the rule that accepts the most clients
fn limiting(results: &[ClassResult<'_>]) -> Option<String> {
    let accepts = |selective: bool| {
        deciding(
            results,
            |outcome| (&outcome.accepts, &outcome.arrived),
            |one| one.is_selective || !selective,
        )
    };
    accepts(true)
        .or_else(|| {
            let places = results.iter().filter(|result| !result.outcome.arrived.is_empty());
            deciding(places, |outcome| (&outcome.drops, &outcome.lost), |one| one.is_selective)
        })
        .or_else(|| accepts(false))
}

/// Returns the names of the clients that reach a port, and the number of groups that are left out.
fn names(
    found: &[&Accepted<'_>],
    ordinary: &AddressSet,
    family: Family,
    classes: &Classes,
    firewall: &Firewall,
) -> (Vec<ClientGroup>, usize) {
    let mut sets: Vec<&AddressSet> = Vec::new();
    for one in found.iter().filter(|one| !one.clients.is_empty()) {
        if !sets.contains(&&one.clients) {
            sets.push(&one.clients);
        }
    }
    let (mut groups, mut more) = (Vec::new(), 0);
    for set in sets {
        let (clients, others) = clients(set, ordinary, family);
        let here: Vec<&Class> = found.iter().filter(|one| one.clients == *set).map(|one| one.class).collect();
        let all: Vec<&Class> = found.iter().map(|one| one.class).collect();
        for (on, to) in places(&here, &all, classes, firewall) {
            let at_place =
                |client: &ClientGroup| ClientGroup { on: on.clone(), to: to.clone(), ..client.clone() };
            groups.extend(clients.iter().map(at_place));
            more += others;
        }
    }
    (groups, more)
}

/// Returns the interfaces and the addresses that distinguish the classes `here` from `all` classes.
fn places(
    here: &[&Class],
    all: &[&Class],
    classes: &Classes,
    firewall: &Firewall,
) -> Vec<(Vec<String>, Vec<String>)> {
    let groups = |of: &[&Class]| of.iter().map(|class| class.interface).collect::<BTreeSet<usize>>();
    let addresses = |of: &[&Class], group: usize| -> BTreeSet<String> {
        of.iter()
            .filter(|class| class.interface == group)
            .flat_map(|class| addresses(class, firewall))
            .collect()
    };
    // Groups of interfaces with the same addresses in these classes share one entry. The key is `None` if the group has
    // no further addresses in other classes.
    let mut alike: BTreeMap<Option<BTreeSet<String>>, Vec<usize>> = BTreeMap::new();
    for group in groups(here) {
        let own = addresses(here, group);
        let is_everything = own == addresses(all, group);
        alike.entry((!is_everything).then_some(own)).or_default().push(group);
    }
    let place = |(to, on): (Option<BTreeSet<String>>, Vec<usize>)| {
        let mut names = Vec::new();
        if on.len() < groups(all).len() {
            names.extend(on.iter().flat_map(|group| classes.names(*group, firewall)).map(str::to_owned));
        }
        (names, to.into_iter().flatten().collect())
    };
    alike.into_iter().map(place).collect()
}

fn addresses(class: &Class, firewall: &Firewall) -> Vec<String> {
    match class.delivery {
        Delivery::Unicast => class.alike.iter().map(|address| name(*address, firewall)).collect(),
        Delivery::Broadcast => vec!["broadcast addresses".to_owned()],
        Delivery::Multicast => vec!["multicast addresses".to_owned()],
    }
}

/// Returns an address as text. If the address only represents a local route, returns the network of the route:
/// `addresses in 10.0.0.0/8`.
fn name(address: IpAddr, firewall: &Firewall) -> String {
    let mut own = firewall.interfaces.iter().flat_map(|interface| &interface.addresses);
    let mut routes = firewall.local_routes.iter();
    let network = match own.any(|(own, _)| *own == address) {
        true => None,
        false => routes.find(|route| route.contains(address)),
    };
    match network.and_then(|route| Network::spanning(route.first, route.last)) {
        Some(network) if network.address().is_none() => format!("addresses in {network}"),
        _ => address.to_string(),
    }
}

/// Returns the networks of a set. Each network excludes its addresses that are not in the set. `None` if there are too
/// many networks.
fn networks_with_holes(set: &AddressSet, family: Family) -> Option<Vec<ClientGroup>> {
    let whole = set.rounded();
    let (networks, count) = whole.networks(family, FEW);
    if count > FEW {
        return None;
    }
    let group = |network: Network| {
        let (except, count) = AddressSet::of_network(network).without(set, family).networks(family, FEW);
        ClientGroup { except, has_more_exceptions: count > FEW, ..Clients::Network(network).into() }
    };
    Some(networks.into_iter().map(group).collect())
}

/// Returns the groups of clients, and the number of networks that are left out.
fn clients(set: &AddressSet, ordinary: &AddressSet, family: Family) -> (Vec<ClientGroup>, usize) {
    if ordinary.without(set, family).is_empty() {
        return (vec![Clients::Anyone.into()], 0);
    }
    let excluded = unreserved_clients(family).without(set, family);
    let (except, excluded_count) = excluded.networks(family, FEW);
    let (networks, count) = set.networks(family, MOST);
    let is_most = set.and(ordinary).count() > ordinary.count() / 2;
    if !is_most
        && count > 1
        && let Some(groups) = networks_with_holes(set, family)
    {
        return (groups, 0);
    }
    if is_most && excluded_count < count {
        let has_more_exceptions = excluded_count > FEW;
        return (vec![ClientGroup { except, has_more_exceptions, ..Clients::Anyone.into() }], 0);
    }
    let groups = networks.into_iter().map(|network| Clients::Network(network).into());
    (groups.collect(), count.saturating_sub(MOST))
}
