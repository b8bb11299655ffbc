//! Finds rules of a policy that never have an effect, and rules without conditions.

use jiff::civil::Date;

use super::apply::day;
use super::matching;
use super::{AllowRule, ExecutablePattern, Glob, Namespaces, Policy, Ports, Position, SeverityRule};
use crate::findings::Flag;
use crate::judge::Report;
use crate::model::{Exposure, PortRange, Severity};
use crate::query::Answer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// The rule has no condition, or only conditions on the protocol, the namespace and the host.
    AllowsEverything,
    /// An earlier rule allows all listeners of this rule.
    Shadowed { by: String },
    /// The last day of the rule has passed.
    Expired { on: Date },
    /// No listener can meet all conditions of the rule.
    Impossible {
        /// The conditions that contradict each other.
        why: &'static str,
    },
    /// The rule accepts findings, but gives no reason.
    AcceptsWithoutReason { flags: Vec<Flag> },
    /// The rule hides findings that can be critical. It applies to every listener of every host.
    HidesCritical { flags: Vec<Flag> },
    /// The rule matches no visible listener.
    Unmatched,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub rule: String,
    pub at: Position,
    pub kind: RemarkKind,
}

fn remark(rule: &AllowRule, kind: RemarkKind) -> Remark {
    Remark { rule: rule.id.clone(), at: rule.at.clone(), kind }
}

/// Returns the remarks that need no snapshot, in the order of the policy.
pub fn check(policy: &Policy, today: Date) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut earlier: Vec<&AllowRule> = Vec::new();
    for rule in &policy.allow {
        if let Some(on) = rule.expires.filter(|_| matching::is_over(rule.expires, today)) {
            remarks.push(remark(rule, RemarkKind::Expired { on }));
            continue; // an expired rule does not shadow other rules
        }
        if let Some(why) = impossible(rule) {
            remarks.push(remark(rule, RemarkKind::Impossible { why }));
        } else if !rule.required
            // A required rule has an effect even if another rule allows the listener.
            && let Some(by) = earlier.iter().find(|other| covers(other, rule))
        {
            remarks.push(remark(rule, RemarkKind::Shadowed { by: by.id.clone() }));
        }
        if rule.allows_everything() {
            remarks.push(remark(rule, RemarkKind::AllowsEverything));
        }
        if !rule.accept.is_empty() && rule.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            remarks.push(remark(rule, RemarkKind::AcceptsWithoutReason { flags: rule.accept.clone() }));
        }
        earlier.push(rule);
    }
    for rule in &policy.rules {
        let remark = |kind| Remark { rule: rule.id.clone(), at: rule.at.clone(), kind };
        let flags = hidden_criticals(rule);
        if let Some(on) = rule.expires.filter(|_| matching::is_over(rule.expires, today)) {
            remarks.push(remark(RemarkKind::Expired { on }));
        } else if !flags.is_empty() {
            remarks.push(remark(RemarkKind::HidesCritical { flags }));
        }
    }
    remarks
}

/// Returns the findings that can be critical, but that the rule lowers below warning on every host. A severity rule has
/// no condition on the listener, so these findings would always be hidden.
fn hidden_criticals(rule: &SeverityRule) -> Vec<Flag> {
    let is_every_host = rule.hosts.is_empty() || rule.hosts.iter().any(Glob::matches_all);
    if !is_every_host || rule.severity.is_some_and(|severity| severity >= Severity::Warning) {
        return Vec::new();
    }
    let can_be_critical = |flag: &&Flag| flag.severities().contains(&Severity::Critical);
    rule.codes.iter().filter(can_be_critical).copied().collect()
}

/// Returns a remark for each rule that is for the host of the snapshot, but certainly matches no listener in the
/// snapshot.
pub fn unmatched(policy: &Policy, report: &Report) -> Vec<Remark> {
    let snapshot = &report.snapshot;
    let today = day(snapshot);
    let judged: Vec<_> = report.entries.iter().filter(|entry| matching::is_judged(&entry.socket)).collect();
    let in_force = |rule: &&AllowRule| {
        matching::on_host(&rule.hosts, &snapshot.host) == Answer::Yes
            && !matching::is_over(rule.expires, today)
    };
    let matches = |rule: &AllowRule| {
        judged.iter().any(|listener| matching::matches_rule(rule, listener, snapshot) != Answer::No)
    };
    policy
        .allow
        .iter()
        .filter(in_force)
        .filter(|rule| !matches(rule))
        .map(|rule| remark(rule, RemarkKind::Unmatched))
        .collect()
}

/// Returns whether `other` certainly allows everything that `rule` allows.
fn covers(other: &AllowRule, rule: &AllowRule) -> bool {
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
    let program = |wide: &ExecutablePattern, narrow: &ExecutablePattern| match (wide, narrow) {
        (ExecutablePattern::File(wide), ExecutablePattern::File(narrow)) => glob(wide, narrow),
        (wide, narrow) => wide == narrow,
    };
    let namespace = |wide: &Namespaces, narrow: &Namespaces| match (wide, narrow) {
        (Namespaces::Named(wide), Namespaces::Named(narrow)) => glob(wide, narrow),
        (wide, narrow) => wide == narrow,
    };
    let own = [Namespaces::Own];
    let named = |rule: &'_ AllowRule| rule.namespaces.is_empty();
    lasts
        && within(&other.ports, &rule.ports, ports)
        && within(&other.protocols, &rule.protocols, PartialEq::eq)
        && within(&other.exposures, &rule.exposures, PartialEq::eq)
        && within(&other.users, &rule.users, PartialEq::eq)
        && within(&other.addresses, &rule.addresses, |wide, narrow| wide.covers(*narrow))
        && within(&other.hosts, &rule.hosts, glob)
        && within(&other.devices, &rule.devices, glob)
        && within(&other.runs, &rule.runs, glob)
        && within(&other.units, &rule.units, glob)
        && within(&other.containers, &rule.containers, glob)
        && within(&other.executables, &rule.executables, program)
        && within(
            if named(other) { &own } else { &other.namespaces },
            if named(rule) { &own } else { &rule.namespaces },
            namespace,
        )
}

/// Returns why no listener can meet all conditions of the rule; `None` if a listener can.
fn impossible(rule: &AllowRule) -> Option<&'static str> {
    let exposures = |rule: &AllowRule| {
        // A socket on the loopback device has the exposure loopback. Its address does not matter.
        rule.exposures.is_empty()
            || rule.exposures.contains(&Exposure::Loopback)
            || rule.addresses.is_empty()
            || rule.addresses.iter().any(|network| {
                network.address().is_none_or(|address| rule.exposures.contains(&Exposure::of(address, None)))
            })
    };
    let kernel_alone =
        !rule.executables.is_empty() && rule.executables.iter().all(|p| *p == ExecutablePattern::Kernel);
    if !exposures(rule) {
        Some("no address in the rule has an exposure that the rule allows")
    } else if kernel_alone && !(rule.units.is_empty() && rule.containers.is_empty()) {
        Some("a socket of the kernel has neither a unit nor a container")
    } else {
        None
    }
}
