use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, assert_lines, bleached};
use crate::model::*;

#[test]
fn reasons() {
    for (port, status, reason) in [
        (
            22,
            "active",
            "ssh is in use: the curated list of living services and the services file of Debian's netbase name it.",
        ),
        (443, "active", "https is defined by RFC 9110, and nothing says that it is dead."),
        (
            1701,
            "active",
            "l2tp is in use: the services file of Debian's netbase names it. l2f was registered for Cisco Layer Two Forwarding, dead, ended 2002-07: L2TP replaced it. Confirmed (https://example.org/rfc2341).",
        ),
        (
            3415,
            "unassigned",
            "Nothing is registered for this port and protocol, and nothing is known to use it.",
        ),
        (
            3416,
            "orphaned (presumed)",
            "commandport was registered for AirMobile IS (apparently Motorola), presumed dead: Command port of AirMobile IS, apparently Motorola wireless middleware of which nothing is on offer today. Presumed: no trace of the product in packages.",
        ),
        (
            5432,
            "active (presumed)",
            "postgresql is in use: the curated list of living services names it. In use today by PostgreSQL. Presumed: no trace of the product in packages.",
        ),
        (
            8000,
            "repurposed",
            "What one meets here today: development web servers (http.server, Django, uvicorn). irdmi was registered for Intel Remote Desktop Management Interface, presumed dead: Intel's iRDMI has no product today. Presumed: no trace of the product in packages.",
        ),
        (
            7777,
            "dormant",
            "cbt is in the registry (there since 2002-02), but no evidence shows it in use. That does not prove it dead.",
        ),
        (
            7778,
            "dormant",
            "interwise is in the registry (no assignee on record), but no evidence shows it in use. That does not prove it dead.",
        ),
        (
            9,
            "orphaned (presumed)",
            "discard was registered for Discard, presumed withdrawn but still met: Withdrawn. Presumed: no trace of the product in packages.",
        ),
        (
            1023,
            "unassigned (reserved)",
            "IANA reserves this port: it is assigned to no service. IANA remarks: kept back.",
        ),
        (60000, "dynamic", "IANA assigns nothing from 49152 up: programs use these ports for a while."),
    ] {
        let verdict = verdict(port);
        assert_eq!(verdict_text::status(&verdict), status, "{port}");
        assert_eq!(verdict_text::reason(&verdict), reason, "{port}");
    }
}

/// One confirmed row beside a presumed one leaves the verdict presumed; untouched since when, for dormant.
#[test]
fn a_presumption_stays_one() {
    let mut mixed = verdict(3416);
    let mut confirmed = mixed.assignments[0].clone();
    confirmed.curated.as_mut().unwrap().confidence = Confidence::Confirmed;
    mixed.assignments.insert(0, confirmed);
    assert_eq!(verdict_text::status(&mixed), "orphaned (presumed)");
    mixed.assignments.pop();
    assert_eq!(verdict_text::status(&mixed), "orphaned (confirmed)");
    assert!(!verdict_text::reason(&mixed).contains("resumed"));

    let mut dormant = verdict(7778);
    dormant.assignments[0].modified = Some("2004-01-02");
    assert!(verdict_text::reason(&dormant).contains("(untouched since 2004-01-02, no assignee on record)"));
}

/// Each gap once, with its remedy; what is not ours is escaped.
#[test]
fn talk() {
    let mut observation = scene();
    observation.gaps.push(observation.gaps[0].clone());
    observation.gaps.push(Gap { remedy: None, ..gap(Stage::Sockets, "TCP\nsockets", None) });
    assert_lines(
        &text(|w| talk::gaps(&observation.gaps, &observation.notes, &PLAIN, w)),
        &[
            "portolan: not seen: TCP\\x0asockets: permission denied",
            "portolan: not seen: 12 processes: permission denied (run as root)",
            "portolan: note: 2 other network namespaces",
        ],
    );
    let coloured =
        text(|w| talk::gaps(&observation.gaps, &observation.notes, &Style { color: true, ..PLAIN }, w));
    assert_eq!(bleached(&coloured), text(|w| talk::gaps(&observation.gaps, &observation.notes, &PLAIN, w)));
    assert!(coloured.contains("\x1b[33mnot seen:"));
}

#[test]
fn summaries() {
    let mut observation = empty();
    observation.sockets = vec![socket("tcp/127.0.0.1:22", Owner::Held(vec![900].into()))];
    let report = report(&observation);
    assert_eq!(
        summary(&report),
        format!("1 listener, none flagged. Registry of {}.", report.registry.date())
    );
}
