//! The last lines of a listing: the number of listeners and of flags, and the parts that could not be seen. If
//! something relevant could not be seen, these lines never suggest an all-clear.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::Timestamp;

use crate::findings::Flag;
use crate::findings::text::{FEW, capitalized, first_of, plural};
use crate::judge::{Entry, Report};
use crate::model::{Gap, Severity, State};
use crate::registry::Registry;

use super::caveats::caveats;
use super::cells::{UNJUDGED, is_unjudged};
use super::wrap::wrap;
use super::{Emphasis, Style, sanitize};

pub fn summary(report: &Report, legend: &str) -> Vec<(Emphasis, String)> {
    let mut lines = vec![(Emphasis::Quiet, counts(report))];
    let caveats = caveats(&report.snapshot, report.entries.iter(), report.question);
    lines.extend(caveats.into_iter().map(|caveat| (Emphasis::Warning, caveat)));
    if !legend.is_empty() {
        lines.push((Emphasis::Quiet, legend.to_owned()));
    }
    if is_old(report.registry.date(), report.snapshot.taken) {
        lines.push((Emphasis::Quiet, registry(&report.registry)));
    }
    lines
}

pub fn write_summary(report: &Report, legend: &str, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    for (tone, text) in summary(report, legend) {
        for line in wrap("", &text, style.width) {
            writeln!(w, "{}", style.paint(tone, &line))?;
        }
    }
    Ok(())
}

pub fn summary_height(report: &Report, legend: &str, style: &Style) -> usize {
    summary(report, legend).iter().map(|(_, text)| wrap("", text, style.width).len()).sum()
}

/// Data older than this many days is reported as old.
pub(super) const OLD: i64 = 365;

/// Returns whether data of this date is old at the time of a snapshot.
fn is_old(date: &str, now: Timestamp) -> bool {
    age(date, now).is_some_and(|days| days > OLD)
}

/// Returns the age of the data at the time of the snapshot, in days; `None` if its date has no day.
pub(super) fn age(date: &str, now: Timestamp) -> Option<i64> {
    let midnight: Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
    Some(now.duration_since(midnight).as_hours() / 24)
}

/// Returns a sentence with the date of the registry, and with its file if it is not embedded.
pub fn registry(registry: &Registry) -> String {
    match registry.file() {
        Some(file) => format!("Registry of {} ({}).", registry.date(), sanitize(file)),
        None => format!("Registry of {}.", registry.date()),
    }
}

fn counts(report: &Report) -> String {
    let listeners = report.entries.iter().filter(|j| j.socket.state.holds_port()).count();
    let raw = report.entries.iter().filter(|entry| entry.socket.state == State::Raw).count();
    let others = report.entries.len() - listeners - raw;
    let is_raw_only = report.snapshot.scope.states == [State::Raw];
    if report.entries.is_empty() {
        if let Some(port) = report.question.port {
            let is_certain = !report.snapshot.gaps.iter().any(Gap::hides_listeners);
            let what = if is_certain { "Nothing listens" } else { "No listener seen" };
            return format!("{what} on port {port}.");
        }
        return match (report.seen, report.snapshot.is_complete()) {
            (0, _) if report.question.is_narrowed => "No match.".into(),
            (0, true) if is_raw_only => "No raw or packet sockets.".into(),
            (0, true) => "No listeners.".into(),
            (0, false) if is_raw_only => {
                "No raw or packet socket was seen, but not everything could be seen.".into()
            }
            (0, false) => "No listener was seen, but not everything could be seen.".into(),
            (1, _) => "The only socket that was seen does not match.".into(),
            (seen, _) => format!("No match among the {seen} sockets seen."),
        };
    }
    let counts = [(listeners, "listener"), (raw, "raw or packet socket"), (others, "other socket")];
    let counts: Vec<String> = counts
        .into_iter()
        .enumerate()
        .filter(|(at, (count, _))| *count > 0 || (*at == 0 && raw == 0))
        .map(|(_, (count, what))| plural(count, what))
        .collect();
    let said = counts.join(" and ");
    let by_severity = Severity::ALL.into_iter().rev().filter_map(|severity| flagged(report, severity));
    let flagged: Vec<String> = by_severity.collect();
    let mut said = match flagged.is_empty() {
        true => format!("{said}, none with a flag."),
        false => format!("{said}. {}.", flagged.join(". ")),
    };
    let is_marked = |entry: &&Entry| is_unjudged(entry) && entry.findings().is_empty();
    let unjudged = report.entries.iter().filter(is_marked).count();
    if unjudged > 0 {
        // Most flags are about the program, so an entry without a visible program could not be judged.
        said.push_str(&format!(" Not judged ({UNJUDGED}): {unjudged}, because the program is not visible."));
    }
    let unseen: Vec<u16> = report
        .entries
        .iter()
        .filter(|entry| leads_to_unseen_service(entry))
        .map(|entry| entry.socket.local.port)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if !unseen.is_empty() {
        let (ports, services, it) =
            if unseen.len() == 1 { ("port", "service", "it") } else { ("ports", "services", "them") };
        let few = first_of(&unseen.iter().map(u16::to_string).collect::<Vec<_>>(), FEW);
        let sudo = if report.snapshot.host.privileged { "" } else { "sudo " };
        said.push_str(&format!(" Not judged: the {services} behind the published {ports} {few} ({sudo}portolan audit judges {it})."));
    }
    said
}

/// Returns whether a published port leads to a service in a network namespace that was not scanned. The list then has
/// no flag for this service.
fn leads_to_unseen_service(entry: &Entry) -> bool {
    let Some(to) = entry.forward_target() else { return false };
    // A rule can also forward a port to another machine. A known container proves that the destination is on this
    // machine.
    let is_here = to.container.is_some() || entry.socket.forwarding.is_none();
    is_here && to.pids.is_empty() && !to.address.is_loopback() && !is_unjudged(entry)
}

fn flagged(report: &Report, severity: Severity) -> Option<String> {
    let findings =
        report.entries.iter().flat_map(|entry| entry.findings().iter().map(move |found| (entry, found)));
    let findings = findings.filter(|(_, found)| found.severity == severity);
    let found: Vec<(Flag, bool, u16)> =
        findings.map(|(entry, found)| (found.flag(), found.is_presumed(), entry.socket.local.port)).collect();
    if found.is_empty() {
        return None;
    }
    let flags = Flag::all().filter_map(|flag| {
        let of_flag = || found.iter().filter(|(found, ..)| *found == flag);
        let count = of_flag().count();
        let presumed = of_flag().filter(|(_, presumed, _)| *presumed).count();
        // Without color, the rows do not show which flags are critical.
        let ports: BTreeSet<u16> = of_flag().map(|(.., port)| *port).filter(|port| *port > 0).collect();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        match (count, presumed) {
            (0, _) => None,
            _ if severity == Severity::Critical && !ports.is_empty() => {
                let presumed = if presumed > 0 { format!("{presumed} presumed; ") } else { String::new() };
                let noun = if ports.len() == 1 { "port" } else { "ports" };
                Some(format!("{count} {} ({presumed}{noun} {})", flag.code(), first_of(&ports, FEW)))
            }
            (_, 0) => Some(format!("{count} {}", flag.code())),
            _ => Some(format!("{count} {} ({presumed} presumed)", flag.code())),
        }
    });
    let flags: Vec<String> = flags.collect();
    Some(format!("{}: {}", capitalized(severity.name()), flags.join(", ")))
}
