//! The findings of an audit, and its outcome. The rules, the policy, the baseline and the deep scan add findings.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{Entry, Report};
use crate::findings::{Finding, Flag};
pub use crate::join::Subject;
use crate::model::{Gap, Severity, named};

/// One finding of an audit.
#[derive(Clone, Debug)]
pub struct AuditFinding<'r> {
    /// The subject of the finding.
    pub subject: Subject<'r>,
    /// The finding.
    pub finding: Finding,
    /// The rule of the policy that set the severity of the finding. `None` if no rule did.
    pub rule: Option<String>,
}

/// A finding that a policy rule lowered or switched off. Without the rule, its severity would be at least warning.
#[derive(Clone, Debug)]
pub struct Accepted<'r> {
    /// The listener of the finding.
    pub subject: Subject<'r>,
    /// The flag.
    pub flag: Flag,
    /// The severity before the rule changed it.
    pub severity: Severity,
    /// The ID of the rule.
    pub rule: String,
    /// The reason that the rule gives.
    pub reason: Option<String>,
}

/// The findings of one severity that one rule accepted.
#[derive(Clone, Debug, Serialize)]
pub struct AcceptedByRule<'a> {
    /// The severity before the rule changed it.
    pub severity: Severity,
    /// The ID of the rule.
    pub rule: &'a str,
    /// The reason that the rule gives.
    pub reason: Option<&'a str>,
    /// The number of findings.
    pub count: usize,
    /// The codes of the findings, each once.
    pub codes: BTreeSet<&'static str>,
}

named! {
    /// The outcome of an audit.
    pub enum AuditVerdict {
        /// No finding reaches the threshold, and every part was visible.
        Clear = "clear",
        /// A finding reaches the threshold.
        Findings = "findings",
        /// No finding reaches the threshold, but some parts were not visible.
        Incomplete = "incomplete",
        /// The user named targets, but no listener matches them. Nothing was judged.
        NothingMatched = "nothing-matched",
    }
}

/// The policy that an audit applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppliedPolicy {
    /// The policy file, as the user named it.
    pub name: String,
    /// The hexadecimal SHA-256 of the policy file and its included files, in the order in which they are read.
    pub sha256: String,
    /// The time of the last change of the newest policy file, if known.
    #[serde(skip)]
    pub changed: Option<Timestamp>,
    /// The rules that do not apply to this host.
    pub skipped_rules: Vec<String>,
}

/// A report with all findings of an audit.
#[derive(Clone, Debug)]
pub struct Audit<'r> {
    /// The complete report, because a policy or a baseline is compared with every listener.
    pub report: &'r Report,
    /// The audited listeners. After [`Audit::narrow`], only the requested listeners.
    pub listeners: Vec<&'r Entry>,
    /// The findings. After [`Audit::sort`], the most severe come first.
    pub findings: Vec<AuditFinding<'r>>,
    /// The findings that the policy accepted.
    pub accepted: Vec<Accepted<'r>>,
    /// The gaps of the audit itself. The gaps of the snapshot are not included.
    pub gaps: Vec<Gap>,
    /// The filter of the audit, as typed; `None` if the audit covers everything.
    pub narrowed: Option<String>,
    /// Whether the filter names a target, program, user, unit or container. If nothing matches this filter, the user
    /// has probably made a mistake.
    pub expects_match: bool,
    /// The policy that was applied.
    pub policy: Option<AppliedPolicy>,
    /// Whether the user chose the network namespaces.
    pub are_namespaces_chosen: bool,
}

impl<'r> Audit<'r> {
    /// Makes an audit from a report and the findings on its listeners.
    #[must_use]
    pub fn of(report: &'r Report) -> Self {
        let on = |judged: &'r Entry| {
            let subject = Subject::Entry(judged);
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
            expects_match: false,
            policy: None,
            are_namespaces_chosen: true,
        };
        audit.sort();
        audit
    }

    /// Returns every scanned listener, regardless of the filter.
    pub fn everything(&self) -> impl Iterator<Item = &'r Entry> {
        everything(self.report)
    }

    /// Removes the listeners and findings that the user did not request with the filter `asked`. Call this function
    /// last, because a policy and a baseline must be compared with every listener.
    pub fn narrow(&mut self, asked: String, mut wanted: impl FnMut(Subject<'r>) -> bool) {
        self.listeners.retain(|judged| wanted(Subject::Entry(judged)));
        self.findings.retain(|found| wanted(found.subject));
        self.accepted.retain(|accepted| wanted(accepted.subject));
        self.narrowed = Some(asked);
    }

    /// Sorts the findings: most severe first, then in the order of listings, with missing listeners last.
    pub fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            let absent = |f: &AuditFinding<'_>| match f.subject {
                Subject::Entry(_) => None,
                Subject::NoListener { protocol, address, port } => Some((port, protocol, address)),
            };
            b.finding
                .severity
                .cmp(&a.finding.severity)
                .then_with(|| match (a.subject, b.subject) {
                    (Subject::Entry(a), Subject::Entry(b)) => a.order(b),
                    _ => absent(a).cmp(&absent(b)),
                })
                .then_with(|| a.finding.flag().cmp(&b.finding.flag()))
        });
    }

    /// Returns the findings that the policy accepted, most severe first. Findings of the same severity are sorted by
    /// rule.
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

    /// Returns whether neither the snapshot nor the audit has a gap.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.report.snapshot.is_complete()
    }

    /// Returns the gaps of the snapshot and of the audit.
    pub fn all_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.report.snapshot.gaps.iter().chain(&self.gaps)
    }

    /// Returns the outcome. Findings below the severity `fail_on` do not count.
    #[must_use]
    pub fn outcome(&self, fail_on: Severity) -> AuditVerdict {
        if self.findings.iter().any(|found| found.finding.severity >= fail_on) {
            AuditVerdict::Findings
        } else if self.expects_match && self.listeners.is_empty() && self.findings.is_empty() {
            AuditVerdict::NothingMatched
        } else if self.is_complete() {
            AuditVerdict::Clear
        } else {
            AuditVerdict::Incomplete
        }
    }
}

/// Returns the sockets that occupy a port. A saved snapshot can also contain connections, which are not judged.
fn everything(report: &Report) -> impl Iterator<Item = &Entry> {
    report.entries.iter().filter(|judged| judged.socket.state.holds_port())
}
