//! The registry of port assignments and its verdict on a port.
//!
//! The files in `data/` are embedded and searched in place. Nothing is parsed or allocated before the first query.
//! `src/docs/registry.md` describes the content and origin of each file.
//!
//! This module does not guess. A date or assignee that is missing in the sources stays unknown. A registration counts
//! as no longer used only if a curated list says so.

mod claims;
pub(crate) mod command_line;
mod compare;
#[doc(hidden)]
pub mod compile;
mod context;
pub(crate) mod dangers;
#[doc(hidden)]
pub mod iana;
pub mod identity;
mod name_index;
mod port_index;
pub(crate) mod program_names;
mod program_rows;
pub mod programs;
mod protection;
pub(crate) mod relays;
mod row;
mod rules;
mod script_names;
pub mod search;
mod services;
mod stats;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod tools;

use crate::model::{
    Assignment, EvidenceSource, PortRange, PortVerdict, Protocol, RegistryRange, StatusBasis,
};

pub use compare::Comparison;
pub use stats::{Count, SourceCount, Stats};

use row::{CuratedRow, Evidence, KnownUse, RESERVED, RegistryRow, Relation};
use table::Table;

/// The registry with the curated lists. A copy is cheap, because it contains only references.
#[derive(Clone, Copy)]
pub struct Registry {
    /// The rows of a single port.
    rows: Table,
    /// The rows of several ports.
    ranges: Table,
    /// The difference between the last and the first port of the widest range.
    reach: u16,
    dead: Table,
    live: Table,
    known_uses: Table,
    evidence: Table,
    date: &'static str,
    provenance: &'static str,
    evidence_provenance: &'static str,
    file: Option<&'static str>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("date", &self.date).finish_non_exhaustive()
    }
}

impl Registry {
    /// Returns the embedded registry.
    #[must_use]
    pub fn embedded() -> Self {
        Registry::of(include_str!("data/registry.tsv"))
    }

    /// Makes a registry from the text of [`compile::write`], with the embedded curated lists and evidence.
    fn of(text: &'static str) -> Self {
        // The ranges are at the end of the text, so the search for their header starts there.
        let (rows, ranges) = text.rsplit_once(row::RANGES).unwrap_or((text, ""));
        let evidence = include_str!("data/evidence.tsv");
        Registry {
            rows: Table::new(rows),
            ranges: Table::new(ranges),
            reach: ranges
                .lines()
                .filter_map(row::ports_of)
                .map(|ports| ports.high - ports.low)
                .max()
                .unwrap_or(0),
            dead: Table::new(include_str!("data/orphans.tsv")),
            live: Table::new(include_str!("data/live.tsv")),
            known_uses: Table::new(include_str!("data/known-uses.tsv")),
            evidence: Table::new(evidence),
            date: header(text, compile::DATE),
            provenance: header(text, compile::MADE_FROM),
            evidence_provenance: header(evidence, compile::MADE_FROM),
            file: None,
        }
    }

    /// Makes a registry from IANA's CSV, read from `file`, with the embedded curated lists and evidence. The memory of
    /// its text is never freed.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are not IANA's CSV.
    pub fn newer(file: &str, csv: &[u8]) -> Result<Self, iana::BadSource> {
        let text = compile::compile_newer(file, csv)?;
        Ok(Registry { file: Some(file.to_owned().leak()), ..Registry::of(text.leak()) })
    }

    /// Returns the file of the registry; `None` for the embedded registry.
    #[must_use]
    pub const fn file(&self) -> Option<&'static str> {
        self.file
    }

    /// Returns the date of the data, `YYYY-MM-DD`. This is the date of the newest source or, for a registry from a
    /// file, of the newest row.
    #[must_use]
    pub const fn date(&self) -> &'static str {
        self.date
    }

    /// Returns the sources of the data, each with its version and date, in one line.
    #[must_use]
    pub const fn provenance(&self) -> &'static str {
        self.provenance
    }

    /// Returns the packages that the evidence is from, each with its version and date, in one line.
    #[must_use]
    pub const fn evidence_provenance(&self) -> &'static str {
        self.evidence_provenance
    }

    /// Returns the verdict on `port` and `protocol`.
    #[must_use]
    pub fn verdict(&self, port: u16, protocol: Protocol) -> PortVerdict {
        let registered_as = protocol.registered_as();
        let known: Vec<KnownUse> = self
            .known_uses
            .at(port)
            .filter_map(KnownUse::parse)
            .filter(|known| known.protocol == registered_as)
            .collect();

        let (mut named, mut unnamed) = (Vec::new(), None);
        for row in self.rows_at(port).filter(|row| row.covers(port, registered_as)) {
            match row.service {
                Some(service) => named.push((row, self.assignment(service, &row, registered_as, &known))),
                // The row of the port itself comes first, so it takes precedence over a range without a name.
                None if named.is_empty() => unnamed = unnamed.or(Some(row)),
                None => {}
            }
        }
        let reserved = unnamed.is_some_and(|row| row.description == Some(RESERVED));
        let remark =
            unnamed.and_then(|row| row.notes).filter(|remark| !rules::is_about_other_ports(remark, port));
        let mut assignments = resolve_aliases(named);
        assignments.sort_by_key(|assignment| !rules::is_in_use(assignment.basis));
        assignments.shrink_to_fit(); // the lists are shrunk, because a listing stores thousands of verdicts

        let mut known_use: Vec<&'static str> = Vec::new();
        let now_used_by = assignments.iter().filter_map(|a| a.curated.as_ref()?.now_used_by);
        for text in known.iter().filter_map(|known| known.text).chain(now_used_by) {
            if !known_use.contains(&text) {
                known_use.push(text);
            }
        }

        let other = self.evidence_at(port, registered_as).find(|row| row.service.is_none());
        let named_otherwise_by: Vec<EvidenceSource> = other.iter().flat_map(Evidence::kinds).collect();
        let agreeing: Vec<EvidenceSource> = other.iter().flat_map(Evidence::agreeing).collect();

        let range = RegistryRange::of(port);
        let is_other_use = || {
            known.iter().any(|known| known.relation == Relation::Other) || rules::used_by_others(&assignments)
        };
        let basis = if range == RegistryRange::Dynamic {
            StatusBasis::Range
        } else if assignments.is_empty() {
            // A known use can repurpose only a registered port.
            if reserved { StatusBasis::Reserved } else { StatusBasis::Unregistered }
        } else if is_other_use() {
            StatusBasis::KnownUse
        } else {
            match rules::of_port(&assignments) {
                // Several sources agree on another name, and none uses the registered name. So the port is repurposed.
                StatusBasis::Untouched | StatusBasis::Obscure if agreeing.len() > 1 => StatusBasis::OtherName,
                basis => basis,
            }
        };
        PortVerdict {
            range,
            status: basis.status(),
            basis,
            assignments,
            known_use,
            is_shared: known.iter().any(|known| known.relation == Relation::Both),
            named_otherwise_by,
            agreeing,
            remark,
        }
    }

    /// Returns every registration of the service `name`, in the order of ports; case is ignored.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<(PortRange, Protocol)> {
        let mut found: Vec<_> =
            self.rows_named(name).flat_map(|row| row.protocols().map(move |p| (row.ports, p))).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns whether a registered service has this name; case is ignored.
    #[must_use]
    pub fn is_service(&self, name: &str) -> bool {
        self.rows_named(name).next().is_some()
    }

    /// Returns the protocols for which `port` has a registration, in the order of listings.
    #[must_use]
    pub fn protocols(&self, port: u16) -> Vec<Protocol> {
        let mut found: Vec<_> =
            self.rows_at(port).filter(|row| row.service.is_some()).flat_map(|row| row.protocols()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the rows for `port`, for any protocol. The rows of the single port come first, then the ranges.
    fn rows_at(&self, port: u16) -> impl Iterator<Item = RegistryRow> {
        let ranges = self
            .ranges
            .reaching(port, self.reach)
            .filter(move |line| row::ports_of(line).is_some_and(|p| p.contains(port)));
        self.rows.at(port).chain(ranges).filter_map(RegistryRow::parse)
    }

    fn evidence_at(&self, port: u16, protocol: Protocol) -> impl Iterator<Item = Evidence> {
        self.evidence.at(port).filter_map(Evidence::parse).filter(move |row| row.is_of(protocol))
    }

    /// Returns the registrations of the service `name`; case is ignored. To save time, the name is compared before the
    /// line is parsed.
    fn rows_named(&self, name: &str) -> impl Iterator<Item = RegistryRow> {
        self.rows
            .lines()
            .chain(self.ranges.lines())
            .filter(move |line| line.split('\t').nth(2).is_some_and(|n| n.eq_ignore_ascii_case(name)))
            .filter_map(RegistryRow::parse)
            .filter(|row| row.service.is_some())
    }

    fn assignment(
        &self,
        service: &'static str,
        row: &RegistryRow,
        protocol: Protocol,
        known: &[KnownUse],
    ) -> Assignment {
        let curated = self.curated(row, protocol).map(|curated| curated.curated);
        let mut named_by = self.named_by(service, row, protocol);
        if known.iter().any(|known| known.is_use_of(service)) {
            named_by.push(EvidenceSource::KnownUse);
        }
        if curated.is_some_and(|curated| !rules::is_dead(&curated)) {
            named_by.push(EvidenceSource::Curated);
        }
        named_by.sort_unstable();
        let used_on = if curated.is_some() || rules::show_use(&named_by) {
            Vec::new()
        } else {
            row.protocols_of_service(self.rows_at(row.ports.low))
                .into_iter()
                .filter(|other| *other != protocol && self.is_used(service, row, *other))
                .collect()
        };
        let basis = rules::of_registration(row, curated.as_ref(), &named_by, &used_on, self.date);
        Assignment {
            service,
            ports: row.ports,
            description: row.description,
            assignee: row.assignee,
            registered: row.registered,
            modified: row.modified,
            reference: row.reference,
            notes: row.notes,
            status: basis.status(),
            basis,
            used_on,
            curated,
            named_by,
        }
    }

    fn curated(&self, row: &RegistryRow, protocol: Protocol) -> Option<CuratedRow> {
        let at = row.ports.low;
        (self.dead.at(at).filter_map(CuratedRow::dead))
            .chain(self.live.at(at).filter_map(CuratedRow::live))
            .find(|curated| curated.is_on(row, protocol))
    }

    /// Returns the kinds of packaged source that list the registration for `protocol`.
    fn named_by(&self, service: &str, row: &RegistryRow, protocol: Protocol) -> Vec<EvidenceSource> {
        let mut named = self.evidence_at(row.ports.low, protocol);
        let named = named.find(|e| e.ports == row.ports && e.service == Some(service));
        named.iter().flat_map(Evidence::kinds).collect()
    }

    /// Returns whether the registration is known to be used on `protocol`. A source does not count if it always names
    /// all protocols.
    fn is_used(&self, service: &str, row: &RegistryRow, protocol: Protocol) -> bool {
        match self.curated(row, protocol) {
            Some(curated) => !rules::is_dead(&curated.curated),
            None => {
                let mut known = self.known_uses.at(row.ports.low).filter_map(KnownUse::parse);
                known.any(|known| known.protocol == protocol && known.is_use_of(service))
                    || rules::show_use(&self.named_by(service, row, protocol))
            }
        }
    }
}

/// Returns the text after `key` in the header line that begins with `key`; empty without such a line.
fn header(text: &'static str, key: &str) -> &'static str {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .find_map(|line| line.strip_prefix(key))
        .unwrap_or_default()
}

/// Gives each row that IANA marks as an alias the status, the curated row and the evidence of its original row.
fn resolve_aliases(named: Vec<(RegistryRow, Assignment)>) -> Vec<Assignment> {
    let originals: Vec<Option<Assignment>> = named
        .iter()
        .map(|(row, _)| {
            let target = row.alias_of()?;
            named
                .iter()
                .find(|(other, a)| a.service == target && other.ports == row.ports)
                .map(|(_, a)| a.clone())
        })
        .collect();
    named
        .into_iter()
        .zip(originals)
        .map(|((_, own), original)| match original {
            Some(Assignment { status, basis, used_on, curated, named_by, .. }) => {
                Assignment { status, basis, used_on, curated, named_by, ..own }
            }
            None => own,
        })
        .collect()
}
