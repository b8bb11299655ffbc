//! Finds required listeners that are missing.
//!
//! A rule requires a listener for each combination of its protocols, addresses and ports. A port range counts as one
//! port, and a block of addresses as one address.

use std::collections::HashSet;

use super::matching::{self, RuleOnHost};
use super::{AllowRule, Namespaces, Ports};
use crate::findings::Finding;
use crate::findings::policy::Missing;
use crate::judge::Entry;
use crate::judge::audit::{AuditFinding, Subject};
use crate::model::{Gap, Network, Snapshot, Stage};
use crate::query::Answer;

/// The maximum number of findings for one rule. The last finding counts all further missing listeners.
const MOST: usize = 16;

/// A combination of protocol, address and port, as indices in the lists of a rule. For an empty list, the index is 0.
type Requirement = (usize, usize, usize);

/// Returns the findings for missing listeners, and the gaps for listeners that may exist but were not visible.
pub(super) fn missing_listeners<'r>(
    rules: &[RuleOnHost<'_>],
    listeners: &[Entry],
    snapshot: &Snapshot,
) -> (Vec<AuditFinding<'r>>, Vec<Gap>) {
    let (mut findings, mut gaps) = (Vec::new(), Vec::new());
    // A required listener must serve clients. A socket that is bound but accepts no traffic serves none.
    let judged: Vec<&Entry> = listeners.iter().filter(|entry| entry.socket.state.accepts_traffic()).collect();
    for RuleOnHost { rule, on_host, .. } in rules.iter().filter(|r| r.rule.required && !r.is_expired) {
        let (met, perhaps) = met_requirements(rule, &judged, snapshot);
        let sure = *on_host == Answer::Yes && all_seen(rule, listeners, snapshot);
        let perhaps_met = perhaps.difference(&met).count();
        let unmet = number_of_requirements(rule) - met.len();
        let missing = if sure { unmet - perhaps_met } else { 0 };
        if missing < unmet {
            gaps.push(undecided_requirement(rule));
        }
        let further = missing.checked_sub(MOST).filter(|further| *further > 0);
        let is_missing =
            |requirement: &Requirement| !met.contains(requirement) && !perhaps.contains(requirement);
        let first: Vec<_> = requirements(rule).filter(is_missing).take(missing.min(MOST)).collect();
        for (at, requirement) in first.iter().enumerate() {
            let further = further.filter(|_| at + 1 == first.len());
            findings.push(missing_finding(rule, *requirement, further));
        }
    }
    (findings, gaps)
}

/// Returns the number of listeners that a list requires: one for each value, or one if the list is empty.
const fn parts(length: usize) -> usize {
    if length == 0 { 1 } else { length }
}

fn number_of_requirements(rule: &AllowRule) -> usize {
    [rule.protocols.len(), rule.addresses.len(), rule.ports.len()]
        .into_iter()
        .fold(1, |number, length| number.saturating_mul(parts(length)))
}

fn requirements(rule: &AllowRule) -> impl Iterator<Item = Requirement> + use<> {
    let (protocols, addresses, ports) =
        (parts(rule.protocols.len()), parts(rule.addresses.len()), parts(rule.ports.len()));
    (0..protocols).flat_map(move |protocol| {
        (0..addresses).flat_map(move |address| (0..ports).map(move |port| (protocol, address, port)))
    })
}

/// Returns the requirements that a listener certainly meets, and the requirements that a listener may meet.
fn met_requirements(
    rule: &AllowRule,
    listeners: &[&Entry],
    snapshot: &Snapshot,
) -> (HashSet<Requirement>, HashSet<Requirement>) {
    let (mut met, mut perhaps_met) = (HashSet::new(), HashSet::new());
    for listener in listeners {
        let set = match matching::matches_rule(rule, listener, snapshot) {
            Answer::Yes => &mut met,
            Answer::Unknown => &mut perhaps_met,
            Answer::No => continue,
        };
        let local = &listener.socket.local;
        let which = |length: usize, is: &dyn Fn(usize) -> bool| -> Vec<usize> {
            if length == 0 { vec![0] } else { (0..length).filter(|at| is(*at)).collect() }
        };
        let protocols = which(rule.protocols.len(), &|at| rule.protocols[at] == local.protocol);
        let addresses = which(rule.addresses.len(), &|at| rule.addresses[at].contains(local.address));
        let ports = which(rule.ports.len(), &|at| {
            matching::is_among(rule.ports[at], &listener.socket, snapshot) != Answer::No
        });
        for protocol in &protocols {
            for address in &addresses {
                set.extend(ports.iter().map(|port| (*protocol, *address, *port)));
            }
        }
    }
    (met, perhaps_met)
}

/// Returns whether every listener that a rule requires would have been visible.
fn all_seen(rule: &AllowRule, listeners: &[Entry], snapshot: &Snapshot) -> bool {
    let unseen = |stage| snapshot.gaps.iter().any(|gap| gap.stage == stage);
    let own = rule.namespaces.is_empty() || rule.namespaces.contains(&Namespaces::Own);
    let elsewhere = rule.namespaces.iter().any(|namespaces| *namespaces != Namespaces::Own);
    // If only other namespaces were scanned, portolan's own namespace was not visible.
    let own_seen =
        snapshot.namespaces.is_empty() || listeners.iter().any(|entry| entry.socket.netns.is_none());
    !unseen(Stage::Sockets)
        && !unseen(Stage::Rules)
        && (!own || own_seen)
        && (!elsewhere || (!snapshot.namespaces.is_empty() && !unseen(Stage::Namespaces)))
}

/// Returns the finding for a requirement. `further` is the number of missing listeners that get no finding.
fn missing_finding<'r>(
    rule: &AllowRule,
    (protocol, address, port): Requirement,
    further: Option<usize>,
) -> AuditFinding<'r> {
    let part = AllowRule {
        protocols: rule.protocols.get(protocol).copied().into_iter().collect(),
        addresses: rule.addresses.get(address).copied().into_iter().collect(),
        ports: rule.ports.get(port).copied().into_iter().collect(),
        ..rule.clone()
    };
    let subject = Subject::NoListener {
        protocol: part.protocols.first().copied(),
        address: part.addresses.first().copied().and_then(Network::address),
        port: match part.ports.first() {
            Some(Ports::Range(range)) if range.low == range.high => Some(range.low),
            _ => None,
        },
    };
    let evidence = Missing {
        rule: rule.id.clone(),
        wanted: matching::wanted(&part),
        reason: rule.reason.clone(),
        owner: rule.owner.clone(),
        further,
    };
    AuditFinding { subject, finding: Finding::new(evidence), rule: Some(rule.id.clone()) }
}

fn undecided_requirement(rule: &AllowRule) -> Gap {
    Gap::new(
        Stage::Sockets,
        format!("whether every required listener of policy rule \"{}\" exists", rule.id),
        "not everything could be seen, so a required listener may exist without being shown",
    )
    .with_remedy("run as root, with --netns all for other network namespaces")
}
