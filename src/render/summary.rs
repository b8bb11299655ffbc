//! The line that ends a listing: how many listeners, how many flagged by kind, how many owners unread.
//!
//! It never sounds like an all-clear where something could not be seen. It is text without colour or line
//! breaks; the table sets it below its rows on a terminal, elsewhere the caller sends it to standard error.

use crate::findings::Flag;
use crate::judge::{Entry, Report};
use crate::model::{Owner, Stage};

use crate::registry::Registry;

use super::sanitize;

/// The line, without its newline.
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

/// The date of the data that judged, and where it was read from.
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

/// The owners that could not be read, and what would show them, as the gaps say.
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
            let holders = |stage| matches!(stage, Stage::Owners | Stage::Processes);
            report.snapshot.gaps.iter().filter(|gap| holders(gap.stage)).find_map(|gap| gap.remedy.as_deref())
        })
        .flatten();
    Some(match remedy {
        Some(remedy) => format!("{}: {}.", unread.join(", "), sanitize(remedy.trim_end_matches('.'))),
        None => format!("{}.", unread.join(", ")),
    })
}

/// `1 listener`, `2 listeners`.
pub(super) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
