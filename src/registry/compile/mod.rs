//! Makes the text of the registry from its sources.
//!
//! IANA's CSV is the base. A newer list of names, if there is one, decides for every pair of a single port and a
//! protocol which registrations still exist, which were renamed and which are new. It has no dates, assignees or
//! references, and none are invented. The output depends on the input alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{PortRange, Protocol};

use super::evidence;
pub use super::evidence::Packaged;
pub use super::iana::BadSource;
use super::iana::{self, Content, Entry, Names};
use super::row::{COLUMNS, RANGES};

/// The start of the header line that gives the date of the data.
pub(super) const DATE: &str = "# date: ";
/// The start of the header line that names the sources.
pub(super) const MADE_FROM: &str = "# made from: ";

/// A source: its bytes, its label and its date.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its origin, with a version: `crate port-desc 0.1.1`.
    pub label: &'a str,
    /// The date of its data, `YYYY-MM-DD`.
    pub date: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// The sources of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// IANA's CSV.
    pub iana: Source<'a>,
    /// A newer list of names, as JSON.
    pub names: Option<Source<'a>>,
}

/// The output of the generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The text of `registry.tsv`.
    pub registry: String,
    /// The text of `evidence.tsv`.
    pub evidence: String,
}

/// A package that the embedded registry is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its kind, name and version: `crate port-desc 0.1.1`.
    pub label: String,
    /// The date of its data.
    pub date: &'static str,
    /// The name of the file in the package that is read.
    pub file: &'static str,
}

impl Package {
    /// Returns the package that serves as `role`: `iana`, `names` or a kind of evidence.
    #[must_use]
    pub fn of(role: &str) -> Option<Self> {
        include_str!("../data/sources.tsv").lines().find_map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            match fields[..] {
                [of, kind, name, version, date, file, _path] if of == role => {
                    Some(Package { label: format!("{kind} {name} {version}"), date, file })
                }
                _ => None,
            }
        })
    }

    /// Returns its label with the date of its data, as in the header of the evidence.
    #[must_use]
    pub fn dated(&self) -> String {
        format!("{} ({})", self.label, self.date)
    }

    /// Returns `bytes`, the content of its file, as a source.
    #[must_use]
    pub fn source<'a>(&'a self, bytes: &'a [u8]) -> Source<'a> {
        Source { label: &self.label, date: self.date, bytes }
    }
}

/// Returns the text of `registry.tsv`: a header, the rows of single ports sorted by port, then those of ranges.
///
/// # Errors
///
/// Returns an error if a source cannot be read.
pub fn compile(sources: Sources<'_>) -> Result<String, BadSource> {
    Ok(write(&sources, &join_protocols(entries(sources)?)))
}

/// Returns the text of a registry made from IANA's CSV alone, which a user provides. Its date is that of its newest
/// row, because the file itself has none.
///
/// # Errors
///
/// Returns an error if the bytes are not that CSV, or name no port.
pub fn compile_newer(label: &str, csv: &[u8]) -> Result<String, BadSource> {
    if csv.iter().all(u8::is_ascii_whitespace) {
        return Err(BadSource("empty".to_owned()));
    }
    if csv.contains(&0) || std::str::from_utf8(csv).is_err() {
        return Err(BadSource("not text: this is not IANA's registry of ports as CSV".to_owned()));
    }
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv); // a byte order mark
    let mut entries = iana::rows(csv)?;
    let dates = entries.iter().flat_map(|entry| [&entry.content.registered, &entry.content.modified]);
    let date = dates.flatten().filter(|date| is_date(date)).max().cloned().unwrap_or_default();
    if !entries.iter().any(|entry| entry.content.service.is_some()) {
        return Err(BadSource("no row names a port".to_owned()));
    }
    entries.retain(|entry| !entry.content.is_bare());
    entries.sort_by_key(|entry| entry.ports);
    let sources = Sources { iana: Source { label, date: &date, bytes: csv }, names: None };
    Ok(write(&sources, &join_protocols(entries)))
}

/// Returns whether a text has the form `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.split('-');
    parts.next().is_some_and(|year| digits(year, 4)) && parts.all(|part| digits(part, 2))
}

/// Returns the text of the registry and the text of `evidence.tsv`, which is made from packaged sources, each with its
/// label.
///
/// # Errors
///
/// Returns an error if a source cannot be read.
pub fn compile_with(sources: Sources<'_>, packaged: &[(String, Packaged)]) -> Result<Made, BadSource> {
    let entries = entries(sources)?;
    let mut named = Vec::new();
    for (label, source) in packaged {
        let names =
            evidence::read(source).map_err(|BadSource(what)| BadSource(format!("{label}: {what}")))?;
        named.push((source.kind, names));
    }
    let labels: Vec<&str> = packaged.iter().map(|(label, _)| label.as_str()).collect();
    let evidence = format!(
        "# Which kinds of packaged source name a registration, and which name a port as something else: facts only,\n\
         # nothing of their text.\n\
         {MADE_FROM}{}\n\
         # made by `cargo run --example generate-registry`; not to be edited: see src/docs/registry.md\n\
         #   service   as registered: the kinds name this registration; empty: they name the port otherwise\n\
         #   together  of the kinds that name the port otherwise, those that agree with each other on a name\n\
         # columns: ports\tprotocols\tservice\tkinds\ttogether\n{}",
        labels.join(", "),
        evidence::lines(&entries, &named),
    );
    Ok(Made { registry: write(&sources, &join_protocols(entries)), evidence })
}

/// Returns the rows of the registry, sorted by port.
fn entries(sources: Sources<'_>) -> Result<Vec<Entry>, BadSource> {
    let within = |label: &str, BadSource(what): BadSource| BadSource(format!("{label}: {what}"));
    let mut entries = iana::rows(sources.iana.bytes).map_err(|e| within(sources.iana.label, e))?;
    if let Some(source) = sources.names {
        let names = iana::names(source.bytes).map_err(|e| within(source.label, e))?;
        entries = merge(entries, &names, sources.iana.date, source.date);
    }
    entries.retain(|entry| !entry.content.is_bare());
    // The sort is stable: rows of one port stay in the registry's own order.
    entries.sort_by_key(|entry| entry.ports);
    Ok(entries)
}

/// Returns the base as changed by the newer names.
fn merge(base: Vec<Entry>, names: &Names, old: &str, new: &str) -> Vec<Entry> {
    let since = format!("{old}..{new}");
    // The names that each pair had, to distinguish a renamed pair from a pair with several names.
    let mut had: BTreeMap<(u16, Protocol), Vec<String>> = BTreeMap::new();
    for entry in base.iter().filter(|entry| entry.ports.low == entry.ports.high) {
        had.entry((entry.ports.low, entry.protocol)).or_default().extend(entry.content.service.clone());
    }
    let mut merged = Vec::with_capacity(base.len());
    for mut entry in base {
        let pair = (entry.ports.low, entry.protocol);
        let single = entry.ports.low == entry.ports.high;
        if let Some((name, description)) = names.get(&pair).filter(|_| single) {
            let had = &had[&pair];
            if name.is_empty() != had.is_empty() || (!name.is_empty() && !had.contains(name)) {
                continue; // lost, named or renamed: it comes back below
            }
            if entry.content.service.as_ref() == Some(name) {
                let mut newer = Content { notes: entry.content.notes.clone(), ..Content::default() };
                newer.describe(description);
                entry.content.description = newer.description;
            }
        }
        merged.push(entry);
    }
    for (&(port, protocol), (name, description)) in names {
        let had_names = had.get(&(port, protocol));
        let before = had_names.map(|names| names.join(", ")).unwrap_or_default();
        let mut content = match had_names {
            Some(had) if name.is_empty() && had.is_empty() => continue,
            Some(had) if had.contains(name) => continue,
            _ if name.is_empty() => {
                let mut content = Content::unnamed(description);
                if !before.is_empty() {
                    content.note(&format!("registered as {before} until after {old}"));
                }
                content
            }
            _ => {
                let mut content = Content { service: Some(name.clone()), ..Content::default() };
                content.describe(description);
                content.note(&if before.is_empty() {
                    format!("named between {old} and {new}")
                } else {
                    format!("formerly {before} ({old})")
                });
                content
            }
        };
        content.since = Some(since.clone());
        merged.push(Entry { ports: PortRange::single(port), protocol, content });
    }
    merged
}

/// A line: ports, their protocols, and the remaining content.
type Line = (PortRange, Vec<Protocol>, Content);

/// Joins entries of the same ports and content into one line.
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

fn write(sources: &Sources<'_>, lines: &[Line]) -> String {
    let all = [Some(sources.iana), sources.names];
    let made_from: Vec<String> =
        all.iter().flatten().map(|source| format!("{} ({})", source.label, source.date)).collect();
    let date = sources.names.map_or(sources.iana.date, |names| names.date.max(sources.iana.date));
    let mut text = format!(
        "# IANA's Service Name and Transport Protocol Port Number Registry: a line for each port and name.\n\
         {DATE}{date}\n\
         {MADE_FROM}{}\n\
         # licence of the registry: CC0 1.0 (IANA's licensing terms, joint statement of IANA and the IETF, 10 November 2021)\n\
         # made by `cargo run --example generate-registry`; not to be edited: see src/docs/registry.md\n\
         # columns: {}\n",
        made_from.join(", "),
        COLUMNS.join("\t"),
    );
    let (single, ranges): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|(ports, ..)| ports.low == ports.high);
    for line in single {
        push(&mut text, line);
    }
    text.push_str(RANGES.trim_start());
    for line in ranges {
        push(&mut text, line);
    }
    text
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
mod tests;
