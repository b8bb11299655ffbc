//! Checks how much the card of a port contains.

use std::collections::BTreeSet;

use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::card::{card, cut, heads};
use super::{PLAIN, terminal};
use crate::judge::{Explained, Report};
use crate::model::*;

/// Returns a report with a web server.
fn nginx() -> Report {
    let sockets = vec![socket("tcp/0.0.0.0:80", Owner::Held(vec![7].into()))];
    report(&Snapshot { sockets, processes: vec![process(7, "nginx")], ..empty() })
}

#[test]
fn more_listeners_than_cards() {
    let sockets = (1..=5_u32).map(|pid| socket("tcp/0.0.0.0:9", Owner::Held(vec![pid].into())));
    let processes = (1..=5).map(|pid| process(pid, "server")).collect();
    let snapshot = Snapshot { sockets: sockets.collect(), processes, ..empty() };
    let text = card(&snapshot, &[9], &PLAIN);
    assert_eq!(text.matches("To stop").count(), 3, "{text}");
    assert!(text.contains("\nand 2 more listeners (portolan 9)\n"), "{text}");
}

/// A long text of the registry is left out if something listens, unless the user asks for everything.
#[test]
fn short_and_in_full() {
    let report = nginx();
    let ports = explained(&report, &[80]);
    let left_out = BTreeSet::from([(80, Protocol::Udp), (80, Protocol::Sctp)]);
    let write = |ports: &[Explained<'_>], left_out: &BTreeSet<_>, in_full| {
        let depth = card::Depth { in_full, evidence: in_full, rows: None };
        cut(ports, left_out, depth, &report, &terminal(80))
    };
    let short = write(&ports[..1], &left_out, false);
    let full = write(&ports, &BTreeSet::new(), true);
    for (text, marks) in [(&short, [false, true]), (&full, [true, false])] {
        let found = ["IANA notes", "udp/80 and sctp/80 (nothing listens there); --full shows them"]
            .map(|mark| text.contains(mark));
        assert_eq!(found, marks, "{text}");
    }
    assert!(short.lines().count() < 40 && full.lines().count() > 70, "{short}");
    // tcp/80 has a listener but is left out. The output must not say that nothing listens there.
    let short = write(&ports[..1], &BTreeSet::from([(80, Protocol::Tcp)]), false);
    assert!(short.contains("  Not shown   tcp/80; --full shows them.\n"), "{short}");
}

/// On a terminal with few rows, the text about the port is cut to make space for the card of the listener.
#[test]
fn fits_the_rows_of_a_terminal() {
    let report = nginx();
    let ports = explained(&report, &[80]);
    let write = |rows| {
        let depth = card::Depth { rows: Some(rows), ..Default::default() };
        cut(&ports, &BTreeSet::new(), depth, &report, &terminal(80))
    };
    let full = write(1000);
    assert!(!full.contains("Not shown"), "{full}");
    for rows in 14..full.lines().count() {
        let short = write(rows);
        assert!(short.lines().count() <= rows, "{rows}: {short}");
        assert!(
            short.contains("To stop     kill 7\n") && short.contains("; --full shows them.\n"),
            "{short}"
        );
        assert!(!short.contains("\n\n\n"), "{short}");
    }
    assert_snapshot(
        write(14),
        str![[r#"
tcp 0.0.0.0:80  nginx
  Process     nginx (pid 7, user root), since 10:00 UTC today (2 h)
  Command     nginx -m serve
  Program     /usr/bin/nginx
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  To stop     kill 7

Port 80 (system range, 0 to 1023)

tcp  active

udp  dormant
  Not shown   21 lines; --full shows them.

"#]],
    );
}

/// TCP and UDP have a section each if they differ in registrations, status, or service.
#[test]
fn protocols_that_differ() {
    let snapshot = scene();
    let report = report(&snapshot);
    let mut ports = explained(&report, &[3416]);
    ports[1].verdict = verdict(8810);
    assert_snapshot(
        heads(&ports, &report),
        str![[r#"
tcp 0.0.0.0:3416  python3
tcp  orphaned (presumed)
udp  unassigned
"#]],
    );
    // Neither port has a registration, but one of them is reserved.
    ports[0].verdict = verdict(1023);
    ports[1].verdict = verdict(8810);
    assert_snapshot(
        heads(&ports, &report),
        str![[r#"
tcp 0.0.0.0:3416  python3
tcp  unassigned (reserved)
udp  unassigned
"#]],
    );
    // The statuses are the same, but the services differ.
    ports[0].verdict = verdict(3416);
    ports[1].verdict = verdict(3416);
    ports[1].verdict.assignments[0].service = "otherport";
    assert_snapshot(
        heads(&ports, &report),
        str![[r#"
tcp 0.0.0.0:3416  python3
tcp  orphaned (presumed)
udp  orphaned (presumed)
"#]],
    );
}

/// Without a terminal, prose is wrapped as on a terminal of 80 columns.
#[test]
fn in_a_pipe() {
    assert_eq!(card(&scene(), &[3416], &PLAIN), card(&scene(), &[3416], &terminal(80)));
}
