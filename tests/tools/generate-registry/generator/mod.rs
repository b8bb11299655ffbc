//! Generates `registry.tsv` and `evidence.tsv` from their packages.
//!
//! IANA's CSV is the base. A newer list of names decides for every pair of a single port and a protocol which
//! registrations still exist, which were renamed and which are new. The list has no dates, assignees or references,
//! so these fields stay unknown. The output depends only on the input.

mod evidence;
mod merge;
mod same_service;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::Path;

use portolan::internals::compile::{MADE_FROM, write};
use portolan::internals::iana::{self, BadSource};
use portolan::model::EvidenceSource;

use self::evidence::Packaged;
use self::merge::{merge, names};

/// A source of the registry: its label (`crate port-desc 0.1.1`), the date of its data (`YYYY-MM-DD`) and its bytes.
struct Source<'a> {
    label: &'a str,
    date: &'a str,
    bytes: &'a [u8],
}

/// The output of the generator.
pub(crate) struct Generated {
    /// The text of `registry.tsv`.
    pub(crate) registry: String,
    /// The text of `evidence.tsv`.
    pub(crate) evidence: String,
}

/// A row of `sources.tsv`: a package from which the embedded registry is made.
struct Package {
    label: String,
    date: &'static str,
    file: &'static str,
}

impl Package {
    /// Returns the package that serves as `role`: `iana`, `names` or a kind of evidence.
    fn of(role: &str) -> Result<Self, String> {
        include_str!("../sources.tsv")
            .lines()
            .find_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
                [of, kind, name, version, date, file, _path] if of == role => {
                    Some(Package { label: format!("{kind} {name} {version}"), date, file })
                }
                _ => None,
            })
            .ok_or_else(|| format!("sources.tsv names no package for {role}"))
    }

    fn dated(&self) -> String {
        format!("{} ({})", self.label, self.date)
    }
}

/// Generates both files from the packages that `directory` contains, as `.ci/registry-sources` fetches them.
pub(crate) fn generate(directory: &Path) -> Result<Generated, Box<dyn Error>> {
    let (iana, names) = (Package::of("iana")?, Package::of("names")?);
    let mut packaged = Vec::new();
    for kind in EvidenceSource::PACKAGED {
        let package = Package::of(kind.name())?;
        let path = directory.join(package.file);
        let source = Packaged::read(kind, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        packaged.push((package.dated(), source));
    }
    let (csv, json) = (read(directory, &iana)?, read(directory, &names)?);
    Ok(generate_from(
        &Source { label: &iana.label, date: iana.date, bytes: &csv },
        Some(&Source { label: &names.label, date: names.date, bytes: &json }),
        &packaged,
    )?)
}

fn read(directory: &Path, package: &Package) -> Result<Vec<u8>, String> {
    let path = directory.join(package.file);
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Generates both files from IANA's CSV, a newer list of names as JSON, and packaged sources with their labels.
fn generate_from(
    iana: &Source<'_>,
    names: Option<&Source<'_>>,
    packaged: &[(String, Packaged)],
) -> Result<Generated, BadSource> {
    let mut entries = iana::rows(iana.bytes).map_err(|error| within(iana.label, &error))?;
    let mut made_from = format!("{} ({})", iana.label, iana.date);
    let mut date = iana.date;
    if let Some(source) = names {
        let names = self::names(source.bytes).map_err(|error| within(source.label, &error))?;
        entries = merge(entries, &names, iana.date, source.date);
        made_from.push_str(&format!(", {} ({})", source.label, source.date));
        date = date.max(source.date);
    }
    let mut named = Vec::new();
    for (label, source) in packaged {
        named.push((source.kind, evidence::read(source).map_err(|error| within(label, &error))?));
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
    Ok(Generated { registry: write(&made_from, date, entries), evidence })
}

fn within(label: &str, error: &BadSource) -> BadSource {
    BadSource(format!("{label}: {error}"))
}
