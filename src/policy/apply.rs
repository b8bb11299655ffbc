//! Applies a policy to an audit. It finds the allowed, unexpected and missing listeners, and sets the severity of all
//! other findings.

use std::collections::{BTreeMap, HashMap};
use std::ptr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::matching::{self, RuleOnHost};
use super::{AllowRule, Glob, Policy, SeverityRule, missing, questions_the_port};
use crate::findings::Finding;
use crate::findings::policy::Unexpected;
use crate::judge::Entry;
use crate::judge::audit::{Accepted, Audit, AuditFinding, Subject};
use crate::model::{Gap, Severity, Snapshot, Stage, State};
use crate::query::Answer;

pub(super) fn day(snapshot: &Snapshot) -> Date {
    snapshot.taken.to_zoned(TimeZone::UTC).date()
}

pub(super) fn rules_on_host<'p>(
    rules: &'p [AllowRule],
    snapshot: &Snapshot,
    today: Date,
) -> Vec<RuleOnHost<'p>> {
    rules
        .iter()
        .map(|rule| RuleOnHost {
            rule,
            on_host: matching::on_host(&rule.hosts, &snapshot.host),
            is_expired: matching::is_over(rule.expires, today),
        })
        .filter(|rule| rule.on_host != Answer::No)
        .collect()
}

pub(super) enum Decision<'p> {
    Allowed(&'p AllowRule),
    /// A rule may allow the listener, but no rule certainly allows it. The value is the first rule that may allow it.
    Undecided(&'p AllowRule),
    Refused {
        /// The first expired rule that would allow the listener, certainly or possibly.
        over: Option<&'p AllowRule>,
    },
}

/// Returns the first rule that certainly allows the listener, or else the first rule that may allow the listener.
/// Expired rules allow nothing.
pub(super) fn decide<'p>(rules: &[RuleOnHost<'p>], listener: &Entry, snapshot: &Snapshot) -> Decision<'p> {
    let (mut undecided, mut over) = (None, None);
    for RuleOnHost { rule, on_host, is_expired } in rules {
        match matching::matches_rule(rule, listener, snapshot).and(*on_host) {
            Answer::No => {}
            _ if *is_expired => over = over.or(Some(*rule)),
            Answer::Yes => return Decision::Allowed(rule),
            Answer::Unknown => undecided = undecided.or(Some(*rule)),
        }
    }
    undecided.map_or(Decision::Refused { over }, Decision::Undecided)
}

/// Returns the rule that is nearest to allowing the listener. This is the related rule (see [`matching::is_related`])
/// with the fewest conditions that do not match.
fn nearest<'p>(rules: &[RuleOnHost<'p>], listener: &Entry, snapshot: &Snapshot) -> Option<&'p AllowRule> {
    let mut nearest: Option<(usize, &'p AllowRule)> = None;
    for RuleOnHost { rule, is_expired, .. } in rules {
        if *is_expired || !matching::is_related(rule, listener, snapshot) {
            continue;
        }
        let enough = nearest.map_or(usize::MAX, |(least, _)| least);
        let distance = matching::distance(rule, listener, snapshot, enough);
        if distance < enough {
            nearest = Some((distance, rule));
        }
    }
    nearest.map(|(_, rule)| rule)
}

/// Applies a policy to an audit. The report must not be filtered, because a listener that was left out would count as
/// missing.
///
/// If a rule allows a listener, two kinds of the listener's findings become *info*: findings about the port, and
/// findings that the rule accepts. A listener that no rule allows is `unexpected`, and an undecided listener is a gap.
///
/// A listener in another network namespace is `unexpected` only if the policy has a rule for other namespaces, or if
/// the user selected the namespaces.
pub fn apply(policy: &Policy, audit: &mut Audit<'_>) {
    let only_own = !audit.are_namespaces_chosen && !policy.names_other_namespaces();
    let report = audit.report;
    let snapshot = &report.snapshot;
    let today = day(snapshot);
    let rules = rules_on_host(&policy.allow, snapshot, today);
    if let Some(applied) = &mut audit.policy {
        let is_for_others = |hosts: &[Glob]| matching::on_host(hosts, &snapshot.host) == Answer::No;
        let allow = policy.allow.iter().filter(|rule| is_for_others(&rule.hosts)).map(|rule| &rule.id);
        let grades = policy.rules.iter().filter(|rule| is_for_others(&rule.hosts)).map(|rule| &rule.id);
        applied.skipped_rules = allow.chain(grades).cloned().collect();
    }
    let mut allowed: HashMap<*const Entry, &AllowRule> = HashMap::new();
    let mut undecided: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    for listener in report.entries.iter().filter(|entry| matching::is_judged(&entry.socket)) {
        match decide(&rules, listener, snapshot) {
            Decision::Allowed(rule) => {
                allowed.insert(ptr::from_ref(listener), rule);
            }
            Decision::Undecided(rule) => {
                *undecided.entry((&rule.id, why_undecided(rule, listener, snapshot))).or_default() += 1;
            }
            Decision::Refused { .. } if only_own && listener.socket.netns.is_some() => {}
            Decision::Refused { over } => {
                audit.findings.push(unexpected(listener, over, &rules, snapshot));
            }
        }
    }
    // A socket without a port needs no rule. But a rule for its program can accept its findings.
    for socket in report.entries.iter().filter(|entry| entry.socket.state == State::Raw) {
        if let Decision::Allowed(rule) = decide(&rules, socket, snapshot) {
            allowed.insert(ptr::from_ref(socket), rule);
        }
    }
    let grades = in_force(&policy.rules, snapshot, today);
    let (missing, unsure) = missing::missing_listeners(&rules, &report.entries, snapshot);
    audit.findings.extend(missing);
    audit.gaps.extend(unsure);
    audit.findings.retain_mut(|found| {
        let flag = found.finding.flag();
        if let Subject::Entry(judged) = found.subject
            && let Some(rule) = allowed.get(&ptr::from_ref(judged))
            && (questions_the_port(flag) || rule.accept.contains(&flag))
        {
            let lowered = lowered(found, Some(Severity::Info), &rule.id, rule.reason.as_deref());
            audit.accepted.extend(lowered);
            found.finding.severity = Severity::Info;
            found.rule = Some(rule.id.clone());
            return true;
        }
        let Some(grade) = grades.iter().find(|grade| grade.codes.contains(&flag)) else { return true };
        audit.accepted.extend(lowered(found, grade.severity, &grade.id, Some(&grade.reason)));
        if let Some(severity) = grade.severity {
            found.finding.severity = severity;
            // The finding may already name another rule: an expired rule, or a rule that requires a missing listener.
            found.rule.get_or_insert_with(|| grade.id.clone());
        }
        grade.severity.is_some()
    });
    audit.gaps.extend(undecided_gaps(undecided));
    audit.sort();
}

/// Returns a record of a finding that a rule makes less severe, or removes (`to` is `None`). An audit lists these
/// records. A finding below warning has no record.
fn lowered<'r>(
    found: &AuditFinding<'r>,
    to: Option<Severity>,
    rule: &str,
    reason: Option<&str>,
) -> Option<Accepted<'r>> {
    let severity = found.finding.severity;
    (severity >= Severity::Warning && to.is_none_or(|to| to < severity)).then(|| Accepted {
        subject: found.subject,
        flag: found.finding.flag(),
        severity,
        rule: rule.to_owned(),
        reason: reason.map(str::to_owned),
    })
}

/// The maximum number of rules that get a gap of their own. One further gap counts the listeners of all other rules.
const MOST_NAMED: usize = 8;

fn undecided_gaps(undecided: BTreeMap<(&str, &'static str), u64>) -> Vec<Gap> {
    let gap = |of: &str, why: &str, count: u64| {
        Gap::new(
            Stage::Owners,
            format!(
                "{} possibly allowed by {of} of the policy",
                if count == 1 { "listener" } else { "listeners" }
            ),
            why,
        )
        .counted(count)
        .with_remedy("run as root, or use conditions that need no process")
    };
    let mut undecided = undecided.into_iter();
    let mut gaps: Vec<Gap> = undecided
        .by_ref()
        .take(MOST_NAMED)
        .map(|((rule, why), count)| gap(&format!("rule \"{rule}\""), why, count))
        .collect();
    let rest: Vec<_> = undecided.collect();
    if let [((_, why), _), ..] = rest[..] {
        gaps.push(gap("other rules", why, rest.iter().map(|(_, count)| count).sum()));
    }
    gaps
}

fn why_undecided(rule: &AllowRule, listener: &Entry, snapshot: &Snapshot) -> &'static str {
    if matching::on_host(&rule.hosts, &snapshot.host) == Answer::Unknown {
        "the rule names hosts, and the name of this host is not known"
    } else if !snapshot.knows_ephemeral_ports(&listener.socket) && !rule.ports.is_empty() {
        "the process or the ephemeral port range is not known"
    } else {
        "the rule has a condition on the process, and the process could not be seen"
    }
}

fn in_force<'p>(rules: &'p [SeverityRule], snapshot: &Snapshot, today: Date) -> Vec<&'p SeverityRule> {
    rules
        .iter()
        .filter(|rule| {
            // A rule that may be for another host changes no severity.
            matching::on_host(&rule.hosts, &snapshot.host) == Answer::Yes
                && !matching::is_over(rule.expires, today)
        })
        .collect()
}

fn unexpected<'r>(
    listener: &'r Entry,
    over: Option<&AllowRule>,
    rules: &[RuleOnHost<'_>],
    snapshot: &Snapshot,
) -> AuditFinding<'r> {
    let nearest = over.or_else(|| nearest(rules, listener, snapshot));
    let evidence = Unexpected {
        nearest: nearest.map(|rule| rule.id.clone()),
        differs: nearest.map(|rule| matching::differs(rule, listener, snapshot)).unwrap_or_default(),
        expired: over.and_then(|rule| rule.expires).map(|date| date.to_string()),
        passing: snapshot.may_be_client(&listener.socket),
        accepts_traffic: listener.socket.state.accepts_traffic(),
    };
    AuditFinding {
        subject: Subject::Entry(listener),
        finding: Finding::new(evidence),
        rule: over.map(|rule| rule.id.clone()),
    }
}
