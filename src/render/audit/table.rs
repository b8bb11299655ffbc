//! The audit as a table for people. Its parts are, in this order:
//!
//! - The verdict and the gaps.
//! - The services that other machines can reach, with the findings about what any client can do.
//! - All other findings, by severity. No finding is shown twice.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use crate::findings::Flag;
use crate::findings::text::{capitalized, plural};
use crate::judge::audit::{Audit, AuditFinding, AuditVerdict, Subject};
use crate::model::Severity;
use crate::render::wrap::prose;
use crate::render::{Emphasis, Style, stderr};

use super::counts::Rows;
use super::groups::{FindingGroup, ProgramGroup, few, groups, with_limit};
use super::reachable::{self, OutsiderFinding, Reachable, ReachableService, is_in_list};
use super::{accepted, heading, judged_by, verdict};

/// The width of prose without a terminal, in columns. Redirected prose is wrapped too, because people read it.
pub(super) const MEASURE: u16 = 100;

const SCREEN: usize = 24;
/// On a terminal, at most this many places (addresses and ports) of one program are shown.
const FEW: usize = 12;
/// The maximum number of reachable services that are listed; the rest are counted.
const LISTED: usize = 10;
/// On a terminal, at most this many places (addresses and ports) of one reachable service are shown.
const FEW_REACHABLE: usize = 3;

pub fn document(audit: &Audit<'_>, fail_on: Severity, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut out = AuditWriter { style, height: 0, w: BufWriter::with_capacity(1 << 16, w) };
    out.head(audit, fail_on)?;
    let (reachable, rows) = (reachable::services(audit), Rows::of(audit));
    out.reachable(&reachable, audit, &rows)?;
    let is_shown = |severity| severity > Severity::Info || fail_on == Severity::Info;
    let (in_list, below): (Vec<_>, Vec<_>) = audit
        .findings
        .iter()
        .filter(|found| is_shown(found.finding.severity))
        .partition(|found| is_in_list(found));
    let mut last = None;
    for block in groups(&below, audit.report) {
        out.blank()?;
        if last.replace(block.severity) != Some(block.severity) {
            out.severity(block.severity, &in_list, &rows)?;
        }
        out.block(&block)?;
    }
    out.accepted(audit)?;
    out.folded(audit, in_list.len() + below.len(), &rows)?;
    if style.width.is_some() && out.height > SCREEN {
        // The verdict is repeated, because the verdict at the top has scrolled off the screen.
        out.blank()?;
        out.verdict(audit, fail_on)?;
    }
    out.w.flush()
}

struct AuditWriter<'a> {
    style: &'a Style,
    height: usize,
    w: BufWriter<&'a mut dyn Write>,
}

impl AuditWriter<'_> {
    fn blank(&mut self) -> io::Result<()> {
        self.height += 1;
        writeln!(self.w)
    }

    fn line(&mut self, tone: Emphasis, text: &str) -> io::Result<()> {
        self.height += 1;
        writeln!(self.w, "{}", self.style.paint(tone, text))
    }

    fn prose(&mut self, tone: Emphasis, first: &str, text: &str) -> io::Result<()> {
        for line in prose(first, text, MEASURE, self.style) {
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
            AuditVerdict::Incomplete | AuditVerdict::NothingMatched => Emphasis::Warning,
        };
        self.prose(tone, "", &verdict(audit, fail_on))
    }

    fn reachable(&mut self, reachable: &Reachable<'_>, audit: &Audit<'_>, rows: &Rows) -> io::Result<()> {
        if audit.listeners.is_empty() {
            return Ok(());
        }
        self.blank()?;
        let all = plural(rows.listeners(audit.listeners.iter().copied()), "listener");
        let count = rows.listeners(reachable.listeners.iter().copied());
        let certain = rows.listeners(reachable.certain());
        let count = match (certain, count - certain) {
            (0, 0) => format!("none of {all}"),
            (certain, 0) => format!("{certain} of {all}"),
            (0, _) => format!("at most {count} of {all} (the firewall was not checked)"),
            (_, unknown) => {
                format!("{certain} to {count} of {all} (the firewall was not checked for {unknown})")
            }
        };
        self.prose(Emphasis::Heading, "", &format!("Reachable from other machines: {count}"))?;
        let services = &reachable.services;
        let dangerous =
            services.iter().rposition(|service| !service.findings.is_empty()).map_or(0, |last| last + 1);
        let (listed, others) = services.split_at(services.len().min(LISTED.max(dangerous)));
        for service in listed {
            self.service(service)?;
        }
        let more = others.len();
        if more > 0 {
            let more = plural(more, "other service");
            self.prose(Emphasis::Quiet, "  ", &format!("and {more} (to list all, type portolan)"))?;
        }
        Ok(())
    }

    fn service(&mut self, service: &ReachableService) -> io::Result<()> {
        let few_places = few(&service.places, self.style.width.map(|_| FEW_REACHABLE));
        let mut line = format!("{few_places}: {}", service.program);
        if let Some(below) = service.below {
            line.push_str(&format!(" ({}: see below)", below.name()));
        }
        line = with_limit(line, service.limited_to.as_deref());
        if let Some(gets) = &service.gets {
            line.push_str(&format!(". {}", capitalized(gets)));
        }
        let tone = service.severity.map_or(Emphasis::Plain, Emphasis::from);
        self.prose(tone, "  ", &line)?;
        for OutsiderFinding { severity, code, text } in &service.findings {
            self.prose(Emphasis::Plain, "      ", &format!("{}, {code}: {text}", severity.name()))?;
        }
        if let Some(to_stop) = &service.to_stop {
            self.prose(Emphasis::Plain, "      To stop: ", to_stop)?;
        }
        Ok(())
    }

    /// Writes the heading of a severity. The heading also says how many listeners of this severity are already in the
    /// list of reachable services.
    fn severity(&mut self, severity: Severity, in_list: &[&AuditFinding<'_>], rows: &Rows) -> io::Result<()> {
        let mut text = severity.name().to_uppercase();
        let above =
            rows.listeners(in_list.iter().filter(|found| found.finding.severity == severity).filter_map(
                |found| match found.subject {
                    Subject::Entry(entry) => Some(entry),
                    Subject::NoListener { .. } => None,
                },
            ));
        if above > 0 {
            text.push_str(&format!(" ({above} more above, among the reachable listeners)"));
        }
        self.line(severity.into(), &text)
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
                let places = evidence.places(self.style.width.map(|_| FEW));
                self.prose(Emphasis::Plain, "      ", &places)?;
                self.prose(Emphasis::Plain, "        ", &evidence.sentence())?;
            }
            if let Some(to_stop) = to_stop {
                self.prose(Emphasis::Plain, "      To stop: ", to_stop)?;
            }
        }
        self.prose(Emphasis::Quiet, "    Why  ", block.flag.why())?;
        self.prose(Emphasis::Quiet, "    Do   ", block.flag.remedy())
    }

    /// Writes the number of findings with the severity info.
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
