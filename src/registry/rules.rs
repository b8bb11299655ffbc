//! The rules by which registrations and ports get their status; pure, in the order of [`Status::ALL`].

use crate::model::{Assignment, Curated, Life, Standing, Status};

use super::agree;
use super::row::Row;

/// Untouched for this long, a registration without evidence of life is dormant.
const DORMANT_YEARS: u16 = 10;

/// Whether a registration of this status lives.
pub(super) const fn lives(status: Status) -> bool {
    matches!(status, Status::Active | Status::Standard)
}

/// Whether the row calls the registration dead.
pub(super) const fn dead(curated: &Curated) -> bool {
    matches!(curated.standing, Standing::Orphaned | Standing::Legacy)
}

/// The status of one registration by itself. The curated list of the dead wins over every evidence.
pub(super) fn of_registration(row: &Row, curated: Option<&Curated>, life: &[Life], date: &str) -> Status {
    match curated.map(|curated| curated.standing) {
        Some(Standing::Orphaned) => Status::Orphaned,
        Some(Standing::Legacy) => Status::Legacy,
        Some(Standing::Alive) => Status::Active,
        None if !life.is_empty() => Status::Active,
        None if row.reference.is_some_and(by_rfc) => Status::Standard,
        // Known by name only: that no assignee and date are known here says nothing.
        None if row.since.is_some() => Status::Obscure,
        None if row.assignee.is_none() || untouched(row.registered.max(row.modified), date) => {
            Status::Dormant
        }
        None => Status::Obscure,
    }
}

/// Whether the reference holds an RFC, also one approved and not yet numbered (`RFC-ietf-rift-rift-24`).
fn by_rfc(reference: &str) -> bool {
    reference
        .split('[')
        .filter_map(|part| part.strip_prefix("RFC"))
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
}

/// Whether `touched` lies ten years or more before `date`. A month without a day may be its last day; no date
/// at all is long ago.
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
        (Some((year, month, day)), Some(now)) => (year.saturating_add(DORMANT_YEARS), month, day) <= now,
        _ => false,
    }
}

/// Whether a dead registration's port is known to be used by something else now: by what is not itself a
/// registered service of the port that lives.
pub(super) fn used_by_others(assignments: &[Assignment]) -> bool {
    let dead = assignments.iter().filter_map(|a| a.curated.filter(dead)?.now_used_by);
    let living = || assignments.iter().filter(|a| lives(a.status));
    dead.into_iter().any(|text| !living().any(|a| agree::names(text, a.service)))
}

/// The status of a port that has registrations, of which none has been replaced.
pub(super) fn of_port(assignments: &[Assignment]) -> Status {
    let any = |status| assignments.iter().any(|a| a.status == status);
    // A registration that lives decides; then one of which nothing is known, before the dormant, before the
    // dead. Orphaned needs one orphaned among the dead, legacy has legacy alone.
    [Status::Active, Status::Standard, Status::Obscure, Status::Dormant, Status::Orphaned]
        .into_iter()
        .find(|&status| any(status))
        .unwrap_or(Status::Legacy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Confidence, PortRange};

    const DATE: &str = "2026-09-17";

    fn row() -> Row {
        Row {
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

    fn curated(standing: Standing, now_used_by: Option<&'static str>) -> Curated {
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

    fn assignment(service: &'static str, status: Status, now_used_by: Option<&'static str>) -> Assignment {
        let standing = match status {
            Status::Orphaned => Some(Standing::Orphaned),
            Status::Legacy => Some(Standing::Legacy),
            Status::Active => Some(Standing::Alive),
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
            status,
            curated: standing.map(|standing| curated(standing, now_used_by)),
            life: Vec::new(),
        }
    }

    #[test]
    fn registrations() {
        let rfc = Row { reference: Some("[RFC1]"), ..row() };
        let orphaned = curated(Standing::Orphaned, None);
        let legacy = curated(Standing::Legacy, None);
        let alive = curated(Standing::Alive, None);
        let named = [Life::Netbase];
        for (name, row, curated, life, status) in [
            ("plain", row(), None, &[][..], Status::Obscure),
            ("dead beats evidence", rfc, Some(&orphaned), &named[..], Status::Orphaned),
            ("legacy beats evidence", rfc, Some(&legacy), &named[..], Status::Legacy),
            ("curated life", row(), Some(&alive), &[][..], Status::Active),
            ("evidence", rfc, None, &named[..], Status::Active),
            ("rfc", rfc, None, &[][..], Status::Standard),
            ("no assignee", Row { assignee: None, ..row() }, None, &[][..], Status::Dormant),
            ("old", Row { registered: Some("2016-09-17"), ..row() }, None, &[][..], Status::Dormant),
            ("not yet old", Row { registered: Some("2016-09-18"), ..row() }, None, &[][..], Status::Obscure),
            ("in that month", Row { registered: Some("2016-09"), ..row() }, None, &[][..], Status::Obscure),
            ("month before", Row { registered: Some("2016-08"), ..row() }, None, &[][..], Status::Dormant),
            (
                "old but changed",
                Row { registered: Some("1999"), modified: Some("2020"), ..row() },
                None,
                &[][..],
                Status::Obscure,
            ),
            ("never dated", Row { registered: None, ..row() }, None, &[][..], Status::Dormant),
            (
                "known by name only",
                Row { since: Some("a..b"), assignee: None, registered: None, ..row() },
                None,
                &[][..],
                Status::Obscure,
            ),
        ] {
            assert_eq!(of_registration(&row, curated, life, DATE), status, "{name}");
        }
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
        use Status::*;
        for (statuses, port) in [
            (&[Orphaned, Active][..], Active),
            (&[Standard, Dormant], Standard),
            (&[Standard, Active], Active),
            (&[Legacy, Orphaned], Orphaned),
            (&[Legacy, Legacy], Legacy),
            (&[Orphaned, Dormant], Dormant),
            (&[Dormant, Obscure], Obscure),
        ] {
            let assignments: Vec<_> = statuses.iter().map(|&s| assignment("a", s, None)).collect();
            assert_eq!(of_port(&assignments), port, "{statuses:?}");
        }
    }

    #[test]
    fn others() {
        use Status::*;
        let dead = |text| assignment("l2f", Orphaned, Some(text));
        for (name, assignments, others) in [
            ("named and alive", vec![dead("L2TP (xl2tpd)"), assignment("l2tp", Active, None)], false),
            ("named and not alive", vec![dead("L2TP (xl2tpd)"), assignment("l2tp", Dormant, None)], true),
            ("not named", vec![dead("Grafana"), assignment("hbci", Active, None)], true),
            ("alone", vec![dead("Grafana")], true),
            ("no such text", vec![assignment("a", Orphaned, None)], false),
            ("of the living", vec![assignment("a", Active, Some("something"))], false),
        ] {
            assert_eq!(used_by_others(&assignments), others, "{name}");
        }
    }
}
