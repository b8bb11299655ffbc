//! What an audit finds, and its verdict.
//!
//! A finding of an audit is one on a listener, or one on what is not there: promised, or gone since a saved
//! observation. What adds to the findings of a report (the policy, a baseline, a deeper look) adds to this list and
//! to nothing else, so there is one list to sort, to count and to draw. Nothing is told here, and no exit code is
//! chosen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::{Entry, Report};
use crate::findings::{Finding, Flag};
use crate::model::{Gap, Protocol, Severity, named};

/// What a finding of an audit is on.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'r> {
    /// A listener.
    Listener(&'r Entry),
    /// A place where none is seen; what is `None` is any.
    Place {
        /// Transport protocol.
        protocol: Option<Protocol>,
        /// Address.
        address: Option<IpAddr>,
        /// Port in host order.
        port: Option<u16>,
    },
}

impl Subject<'_> {
    /// The protocol, where it is one.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Subject::Listener(judged) => Some(judged.socket.local.protocol),
            Subject::Place { protocol, .. } => *protocol,
        }
    }

    /// The address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Subject::Listener(judged) => Some(judged.socket.local.address),
            Subject::Place { address, .. } => *address,
        }
    }

    /// The port, where it is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Subject::Listener(judged) => Some(judged.socket.local.port),
            Subject::Place { port, .. } => *port,
        }
    }
}

/// One finding of an audit.
#[derive(Clone, Debug)]
pub struct AuditFinding<'r> {
    /// What it is on.
    pub subject: Subject<'r>,
    /// The flag with its severity and evidence.
    pub finding: Finding,
    /// The rule of the policy that decided it; `None` where none did.
    pub rule: Option<String>,
}

/// A finding at or above warning that a rule of the policy lowered or switched off.
#[derive(Clone, Debug)]
pub struct Accepted<'r> {
    /// What the finding was on.
    pub subject: Subject<'r>,
    /// The flag.
    pub flag: Flag,
    /// The severity without the policy.
    pub severity: Severity,
    /// The ID of the rule.
    pub rule: String,
    /// The reason that the rule gives.
    pub reason: Option<String>,
}

/// The findings of one severity that one rule accepted.
#[derive(Clone, Debug, Serialize)]
pub struct AcceptedByRule<'a> {
    /// The severity without the policy.
    pub severity: Severity,
    /// The ID of the rule.
    pub rule: &'a str,
    /// The reason that the rule gives.
    pub reason: Option<&'a str>,
    /// The number of findings.
    pub count: usize,
    /// Their codes, each once.
    pub codes: BTreeSet<&'static str>,
}

named! {
    /// What an audit comes to.
    pub enum Outcome {
        /// No finding at or above the threshold, and everything was seen.
        Clear = "clear",
        /// Findings at or above the threshold.
        Findings = "findings",
        /// No such finding, but not everything was seen: this is no all-clear.
        Incomplete = "incomplete",
    }
}

/// A report with everything an audit found.
#[derive(Clone, Debug)]
pub struct Audit<'r> {
    /// The joined and judged observation, whole: what a policy or a baseline is held against.
    pub report: &'r Report,
    /// The listeners it is about, after [`Audit::narrow`] those that were asked for.
    pub listeners: Vec<&'r Entry>,
    /// The findings, after [`Audit::sort`] gravest first.
    pub findings: Vec<AuditFinding<'r>>,
    /// What the policy silenced.
    pub accepted: Vec<Accepted<'r>>,
    /// What the audit could not see beyond the gaps of the observation.
    pub gaps: Vec<Gap>,
    /// What it was narrowed to, as asked; `None` where it is about everything.
    pub narrowed: Option<String>,
    /// The date of the policy that was applied; `None` where none was.
    pub policy_date: Option<Timestamp>,
}

impl<'r> Audit<'r> {
    /// The findings of a report on its listeners, as they are.
    #[must_use]
    pub fn of(report: &'r Report) -> Self {
        let on = |judged: &'r Entry| {
            let subject = Subject::Listener(judged);
            judged.findings().iter().map(move |finding| AuditFinding {
                subject,
                finding: finding.clone(),
                rule: None,
            })
        };
        let mut audit = Audit {
            report,
            listeners: everything(report).collect(),
            findings: report.entries.iter().flat_map(on).collect(),
            accepted: Vec::new(),
            gaps: Vec::new(),
            narrowed: None,
            policy_date: None,
        };
        audit.sort();
        audit
    }

    /// Everything that was looked at, whatever it was narrowed to.
    pub fn everything(&self) -> impl Iterator<Item = &'r Entry> {
        everything(self.report)
    }

    /// Leaves the listeners and the findings that were asked for, in the words of `asked`. It comes last: whatever is
    /// held against everything that listens must see all of it.
    pub fn narrow(&mut self, asked: String, mut wanted: impl FnMut(Subject<'r>) -> bool) {
        self.listeners.retain(|judged| wanted(Subject::Listener(judged)));
        self.findings.retain(|found| wanted(found.subject));
        self.accepted.retain(|accepted| wanted(accepted.subject));
        self.narrowed = Some(asked);
    }

    /// Gravest first; what is as grave in the order of listings, what is not there by port last.
    pub fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            let absent = |f: &AuditFinding<'_>| match f.subject {
                Subject::Listener(_) => None,
                Subject::Place { protocol, address, port } => Some((port, protocol, address)),
            };
            b.finding
                .severity
                .cmp(&a.finding.severity)
                .then_with(|| match (a.subject, b.subject) {
                    (Subject::Listener(a), Subject::Listener(b)) => a.order(b),
                    _ => absent(a).cmp(&absent(b)),
                })
                .then_with(|| a.finding.flag().cmp(&b.finding.flag()))
        });
    }

    /// Returns what the policy silenced, most severe first, then by rule.
    #[must_use]
    pub fn accepted_by_rule(&self) -> Vec<AcceptedByRule<'_>> {
        let mut by_rule = BTreeMap::new();
        for Accepted { severity, rule, reason, flag, .. } in &self.accepted {
            let (rule, reason) = (rule.as_str(), reason.as_deref());
            let accepted = by_rule.entry((Reverse(*severity), rule)).or_insert_with(|| AcceptedByRule {
                severity: *severity,
                rule,
                reason,
                count: 0,
                codes: BTreeSet::new(),
            });
            accepted.count += 1;
            accepted.codes.insert(flag.code());
        }
        by_rule.into_values().collect()
    }

    /// Whether everything that was asked for was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.report.snapshot.is_complete()
    }

    /// Everything that could not be seen.
    pub fn all_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.report.snapshot.gaps.iter().chain(&self.gaps)
    }

    /// What it comes to, where findings below `fail_on` do not count.
    #[must_use]
    pub fn outcome(&self, fail_on: Severity) -> Outcome {
        if self.findings.iter().any(|found| found.finding.severity >= fail_on) {
            Outcome::Findings
        } else if self.is_complete() {
            Outcome::Clear
        } else {
            Outcome::Incomplete
        }
    }
}

/// What holds a port; a saved observation may have connections too, which are not judged.
fn everything(report: &Report) -> impl Iterator<Item = &Entry> {
    report.entries.iter().filter(|judged| judged.socket.state.holds_port())
}
