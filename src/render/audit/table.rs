//! The audit for people, also for people who did not run it.
//!
//! The verdict comes first, then the gaps, then the services that other machines can reach, then the findings by
//! severity. The findings do not repeat the text of the list of services. Within a severity, each flag appears once,
//! with why it matters and what to do. Below a flag, each program appears once, with its places. Findings for
//! information only are counted. Prose is wrapped to the terminal, or in a pipe to a readable width. On a terminal, a
//! long list of places is cut, and the rest are counted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, BufWriter, Write};

use crate::findings::Flag;
use crate::findings::reach::Exposed;
use crate::findings::text::plural;
use crate::judge::Entry;
use crate::judge::audit::{AcceptedByRule, Audit, AuditFinding, AuditVerdict, Subject};
use crate::model::{Host, Severity};
use crate::render::wrap::wrap;
use crate::render::{Emphasis, Style, registry, sanitize, stderr};
use crate::render::{cells::CellFormat, process_cells};

use super::counts::Rows;
use super::reachable::{self, Reachable, ReachableService};
use super::{part, place, process_summary, text_without_listener, verdict};

/// The width of prose without a terminal, in columns. People read redirected output too.
pub(super) const MEASURE: u16 = 100;

/// The maximum number of places of one program on a terminal.
const FEW: usize = 12;
/// The maximum number of places of one reachable service on a terminal.
const FEW_REACHABLE: usize = 3;

/// Writes an audit.
///
/// # Errors
/// If writing fails.
pub fn document(audit: &Audit<'_>, fail_on: Severity, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut out = AuditWriter { style, w: BufWriter::with_capacity(1 << 16, w) };
    out.head(audit, fail_on)?;
    let (reachable, rows) = (reachable::services(audit), Rows::of(audit));
    out.reachable(&reachable, audit, &rows)?;
    let summaries: HashSet<String> =
        reachable.listed.into_iter().filter_map(|service| service.gets).collect();
    let listed: Vec<_> = audit
        .findings
        .iter()
        .filter(|f| f.finding.severity > Severity::Info || fail_on == Severity::Info)
        .collect();
    let mut last = None;
    for block in blocks(&listed, &summaries) {
        out.blank()?;
        if last.replace(block.severity) != Some(block.severity) {
            out.line(block.severity.into(), &block.severity.name().to_uppercase())?;
        }
        out.block(&block)?;
    }
    out.accepted(audit)?;
    out.folded(audit, listed.len(), &rows)?;
    if style.width.is_some() && !listed.is_empty() {
        // In a long report, the verdict at the top is no longer on the screen.
        out.blank()?;
        out.verdict(audit, fail_on)?;
    }
    out.w.flush()
}

/// The findings with one flag and one severity.
struct FindingGroup<'f> {
    severity: Severity,
    flag: Flag,
    presumed: bool,
    programs: Vec<ProgramGroup<'f>>,
}

/// The findings of one program.
struct ProgramGroup<'f> {
    process_summary: String,
    evidence: Vec<EvidenceGroup<'f>>,
}

/// The evidence of some findings, and their places.
struct EvidenceGroup<'f> {
    text: String,
    /// The policy rule that set the severity.
    rule: Option<&'f str>,
    places: Vec<String>,
}

/// Groups the findings. `summaries` contains the reachable services whose outside access is already described above
/// the findings.
fn blocks<'f>(findings: &[&'f AuditFinding<'_>], summaries: &HashSet<String>) -> Vec<FindingGroup<'f>> {
    let mut blocks: Vec<FindingGroup<'f>> = Vec::new();
    // The indices of each block, program and text. With these indices, the time is linear in the number of findings.
    let (mut of_block, mut of_program, mut of_text) = (HashMap::new(), HashMap::new(), HashMap::new());
    for found in findings {
        let (severity, flag) = (found.finding.severity, found.finding.flag());
        let presumed = found.finding.is_presumed();
        let b = *of_block.entry((severity, flag, presumed)).or_insert_with(|| {
            blocks.push(FindingGroup { severity, flag, presumed, programs: Vec::new() });
            blocks.len() - 1
        });
        let (process_summary, place) = match found.subject {
            Subject::Entry(judged) => (process_summary(judged), with_pids(place(&found.subject), judged)),
            Subject::NoListener { .. } => {
                (text_without_listener(&found.finding).to_owned(), place(&found.subject))
            }
        };
        let programs = &mut blocks[b].programs;
        let e = *of_program.entry((b, process_summary.clone())).or_insert_with(|| {
            programs.push(ProgramGroup { process_summary, evidence: Vec::new() });
            programs.len() - 1
        });
        let (evidence, rule) = (&mut programs[e].evidence, found.rule.as_deref());
        let listed =
            Exposed::of(&found.finding.evidence).filter(|exposed| summaries.contains(&exposed.summary()));
        let text = listed.map_or_else(|| found.finding.sentence(), Exposed::closing);
        let t = *of_text.entry((b, e, text.clone(), rule)).or_insert_with(|| {
            evidence.push(EvidenceGroup { text, rule, places: Vec::new() });
            evidence.len() - 1
        });
        evidence[t].places.push(place);
    }
    blocks
}

/// Returns a place with the pids of its processes. A program with different pids stays one group, because pids change
/// with every start.
fn with_pids(place: String, judged: &Entry) -> String {
    match judged.socket.owner.pids() {
        [] => place,
        [pid] => format!("{place} (pid {pid})"),
        many => format!("{place} (pids {})", process_cells::pids(many, CellFormat::Long)),
    }
}

/// Returns the first places, and the number of further places.
fn few(places: &[String], most: Option<usize>) -> String {
    let most = most.unwrap_or(usize::MAX);
    let mut line = places.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    if places.len() > most {
        line.push_str(&format!(" and {} more", places.len() - most));
    }
    line
}

struct AuditWriter<'a> {
    style: &'a Style,
    w: BufWriter<&'a mut dyn Write>,
}

impl AuditWriter<'_> {
    fn width(&self) -> Option<u16> {
        self.style.width.or(Some(MEASURE))
    }

    fn blank(&mut self) -> io::Result<()> {
        writeln!(self.w)
    }

    fn line(&mut self, tone: Emphasis, text: &str) -> io::Result<()> {
        writeln!(self.w, "{}", self.style.paint(tone, text))
    }

    fn prose(&mut self, tone: Emphasis, first: &str, text: &str) -> io::Result<()> {
        for line in wrap(first, text, self.width()) {
            self.line(tone, &line)?;
        }
        Ok(())
    }

    fn head(&mut self, audit: &Audit<'_>, fail_on: Severity) -> io::Result<()> {
        let snapshot = &audit.report.snapshot;
        let Host { name, os, kernel, .. } = &snapshot.host;
        let name = name.as_deref().map_or("a machine without a name".into(), sanitize);
        let system = match kernel {
            Some(kernel) => format!("{} {}", sanitize(os), sanitize(kernel)),
            None => sanitize(os).into_owned(),
        };
        let heading = format!(
            "Audit of {name} ({system}){}, {}",
            part(snapshot.host.scope).map(|part| format!(", {part} only")).unwrap_or_default(),
            self.style.zone.time(snapshot.taken, "%Y-%m-%d %H:%M:%S")
        );
        self.prose(Emphasis::Heading, "", &heading)?;
        self.verdict(audit, fail_on)?;
        let others = match snapshot.namespaces.len() {
            0 => String::new(),
            others => format!("Judged: this network namespace and {}. ", plural(others, "other")),
        };
        self.prose(Emphasis::Plain, "", &format!("{others}{}", registry(&audit.report.registry)))?;
        for gap in audit.all_gaps().collect::<BTreeSet<_>>() {
            self.prose(Emphasis::Warning, "Not seen: ", &stderr::gap(gap))?;
        }
        for note in snapshot.notes.iter().collect::<BTreeSet<_>>() {
            self.prose(Emphasis::Quiet, "Note: ", &stderr::note(note))?;
        }
        Ok(())
    }

    fn verdict(&mut self, audit: &Audit<'_>, fail_on: Severity) -> io::Result<()> {
        let tone = match audit.outcome(fail_on) {
            AuditVerdict::Clear => Emphasis::Good,
            AuditVerdict::Findings => Emphasis::Critical,
            AuditVerdict::Incomplete => Emphasis::Warning,
        };
        self.prose(tone, "", &verdict(audit, fail_on))
    }

    /// Writes the services that other machines can reach, the most dangerous first.
    fn reachable(&mut self, reachable: &Reachable<'_>, audit: &Audit<'_>, rows: &Rows) -> io::Result<()> {
        if audit.listeners.is_empty() {
            return Ok(());
        }
        self.blank()?;
        let all = plural(rows.listeners(audit.listeners.iter().copied()), "listener");
        let count = match rows.listeners(reachable.listeners.iter().copied()) {
            0 => "none".to_owned(),
            count => count.to_string(),
        };
        self.prose(Emphasis::Heading, "", &format!("Reachable from other machines: {count} of {all}"))?;
        for ReachableService { severity, places, program, gets } in &reachable.listed {
            let mut line = format!("{}: {program}", few(places, self.style.width.map(|_| FEW_REACHABLE)));
            if let Some(gets) = gets {
                line.push_str(&format!(". {gets}"));
            }
            let tone = severity.map_or(Emphasis::Plain, Emphasis::from);
            self.prose(tone, "  ", &line)?;
        }
        if reachable.more > 0 {
            let more = plural(reachable.more, "other service");
            self.prose(Emphasis::Quiet, "  ", &format!("and {more} (portolan lists all)"))?;
        }
        Ok(())
    }

    fn accepted(&mut self, audit: &Audit<'_>) -> io::Result<()> {
        if !audit.accepted.is_empty() {
            self.blank()?;
        }
        for AcceptedByRule { severity, rule, reason, count, .. } in audit.accepted_by_rule() {
            let count = match severity {
                Severity::Warning => plural(count, "warning"),
                other => format!("{count} {}", other.name()),
            };
            let reason = reason.map_or("none given".into(), sanitize);
            let text = format!("{count}, rule {}, reason: {reason}", sanitize(rule));
            self.prose(Emphasis::Warning, "Accepted by policy: ", &text)?;
        }
        Ok(())
    }

    fn block(&mut self, block: &FindingGroup<'_>) -> io::Result<()> {
        let presumed = if block.presumed { " (presumed)" } else { "" };
        let heading = format!("{}{presumed}: {}", block.flag.code(), block.flag.description());
        self.prose(block.severity.into(), "  ", &heading)?;
        for ProgramGroup { process_summary, evidence } in &block.programs {
            self.prose(Emphasis::Plain, "    ", process_summary)?;
            for EvidenceGroup { text, rule, places } in evidence {
                let line = few(places, self.style.width.map(|_| FEW));
                self.prose(Emphasis::Plain, "      ", &line)?;
                // The text about a rule that requires a listener already contains the name of the rule.
                let rule = rule.filter(|rule| !text.contains(rule));
                let rule = rule.map(|rule| format!(" (rule {rule})")).unwrap_or_default();
                self.prose(Emphasis::Plain, "        ", &sanitize(&format!("{text}{rule}")))?;
            }
        }
        self.prose(Emphasis::Quiet, "    Why  ", block.flag.why())?;
        self.prose(Emphasis::Quiet, "    Do   ", block.flag.remedy())
    }

    /// Writes the number of findings that are only information.
    fn folded(&mut self, audit: &Audit<'_>, listed: usize, rows: &Rows) -> io::Result<()> {
        if listed == audit.findings.len() {
            return Ok(());
        }
        self.blank()?;
        let folded = audit.findings.iter().filter(|found| found.finding.severity == Severity::Info);
        let flags: BTreeSet<Flag> = folded.map(|found| found.finding.flag()).collect();
        let count = |flag: Flag| rows.findings(audit, Severity::Info, Some(flag));
        let counts: Vec<_> =
            flags.into_iter().map(|flag| format!("{} {}", count(flag), flag.code())).collect();
        let text = format!("{}. Use --fail-on info or -o json to list them.", counts.join(", "));
        self.prose(Emphasis::Quiet, "For information: ", &text)
    }
}
