//! Applies a policy to an audit: what is allowed, what is not, what is missing, and how grave the rest is.

use std::collections::{BTreeMap, HashMap};
use std::ptr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::matching::{self, RuleOnHost};
use super::{Allow, Policy, SeverityRule, missing, questions_the_port};
use crate::findings::Finding;
use crate::findings::policy::Unexpected;
use crate::judge::Entry;
use crate::judge::audit::{Accepted, Audit, AuditFinding, Subject};
use crate::model::{Gap, Severity, Snapshot, Stage};
use crate::query::Answer;

/// The day of an observation (UTC).
pub(super) fn day(observation: &Snapshot) -> Date {
    observation.taken.to_zoned(TimeZone::UTC).date()
}

/// Returns the rules that are for this host, in the order of the policy.
pub(super) fn rules_on_host<'p>(
    rules: &'p [Allow],
    observation: &Snapshot,
    today: Date,
) -> Vec<RuleOnHost<'p>> {
    let host = observation.host.name.as_deref();
    rules
        .iter()
        .map(|rule| RuleOnHost {
            rule,
            on_host: matching::on_host(&rule.hosts, host),
            is_expired: matching::is_over(rule.expires, today),
        })
        .filter(|rule| rule.on_host != Answer::No)
        .collect()
}

/// What a policy decides about a listener.
pub(super) enum Decision<'p> {
    /// This rule allows it.
    Allowed(&'p Allow),
    /// No rule surely allows it; this is the first that may.
    Undecided(&'p Allow),
    /// No rule allows it.
    Refused {
        /// The first rule that would allow it if it had not expired.
        over: Option<&'p Allow>,
    },
}

/// The first rule that holds decides.
pub(super) fn decide<'p>(rules: &[RuleOnHost<'p>], listener: &Entry, observation: &Snapshot) -> Decision<'p> {
    let (mut undecided, mut over) = (None, None);
    for RuleOnHost { rule, on_host, is_expired } in rules {
        match matching::holds(rule, listener, observation).and(*on_host) {
            Answer::No => {}
            _ if *is_expired => over = over.or(Some(*rule)),
            Answer::Yes => return Decision::Allowed(rule),
            Answer::Unknown => undecided = undecided.or(Some(*rule)),
        }
    }
    undecided.map_or(Decision::Refused { over }, Decision::Undecided)
}

/// Returns the rule that fails in the fewest conditions, the first of several, of those for the listener's port or
/// program and those that name neither.
fn nearest<'p>(rules: &[RuleOnHost<'p>], listener: &Entry, observation: &Snapshot) -> Option<&'p Allow> {
    let mut nearest: Option<(usize, &'p Allow)> = None;
    for RuleOnHost { rule, is_expired, .. } in rules {
        if *is_expired || !matching::is_related(rule, listener, observation) {
            continue;
        }
        let enough = nearest.map_or(usize::MAX, |(least, _)| least);
        let distance = matching::distance(rule, listener, observation, enough);
        if distance < enough {
            nearest = Some((distance, rule));
        }
    }
    nearest.map(|(_, rule)| rule)
}

/// Judges an audit by a policy. The report must be of everything that was observed: what was left out of it would be
/// missed.
///
/// A finding that an allowed listener has answered, or that its rule accepts, stays as *info* and names the rule; one
/// that the policy grades otherwise has that severity and names that rule; one that it switches off is gone. What no
/// rule allows is `unexpected`, what a rule promises and nobody sees is `missing`; what could not be decided is a gap.
pub fn apply(policy: &Policy, audit: &mut Audit<'_>) {
    let report = audit.report;
    let observation = &report.snapshot;
    let today = day(observation);
    let rules = rules_on_host(&policy.allow, observation, today);
    let mut allowed: HashMap<*const Entry, &Allow> = HashMap::new();
    let mut undecided: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    for listener in report.entries.iter().filter(|entry| matching::is_judged(&entry.socket)) {
        match decide(&rules, listener, observation) {
            Decision::Allowed(rule) => {
                allowed.insert(ptr::from_ref(listener), rule);
            }
            Decision::Undecided(rule) => {
                *undecided.entry((&rule.id, why_undecided(rule, listener, observation))).or_default() += 1;
            }
            Decision::Refused { over } => {
                audit.findings.push(unexpected(listener, over, &rules, observation));
            }
        }
    }
    let grades = in_force(&policy.rules, observation, today);
    let (missing, unsure) = missing::missing(&rules, &report.entries, observation);
    audit.findings.extend(missing);
    audit.gaps.extend(unsure);
    audit.findings.retain_mut(|found| {
        let flag = found.finding.flag();
        if let Subject::Listener(judged) = found.subject
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
            // What is missing, and what an expired rule no longer allows, is decided by that rule first.
            found.rule.get_or_insert_with(|| grade.id.clone());
        }
        grade.severity.is_some()
    });
    audit.gaps.extend(undecided_gaps(undecided));
    audit.sort();
}

/// Returns what an audit must name: a finding at or above warning that a rule lowers to `to`, or switches off.
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

/// So many rules are named by a gap each; what others may allow is one more.
const MOST_NAMED: usize = 8;

/// What could not be decided, by the rule that may allow it and why that is not known.
fn undecided_gaps(undecided: BTreeMap<(&str, &'static str), u64>) -> Vec<Gap> {
    let gap = |of: &str, why: &str, count: u64| Gap {
        stage: Stage::Owners,
        what: format!(
            "{} that {of} of the policy may allow",
            if count == 1 { "listener" } else { "listeners" }
        ),
        count: Some(count),
        pids: Vec::new(),
        why: why.to_owned(),
        remedy: Some("run as root, or allow them by what can be seen".to_owned()),
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

/// Why a rule that may hold does not surely hold.
fn why_undecided(rule: &Allow, listener: &Entry, observation: &Snapshot) -> &'static str {
    if matching::on_host(&rule.hosts, observation.host.name.as_deref()) == Answer::Unknown {
        "the rule is for named hosts, and the name of this one is not known"
    } else if !observation.knows_ephemeral_ports(&listener.socket) && !rule.ports.is_empty() {
        "the holder, or the range of ephemeral ports, is not known"
    } else {
        "it asks who holds them, and that could not be seen"
    }
}

fn in_force<'p>(rules: &'p [SeverityRule], observation: &Snapshot, today: Date) -> Vec<&'p SeverityRule> {
    let host = observation.host.name.as_deref();
    rules
        .iter()
        .filter(|rule| {
            // A rule for other hosts makes nothing here less grave, and one that may be for another makes nothing so.
            matching::on_host(&rule.hosts, host) == Answer::Yes && !matching::is_over(rule.expires, today)
        })
        .collect()
}

fn unexpected<'r>(
    listener: &'r Entry,
    over: Option<&Allow>,
    rules: &[RuleOnHost<'_>],
    observation: &Snapshot,
) -> AuditFinding<'r> {
    let nearest = over.or_else(|| nearest(rules, listener, observation));
    let evidence = Unexpected {
        nearest: nearest.map(|rule| rule.id.clone()),
        differs: nearest.map(|rule| matching::differs(rule, listener, observation)).unwrap_or_default(),
        expired: over.and_then(|rule| rule.expires).map(|date| date.to_string()),
        passing: observation.may_be_client(&listener.socket),
        accepts_traffic: listener.socket.state.accepts_traffic(),
    };
    AuditFinding {
        subject: Subject::Listener(listener),
        finding: Finding::new(evidence),
        rule: over.map(|rule| rule.id.clone()),
    }
}
