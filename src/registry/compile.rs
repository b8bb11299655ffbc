//! Makes the text of the registry from its sources.
//!
//! IANA's CSV is the base. A newer list of names, where there is one, decides for every pair of a single port
//! and a protocol which registrations still stand, which were renamed and which are new; it brings no dates,
//! assignees or references, and none are invented. The output depends on nothing but the input.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{PortRange, Protocol};

use super::evidence;
pub use super::evidence::Packaged;
pub use super::iana::BadSource;
use super::iana::{self, Content, Entry, Names};
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
}

/// What the generator makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The text of `registry.tsv`.
    pub registry: String,
    /// The text of `evidence.tsv`.
    pub evidence: String,
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
    /// The package that serves as `role`: `iana`, `names` or a kind of evidence.
    #[must_use]
    pub fn of(role: &str) -> Option<Self> {
        include_str!("data/sources.tsv").lines().find_map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            match fields[..] {
                [of, kind, name, version, date, file, _path] if of == role => {
                    Some(Package { label: format!("{kind} {name} {version}"), date, file })
                }
                _ => None,
            }
        })
    }

    /// Its label with the date of its data, as the header of the evidence tells it.
    #[must_use]
    pub fn dated(&self) -> String {
        format!("{} ({})", self.label, self.date)
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
    Ok(write(&sources, &join_protocols(entries(sources)?)))
}

/// The text of a registry made of IANA's CSV alone, as somebody brings it. Its date is that of its newest row:
/// the file itself bears none.
///
/// # Errors
/// Where it is not that CSV, or names no port.
pub fn compile_newer(label: &str, csv: &[u8]) -> Result<String, BadSource> {
    if csv.iter().all(u8::is_ascii_whitespace) {
        return Err(BadSource("empty".to_owned()));
    }
    if csv.contains(&0) || std::str::from_utf8(csv).is_err() {
        return Err(BadSource("not text: this is not IANA's registry of ports as CSV".to_owned()));
    }
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv); // a byte order mark
    let mut entries = iana::rows(csv)?;
    let dates = |content: &Content| content.registered.clone().max(content.modified.clone());
    let date = entries.iter().filter_map(|entry| dates(&entry.content)).max().unwrap_or_default();
    if !entries.iter().any(|entry| entry.content.service.is_some()) {
        return Err(BadSource("no row names a port".to_owned()));
    }
    entries.retain(|entry| !entry.content.is_bare());
    entries.sort_by_key(|entry| entry.ports);
    let sources = Sources { iana: Source { label, date: &date, bytes: csv }, names: None };
    Ok(write(&sources, &join_protocols(entries)))
}

/// The same, and the text of `evidence.tsv` that packaged sources, each with its label, make of that registry.
///
/// # Errors
/// Where a source cannot be read.
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
         # made by `cargo run --example generate-registry`; not to be edited: see src/registry/README.md\n\
         #   service   as registered: the kinds name this registration; empty: they name the port otherwise\n\
         #   together  of the kinds that name the port otherwise, those that agree with each other on a name\n\
         # columns: ports\tprotocols\tservice\tkinds\ttogether\n{}",
        labels.join(", "),
        evidence::lines(&entries, &named),
    );
    Ok(Made { registry: write(&sources, &join_protocols(entries)), evidence })
}

/// The rows of the registry, sorted by port.
fn entries(sources: Sources<'_>) -> Result<Vec<Entry>, BadSource> {
    let within = |label: &str, BadSource(what): BadSource| BadSource(format!("{label}: {what}"));
    let mut entries = iana::rows(sources.iana.bytes).map_err(|e| within(sources.iana.label, e))?;
    if let Some(source) = sources.names {
        let names = iana::names(source.bytes).map_err(|e| within(source.label, e))?;
        entries = merge(entries, &names, sources.iana.date, source.date);
    }
    entries.retain(|entry| !entry.content.is_bare());
    // Stable: on one port the registry's own order stays.
    entries.sort_by_key(|entry| entry.ports);
    Ok(entries)
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
    let all = [Some(sources.iana), sources.names];
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
    use crate::model::Life;

    const HEADER: &str = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration \
        Date,Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n";

    /// The lines that these sources make, without the header and without trailing tabs.
    fn made(csv: &str, names: Option<&str>) -> Vec<String> {
        let csv = format!("{HEADER}{csv}");
        fn source<'a>(date: &'a str, text: &'a str) -> Source<'a> {
            Source { label: "a source 1.0", date, bytes: text.as_bytes() }
        }
        let text = compile(Sources {
            iana: source("2024-06-12", &csv),
            names: names.map(|text| source("2026-09-17", text)),
        })
        .unwrap();
        text.lines().skip(6).filter(|l| *l != RANGES.trim()).map(|l| l.trim_end().to_owned()).collect()
    }

    #[test]
    fn identical_protocols_share_a_line() {
        let csv = "a,7,tcp,A,[X],,,,,,,\na,7,udp,A,[X],,,,,,,\na,7,sctp,other,[X],,,,,,,\nb,3,tcp,,,,,,,,,\n\
                   ,9,,Unassigned,,,,,,,,\n,10,udp,Removed,,,,,,,,\nx,5-6,udp,,,,,,,,,\n";
        let rest = ["7\tsctp\ta\tother\tX", "10\tudp\t\tUnassigned\t\t\t\t\t\tRemoved", "5-6\tudp\tx"];
        let lines = made(csv, None);
        assert_eq!(lines, ["3\ttcp\tb", "7\ttcp,udp\ta\tA\tX", rest[0], rest[1], rest[2]]);
    }

    #[test]
    fn evidence_is_of_registrations_or_otherwise() {
        let csv = format!(
            "{HEADER}ssh,22,tcp,,,,,,,,,\nssh,22,udp,,,,,,,,,\nx11,6000-6003,tcp,,,,,,,,,\nrfile,750,tcp,,,,,,,,,\n"
        );
        let source = |kind: Life, text: &str| {
            let files = vec![("f".to_owned(), text.as_bytes().to_vec())];
            (format!("{} 1 (2020)", kind.name()), Packaged { kind, files })
        };
        let iana = Source { label: "a 1", date: "2024-06-12", bytes: csv.as_bytes() };
        let made = compile_with(
            Sources { iana, names: None },
            &[
                source(
                    Life::Netbase,
                    "ssh 22/tcp\nx11 6001/tcp\nkerberos4 750/tcp\nodd 9/udp\nmine 22/sctp\n",
                ),
                source(
                    Life::Selinux,
                    "network_port(kerberos, tcp,750,s0)\nnetwork_port(ssh, tcp,22,s0, udp,22,s0)\n",
                ),
                source(Life::Ufw, "[Other]\nports=750/tcp\n"),
            ],
        )
        .unwrap();
        let lines: Vec<_> = made.evidence.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "9\tudp\t\tnetbase\t",
                "22\tsctp\t\tnetbase\t",
                "22\ttcp\tssh\tnetbase,selinux\t",
                "22\tudp\tssh\tselinux\t",
                "750\ttcp\t\tnetbase,selinux,ufw\tnetbase,selinux",
                "6000-6003\ttcp\tx11\tnetbase\t",
            ]
        );
        assert!(made.evidence.contains("# made from: netbase 1 (2020), selinux 1 (2020), ufw 1 (2020)\n"));
        assert_eq!(made.registry, compile(Sources { iana, names: None }).unwrap());
    }

    #[test]
    fn a_newer_csv_dates_itself() {
        let csv =
            format!("\u{feff}{HEADER}ssh,22,tcp,,,,2001-02,2022-02-07,,,,\n,9,,Unassigned,,,2030,,,,,\n");
        let text = compile_newer("FILE", csv.as_bytes()).unwrap();
        assert!(text.contains("# date: 2022-02-07\n") || text.contains("# date: 2030\n"), "{text}");
        assert!(text.contains("# made from: FILE ("));
        for (csv, told) in [
            ("", "empty"),
            (" \n", "empty"),
            ("a,b\n1,2\n", "this is not IANA's registry of ports"),
            (HEADER, "no row names a port"),
            (&format!("{HEADER},9,,Unassigned,,,,,,,,\n"), "no row names a port"),
            (&format!("{HEADER}a,x,tcp,,,,,,,,,\n"), "line 2: \"x\" is no port"),
            ("\0\0", "not text"),
        ] {
            let error = compile_newer("FILE", csv.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{csv:?}: {error}");
        }
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
                vec![format!("1\ttcp\tb\tB\t\t\t\t\t{since}\tformerly a (2024-06-12)")],
            ),
            (
                "lost",
                "a,1,tcp,A,[X],,2001,,,,,",
                r#"{"1/tcp": ["", "Reserved"]}"#,
                vec![format!("1\ttcp\t\tReserved\t\t\t\t\t{since}\tregistered as a until after 2024-06-12")],
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
                    format!("1\ttcp\ta\tA\t\t\t\t\t{since}\tnamed between 2024-06-12 and 2026-09-17"),
                    format!("1\tudp\t\tReserved\t\t\t\t\t{since}"),
                ],
            ),
            (
                "named since",
                ",1,udp,Reserved,,,,,,,,",
                r#"{"1/udp": ["a", "A"]}"#,
                vec![format!("1\tudp\ta\tA\t\t\t\t\t{since}\tnamed between 2024-06-12 and 2026-09-17")],
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
            assert_eq!(made(csv, Some(names)), lines, "{name}");
        }
    }
}
