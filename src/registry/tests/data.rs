//! Checks the requirements on the embedded data. The registry must find every row of the hand-kept tables.

use std::collections::BTreeSet;

use super::super::row::{COLUMNS, CuratedRow, Evidence, RANGES, RESERVED, RegistryRow, Relation, UNASSIGNED};
use super::*;
use crate::model::{Confidence, CuratedState, EvidenceSource, PortRange, Status, StatusBasis};

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    (1..=3).contains(&parts.len())
        && parts[0].len() == 4
        && parts[1..].iter().all(|part| part.len() == 2)
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn registry_has_its_shape() {
    let (single, ranges) = REGISTRY.split_once(RANGES).unwrap();
    let mut seen = BTreeSet::new();
    for (text, are_ranges) in [(single, false), (ranges, true)] {
        let mut last = PortRange::single(0);
        for line in body(text) {
            assert_eq!(line.split('\t').count(), COLUMNS.len(), "{line}");
            assert!(line.split('\t').all(|field| field.trim() == field && !field.contains("  ")), "{line}");
            assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line}");
            let row = RegistryRow::parse(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(row.ports.low != row.ports.high, are_ranges, "{line}");
            assert!(last <= row.ports, "out of order: {line}");
            last = row.ports;
            assert!(row.ports.high <= 49151, "{line}");
            let protocols: Vec<_> = row.protocols().collect();
            assert!(protocols.is_sorted_by(|a, b| a < b), "{line}");
            assert_eq!(protocols.len(), row.protocols.split(',').count(), "{line}");
            assert!(!protocols.contains(&Protocol::Udplite), "{line}");
            for protocol in protocols {
                assert!(
                    row.service.is_none() || seen.insert((row.ports, protocol, row.service)),
                    "twice: {line}"
                );
            }
            assert!(row.registered.into_iter().chain(row.modified).all(is_date), "{line}");
            match row.service {
                Some(service) => assert!(!service.contains(' ') || service.contains('('), "{line}"),
                None => assert!([Some(RESERVED), Some(UNASSIGNED)].contains(&row.description), "{line}"),
            }
            if row.since.is_some() {
                assert_eq!(
                    (row.assignee, row.registered, row.modified, row.reference),
                    (None, None, None, None)
                );
            }
            // The data has no email addresses. IANA writes `<somebody&example.org>`.
            assert!(
                !line.split('<').skip(1).any(|rest| rest.split('>').next().unwrap().contains(['&', '@']))
            );
        }
    }
    assert!(body(ranges).count() < 50, "ranges are scanned: too many of them");
    assert!(seen.len() > 11_000);
}

#[test]
fn header_describes_the_data() {
    let registry = Registry::embedded();
    assert!(is_date(registry.date()) && registry.date().len() == 10, "{:?}", registry.date());
    assert!(registry.provenance().contains(registry.date()), "{:?}", registry.provenance());
    assert!(registry.evidence_provenance().contains("Debian netbase"));
    assert!(REGISTRY.lines().take(6).any(|line| line.contains("CC0 1.0")));
}

#[test]
fn curated_lists_have_their_shape() {
    let limits = |row: &CuratedRow| {
        let c = row.curated;
        [(Some(c.product), 100), (Some(c.reason), 140), (c.source, 220), (c.now_used_by, 80), (c.basis, 260)]
    };
    for (text, columns, rows) in [(ORPHANS, 12, dead().collect::<Vec<_>>()), (LIVE, 10, live().collect())] {
        assert!(text.ends_with('\n'));
        for (line, row) in body(text).zip(&rows) {
            let c = row.curated;
            assert_eq!(line.split('\t').count(), columns, "{line}");
            assert!(line.split('\t').all(|field| field.trim() == field && !field.contains("  ")), "{line}");
            assert!(c.reason.ends_with('.'), "{line}");
            assert!(
                limits(row).iter().all(|(t, most)| t.is_none_or(|t| t.chars().count() <= *most)),
                "{line}"
            );
            match c.confidence {
                Confidence::Confirmed => assert!(c.source.is_some_and(|s| s.starts_with("http")), "{line}"),
                Confidence::Presumed => assert!(c.source.is_none() && c.basis.is_some(), "{line}"),
            }
            let protocols: Vec<_> = row.protocols.split('+').collect();
            let allowed = [&["tcp"][..], &["udp"], &["tcp", "udp"], &["sctp"]];
            assert!(allowed.contains(&&protocols[..]), "{line}");
            assert!(c.ended.is_none_or(|ended| is_date(ended) && ended.len() <= 7), "{line}");
            assert_eq!(c.standing == CuratedState::Alive, columns == 10, "{line}");
        }
        assert!(rows.is_sorted_by_key(|row| (row.ports.low, row.service)) || columns == 10);
        assert!(rows.is_sorted_by_key(|row| row.ports.low));
        let mut seen = BTreeSet::new();
        for row in &rows {
            assert!(pairs(row).all(|pair| seen.insert((pair, row.service))), "twice: {row:?}");
        }
    }
    let dead_pairs: Vec<_> = dead().flat_map(|row| pairs(&row).map(move |pair| (pair, row))).collect();
    let confirmed = dead_pairs.iter().filter(|(_, r)| r.curated.confidence == Confidence::Confirmed).count();
    assert!(dead_pairs.len() >= 1100 && confirmed >= 180, "{} dead, {confirmed} confirmed", dead_pairs.len());
    assert!(live().count() >= 230);
}

#[test]
fn evidence_has_its_shape() {
    let registry = Registry::embedded();
    let mut last = PortRange::single(0);
    let mut seen = BTreeSet::new();
    for line in body(EVIDENCE) {
        assert_eq!(line.split('\t').count(), 5, "{line}");
        let row = Evidence::parse(line).unwrap_or_else(|| panic!("{line}"));
        assert!(last <= row.ports, "out of order: {line}");
        last = row.ports;
        let fields: Vec<_> = line.split('\t').collect();
        let listed = |field: &str| field.split(',').filter(|kind| !kind.is_empty()).count();
        let (kinds, agreeing): (Vec<_>, Vec<_>) = (row.kinds().collect(), row.agreeing().collect());
        assert_eq!((kinds.len(), agreeing.len()), (listed(fields[3]), listed(fields[4])), "{line}");
        assert!(!kinds.is_empty() && kinds.is_sorted_by(|a, b| a < b), "{line}");
        assert!(agreeing.len() != 1 && agreeing.iter().all(|kind| kinds.contains(kind)), "{line}");
        for protocol in row.protocols.split(',') {
            let protocol: Protocol = protocol.parse().unwrap();
            assert!(seen.insert((row.ports, protocol, row.service)), "twice: {line}");
            let verdict = registry.verdict(row.ports.low, protocol);
            match row.service {
                Some(service) => {
                    assert!(agreeing.is_empty(), "{line}");
                    let named_by = registration(&verdict, service).named_by;
                    // An alias has the evidence of its original row.
                    assert!(
                        kinds.iter().any(|kind| named_by.contains(kind)) || named_by.is_empty(),
                        "{line}"
                    );
                }
                None => assert_eq!(
                    (&verdict.named_otherwise_by, &verdict.agreeing),
                    (&kinds, &agreeing),
                    "{line}"
                ),
            }
        }
    }
    assert!(seen.len() > 1500, "{}", seen.len());
}

/// If an orphaned registration has both TCP and UDP, its rows must cover both, because a product ends on all protocols
/// at once. A row of a registration in use may leave out an unused protocol.
#[test]
fn dead_rows_cover_tcp_and_udp() {
    let registry = Registry::embedded();
    let covered: BTreeSet<_> = dead()
        .flat_map(|row| pairs(&row).map(move |(port, protocol)| (port, protocol, row.service)))
        .collect();
    for row in dead() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let verdict = registry.verdict(row.ports.low, protocol);
            let registered =
                verdict.assignments.iter().any(|a| a.service == row.service && a.ports == row.ports);
            let listed = covered.contains(&(row.ports.low, protocol, row.service));
            assert_eq!(registered, listed, "{} {protocol} {}", row.ports, row.service);
        }
    }
}

#[test]
fn dead_services_are_reported_as_dead() {
    let registry = Registry::embedded();
    for row in dead() {
        let own = match row.curated.standing {
            CuratedState::Orphaned => StatusBasis::Ended,
            CuratedState::Legacy => StatusBasis::Legacy,
            CuratedState::Alive => panic!("alive in orphans.tsv: {row:?}"),
        };
        for (port, protocol) in pairs(&row) {
            let verdict = registry.verdict(port, protocol);
            let assignment = registration(&verdict, row.service);
            assert_eq!(assignment.basis, own, "{port}/{protocol} {}", row.service);
            assert_eq!(assignment.curated, Some(row.curated));
            let others = verdict.assignments.iter().filter(|a| a.service != row.service);
            let explained = verdict.basis == own
                || verdict.status == Status::Repurposed && !verdict.known_use.is_empty()
                || others.clone().any(|a| a.basis == verdict.basis)
                    && !(verdict.basis == StatusBasis::Legacy && own == StatusBasis::Ended);
            assert!(explained, "{port}/{protocol} {}: {:?}", row.service, verdict.basis);
        }
    }
}

#[test]
fn live_registrations_are_active() {
    let registry = Registry::embedded();
    for row in live() {
        for (port, protocol) in pairs(&row) {
            let verdict = registry.verdict(port, protocol);
            let assignment = registration(&verdict, row.service);
            assert_eq!(assignment.status, Status::Active, "{port}/{protocol} {}", row.service);
            assert_eq!(assignment.named_by.first(), Some(&EvidenceSource::Curated));
            assert!([Status::Active, Status::Repurposed].contains(&verdict.status), "{port}/{protocol}");
        }
    }
}

#[test]
fn every_known_use_is_in_a_verdict() {
    let registry = Registry::embedded();
    let uses: Vec<_> = known_uses().collect();
    assert!(uses.len() >= 220);
    assert!(uses.is_sorted_by(|a, b| (a.port, a.protocol) < (b.port, b.protocol)));
    for known in uses {
        let verdict = registry.verdict(known.port, known.protocol);
        let at = format!("{}/{}", known.protocol, known.port);
        let services: BTreeSet<_> = known.services.split(',').filter(|name| !name.is_empty()).collect();
        let registered: BTreeSet<_> = verdict.assignments.iter().map(|a| a.service).collect();
        let is_own = matches!(known.relation, Relation::Registered | Relation::Both);
        assert!(services.is_subset(&registered) && (!is_own || !services.is_empty()), "{at}: {registered:?}");
        if known.relation == Relation::Abused {
            assert!(known.text.is_none() && known.abused_by.is_some(), "{at}");
            assert!(
                !verdict.assignments.iter().any(|a| a.named_by.contains(&EvidenceSource::KnownUse)),
                "{at}"
            );
            continue;
        }
        let text = known.text.unwrap_or_else(|| panic!("{at} has no use"));
        assert!(verdict.known_use.contains(&text), "{at}");
        let expected = match known.relation {
            _ if known.port >= 49152 => Status::Dynamic,
            _ if is_own => Status::Active,
            _ if known.relation == Relation::Rare => Status::Orphaned,
            _ if registered.is_empty() => Status::Unassigned,
            _ => Status::Repurposed,
        };
        assert_eq!(verdict.status, expected, "{at}");
        for assignment in &verdict.assignments {
            let is = services.contains(assignment.service) && is_own;
            let alias = assignment.notes.is_some_and(|notes| notes.contains("is an alias to"));
            assert!(
                alias || assignment.named_by.contains(&EvidenceSource::KnownUse) == is,
                "{at} {}",
                assignment.service
            );
        }
    }
}

/// A look-up of a port reads only the ranges that begin at most `reach` ports below the port.
#[test]
fn a_look_up_covers_the_widest_range() {
    let registry = Registry::embedded();
    let ranges: Vec<_> = registry.ranges.lines().filter_map(crate::registry::row::ports_of).collect();
    assert!(ranges.len() > 20, "{ranges:?}");
    assert!(ranges.is_sorted_by_key(|range| range.low), "{ranges:?}");
    assert_eq!(ranges.iter().map(|range| range.high - range.low).max(), Some(registry.reach));
}
