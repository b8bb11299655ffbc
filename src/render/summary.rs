//! The line that ends a listing: the number of listeners, of flags by kind, and of owners that could not be read.
//!
//! The line never suggests an all-clear if something could not be observed. It is text without colour or line breaks;
//! on a terminal it is the last line of the table, elsewhere the caller writes it to standard error.

use crate::findings::Flag;
use crate::judge::{Entry, Report};
use crate::model::{Owner, Stage};

use crate::registry::Registry;

use super::sanitize;

/// Returns the summary, without its newline.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut said = vec![counts(report)];
    said.extend(owners(report));
    let gaps = report.snapshot.gaps.len();
    if gaps > 0 {
        said.push(format!("Incomplete ({}): this is not an all-clear.", plural(gaps, "gap")));
    }
    said.push(registry(&report.registry));
    said.join(" ")
}

/// Returns the date of the registry, and the file it was read from.
#[must_use]
pub fn registry(registry: &Registry) -> String {
    match registry.file() {
        Some(file) => format!("Registry of {} ({}).", registry.date(), sanitize(file)),
        None => format!("Registry of {}.", registry.date()),
    }
}

fn counts(report: &Report) -> String {
    let listeners = report.entries.iter().filter(|j| j.socket.state.holds_port()).count();
    let others = report.entries.len() - listeners;
    if report.entries.is_empty() {
        return match (report.seen, report.snapshot.is_complete()) {
            (0, true) => "No listeners.".into(),
            (0, false) => "No listener could be seen.".into(),
            (seen, _) => format!("No match among the {} seen.", plural(seen, "socket")),
        };
    }
    let mut said = plural(listeners, "listener");
    if others > 0 {
        said.push_str(&format!(" and {}", plural(others, "other socket")));
    }
    let findings = || report.entries.iter().flat_map(Entry::findings);
    let flagged: Vec<String> = Flag::all()
        .filter_map(|flag| {
            let count = findings().filter(|f| f.flag() == flag).count();
            let presumed = findings().filter(|f| f.flag() == flag && f.is_presumed()).count();
            match (count, presumed) {
                (0, _) => None,
                (_, 0) => Some(format!("{count} {}", flag.code())),
                _ => Some(format!("{count} {} ({presumed} presumed)", flag.code())),
            }
        })
        .collect();
    if flagged.is_empty() {
        format!("{said}, none flagged.")
    } else {
        format!("{said}: {}.", flagged.join(", "))
    }
}

/// Returns how many owners could not be read, and the remedy, as the gaps give it.
fn owners(report: &Report) -> Option<String> {
    let count =
        |owner: &Owner| report.entries.iter().filter(|j| j.socket.owner.name() == owner.name()).count();
    let unread: Vec<String> = [Owner::Hidden, Owner::Unaccounted, Owner::Vanished, Owner::Unknown]
        .iter()
        .map(|owner| (owner, count(owner)))
        .filter(|(_, count)| *count > 0)
        .map(|(owner, count)| format!("{} {}", plural(count, "owner"), owner.name()))
        .collect();
    if unread.is_empty() {
        return None;
    }
    let remedy = (count(&Owner::Hidden) > 0)
        .then(|| {
            let is_about_processes = |stage| matches!(stage, Stage::Owners | Stage::Processes);
            report
                .snapshot
                .gaps
                .iter()
                .filter(|gap| is_about_processes(gap.stage))
                .find_map(|gap| gap.remedy.as_deref())
        })
        .flatten();
    Some(match remedy {
        Some(remedy) => format!("{}: {}.", unread.join(", "), sanitize(remedy.trim_end_matches('.'))),
        None => format!("{}.", unread.join(", ")),
    })
}

/// Returns `1 listener` or `2 listeners`.
pub(super) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
