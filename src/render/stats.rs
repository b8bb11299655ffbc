//! The totals of the registry, as a table and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::findings::text::first_of;
use crate::judge::Report;
use crate::model::RegistryRange;
use crate::registry::{Comparison, Count, Registry, SourceCount, Stats};

use super::head::DocumentHeader;
use super::json::write;
use super::labelled::MEASURE;
use super::summary::{self, OLD, age};
use super::wrap::prose;
use super::{Emphasis, Style, sanitize, verdict_text};

pub fn table(report: &Report, stats: &Stats, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let Stats { statuses, evidence, curated, known_uses, programs, compared } = stats;
    let heading = |text: &str| style.paint(Emphasis::Heading, text);
    writeln!(w, "{}", summary::registry(&report.registry))?;
    writeln!(w, "Made from {}.", sanitize(report.registry.provenance()))?;
    if let Some(days) = age(report.registry.date(), report.snapshot.taken).filter(|days| *days > OLD) {
        let line =
            format!("The data is {days} days old. Use a newer release, or IANA's own CSV with --registry.");
        writeln!(w, "{}", style.paint(Emphasis::Warning, &line))?;
    }
    if let Some(compared) = compared {
        comparison(compared, report, style, w)?;
    }
    writeln!(w, "\n{}", heading("Ports by range and status (TCP and UDP counted separately)"))?;
    for range in [RegistryRange::System, RegistryRange::Registered, RegistryRange::Dynamic] {
        for count in statuses.iter().filter(|count| count.range == range) {
            writeln!(w, "  {:<11} {:<11} {:>6}", range.name(), count.status.name(), count.ports)?;
        }
    }
    writeln!(
        w,
        "\n{}",
        heading(
            "Evidence by source: how many registrations the source lists, and for how many ports it lists another service"
        )
    )?;
    for sources in evidence {
        let otherwise = if sources.otherwise > 0 { sources.otherwise.to_string() } else { String::new() };
        let line =
            format!("  {:<45} {:>6} {otherwise:>6}", verdict_text::sources(&[sources.kind]), sources.names);
        writeln!(w, "{}", line.trim_end())?;
    }
    writeln!(w, "\n{}", heading("Rows of the curated lists"))?;
    let [orphaned, legacy, living] = curated;
    for (what, rows) in [
        ("orphaned registrations", *orphaned),
        ("legacy registrations", *legacy),
        ("living registrations", *living),
        ("known uses", *known_uses),
        ("programs and their ports", *programs),
    ] {
        writeln!(w, "  {what:<45} {rows:>6}")?;
    }
    Ok(())
}

fn comparison(compared: &Comparison, report: &Report, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    const FEW: usize = 5;
    let embedded = Registry::embedded();
    let title = format!("Compared with the embedded registry of {}", embedded.date());
    writeln!(w, "\n{}", style.paint(Emphasis::Heading, &title))?;
    if report.registry.date() < embedded.date() {
        let line = format!(
            "The file is older than the embedded registry: its newest row has the date {}.",
            report.registry.date()
        );
        writeln!(w, "  {}", style.paint(Emphasis::Warning, &line))?;
    }
    for (what, registrations) in [
        ("new", &compared.added),
        ("missing", &compared.missing),
        ("curated rows that match no registration", &compared.without_effect),
    ] {
        let names: Vec<String> = registrations
            .iter()
            .map(|one| format!("{}/{} {}", one.protocol, one.ports, one.service))
            .collect();
        let names = if names.is_empty() { String::new() } else { format!(": {}", first_of(&names, FEW)) };
        let line = format!("{} {what}{names}", registrations.len());
        prose("    ", &sanitize(&line), MEASURE, style)
            .iter()
            .try_for_each(|line| writeln!(w, "  {}", line.trim_start()))?;
    }
    Ok(())
}

/// Writes the totals as JSON, in the schema of `explain`. The list of ports is empty.
pub fn json(report: &Report, stats: &Stats, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Curated {
        orphaned: usize,
        legacy: usize,
        live: usize,
        known_uses: usize,
        programs: usize,
    }
    #[derive(Serialize)]
    struct Totals<'a> {
        date: &'a str,
        file: Option<&'a str>,
        made_from: &'a str,
        age_days: Option<i64>,
        old: Option<bool>,
        statuses: &'a [Count],
        evidence: &'a [SourceCount],
        curated: Curated,
        compared: Option<Compared<'a>>,
    }
    #[derive(Serialize)]
    struct Compared<'a> {
        embedded: &'static str,
        #[serde(flatten)]
        comparison: &'a Comparison,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        head: DocumentHeader<'a>,
        stats: Totals<'a>,
        ports: [(); 0],
    }
    let registry = &report.registry;
    let age_days = age(registry.date(), report.snapshot.taken);
    let [orphaned, legacy, live] = stats.curated;
    let compared = stats
        .compared
        .as_ref()
        .map(|comparison| Compared { embedded: Registry::embedded().date(), comparison });
    write(
        &Document {
            head: DocumentHeader::new("portolan.explain/2", report),
            stats: Totals {
                compared,
                date: registry.date(),
                file: registry.file(),
                made_from: registry.provenance(),
                age_days,
                old: age_days.map(|days| days > OLD),
                statuses: &stats.statuses,
                evidence: &stats.evidence,
                curated: Curated {
                    orphaned,
                    legacy,
                    live,
                    known_uses: stats.known_uses,
                    programs: stats.programs,
                },
            },
            ports: [],
        },
        w,
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{empty, report, text};
    use super::*;

    #[test]
    fn old_data_is_said_to_be_old() {
        let mut snapshot = empty();
        let sources = |kind, otherwise| SourceCount { kind, names: 7, otherwise };
        let stats = Stats {
            statuses: vec![Count {
                range: RegistryRange::System,
                status: crate::model::Status::Orphaned,
                ports: 33,
            }],
            evidence: vec![
                sources(crate::model::EvidenceSource::Curated, 0),
                sources(crate::model::EvidenceSource::Ufw, 5),
            ],
            curated: [1, 2, 3],
            known_uses: 4,
            programs: 6,
            compared: None,
        };
        for (taken, old) in [("2026-11-21T12:00:00Z", false), ("2027-11-21T12:00:00Z", true)] {
            snapshot.taken = taken.parse().unwrap();
            let report = report(&snapshot);
            let shown = text(|w| table(&report, &stats, &Style::default(), w));
            assert_eq!(shown.contains("days old"), old, "{shown}");
            assert!(
                shown.contains(report.registry.date()) && shown.contains("system      orphaned        33"),
                "{shown}"
            );
            let value: serde_json::Value = serde_json::from_str(&text(|w| json(&report, &stats, w))).unwrap();
            assert_eq!(value["stats"]["old"], old);
            assert_eq!(
                (&value["schema"], value["ports"].as_array().unwrap().len()),
                (&"portolan.explain/2".into(), 0)
            );
        }
        assert_eq!(age("2026", snapshot.taken), None);
    }
}
