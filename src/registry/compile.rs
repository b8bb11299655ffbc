//! Makes the text of the registry from its sources.
//!
//! IANA's CSV is the base. A newer list of names, where there is one, decides for every pair of a single port
//! and a protocol which registrations still stand, which were renamed and which are new; it brings no dates,
//! assignees or references, and none are invented. The output depends on nothing but the input.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{Life, PortRange, Protocol};

pub use super::iana::BadSource;
use super::iana::{self, Content, Entry, Names, Services};
use super::row::{COLUMNS, RANGES};

/// Begins the header line with the date of the data.
pub(super) const DATE: &str = "# date: ";
/// Begins the header line with the sources.
pub(super) const MADE_FROM: &str = "# made from: ";

/// A source: its bytes, and what is to be told of it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Where it comes from, with a version: `crate port-desc 0.1.1`.
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
    /// `/etc/services` of Debian's `netbase`.
    pub services: Option<Source<'a>>,
}

/// A package the embedded registry is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its kind, name and version: `crate port-desc 0.1.1`.
    pub label: String,
    /// The date of its data.
    pub date: &'static str,
    /// The name of the file of it that is read.
    pub file: &'static str,
}

impl Package {
    /// The package that serves as `role`: `iana`, `names` or `services`.
    #[must_use]
    pub fn of(role: &str) -> Option<Self> {
        include_str!("data/sources.tsv").lines().find_map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            match fields[..] {
                [of, kind, name, version, date, file] if of == role => {
                    Some(Package { label: format!("{kind} {name} {version}"), date, file })
                }
                _ => None,
            }
        })
    }

    /// The source that `bytes` of its file are.
    #[must_use]
    pub fn source<'a>(&'a self, bytes: &'a [u8]) -> Source<'a> {
        Source { label: &self.label, date: self.date, bytes }
    }
}

/// The text of `registry.tsv`: a header, the rows of single ports sorted by port, then those of ranges.
///
/// # Errors
/// Where a source cannot be read.
pub fn compile(sources: Sources<'_>) -> Result<String, BadSource> {
    let within = |label: &str, BadSource(what): BadSource| BadSource(format!("{label}: {what}"));
    let mut entries = iana::rows(sources.iana.bytes).map_err(|e| within(sources.iana.label, e))?;
    if let Some(source) = sources.names {
        let names = iana::names(source.bytes).map_err(|e| within(source.label, e))?;
        entries = merge(entries, &names, sources.iana.date, source.date);
    }
    entries.retain(|entry| !entry.content.is_bare());
    if let Some(source) = sources.services {
        let services = Services::parse(source.bytes).map_err(|e| within(source.label, e))?;
        for Entry { ports, protocol, content } in &mut entries {
            if content.service.as_deref().is_some_and(|service| services.name(*ports, *protocol, service)) {
                content.evidence.push(Life::Netbase);
            }
        }
    }
    // Stable: on one port the registry's own order stays.
    entries.sort_by_key(|entry| entry.ports);
    Ok(write(&sources, &join_protocols(entries)))
}

/// The base as the newer names leave it.
fn merge(base: Vec<Entry>, names: &Names, old: &str, new: &str) -> Vec<Entry> {
    let since = format!("{old}..{new}");
    // The names each single pair had, to tell a renamed pair from one that has several names.
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

/// A line: ports, its protocols, and what it says of them.
type Line = (PortRange, Vec<Protocol>, Content);

/// Entries of the same ports and content become one line.
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
    let all = [Some(sources.iana), sources.names, sources.services];
    let made_from: Vec<String> =
        all.iter().flatten().map(|source| format!("{} ({})", source.label, source.date)).collect();
    let date = sources.names.map_or(sources.iana.date, |names| names.date.max(sources.iana.date));
    let mut text = format!(
        "# IANA's Service Name and Transport Protocol Port Number Registry: a line for each port and name.\n\
         {DATE}{date}\n\
         {MADE_FROM}{}\n\
         # licence of the registry: CC0 1.0 (IANA's licensing terms, joint statement of IANA and the IETF, 10 November 2021)\n\
         # made by `cargo run --example generate-registry`; not to be edited: see src/registry/README.md\n\
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
    let evidence: Vec<_> = content.evidence.iter().map(|kind| kind.name()).collect();
    let shown = |field: &Option<String>| field.clone().unwrap_or_default();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{ports}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        protocols.join(","),
        shown(&content.service),
        shown(&content.description),
        shown(&content.assignee),
        shown(&content.registered),
        shown(&content.modified),
        shown(&content.reference),
        shown(&content.since),
        evidence.join(","),
        shown(&content.notes),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration \
        Date,Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n";

    /// The lines that these sources make, without the header and without trailing tabs.
    fn made(csv: &str, names: Option<&str>, services: Option<&str>) -> Vec<String> {
        let csv = format!("{HEADER}{csv}");
        fn source<'a>(date: &'a str, text: &'a str) -> Source<'a> {
            Source { label: "a source 1.0", date, bytes: text.as_bytes() }
        }
        let text = compile(Sources {
            iana: source("2024-06-12", &csv),
            names: names.map(|text| source("2026-09-17", text)),
            services: services.map(|text| source("2022-01-01", text)),
        })
        .unwrap();
        text.lines().skip(6).filter(|l| *l != RANGES.trim()).map(|l| l.trim_end().to_owned()).collect()
    }

    #[test]
    fn identical_protocols_share_a_line_and_evidence_splits_it() {
        let csv = "a,7,tcp,A,[X],,,,,,,\na,7,udp,A,[X],,,,,,,\na,7,sctp,other,[X],,,,,,,\nb,3,tcp,,,,,,,,,\n\
                   ,9,,Unassigned,,,,,,,,\n,10,udp,Removed,,,,,,,,\nx,5-6,udp,,,,,,,,,\n";
        let rest = ["7\tsctp\ta\tother\tX", "10\tudp\t\tUnassigned\t\t\t\t\t\t\tRemoved", "5-6\tudp\tx"];
        let lines = made(csv, None, None);
        assert_eq!(lines, ["3\ttcp\tb", "7\ttcp,udp\ta\tA\tX", rest[0], rest[1], rest[2]]);
        let lines = made(csv, None, Some("A 7/tcp\n"));
        assert_eq!(
            lines,
            ["3\ttcp\tb", "7\ttcp\ta\tA\tX\t\t\t\t\tnetbase", "7\tudp\ta\tA\tX", rest[0], rest[1], rest[2]]
        );
    }

    #[test]
    fn newer_names_decide() {
        let since = "2024-06-12..2026-09-17";
        for (name, csv, names, lines) in [
            (
                "stands",
                "a,1,tcp,A,[X],,2001,,,,,",
                r#"{"1/tcp": ["a", "A"]}"#,
                vec!["1\ttcp\ta\tA\tX\t2001".into()],
            ),
            (
                "described anew",
                "a,1,tcp,A,[X],,,,,,,",
                r#"{"1/tcp": ["a", "B"]}"#,
                vec!["1\ttcp\ta\tB\tX".into()],
            ),
            (
                "renamed",
                "a,1,tcp,A,[X],,2001,,[RFC1],,,",
                r#"{"1/tcp": ["b", "B"]}"#,
                vec![format!("1\ttcp\tb\tB\t\t\t\t\t{since}\t\tformerly a (2024-06-12)")],
            ),
            (
                "lost",
                "a,1,tcp,A,[X],,2001,,,,,",
                r#"{"1/tcp": ["", "Reserved"]}"#,
                vec![format!(
                    "1\ttcp\t\tReserved\t\t\t\t\t{since}\t\tregistered as a until after 2024-06-12"
                )],
            ),
            (
                "one of several",
                "a,1,tcp,A,,,,,,,,\nb,1,tcp,B,[Y],,,,,,,",
                r#"{"1/tcp": ["b", "B"]}"#,
                vec!["1\ttcp\ta\tA".into(), "1\ttcp\tb\tB\tY".into()],
            ),
            (
                "new, beside an unassigned range",
                ",1-9,,Unassigned,,,,,,,,",
                r#"{"1/tcp": ["a", "A"], "1/udp": ["", "Reserved"]}"#,
                vec![
                    format!("1\ttcp\ta\tA\t\t\t\t\t{since}\t\tnamed between 2024-06-12 and 2026-09-17"),
                    format!("1\tudp\t\tReserved\t\t\t\t\t{since}"),
                ],
            ),
            (
                "named since",
                ",1,udp,Reserved,,,,,,,,",
                r#"{"1/udp": ["a", "A"]}"#,
                vec![format!("1\tudp\ta\tA\t\t\t\t\t{since}\t\tnamed between 2024-06-12 and 2026-09-17")],
            ),
            (
                "still unnamed",
                ",1,udp,Reserved,,,,2003,,,,",
                r#"{"1/udp": ["", "Reserved"]}"#,
                vec!["1\tudp\t\tReserved\t\t\t2003".into()],
            ),
            ("not told of", "a,1,,A,[X],,,,,,,", "{}", vec!["1\ttcp,udp\ta\tA\tX".into()]),
        ] {
            let lines: Vec<String> = lines;
            assert_eq!(made(csv, Some(names), None), lines, "{name}");
        }
    }
}
