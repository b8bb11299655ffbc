//! The audit for people, also for people who did not run it.
//!
//! The verdict comes first, then the gaps, then the services that other machines can reach, then the findings by
//! severity. The findings do not repeat the text of the list of services. Within a severity, each flag appears once,
//! with why it matters and what to do. Below a flag, each program appears once, with its places. Findings for
//! information only are counted. Prose is wrapped to the terminal, or in a pipe to a readable width. On a terminal, a
//! long list of places is cut, and the rest are counted.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, BufWriter, Write};

use crate::findings::Flag;
use crate::findings::text::{capitalized, plural};
use crate::judge::audit::{Audit, AuditVerdict};
use crate::model::Severity;
use crate::render::wrap::wrap;
use crate::render::{Emphasis, Style, sanitize, stderr};

use super::counts::Rows;
use super::groups::{FindingGroup, ProgramGroup, groups};
use super::reachable::{self, Reachable, ReachableService};
use super::{accepted, heading, judged_by, verdict};

/// The width of prose without a terminal, in columns. People read redirected output too.
pub(super) const MEASURE: u16 = 100;

/// The maximum number of places of one program on a terminal.
const FEW: usize = 12;
/// The maximum number of reachable services that are listed; the rest are counted.
const LISTED: usize = 10;
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
        reachable.services.into_iter().take(LISTED).filter_map(|service| service.gets).collect();
    let listed: Vec<_> = audit
        .findings
        .iter()
        .filter(|f| f.finding.severity > Severity::Info || fail_on == Severity::Info)
        .collect();
    let mut last = None;
    for block in groups(&listed, &summaries, &audit.report.snapshot.host.os) {
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
        self.prose(Emphasis::Heading, "", &heading(snapshot, self.style.zone))?;
        self.verdict(audit, fail_on)?;
        self.prose(Emphasis::Plain, "", &judged_by(audit))?;
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
        for ReachableService { severity, places, program, gets, limited_to } in
            reachable.services.iter().take(LISTED)
        {
            let mut line = format!("{}: {program}", few(places, self.style.width.map(|_| FEW_REACHABLE)));
            if let Some(limited_to) = limited_to {
                line.push_str(&format!("; {}", sanitize(limited_to)));
            }
            if let Some(gets) = gets {
                line.push_str(&format!(". {}", capitalized(gets)));
            }
            let tone = severity.map_or(Emphasis::Plain, Emphasis::from);
            self.prose(tone, "  ", &line)?;
        }
        let more = reachable.services.len().saturating_sub(LISTED);
        if more > 0 {
            let more = plural(more, "other service");
            self.prose(Emphasis::Quiet, "  ", &format!("and {more} (portolan lists all)"))?;
        }
        Ok(())
    }

    fn accepted(&mut self, audit: &Audit<'_>) -> io::Result<()> {
        if !audit.accepted.is_empty() {
            self.blank()?;
        }
        for rule in audit.accepted_by_rule() {
            self.prose(Emphasis::Warning, "Accepted by policy: ", &accepted(&rule))?;
        }
        Ok(())
    }

    fn block(&mut self, block: &FindingGroup<'_>) -> io::Result<()> {
        let heading = format!("{}: {}", block.name(), block.flag.description());
        self.prose(block.severity.into(), "  ", &heading)?;
        for ProgramGroup { process_summary, to_stop, evidence } in &block.programs {
            self.prose(Emphasis::Plain, "    ", process_summary)?;
            for evidence in evidence {
                let line = few(&evidence.places, self.style.width.map(|_| FEW));
                self.prose(Emphasis::Plain, "      ", &line)?;
                self.prose(Emphasis::Plain, "        ", &evidence.sentence())?;
            }
            if let Some(to_stop) = to_stop {
                self.prose(Emphasis::Plain, "      To stop: ", to_stop)?;
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
