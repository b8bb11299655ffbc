//! Finds the change `weakened`: a service at the same address has a finding that is new, or more severe than before.
//! For example, a server was restarted without the option that requires a password.

use crate::findings::reach::Exposed;
use crate::findings::{Finding, FindingFamily, Flag};
use crate::judge::Entry;
use crate::model::Severity;

/// Returns the kind of a finding. For a dangerous service, the name of the service is included.
fn identity(finding: &Finding) -> (Flag, Option<&'static str>) {
    (finding.flag(), Exposed::of(&finding.evidence).map(|exposed| exposed.service))
}

/// Returns whether a finding is about the service. Findings that depend on the port or on other sockets do not count. A
/// finding with the severity `info` does not count either, because it is not a danger.
fn is_of_service(finding: &Finding) -> bool {
    let family = finding.flag().family();
    finding.severity >= Severity::Notice
        && matches!(family, FindingFamily::Identity | FindingFamily::File | FindingFamily::Reach)
}

/// Returns the severity of the finding in `entry` that is of the same kind, if any.
fn severity_in(entry: &Entry, finding: &Finding) -> Option<Severity> {
    let same = entry.findings().iter().filter(|other| identity(other) == identity(finding));
    same.map(|other| other.severity).max()
}

/// Returns the findings of `is` that are new, or more severe than in `was`.
pub(super) fn worse<'a>(was: &Entry, is: &'a Entry) -> Vec<&'a Finding> {
    let is_worse = |finding: &&Finding| severity_in(was, finding) < Some(finding.severity);
    is.findings().iter().filter(|finding| is_of_service(finding)).filter(is_worse).collect()
}

/// Returns the findings that are new or more severe, as texts: first with the earlier severity, then with the current
/// severity. A new finding has no text in the first list.
pub(super) fn texts(was: &Entry, is: &Entry) -> [Vec<String>; 2] {
    let worse = worse(was, is);
    let before = worse.iter().filter_map(|finding| {
        Some(format!("{} {}", severity_in(was, finding)?.name(), finding.flag().code()))
    });
    let now = worse.iter().map(|finding| {
        let text = match Exposed::of(&finding.evidence) {
            Some(exposed) => exposed.summary(),
            None => finding.sentence(),
        };
        format!("{} {}: {text}", finding.severity.name(), finding.flag().code())
    });
    [before.collect(), now.collect()]
}
