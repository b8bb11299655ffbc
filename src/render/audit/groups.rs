//! Groups the findings of an audit for people: by severity, then by flag, then by program. The table and the HTML page
//! show these groups.

use std::collections::HashMap;

use crate::findings::Flag;
use crate::findings::reach::{Exposed, firewall};
use crate::judge::audit::{AuditFinding, Subject};
use crate::judge::{Entry, HowToStop, Listener, Report};
use crate::model::{ReachKind, Severity};
use crate::render::cells::CellFormat;
use crate::render::start_text::how_to_stop_with;
use crate::render::{process_cells, sanitize};

use super::{merged_places, place, processes_of};

pub(crate) struct FindingGroup<'f> {
    pub(crate) severity: Severity,
    pub(crate) flag: Flag,
    pub(crate) presumed: bool,
    pub(crate) programs: Vec<ProgramGroup<'f>>,
}

pub(crate) struct ProgramGroup<'f> {
    pub(crate) process_summary: String,
    /// The command that stops the first listener of the program, if the finding is critical.
    pub(crate) to_stop: Option<String>,
    pub(crate) evidence: Vec<EvidenceGroup<'f>>,
}

pub(crate) struct EvidenceGroup<'f> {
    text: String,
    rule: Option<&'f str>,
    /// The clients that the firewall lets in, if it does not let in everyone.
    limited_to: Option<String>,
    places: Vec<String>,
}

impl FindingGroup<'_> {
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.flag.code(), if self.presumed { " (presumed)" } else { "" })
    }
}

impl EvidenceGroup<'_> {
    /// Returns at most `most` of the places, and the clients that the firewall lets in.
    pub(crate) fn places(&self, most: Option<usize>) -> String {
        with_limit(few(&self.places, most), self.limited_to.as_deref())
    }

    /// Returns the evidence as a sentence, with the policy rule that set the severity. The text is sanitized.
    pub(crate) fn sentence(&self) -> String {
        // The text of the evidence may already name the rule.
        let rule = self.rule.filter(|rule| !self.text.contains(rule));
        let rule = rule.map(|rule| format!(" (rule {rule})")).unwrap_or_default();
        sanitize(&format!("{}{rule}", self.text)).into_owned()
    }
}

pub(crate) fn groups<'f>(findings: &[&'f AuditFinding<'_>], report: &Report) -> Vec<FindingGroup<'f>> {
    let mut groups: Vec<FindingGroup<'f>> = Vec::new();
    // The maps avoid searches in the lists, which would take quadratic time.
    let (mut of_group, mut of_program, mut of_text) = (HashMap::new(), HashMap::new(), HashMap::new());
    for found in findings {
        let (severity, flag) = (found.finding.severity, found.finding.flag());
        let presumed = found.finding.is_presumed();
        let b = *of_group.entry((severity, flag, presumed)).or_insert_with(|| {
            groups.push(FindingGroup { severity, flag, presumed, programs: Vec::new() });
            groups.len() - 1
        });
        let (process_summary, place) = (processes_of(found), place(&found.subject));
        let (place, limited_to) = match found.subject {
            Subject::Entry(judged) => (with_pids(place, judged), limited_to(judged)),
            Subject::NoListener { .. } => (place, None),
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
        // The places in the output already name the clients that the firewall lets in, so the evidence leaves them out.
        let text = match Exposed::of(&found.finding.evidence) {
            Some(_) => found.finding.card_sentence(),
            None => found.finding.sentence(),
        };
        let t = *of_text.entry((b, e, text.clone(), rule, limited_to.clone())).or_insert_with(|| {
            evidence.push(EvidenceGroup { text, rule, limited_to, places: Vec::new() });
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

/// Returns the command that stops a listener; `None` if the listener's card shows no command.
pub(super) fn to_stop(judged: &Entry, report: &Report) -> Option<String> {
    let listener = Listener::all([judged]).into_iter().next()?;
    let os = &*report.snapshot.host.os;
    HowToStop::of(&listener, os).map(|how| how_to_stop_with(&how, os, report.rights))
}

/// Returns a phrase with the clients that the firewall lets in. `None` if the firewall lets in everyone, or if this is
/// not known.
pub(super) fn limited_to(judged: &Entry) -> Option<String> {
    let limited = judged.reach().filter(|reach| !matches!(reach.kind, ReachKind::Open | ReachKind::Unknown));
    limited.and_then(firewall)
}

/// Returns the places, followed by the clients that the firewall lets in. The clients are sanitized.
pub(crate) fn with_limit(places: String, limited_to: Option<&str>) -> String {
    match limited_to {
        Some(limited_to) => format!("{places}; {}", sanitize(limited_to)),
        None => places,
    }
}

pub(super) fn few(places: &[String], most: Option<usize>) -> String {
    let most = most.unwrap_or(usize::MAX);
    let mut line = places.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    if places.len() > most {
        line.push_str(&format!(" and {} more", places.len() - most));
    }
    line
}

/// Returns a place with the pids of its processes. The evidence contains no pids, because findings with equal evidence
/// form one group.
pub(super) fn with_pids(place: String, judged: &Entry) -> String {
    match judged.socket.owner.pids() {
        [] => place,
        [pid] => format!("{place} (pid {pid})"),
        many => format!("{place} (pids {})", process_cells::pids(many, CellFormat::Long)),
    }
}

#[cfg(test)]
mod tests {
    use crate::findings::Finding;
    use crate::findings::identity::{AdHoc, Tool};
    use crate::judge::audit::{Audit, AuditFinding, Subject};
    use crate::model::{Owner, Reach, ReachKind, Severity, Snapshot};
    use crate::render::Style;
    use crate::render::audit::table;
    use crate::render::fixtures::{empty, process, report, socket, text};

    /// A finding below the list of reachable services names the clients that the firewall lets in. Otherwise "anyone
    /// who connects" reads as if everyone could connect.
    #[test]
    fn a_finding_names_the_clients_that_the_firewall_lets_in() {
        let snapshot = Snapshot {
            sockets: vec![socket("tcp/0.0.0.0:4444", Owner::Held(vec![7].into()))],
            processes: vec![process(7, "socat")],
            ..empty()
        };
        let rule = Some("nft rule inet filter input, handle 4".to_owned());
        for (kind, from, wanted) in [
            (ReachKind::Open, "", "tcp 0.0.0.0:4444 (pid 7)\n"),
            (ReachKind::Unknown, "", "tcp 0.0.0.0:4444 (pid 7)\n"),
            (
                ReachKind::Limited,
                "10.0.0.0/8",
                "tcp 0.0.0.0:4444 (pid 7); the firewall lets in only 10.0.0.0/8 (nft rule inet filter input, handle 4)\n",
            ),
            (
                ReachKind::Filtered,
                "",
                "tcp 0.0.0.0:4444 (pid 7); the firewall lets in nobody (nft rule inet filter input, handle 4)\n",
            ),
            (
                ReachKind::Machine,
                "172.17.0.0/16",
                "tcp 0.0.0.0:4444 (pid 7); only 172.17.0.0/16 can connect\n",
            ),
        ] {
            let mut report = report(&snapshot);
            let from = if from.is_empty() { Vec::new() } else { vec![from.into()] };
            let reach = Reach { kind, from, rule: rule.clone(), ..Reach::open() };
            report.entries[0].set_reach(reach.into());
            let mut audit = Audit::of(&report);
            let tool = Tool {
                pid: 7,
                program: "socat".to_owned(),
                command: "socat TCP-LISTEN:4444 EXEC:/bin/sh".to_owned(),
            };
            let evidence = AdHoc { tool, used_for: "relay", severity: Severity::Critical };
            let subject = Subject::Entry(&report.entries[0]);
            audit.findings = vec![AuditFinding { subject, finding: Finding::new(evidence), rule: None }];
            let style = Style { width: Some(200), ..Style::default() };
            let page = text(|w| table::document(&audit, Severity::Warning, &style, w));
            assert!(page.contains(wanted), "{kind:?}: {page}");
        }
    }
}
