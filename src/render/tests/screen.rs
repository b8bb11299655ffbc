use std::time::Duration;

use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::screen::{FrameContent, Mark, ScanCounts, Size, frame, status};
use super::super::{Style, Zone};
use super::{PLAIN, bleached};
use crate::baseline::ChangeKind;
use crate::model::*;

const SECOND: Duration = Duration::from_secs(1);

/// Returns the frame of the scene in which these ports have these marks.
fn shown(snapshot: &Snapshot, marks: &[(u16, ChangeKind)], size: (u16, u16), color: bool) -> Vec<String> {
    let report = report(snapshot);
    let mark = |port| marks.iter().find(|(marked, _)| *marked == port);
    let rows = report.entries.iter().map(|judged| {
        let mark = mark(judged.socket.local.port);
        (judged.clone(), mark.map(|(_, kind)| Mark { kind: *kind, fading: false }))
    });
    let scene = FrameContent { report: &report, rows: rows.collect(), verbose: false };
    let size = Size { width: size.0, height: size.1 };
    frame(&scene, snapshot.taken, SECOND, size, &Style { color, ..PLAIN }).unwrap()
}

const MARKS: [(u16, ChangeKind); 5] = [
    (3416, ChangeKind::Appeared),
    (8000, ChangeKind::Widened),
    (22, ChangeKind::Narrowed),
    (5432, ChangeKind::Changed),
    (60417, ChangeKind::Vanished),
];

#[test]
fn a_frame() {
    let lines = shown(&scene(), &MARKS, (100, 30), false);
    assert_snapshot(
        lines.join("\n"),
        str![[r#"
12:00:00 UTC  7 listeners  view incomplete (1 gap)  every 1 s  q quits
+ 1 appeared  - 1 vanished  ~ 1 changed  ^ 1 widened  v 1 narrowed
  PROTO ADDRESS        PORT  EXPOSURE   SERVICE        PROCESS        PID     USER       FLAGS
────────────────────────────────────────────────────────────────────────────────────────────────────
+ tcp   0.0.0.0        3416  any        IANA: command… python3 -m se… 812     root       orphaned?
  udp   [::]           4913  any        -              (hidden)       -       65534      unexplained
^ tcp   0.0.0.0        8000  any        nginx          nginx ×4, ?    21 +4   root       -
  udp   0.0.0.0        51820 any        -              (kernel)       -       root       -
v tcp   [fe80::1%eth0] 22    link-local (ssh)          (unknown)      -       -          -
~ tcp   127.0.0.1      5432  loopback   PostgreSQL     postgres       900     root       -
  tcp   127.0.0.1      8003  loopback   IANA: mcreport \x1b[2J\x0aev… 1000 +1 \x1b[2J\x… shared +1
- tcp   127.0.0.1      60417 loopback   -              (vanished)     -       root       ephemeral
portolan: Owner of 1 socket hidden. Run with sudo to see it.
portolan: 1 socket closed during the scan.
"#]],
    );
}

/// No line is wider than the terminal and no frame is higher, with or without colour. Colour changes nothing else.
#[test]
fn fits_every_terminal() {
    for width in (1..=80).step_by(3).chain([100, 140, 300]) {
        for height in [1, 2, 3, 5, 8, 12, 13, 40] {
            let plain = shown(&scene(), &MARKS, (width, height), false);
            let coloured = shown(&scene(), &MARKS, (width, height), true);
            assert!(plain.len() <= height.into(), "{width}x{height}: {plain:#?}");
            for (plain, coloured) in plain.iter().zip(&coloured) {
                assert!(plain.width() <= width.into(), "{width}x{height}: {plain}");
                assert!(!plain.contains('\x1b'));
                assert_eq!(bleached(coloured), *plain, "{width}x{height}");
            }
            assert_eq!(plain.len(), coloured.len());
        }
    }
}

/// If not all rows fit, the changed rows are among those shown, and the rest are counted.
#[test]
fn too_many_rows() {
    let lines =
        shown(&scene(), &[(60417, ChangeKind::Vanished), (5432, ChangeKind::Changed)], (80, 8), false);
    assert_snapshot(
        lines.join("\n"),
        str![[r#"
12:00:00 UTC  7 listeners  view incomplete (1 gap)  every 1 s  q quits
- 1 vanished  ~ 1 changed
  PROTO ADDRESS   PORT  EXPOSURE SERVICE        PROCESS       PID USER FLAGS
────────────────────────────────────────────────────────────────────────────────
  tcp   0.0.0.0   3416  any      IANA: command… python3 -m s… 812 root orphaned?
~ tcp   127.0.0.1 5432  loopback PostgreSQL     postgres      900 root -
- tcp   127.0.0.1 60417 loopback -              (vanished)    -   root ephemeral
5 rows not shown: the terminal has too few lines
"#]],
    );
}

#[test]
fn nothing_to_show() {
    let mut snapshot = empty();
    assert_snapshot(
        shown(&snapshot, &[], (80, 20), false).join("\n"),
        str![[r#"
12:00:00 UTC  0 listeners  every 1 s  q quits

No listeners.
"#]],
    );
    snapshot.gaps = vec![gap(Stage::Sockets, "TCP sockets", None)];
    assert_snapshot(
        shown(&snapshot, &[], (80, 20), false).join("\n"),
        str![[r#"
12:00:00 UTC  0 listeners  view incomplete (1 gap)  every 1 s  q quits

No listener could be seen.
1 list of sockets could not be read. Run with sudo to see it.
"#]],
    );
}

/// The narrower the terminal, the less the status line shows; the word "incomplete" stays the longest.
#[test]
fn status_lines() {
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let counts = ScanCounts { listeners: 37, gaps: 2 };
    let line = |width| status(counts, now, Duration::from_millis(500), (width, Zone::default()));
    assert_snapshot(
        [80, 70, 50, 40, 30, 20].map(line).join("\n"),
        str![[r#"
12:00:00 UTC  37 listeners  view incomplete (2 gaps)  every 0.5 s  q quits
12:00:00 UTC  37 listeners  view incomplete (2 gaps)  q quits
37 listeners  view incomplete (2 gaps)  q quits
37 listeners  view incomplete (2 gaps)
view incomplete (2 gaps)
view incomplete (2 …
"#]],
    );
}
