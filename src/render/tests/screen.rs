use std::time::Duration;

use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::screen::{FrameContent, LoggedChange, Mark, ScanCounts, Size, frame, log_lines, status};
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
    let rows: Vec<_> = rows.collect();
    let log: Vec<LoggedChange> = rows
        .iter()
        .filter_map(|(entry, mark)| {
            let what = format!("a program on {}", entry.socket.local);
            Some(LoggedChange { time: snapshot.taken, kind: (*mark)?.kind, what })
        })
        .collect();
    let scene = FrameContent { report: &report, rows, past: &[], log: &log, verbose: false };
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
12:00:00 UTC - vanished: a program on tcp/127.0.0.1:60417; 12:00:00 UTC ~ changed: a program on tcp/
  PROTO ADDRESS        PORT  REACH      SERVICE       PROCESS            PID  USER       FLAGS
────────────────────────────────────────────────────────────────────────────────────────────────────
+ tcp   0.0.0.0        3416  any        IANA: comman… serve              812  root       orphaned?
  udp   [::]           4913  any        -             (hidden)           -    65534      unexplained
^ tcp   0.0.0.0        8000  any        nginx         nginx ×4, ?        21   root       -
  udp   0.0.0.0        51820 any        -             (kernel)           -    root       -
v tcp   [fe80::1%eth0] 22    link-local (ssh)         (unknown)          -    -          ?
~ tcp   127.0.0.1      5432  lo         PostgreSQL    postgres           900  root       -
  tcp   127.0.0.1      8003  lo         IANA: mcrepo… \x1b[2J\x0aevil\u… 1000 \x1b[2J\x… shared +1
- tcp   127.0.0.1      60417 lo         -             (vanished)         -    root       ephemeral
Owner of 1 socket hidden. Run with sudo to see it. 1 socket closed during the scan.
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

/// A listener that is no longer shown keeps the columns as wide as before.
#[test]
fn columns_do_not_become_narrower() {
    let (report, wide) = (report(&scene()), report(&scene()));
    let rows: Vec<_> = report.entries.iter().take(1).map(|entry| (entry.clone(), None)).collect();
    let size = Size { width: 200, height: 30 };
    let lines = |past| {
        let scene = FrameContent { report: &report, rows: rows.clone(), past, log: &[], verbose: false };
        frame(&scene, report.snapshot.taken, SECOND, size, &PLAIN).unwrap()
    };
    let (before, after) = (lines(&wide.entries), lines(&wide.entries[..1]));
    assert!(before[2].width() > after[2].width(), "{before:#?} {after:#?}");
}

/// What appeared and vanished stays named after the screen is gone.
#[test]
fn the_changes_are_written_at_the_end() {
    let change = |kind, what: &str| LoggedChange { time: scene().taken, kind, what: what.to_owned() };
    let changes = [
        change(ChangeKind::Appeared, "nginx on tcp *:80"),
        change(ChangeKind::Vanished, "nginx on tcp *:80"),
    ];
    let lines = [log_lines(&changes, 7, &PLAIN), log_lines(&[], 0, &PLAIN)].concat();
    assert_snapshot(
        lines.join("\n"),
        str![[r#"
7 changes before these:
12:00:00 UTC + appeared: nginx on tcp *:80
12:00:00 UTC - vanished: nginx on tcp *:80
No change was seen.
"#]],
    );
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
12:00:00 UTC - vanished: a program on tcp/127.0.0.1:60417; 12:00:00 UTC ~ change
  PROTO ADDRESS        PORT  REACH   SERVICE  PROCESS  PID  USER     FLAGS
────────────────────────────────────────────────────────────────────────────────
  tcp   0.0.0.0        3416  any     IANA: c… serve    812  root     orphaned?
~ tcp   127.0.0.1      5432  lo      Postgre… postgres 900  root     -
- tcp   127.0.0.1      60417 lo      -        (vanish… -    root     ephemeral
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
