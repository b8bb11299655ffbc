//! Makes the text of a registry, `registry.tsv`, from the rows of IANA's CSV.

use std::fmt::Write as _;

use super::iana::{self, BadSource, Content, Entry};
use super::row::{COLUMNS, RANGES};
use crate::model::{PortRange, Protocol};

/// The start of the header line that gives the date of the data.
pub(super) const DATE: &str = "# date: ";
/// The start of the header line that names the sources.
pub const MADE_FROM: &str = "# made from: ";

/// Makes the text of a registry from IANA's CSV that a user provides. The CSV has no date, so the date of its newest
/// row is used.
///
/// # Errors
///
/// Returns an error if the bytes are not IANA's CSV, or if no row has a port.
pub(super) fn compile_newer(label: &str, csv: &[u8]) -> Result<String, BadSource> {
    if csv.iter().all(u8::is_ascii_whitespace) {
        return Err(BadSource("empty".to_owned()));
    }
    if csv.contains(&0) || std::str::from_utf8(csv).is_err() {
        return Err(BadSource("not text: this is not IANA's registry of ports as CSV".to_owned()));
    }
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv); // a byte order mark
    let entries = iana::rows(csv)?;
    let dates = entries.iter().flat_map(|entry| [&entry.content.registered, &entry.content.modified]);
    let date = dates.flatten().filter(|date| is_date(date)).max().cloned().unwrap_or_default();
    if !entries.iter().any(|entry| entry.content.service.is_some()) {
        return Err(BadSource("no row names a port".to_owned()));
    }
    Ok(write(&format!("{label} ({date})"), &date, entries))
}

/// Returns whether a text has the form `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.split('-');
    parts.next().is_some_and(|year| digits(year, 4)) && parts.all(|part| digits(part, 2))
}

/// Returns the text of a registry: a header, the rows of single ports sorted by port, then the rows of ranges.
pub fn write(made_from: &str, date: &str, mut entries: Vec<Entry>) -> String {
    entries.retain(|entry| !entry.content.is_bare());
    // The sort is stable, so rows of one port keep their order.
    entries.sort_by_key(|entry| entry.ports);
    let mut text = format!(
        "# IANA's Service Name and Transport Protocol Port Number Registry: a line for each port and name.\n\
         {DATE}{date}\n\
         {MADE_FROM}{made_from}\n\
         # licence of the registry: CC0 1.0 (IANA's licensing terms, joint statement of IANA and the IETF, 10 November 2021)\n\
         # made by `cargo run --example generate-registry`; not to be edited: see src/docs/registry.md\n\
         # columns: {}\n",
        COLUMNS.join("\t"),
    );
    let (single, ranges): (Vec<Line>, Vec<Line>) =
        join_protocols(entries).into_iter().partition(|(ports, ..)| ports.low == ports.high);
    for line in &single {
        push(&mut text, line);
    }
    text.push_str(RANGES.trim_start());
    for line in &ranges {
        push(&mut text, line);
    }
    text
}

type Line = (PortRange, Vec<Protocol>, Content);

fn join_protocols(entries: Vec<Entry>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for Entry { ports, protocol, content } in entries {
        let same = lines
            .iter_mut()
            .rev()
            .take_while(|(other, ..)| *other == ports)
            .find(|(_, _, other)| *other == content);
        match same {
            Some((_, protocols, _)) => protocols.push(protocol),
            None => lines.push((ports, vec![protocol], content)),
        }
    }
    for (_, protocols, _) in &mut lines {
        protocols.sort_unstable();
        protocols.dedup();
    }
    lines
}

fn push(text: &mut String, (ports, protocols, content): &Line) {
    let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.name()).collect();
    let shown = |field: &Option<String>| field.clone().unwrap_or_default();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{ports}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        protocols.join(","),
        shown(&content.service),
        shown(&content.description),
        shown(&content.assignee),
        shown(&content.registered),
        shown(&content.modified),
        shown(&content.reference),
        shown(&content.since),
        shown(&content.notes),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration \
        Date,Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n";

    #[test]
    fn a_newer_csv_dates_itself() {
        let csv =
            format!("\u{feff}{HEADER}ssh,22,tcp,,,,2001-02,2022-02-07,,,,\n,9,,Unassigned,,,2030,soon,,,,\n");
        let text = compile_newer("FILE", csv.as_bytes()).unwrap();
        assert!(text.contains("# date: 2030\n"), "{text}");
        assert!(text.contains("# made from: FILE ("));
        for (csv, expected) in [
            ("", "empty"),
            (" \n", "empty"),
            ("a,b\n1,2\n", "this is not IANA's registry of ports"),
            (HEADER, "no row names a port"),
            (&format!("{HEADER},9,,Unassigned,,,,,,,,\n"), "no row names a port"),
            (&format!("{HEADER}a,x,tcp,,,,,,,,,\n"), "line 2: \"x\" is not a port"),
            ("\0\0", "not text"),
        ] {
            let error = compile_newer("FILE", csv.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{csv:?}: {error}");
        }
    }
}
