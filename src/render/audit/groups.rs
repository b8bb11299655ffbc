//! Groups the findings of an audit for people: by severity, then by flag, then by program. The table and the HTML page
//! show these groups.

use std::collections::HashMap;

use crate::findings::Flag;
use crate::judge::audit::{AuditFinding, Subject};
use crate::judge::{Entry, HowToStop, Listener, Report};
use crate::model::Severity;
use crate::render::cells::CellFormat;
use crate::render::start_text::how_to_stop_with;
use crate::render::{process_cells, sanitize};

use super::{merged_places, place, process_summary, text_without_listener};

pub(in crate::render) struct FindingGroup<'f> {
    pub(in crate::render) severity: Severity,
    pub(in crate::render) flag: Flag,
    pub(in crate::render) presumed: bool,
    pub(in crate::render) programs: Vec<ProgramGroup<'f>>,
}

pub(in crate::render) struct ProgramGroup<'f> {
    pub(in crate::render) process_summary: String,
    /// The command that stops the first listener of the program, if the finding is critical.
    pub(in crate::render) to_stop: Option<String>,
    pub(in crate::render) evidence: Vec<EvidenceGroup<'f>>,
}

/// The evidence, and the places of all findings with this evidence.
pub(in crate::render) struct EvidenceGroup<'f> {
    text: String,
    /// The policy rule that set the severity.
    rule: Option<&'f str>,
    pub(in crate::render) places: Vec<String>,
}

impl FindingGroup<'_> {
    pub(in crate::render) fn name(&self) -> String {
        format!("{}{}", self.flag.code(), if self.presumed { " (presumed)" } else { "" })
    }
}

impl EvidenceGroup<'_> {
    /// Returns the evidence as a sentence, with the policy rule that set the severity. The text is sanitized.
    pub(in crate::render) fn sentence(&self) -> String {
        // The text about a rule that requires a listener already names the rule.
        let rule = self.rule.filter(|rule| !self.text.contains(rule));
        let rule = rule.map(|rule| format!(" (rule {rule})")).unwrap_or_default();
        sanitize(&format!("{}{rule}", self.text)).into_owned()
    }
}

pub(in crate::render) fn groups<'f>(
    findings: &[&'f AuditFinding<'_>],
    report: &Report,
) -> Vec<FindingGroup<'f>> {
    let mut groups: Vec<FindingGroup<'f>> = Vec::new();
    // These maps find the group, the program and the text of a finding, so that the time is linear in the number of
    // findings.
    let (mut of_group, mut of_program, mut of_text) = (HashMap::new(), HashMap::new(), HashMap::new());
    for found in findings {
        let (severity, flag) = (found.finding.severity, found.finding.flag());
        let presumed = found.finding.is_presumed();
        let b = *of_group.entry((severity, flag, presumed)).or_insert_with(|| {
            groups.push(FindingGroup { severity, flag, presumed, programs: Vec::new() });
            groups.len() - 1
        });
        let (process_summary, place) = match found.subject {
            Subject::Entry(judged) => (process_summary(judged), with_pids(place(&found.subject), judged)),
            Subject::NoListener { .. } => {
                (text_without_listener(&found.finding).to_owned(), place(&found.subject))
            }
        };
        let programs = &mut groups[b].programs;
        let e = *of_program.entry((b, process_summary.clone())).or_insert_with(|| {
            let to_stop = match found.subject {
                Subject::Entry(judged) if severity == Severity::Critical => to_stop(judged, report),
                _ => None,
            };
            programs.push(ProgramGroup { process_summary, to_stop, evidence: Vec::new() });
            programs.len() - 1
        });
        let (evidence, rule) = (&mut programs[e].evidence, found.rule.as_deref());
        let text = found.finding.sentence();
        let t = *of_text.entry((b, e, text.clone(), rule)).or_insert_with(|| {
            evidence.push(EvidenceGroup { text, rule, places: Vec::new() });
            evidence.len() - 1
        });
        evidence[t].places.push(place);
    }
    for evidence in groups.iter_mut().flat_map(|group| &mut group.programs).flat_map(|one| &mut one.evidence)
    {
        evidence.places = merged_places(&evidence.places);
    }
    groups
}

/// Returns the command that stops a listener, as the listener's card shows it; `None` if the card shows none.
pub(super) fn to_stop(judged: &Entry, report: &Report) -> Option<String> {
    let listener = Listener::all([judged]).into_iter().next()?;
    let os = &*report.snapshot.host.os;
    HowToStop::of(&listener, os).map(|how| how_to_stop_with(&how, os, report.rights))
}

/// Returns a place with the pids of its processes. Pids change with every start, so the text by which findings are
/// grouped does not contain them.
pub(super) fn with_pids(place: String, judged: &Entry) -> String {
    match judged.socket.owner.pids() {
        [] => place,
        [pid] => format!("{place} (pid {pid})"),
        many => format!("{place} (pids {})", process_cells::pids(many, CellFormat::Long)),
    }
}
