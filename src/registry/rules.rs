//! Pure functions that decide the status of registrations and ports.

use crate::model::{Assignment, Curated, CuratedState, EvidenceSource, Protocol, StatusBasis};

use super::row::RegistryRow;
use super::search::has_whole_word;

/// A registration without evidence of use counts as untouched if it has not changed for this many years.
const UNTOUCHED_YEARS: u16 = 10;

pub(super) const fn is_in_use(basis: StatusBasis) -> bool {
    matches!(basis, StatusBasis::Evidence | StatusBasis::Standard)
}

pub(super) const fn is_dead(curated: &Curated) -> bool {
    matches!(curated.standing, CuratedState::Orphaned | CuratedState::Legacy)
}

/// Returns whether these sources show that a service is used on a protocol. The SELinux policy alone is not enough,
/// because it usually labels both TCP and UDP.
pub(super) fn show_use(named_by: &[EvidenceSource]) -> bool {
    named_by.iter().any(|kind| *kind != EvidenceSource::Selinux)
}

/// Returns the basis of the status of one registration. A curated row overrides all evidence.
///
/// If the registration is in use on other protocols (`used_on`), an RFC or the SELinux policy is not enough evidence,
/// because both name all protocols.
pub(super) fn of_registration(
    row: &RegistryRow,
    curated: Option<&Curated>,
    named_by: &[EvidenceSource],
    used_on: &[Protocol],
    date: &str,
) -> StatusBasis {
    match curated.map(|curated| curated.standing) {
        Some(CuratedState::Orphaned) => StatusBasis::Ended,
        Some(CuratedState::Legacy) => StatusBasis::Legacy,
        Some(CuratedState::Alive) => StatusBasis::Evidence,
        None if show_use(named_by) => StatusBasis::Evidence,
        None if !used_on.is_empty() => StatusBasis::OtherProtocol,
        None if !named_by.is_empty() => StatusBasis::Evidence,
        None if row.reference.is_some_and(by_rfc) => StatusBasis::Standard,
        // The assignee and the dates of this row are unknown, not absent.
        None if row.since.is_some() => StatusBasis::Obscure,
        None if row.assignee.is_none() || untouched(row.registered.max(row.modified), date) => {
            StatusBasis::Untouched
        }
        None => StatusBasis::Obscure,
    }
}

/// Returns whether the reference contains an RFC, even one that has only a name (`RFC-ietf-rift-rift-24`).
fn by_rfc(reference: &str) -> bool {
    reference
        .split('[')
        .filter_map(|part| part.strip_prefix("RFC"))
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
}

/// Returns whether `touched` is at least ten years before `date`. A missing month or day counts as the last one of the
/// year or month. If `touched` is missing, returns true.
fn untouched(touched: Option<&str>, date: &str) -> bool {
    let Some(touched) = touched else { return true };
    let cut = |date: &str| {
        let (year, rest) = date.split_once('-').unwrap_or((date, ""));
        let mut parts = rest.split('-').map(|part| part.parse::<u8>().ok());
        let last = u8::MAX;
        let month = parts.next().flatten().unwrap_or(last);
        Some((year.parse::<u16>().ok()?, month, parts.next().flatten().unwrap_or(last)))
    };
    match (cut(touched), cut(date)) {
        (Some((year, month, day)), Some(now)) => (year.saturating_add(UNTOUCHED_YEARS), month, day) <= now,
        _ => false,
    }
}

/// Returns whether another service now uses the port of an orphaned or legacy registration. A service does not count if
/// a registration of this port under its own name is in use.
pub(super) fn used_by_others(assignments: &[Assignment]) -> bool {
    let dead = assignments.iter().filter_map(|a| a.curated.filter(is_dead)?.now_used_by);
    let living = || assignments.iter().filter(|a| is_in_use(a.basis));
    dead.into_iter().any(|text| !living().any(|a| has_whole_word(text, a.service)))
}

/// Returns the basis for the status of a port. This is the first basis of its registrations, in the order of
/// [`StatusBasis`]. `Unregistered` if there is no registration.
///
/// So a port is active if one registration is in use, and orphaned only if all registrations are orphaned.
pub(super) fn of_port(assignments: &[Assignment]) -> StatusBasis {
    assignments.iter().map(|a| a.basis).min().unwrap_or(StatusBasis::Unregistered)
}

/// Returns whether a remark of IANA is only about other ports. For example, IANA repeats `Unauthorized Use Known on
/// ports 27018 and 27019` in the rows of the ports around these two.
pub(super) fn is_about_other_ports(remark: &str, port: u16) -> bool {
    let lower = remark.to_ascii_lowercase();
    let Some((_, list)) = lower.split_once("port").filter(|_| lower.contains("use")) else { return false };
    let list = list.trim_start_matches('s').trim_start();
    let end = list.find(|c: char| c.is_alphabetic() && !"and".contains(c)).unwrap_or(list.len());
    let mut ports = list[..end].split([',', '&', ' ']).filter_map(super::row::ports).peekable();
    ports.peek().is_some() && !ports.any(|ports| ports.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Confidence, PortRange};

    const DATE: &str = "2026-09-17";

    #[test]
    fn remarks_about_other_ports() {
        for (remark, about, not_about) in [
            ("Unauthorized Use Known on port 42000", 42000, 42159),
            ("Unauthorized Use Known on ports 27018 and 27019", 27019, 27198),
            ("Known UNAUTHORIZED USE: Ports 44515 & 44516", 44516, 44517),
            ("Known Unauthorized Use on ports 33436-33534", 33500, 33535),
            ("Unofficial use of port 6588 by AnalogX and Microsoft", 6588, 6589),
        ] {
            assert!(!is_about_other_ports(remark, about), "{remark}");
            assert!(is_about_other_ports(remark, not_about), "{remark}");
        }
        for remark in [
            "\"pcp\" assignment withdrawn, moved to port 5351 per RFC6887",
            "This port was previously removed on 2007-04-05.",
            "De-registered; Use of 585 is not recommended, use 993 instead",
        ] {
            assert!(!is_about_other_ports(remark, 1), "{remark}");
        }
    }

    fn row() -> RegistryRow {
        RegistryRow {
            ports: PortRange::single(1),
            protocols: "tcp",
            service: Some("a"),
            description: None,
            assignee: Some("Somebody"),
            registered: Some("2020-01"),
            modified: None,
            reference: None,
            since: None,
            notes: None,
        }
    }

    fn curated(standing: CuratedState, now_used_by: Option<&'static str>) -> Curated {
        Curated {
            standing,
            product: "P",
            ended: None,
            reason: "R.",
            source: None,
            confidence: Confidence::Presumed,
            now_used_by,
            basis: Some("b"),
        }
    }

    fn assignment(
        service: &'static str,
        basis: StatusBasis,
        now_used_by: Option<&'static str>,
    ) -> Assignment {
        let standing = match basis {
            StatusBasis::Ended => Some(CuratedState::Orphaned),
            StatusBasis::Legacy => Some(CuratedState::Legacy),
            StatusBasis::Evidence => Some(CuratedState::Alive),
            _ => None,
        };
        Assignment {
            service,
            ports: PortRange::single(1),
            description: None,
            assignee: None,
            registered: None,
            modified: None,
            reference: None,
            notes: None,
            status: basis.status(),
            basis,
            used_on: Vec::new(),
            curated: standing.map(|standing| curated(standing, now_used_by)),
            named_by: Vec::new(),
        }
    }

    #[test]
    fn registrations() {
        let rfc = RegistryRow { reference: Some("[RFC1]"), ..row() };
        let orphaned = curated(CuratedState::Orphaned, None);
        let legacy = curated(CuratedState::Legacy, None);
        let alive = curated(CuratedState::Alive, None);
        let named = [EvidenceSource::Netbase];
        for (name, row, curated, named_by, status) in [
            ("plain", row(), None, &[][..], StatusBasis::Obscure),
            ("dead beats evidence", rfc, Some(&orphaned), &named[..], StatusBasis::Ended),
            ("legacy beats evidence", rfc, Some(&legacy), &named[..], StatusBasis::Legacy),
            ("curated life", row(), Some(&alive), &[][..], StatusBasis::Evidence),
            ("evidence", rfc, None, &named[..], StatusBasis::Evidence),
            ("rfc", rfc, None, &[][..], StatusBasis::Standard),
            ("no assignee", RegistryRow { assignee: None, ..row() }, None, &[][..], StatusBasis::Untouched),
            (
                "old",
                RegistryRow { registered: Some("2016-09-17"), ..row() },
                None,
                &[][..],
                StatusBasis::Untouched,
            ),
            (
                "not yet old",
                RegistryRow { registered: Some("2016-09-18"), ..row() },
                None,
                &[][..],
                StatusBasis::Obscure,
            ),
            (
                "in that month",
                RegistryRow { registered: Some("2016-09"), ..row() },
                None,
                &[][..],
                StatusBasis::Obscure,
            ),
            (
                "month before",
                RegistryRow { registered: Some("2016-08"), ..row() },
                None,
                &[][..],
                StatusBasis::Untouched,
            ),
            (
                "old but changed",
                RegistryRow { registered: Some("1999"), modified: Some("2020"), ..row() },
                None,
                &[][..],
                StatusBasis::Obscure,
            ),
            ("never dated", RegistryRow { registered: None, ..row() }, None, &[][..], StatusBasis::Untouched),
            (
                "known by name only",
                RegistryRow { since: Some("a..b"), assignee: None, registered: None, ..row() },
                None,
                &[][..],
                StatusBasis::Obscure,
            ),
        ] {
            assert_eq!(of_registration(&row, curated, named_by, &[], DATE), status, "{name}");
        }
    }

    #[test]
    fn a_registration_used_on_another_protocol() {
        let rfc = RegistryRow { reference: Some("[RFC1]"), ..row() };
        let alive = curated(CuratedState::Alive, None);
        for (name, row, curated, named_by, basis) in [
            ("by its RFC alone", rfc, None, &[][..], StatusBasis::OtherProtocol),
            (
                "by the SELinux policy alone",
                row(),
                None,
                &[EvidenceSource::Selinux][..],
                StatusBasis::OtherProtocol,
            ),
            ("without any evidence", row(), None, &[][..], StatusBasis::OtherProtocol),
            (
                "by other evidence too",
                row(),
                None,
                &[EvidenceSource::Netbase, EvidenceSource::Selinux][..],
                StatusBasis::Evidence,
            ),
            ("in the list of the living", row(), Some(&alive), &[][..], StatusBasis::Evidence),
        ] {
            assert_eq!(of_registration(&row, curated, named_by, &[Protocol::Tcp], DATE), basis, "{name}");
        }
        assert_eq!(
            of_registration(&row(), None, &[EvidenceSource::Selinux], &[], DATE),
            StatusBasis::Evidence
        );
    }

    #[test]
    fn rfcs() {
        for (reference, has) in [
            ("[RFC9110]", true),
            ("[1][RFC4727][RFC6335]", true),
            ("[RFC-ietf-rift-rift-24]", true),
            ("[draft-herbert-gue]", false),
            ("[RFCs are nice]", false),
            ("[http://example.org/RFC1]", false),
        ] {
            assert_eq!(by_rfc(reference), has, "{reference}");
        }
    }

    #[test]
    fn ports() {
        use StatusBasis::*;
        for (bases, port) in [
            (&[Ended, Evidence][..], Evidence),
            (&[Standard, Untouched], Standard),
            (&[Standard, Evidence], Evidence),
            (&[Legacy, Ended], Ended),
            (&[Legacy, Legacy], Legacy),
            (&[Ended, Untouched], Untouched),
            (&[OtherProtocol, Ended], OtherProtocol),
            (&[Untouched, Obscure], Obscure),
        ] {
            let assignments: Vec<_> = bases.iter().map(|&basis| assignment("a", basis, None)).collect();
            assert_eq!(of_port(&assignments), port, "{bases:?}");
        }
    }

    #[test]
    fn known_uses_that_no_living_registration_explains() {
        use StatusBasis::*;
        let dead = |text| assignment("l2f", Ended, Some(text));
        for (name, assignments, others) in [
            ("named and alive", vec![dead("L2TP (xl2tpd)"), assignment("l2tp", Evidence, None)], false),
            ("named and not alive", vec![dead("L2TP (xl2tpd)"), assignment("l2tp", Untouched, None)], true),
            ("not named", vec![dead("Grafana"), assignment("hbci", Evidence, None)], true),
            ("alone", vec![dead("Grafana")], true),
            ("no such text", vec![assignment("a", Ended, None)], false),
            ("of the living", vec![assignment("a", Evidence, Some("something"))], false),
        ] {
            assert_eq!(used_by_others(&assignments), others, "{name}");
        }
    }
}
