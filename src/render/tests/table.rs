use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, bleached, terminal};
use crate::model::*;

fn listing(observation: &Snapshot, style: &Style) -> String {
    let report = report(observation);
    text(|w| table::listing(&report, true, style, w))
}

#[test]
fn a_pipe_gets_the_full_table() {
    assert_snapshot(
        listing(&scene(), &PLAIN),
        str![[r#"
PROTO  ADDRESS         PORT   EXPOSURE    SERVICE                                                                               PROCESS                               PID                  USER                     UNIT                FLAGS
tcp    0.0.0.0         3416   any         commandport                                                                           python3                               812                  root                     -                   orphaned (presumed)
udp    [::]            4913   any         (unassigned)                                                                          (hidden)                              -                    65534                    -                   unexplained
tcp    0.0.0.0         8000   any         ~Django, uvicorn and other development servers, Splunk, Portainer, Hikvision cameras  nginx ×4, ?                           21,22,23,24,4000025  root                     -                   -
udp    0.0.0.0         51820  any         (dynamic)                                                                             (kernel)                              -                    root                     -                   -
tcp    [fe80::1%eth0]  22     link-local  ssh                                                                                   (unknown)                             -                    -                        -                   -
tcp    127.0.0.1       5432   loopback    postgresql                                                                            postgres                              900                  postgres                 -                   -
tcp    127.0.0.1       8003   loopback    mcreport                                                                              \x1b[2J\x0aevil\u{202e}, \x28kernel)  1000,1001            \x1b[2J\x0aevil\u{202e}  evil\u{9b}.service  shared, unexplained
tcp    127.0.0.1       60417  loopback    (dynamic)                                                                             (vanished)                            -                    root                     -                   ephemeral

"#]],
    );
}

#[test]
fn at_120_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(120)),
        str![[r#"
PROTO  ADDRESS         PORT   EXPOSURE    SERVICE              PROCESS              PID      USER            FLAGS
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
tcp    0.0.0.0         3416   any         commandport          python3              812      root            orphaned?
udp    [::]            4913   any         -                    (hidden)             -        65534           unexplained
tcp    0.0.0.0         8000   any         ~Django, uvicorn a…  nginx ×4, ?          21 +4    root            -
udp    0.0.0.0         51820  any         -                    (kernel)             -        root            -
tcp    [fe80::1%eth0]  22     link-local  ssh                  (unknown)            -        -               -
tcp    127.0.0.1       5432   loopback    postgresql           postgres             900      postgres        -
tcp    127.0.0.1       8003   loopback    mcreport             \x1b[2J\x0aevil\u{…  1000 +1  \x1b[2J\x0aev…  shared +1
tcp    127.0.0.1       60417  loopback    -                    (vanished)           -        root            ephemeral
8 listeners: 1 orphaned (1 presumed), 1 ephemeral, 2 unexplained, 1 shared.
Owner of 1 socket hidden. Run with sudo to see them.
1 socket closed during the scan.

"#]],
    );
}

#[test]
fn at_80_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(80)),
        str![[r#"
PROTO  ADDRESS         PORT   SERVICE    PROCESS    PID      USER    FLAGS
────────────────────────────────────────────────────────────────────────────────
tcp    0.0.0.0         3416   commandp…  python3    812      root    orphaned?
udp    [::]            4913   -          (hidden)   -        65534   unexplained
tcp    0.0.0.0         8000   ~Django,…  nginx ×4…  21 +4    root    -
udp    0.0.0.0         51820  -          (kernel)   -        root    -
tcp    [fe80::1%eth0]  22     ssh        (unknown)  -        -       -
tcp    127.0.0.1       5432   postgres…  postgres   900      postg…  -
tcp    127.0.0.1       8003   mcreport   \x1b[2J\…  1000 +1  \x1b[…  shared +1
tcp    127.0.0.1       60417  -          (vanishe…  -        root    ephemeral
8 listeners: 1 orphaned (1 presumed), 1 ephemeral, 2 unexplained, 1 shared.
Owner of 1 socket hidden. Run with sudo to see them.
1 socket closed during the scan.

"#]],
    );
}

#[test]
fn at_60_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(60)),
        str![[r#"
PROTO  ADDRESS         PORT   SERVICE  PROCESS   FLAGS
────────────────────────────────────────────────────────────
tcp    0.0.0.0         3416   comman…  python3   orphaned?
udp    [::]            4913   -        (hidden)  unexplained
tcp    0.0.0.0         8000   ~Djang…  nginx ×…  -
udp    0.0.0.0         51820  -        (kernel)  -
tcp    [fe80::1%eth0]  22     ssh      (unknow…  -
tcp    127.0.0.1       5432   postgr…  postgres  -
tcp    127.0.0.1       8003   mcrepo…  \x1b[2J…  shared +1
tcp    127.0.0.1       60417  -        (vanish…  ephemeral
8 listeners: 1 orphaned (1 presumed), 1 ephemeral, 2
unexplained, 1 shared.
Owner of 1 socket hidden. Run with sudo to see them.
1 socket closed during the scan.

"#]],
    );
}

/// A wide terminal shows everything: both flags, the confidence, the unit.
#[test]
fn at_200_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(200)),
        str![[r#"
PROTO  ADDRESS         PORT   EXPOSURE    SERVICE                                 PROCESS                               PID             USER                     UNIT                FLAGS
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
tcp    0.0.0.0         3416   any         commandport                             python3                               812             root                     -                   orphaned (presumed)
udp    [::]            4913   any         (unassigned)                            (hidden)                              -               65534                    -                   unexplained
tcp    0.0.0.0         8000   any         ~Django, uvicorn and other developmen…  nginx ×4, ?                           21,22,23,24 +1  root                     -                   -
udp    0.0.0.0         51820  any         (dynamic)                               (kernel)                              -               root                     -                   -
tcp    [fe80::1%eth0]  22     link-local  ssh                                     (unknown)                             -               -                        -                   -
tcp    127.0.0.1       5432   loopback    postgresql                              postgres                              900             postgres                 -                   -
tcp    127.0.0.1       8003   loopback    mcreport                                \x1b[2J\x0aevil\u{202e}, \x28kernel)  1000,1001       \x1b[2J\x0aevil\u{202e}  evil\u{9b}.service  shared, unexplained
tcp    127.0.0.1       60417  loopback    (dynamic)                               (vanished)                            -               root                     -                   ephemeral
8 listeners: 1 orphaned (1 presumed), 1 ephemeral, 2 unexplained, 1 shared.
Owner of 1 socket hidden. Run with sudo to see them.
1 socket closed during the scan.

"#]],
    );
}

/// The essential columns stay down to 60 columns, with the longest protocol name; no line is wider than the terminal, a
/// row is one line, and cells stay aligned with their column.
#[test]
fn fits_every_terminal() {
    let mut observation = scene();
    observation.sockets[0].local = "udplite/[2001:db8:85a3::8a2e:370:7334%数据数据0]:3416".parse().unwrap();
    observation.processes[0].name = Some("数据数据数据数据数据".into());
    std::sync::Arc::make_mut(&mut observation.sockets[2].home).netns =
        Some(Netns { inode: 4_026_531_840, name: None });
    observation.sockets[3].peer = Some(Peer { address: "192.0.2.7".parse().unwrap(), port: 40000 });
    for width in (0..=300).chain([u16::MAX]) {
        let text = listing(&observation, &terminal(width));
        for line in text.lines() {
            // "No listener" and the like wrap; single words of the summary fit 20.
            assert!(line.width() <= usize::from(width.max(20)), "{width}: {line}\n{text}");
        }
        let rule = text.lines().position(|line| line.starts_with('─'));
        assert_eq!(rule, Some(1), "{text}");
        let header = text.lines().next().unwrap();
        let essential: &[&str] = match width {
            60.. => &["PROTO", "ADDRESS", "PORT", "SERVICE", "PROCESS", "FLAGS"],
            _ => &["PORT", "FLAGS"],
        };
        for column in essential {
            assert!(header.contains(column), "{width}: no {column} in {header}");
        }
        assert!(text.contains("\n8 listeners:") || width < 20, "{text}");
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for width in [None, Some(80), Some(120)] {
        let plain = listing(&scene(), &Style { width, color: false });
        let coloured = listing(&scene(), &Style { width, color: true });
        assert!(!plain.contains('\x1b'));
        assert_eq!(bleached(&coloured), plain);
        // The most severe flag is a warning, which is dark yellow for every value of NO_COLOR.
        let row = coloured.lines().find(|line| line.contains("orphaned")).unwrap();
        assert!(row.contains("\x1b[38;5;3morphaned"), "{row:?}");
    }
}

/// No name of a process reaches the terminal unescaped, splits a row, or passes for a mark.
#[test]
fn hostile_names_are_shown() {
    let text = listing(&scene(), &PLAIN);
    assert_eq!(text.lines().count(), 9);
    assert_eq!(text.chars().find(|c| *c != '\n' && is_unsafe(*c)), None);
    assert_eq!(text.matches("(kernel)").count(), 1, "a process passes for the kernel\n{text}");
}

#[test]
fn owners_are_distinguished() {
    let text = listing(&scene(), &PLAIN);
    for mark in ["(hidden)", "(kernel)", "(vanished)", "(unknown)", "python3"] {
        assert_eq!(text.matches(mark).count(), 1, "{mark}\n{text}");
    }
}

/// A prefork server: a pipe gets all its pids, a terminal one pid and a count.
#[test]
fn many_owners() {
    let pids: Vec<Pid> = (2_000_000..2_000_300).collect();
    let observation = Snapshot {
        processes: pids.iter().map(|pid| process(*pid, "apache2")).collect(),
        sockets: vec![socket("tcp/0.0.0.0:8000", Owner::Held(pids.into()))],
        ..empty()
    };
    let piped = listing(&observation, &PLAIN);
    assert_eq!(piped.lines().count(), 2);
    assert!(
        piped.contains("apache2 ×300") && piped.contains(",2000150,") && piped.contains(",2000299  root")
    );
    let shown = listing(&observation, &terminal(80));
    assert!(shown.contains("2000000 +299 "), "{shown}");
}

#[test]
fn nothing_to_list() {
    let mut snapshot = empty();
    assert_snapshot(
        listing(&snapshot, &terminal(80)),
        str![[r#"
No listeners.

"#]],
    );
    assert_eq!(listing(&snapshot, &PLAIN), "");
    snapshot.gaps = vec![gap(Stage::Sockets, "TCP sockets", None)];
    assert_snapshot(
        listing(&snapshot, &terminal(120)),
        str![[r#"
No listener could be seen.
1 list of sockets could not be read. Run with sudo to see them.

"#]],
    );
    let snapshot = scene();
    let mut report = report(&snapshot);
    report.entries.clear();
    assert_snapshot(
        text(|w| write_summary(&report, &PLAIN, w)),
        str![[r#"
No match among the 8 sockets seen.
12 processes could not be read. Run with sudo to see them.
2 other network namespaces.

"#]],
    );
}
