//! What is remarkable about a policy itself: rules that can never decide anything, and rules that ask for nothing.

use std::collections::HashMap;

use jiff::civil::Date;

use super::apply::day;
use super::matching::{self, Answer};
use super::{Allow, At, Glob, Namespaces, Policy, Ports, Program};
use crate::judge::Report;
use crate::model::{Exposure, PortRange};

/// So many pairs of rules are compared. With 100,000 rules for one port there are more; what was not compared is said.
const MOST_COMPARISONS: usize = 20_000_000;

/// What is remarkable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// It asks for nothing but, at most, protocol, namespace and host.
    AllowsEverything,
    /// Whatever it allows, an earlier rule allows.
    Shadowed {
        /// That rule.
        by: String,
    },
    /// Its last day has passed.
    Expired {
        /// Its last day.
        on: Date,
    },
    /// No listener can fulfil its conditions together.
    Impossible {
        /// Those that contradict each other.
        why: &'static str,
    },
    /// It holds for nothing that was seen.
    Unmatched,
    /// The rest was not compared with what stands before it: there is too much of it.
    NotCompared,
}

/// A remark on a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The rule.
    pub rule: String,
    /// Where it stands.
    pub at: At,
    /// What is remarkable.
    pub kind: RemarkKind,
}

fn remark(rule: &Allow, kind: RemarkKind) -> Remark {
    Remark { rule: rule.id.clone(), at: rule.at.clone(), kind }
}

/// What is remarkable about a policy by itself, on this day; in its order.
#[must_use]
pub fn check(policy: &Policy, today: Date) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut earlier = Earlier::default();
    let mut comparisons = 0;
    for rule in &policy.allow {
        if let Some(on) = rule.expires.filter(|_| matching::is_over(rule.expires, today)) {
            remarks.push(remark(rule, RemarkKind::Expired { on }));
            continue; // it shadows nothing any more
        }
        if let Some(why) = impossible(rule) {
            remarks.push(remark(rule, RemarkKind::Impossible { why }));
        } else if comparisons < MOST_COMPARISONS && !rule.required {
            // A rule that requires something decides that, whatever allows it.
            let by = earlier.may_cover(rule).inspect(|_| comparisons += 1).find(|other| covers(other, rule));
            if let Some(by) = by {
                remarks.push(remark(rule, RemarkKind::Shadowed { by: by.id.clone() }));
            } else if comparisons >= MOST_COMPARISONS {
                remarks.push(remark(rule, RemarkKind::NotCompared));
            }
        }
        if rule.allows_everything() {
            remarks.push(remark(rule, RemarkKind::AllowsEverything));
        }
        earlier.add(rule);
    }
    for rule in policy.rules.iter().filter(|rule| matching::is_over(rule.expires, today)) {
        if let Some(on) = rule.expires {
            remarks.push(Remark {
                rule: rule.id.clone(),
                at: rule.at.clone(),
                kind: RemarkKind::Expired { on },
            });
        }
    }
    remarks
}

/// The rules that are in force where this was seen and hold for nothing there; what may hold, as far as was seen, is
/// not among them.
#[must_use]
pub fn unmatched(policy: &Policy, report: &Report) -> Vec<Remark> {
    let observation = &report.snapshot;
    let today = day(observation);
    let judged: Vec<_> =
        report.entries.iter().map(|j| j).filter(|l| matching::is_judged(&l.socket)).collect();
    let mut by_port: HashMap<u16, Vec<_>> = HashMap::new();
    for listener in &judged {
        by_port.entry(listener.socket.local.port).or_default().push(*listener);
    }
    let in_force = |rule: &&Allow| {
        matching::on_host(&rule.hosts, observation.host.name.as_deref()) == Answer::Yes
            && !matching::is_over(rule.expires, today)
    };
    let matches = |rule: &Allow| {
        let holds =
            |listener: &&crate::join::Entry| matching::holds(rule, listener, observation) != Answer::No;
        match rule.ports[..] {
            [Ports::Range(PortRange { low, high })] if low == high => {
                by_port.get(&low).is_some_and(|on_it| on_it.iter().any(holds))
            }
            _ => judged.iter().any(holds),
        }
    };
    policy
        .allow
        .iter()
        .filter(in_force)
        .filter(|rule| !matches(rule))
        .map(|rule| remark(rule, RemarkKind::Unmatched))
        .collect()
}

/// The rules so far: by their one port, and those that name more or none.
#[derive(Default)]
struct Earlier<'p> {
    by_port: HashMap<u16, Vec<&'p Allow>>,
    others: Vec<&'p Allow>,
}

impl<'p> Earlier<'p> {
    fn add(&mut self, rule: &'p Allow) {
        match rule.ports[..] {
            [Ports::Range(PortRange { low, high })] if low == high => {
                self.by_port.entry(low).or_default().push(rule);
            }
            _ => self.others.push(rule),
        }
    }

    /// The rules that may cover one: a rule of one port covers no other port.
    fn may_cover(&self, rule: &Allow) -> impl Iterator<Item = &'p Allow> {
        let of_port = rule.ranges().next().and_then(|range| self.by_port.get(&range.low));
        self.others.iter().chain(of_port.into_iter().flatten()).copied()
    }
}

/// Whether whatever `rule` allows, `other` allows; where that is not plain, it does not.
fn covers(other: &Allow, rule: &Allow) -> bool {
    fn within<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
        wide.is_empty()
            || (!narrow.is_empty() && narrow.iter().all(|one| wide.iter().any(|any| covers(any, one))))
    }
    let lasts = match (other.expires, rule.expires) {
        (None, _) => true,
        (Some(other), Some(rule)) => other >= rule,
        (Some(_), None) => false,
    };
    let ports = |wide: &Ports, narrow: &Ports| match (wide, narrow) {
        (Ports::Range(wide), Ports::Range(narrow)) => wide.low <= narrow.low && narrow.high <= wide.high,
        (wide, narrow) => wide == narrow || *wide == Ports::Range(PortRange { low: 1, high: u16::MAX }),
    };
    let glob = |wide: &Glob, narrow: &Glob| {
        wide == narrow || wide.matches_all() || narrow.literal().is_some_and(|text| wide.matches(text))
    };
    let program = |wide: &Program, narrow: &Program| match (wide, narrow) {
        (Program::File(wide), Program::File(narrow)) => glob(wide, narrow),
        (wide, narrow) => wide == narrow,
    };
    let namespace = |wide: &Namespaces, narrow: &Namespaces| match (wide, narrow) {
        (Namespaces::Named(wide), Namespaces::Named(narrow)) => glob(wide, narrow),
        (wide, narrow) => wide == narrow,
    };
    let own = [Namespaces::Own];
    let named = |rule: &'_ Allow| rule.namespaces.is_empty();
    lasts
        && within(&other.ports, &rule.ports, ports)
        && within(&other.protocols, &rule.protocols, PartialEq::eq)
        && within(&other.exposures, &rule.exposures, PartialEq::eq)
        && within(&other.users, &rule.users, PartialEq::eq)
        && within(&other.addresses, &rule.addresses, |wide, narrow| wide.covers(*narrow))
        && within(&other.hosts, &rule.hosts, glob)
        && within(&other.devices, &rule.devices, glob)
        && within(&other.units, &rule.units, glob)
        && within(&other.containers, &rule.containers, glob)
        && within(&other.executables, &rule.executables, program)
        && within(
            if named(other) { &own } else { &other.namespaces },
            if named(rule) { &own } else { &rule.namespaces },
            namespace,
        )
}

/// Conditions that no listener fulfils together.
fn impossible(rule: &Allow) -> Option<&'static str> {
    let exposures = |rule: &Allow| {
        // A device can make any address loopback.
        rule.exposures.is_empty()
            || rule.exposures.contains(&Exposure::Loopback)
            || rule.addresses.is_empty()
            || rule.addresses.iter().any(|network| {
                network.address().is_none_or(|address| rule.exposures.contains(&Exposure::of(address, None)))
            })
    };
    let kernel_alone = !rule.executables.is_empty() && rule.executables.iter().all(|p| *p == Program::Kernel);
    if !exposures(rule) {
        Some("none of its addresses has an exposure that it names")
    } else if kernel_alone && !(rule.units.is_empty() && rule.containers.is_empty()) {
        Some("the kernel itself is in no unit and in no container")
    } else {
        None
    }
}
