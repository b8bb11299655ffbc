//! Counts the contents of the registry.

use serde::Serialize;

use super::row::{CuratedRow, Evidence};
use super::{Comparison, Registry};
use crate::model::{CuratedState, EvidenceSource, PortVerdict, Protocol, RegistryRange, Status};

/// The number of ports with one status, in one part of the port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    pub range: RegistryRange,
    pub status: Status,
    /// The number of ports, counted separately for TCP and UDP.
    pub ports: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SourceCount {
    pub kind: EvidenceSource,
    /// The number of registrations (port, protocol and name) that the source names.
    pub names: usize,
    /// The number of ports for which the source names another service; TCP and UDP count separately.
    pub otherwise: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The numbers of ports by range and status, for TCP and UDP. A status without ports is left out.
    pub statuses: Vec<Count>,
    pub evidence: Vec<SourceCount>,
    /// The number of rows in the curated lists: orphaned, legacy, living.
    pub curated: [usize; 3],
    pub known_uses: usize,
    /// The number of programs with usual ports.
    pub programs: usize,
    /// The difference from the embedded registry; `None` for the embedded registry itself.
    pub compared: Option<Comparison>,
}

impl Registry {
    /// Counts the contents of this registry. This is slow, because it computes the verdict on every port.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut counts = vec![0; Status::ALL.len() * 3];
        let mut sources: Vec<SourceCount> = EvidenceSource::ALL
            .into_iter()
            .map(|kind| SourceCount { kind, names: 0, otherwise: 0 })
            .collect();
        let place = |verdict: &PortVerdict| {
            let range = verdict.range as usize;
            range * Status::ALL.len() + verdict.status as usize
        };
        for port in 0..=u16::MAX {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let verdict = self.verdict(port, protocol);
                if let Some(count) = counts.get_mut(place(&verdict)) {
                    *count += 1;
                }
                for source in verdict.assignments.iter().flat_map(|a| &a.named_by) {
                    if !EvidenceSource::PACKAGED.contains(source) {
                        sources.iter_mut().filter(|s| s.kind == *source).for_each(|s| s.names += 1);
                    }
                }
            }
        }
        for row in self.evidence.lines().filter_map(Evidence::parse) {
            let protocols = row.protocols.split(',').count();
            for kind in row.kinds() {
                for source in sources.iter_mut().filter(|source| source.kind == kind) {
                    match row.service {
                        Some(_) => source.names += protocols,
                        None => source.otherwise += protocols,
                    }
                }
            }
        }
        let ranges = [RegistryRange::System, RegistryRange::Registered, RegistryRange::Dynamic];
        let statuses = ranges.into_iter().flat_map(|range| Status::ALL.into_iter().map(move |s| (range, s)));
        let dead = |standing| {
            self.dead
                .lines()
                .filter_map(CuratedRow::dead)
                .filter(|row| row.curated.standing == standing)
                .count()
        };
        Stats {
            statuses: statuses
                .zip(counts)
                .filter(|(_, ports)| *ports > 0)
                .map(|((range, status), ports)| Count { range, status, ports })
                .collect(),
            evidence: sources,
            curated: [dead(CuratedState::Orphaned), dead(CuratedState::Legacy), self.live.lines().count()],
            known_uses: self.known_uses.lines().count(),
            programs: super::programs::programs().count(),
            compared: self.compared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_counted_once() {
        let stats = Registry::embedded().stats();
        assert_eq!(stats.statuses.iter().map(|count| count.ports).sum::<usize>(), 2 * 65536);
        let of = |range: RegistryRange| {
            stats.statuses.iter().filter(|c| c.range == range).map(|c| c.ports).sum::<usize>()
        };
        assert_eq!((of(RegistryRange::System), of(RegistryRange::Dynamic)), (2048, 2 * 16384));
        assert!(
            stats
                .statuses
                .iter()
                .all(|c| (c.range == RegistryRange::Dynamic) == (c.status == Status::Dynamic))
        );
        let orphaned = stats.statuses.iter().filter(|c| c.status == Status::Orphaned).map(|c| c.ports);
        assert!(orphaned.sum::<usize>() > 850);
        for source in &stats.evidence {
            assert!(source.names > 0, "{source:?}");
            assert_eq!(source.otherwise > 0, EvidenceSource::PACKAGED.contains(&source.kind), "{source:?}");
        }
        let rows = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(
            stats.curated.iter().sum::<usize>(),
            rows(include_str!("data/orphans.tsv")) + rows(include_str!("data/live.tsv"))
        );
    }
}
