//! Tests the screen of the renderers' scene after some keys.

use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::pictured::{explored, press, source};
use super::Explorer;
use crate::command::screen::Key;
use crate::judge::Report;
use crate::model::*;
use crate::render::fixtures::*;
use crate::render::screen::Size;
use crate::render::{Style, Zone};

const PLAIN: Style = Style { width: None, color: false, zone: Zone::UTC };

/// Returns the snapshot before the scene: one listener is missing, one has another address, and one is additional.
fn before() -> Snapshot {
    let mut before = scene();
    before.sockets.retain(|socket| socket.local.port != 3416);
    before.sockets.push(socket("tcp/0.0.0.0:4242", Owner::Unaccounted));
    for socket in &mut before.sockets {
        if socket.local.port == 8000 {
            socket.local.address = "127.0.0.1".parse().unwrap();
        }
    }
    before
}

fn screen(before: &Snapshot, after: &Snapshot, size: (u16, u16), color: bool) -> (Explorer, Report) {
    let (before, after) = (report(before), report(after));
    let size = Size { width: size.0, height: size.1 };
    let explorer = explored(&before, &after, size, &Style { color, ..PLAIN });
    (explorer, after)
}

/// Returns the screen of the scene after some keys.
fn shown(size: (u16, u16), color: bool, keys: &[Key]) -> Vec<String> {
    let (mut explorer, report) = screen(&before(), &scene(), size, color);
    press(&mut explorer, &report, keys);
    explorer.frame(source(&report), report.snapshot.taken)
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn bleached(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap().to_owned();
    parts.for_each(|part| plain.push_str(part.split_once('m').unwrap().1));
    plain
}

#[test]
fn listeners_with_marks() {
    assert_snapshot(
        shown((100, 20), false, &[Key::Down]).join("\n"),
        str![[r#"
12:00:00 UTC  8 listeners  view incomplete (1 gap)  every 1 s
[Listeners]  Connections  Changes 3  Findings
  PROTO ADDRESS        PORT  REACH SERVICE        PROCESS              PID  USER         FLAGS
──────────────────────────────────────────────────────────────────────────────────────────────── 9 ─
+ tcp   0.0.0.0        3416  any   IANA: command… serve                812  root         orphaned?
->tcp   0.0.0.0        4242  any   IANA: vrml-mu… (unaccounted)        -    root         unexplained
  udp   [::]           4913  any   -              (hidden)             -    65534        unexplained
^ tcp   0.0.0.0        8000  any   nginx          nginx ×4, ?          21   root         -
  udp   0.0.0.0        51820 any   -              (kernel)             -    root         -
  tcp   [fe80::1%eth0] 22    link  (ssh)          (unknown)            -    -            ?
  tcp   127.0.0.1      5432  lo    PostgreSQL     postgres             900  root         -
  tcp   127.0.0.1      8003  lo    IANA: mcreport \x1b[2J\x0aevil\u{2… 1000 \x1b[2J\x0a… shared +1
  tcp   127.0.0.1      60417 lo    -              (vanished)           -    root         ephemeral




12:00:00 UTC ^ widened: nginx on tcp 0.0.0.0:8000
Owner of 1 socket hidden. Run with sudo to see it. 1 socket closed during the scan.
q quit  ? help  Enter card  / filter  Tab view  s sort  p pause  K end process
"#]],
    );
}

#[test]
fn a_small_terminal() {
    assert_snapshot(
        shown((40, 12), false, &typed("G")).join("\n"),
        str![[r#"
8 listeners  view incomplete (1 gap)
[Listeners] Connections Changes Findings
  PROTO PORT  PROCESS        FLAGS
───────────────────────────── 4-9 of 9 ─
^ tcp   8000  nginx ×4, ?    -
  udp   51820 (kernel)       -
  tcp   22    (unknown)      ?
  tcp   5432  postgres       -
  tcp   8003  \x1b[2J\x0aev… shared +1
 >tcp   60417 (vanished)     ephemeral
Owner of 1 socket hidden. Ru… +1 more: ?
q quit  ? help  Enter card  / filter
"#]],
    );
}

#[test]
fn changes_and_findings() {
    assert_snapshot(
        shown((100, 12), false, &typed("3")).join("\n"),
        str![[r#"
12:00:00 UTC  8 listeners  view incomplete (1 gap)  every 1 s
Listeners  Connections  [Changes 3]  Findings
  TIME AND CHANGE
──────────────────────────────────────────────────────────────────────────────────────────────── 3 ─
 >12:00:00 UTC ^ widened: nginx on tcp 0.0.0.0:8000
  12:00:00 UTC - vanished: unknown program on tcp 0.0.0.0:4242
  12:00:00 UTC + appeared: python3 on tcp 0.0.0.0:3416



Owner of 1 socket hidden. Run with sudo to see it. 1 socket closed during the scan.
q quit  ? help  Enter card  / filter  Tab view  p pause  K end process
"#]],
    );
    assert_snapshot(
        shown((100, 14), false, &typed("4")).join("\n"),
        str![[r#"
12:00:00 UTC  8 listeners  view incomplete (1 gap)  every 1 s
Listeners  Connections  Changes 3  [Findings]
  SEVERITY FLAG        LISTENER AND EVIDENCE
──────────────────────────────────────────────────────────────────────────────────────────────── 5 ─
 >warning  orphaned    python3 on tcp 0.0.0.0:3416: commandport was registered for AirMobile IS, pr…
  notice   shared      \x1b[2J\x0aevil\u{202e} on tcp 127.0.0.1:8003: The processes of this socket …
  info     unexplained program hidden on udp [::]:4913: The port is registered for tcp only: lutcp.…
  info     unexplained \x1b[2J\x0aevil\u{202e} on tcp 127.0.0.1:8003: The port is registered for mc…
  info     ephemeral   unknown program on tcp 127.0.0.1:60417: The kernel gives ports 32768-60999 t…



Owner of 1 socket hidden. Run with sudo to see it. 1 socket closed during the scan.
q quit  ? help  Enter card  / filter  Tab view  p pause  K end process
"#]],
    );
}

#[test]
fn a_card() {
    let keys = [typed("/5432"), vec![Key::Enter, Key::Enter]].concat();
    assert_snapshot(
        shown((80, 24), false, &keys).join("\n"),
        str![[r#"
12:00:00 UTC  8 listeners  view incomplete (1 gap)  every 1 s
[Listeners]  Connections  Changes 3  Findings
tcp 127.0.0.1:5432  PostgreSQL (postgres)
  Process     postgres (pid 900, user root), since 10:00 UTC today (2 h)
  Command     postgres -m serve
  Program     /usr/bin/postgres
  Why         in the background; the process that started it has ended
  Reachable   on this machine only
  To stop     kill 900

Port 5432 (registered range, 1024 to 49151)

tcp  active
  What        PostgreSQL: SQL database server. Also connection poolers, and
              databases with the same protocol (CrateDB).
  Here now    postgres (PostgreSQL) usually serves this port; identified by its
              program file.
  If open     Asks for a password; encryption optional. Keep it on this machine,
              or in the local network if programs on other machines need it.
  Registered  postgresql: PostgreSQL Database (assigned to Tom Lane)
  Status      postgresql is in use according to the services file of Debian's
12:00:00 UTC ^ widened: nginx on tcp 0.0.0.0:8000
Owner of 1 socket hidden. Run with sudo to see it. +1 more: ?
Esc close  Up/Down scroll  y copy  K end process
"#]],
    );
}

#[test]
fn the_help() {
    assert_snapshot(
        shown((80, 24), false, &typed("?")).join("\n"),
        str![[r#"
12:00:00 UTC  8 listeners  view incomplete (1 gap)  every 1 s
[Listeners]  Connections  Changes 3  Findings
Not everything could be seen
  Owner of 1 socket hidden. Run with sudo to see it.
  1 socket closed during the scan.

Keys
  Up, k       the row above
  Down, j     the row below
  PgUp, PgDn  one page; the mouse wheel scrolls too
  g, G        the first row, the last row
  Enter       the card of the row: program, findings, connections, registry; a
              second click on a row does the same
  Tab         the next view: listeners, connections, changes, findings;
              Shift-Tab: the previous one
  1 to 4      the view with this number
  /           filter the rows, in the syntax of the command line: 8000-8100,
              nginx, --user root, -t. Any other text selects the rows that
              contain the text. Enter keeps the filter, Esc removes it
  s           sort by the next column
  r           reverse the order
12:00:00 UTC ^ widened: nginx on tcp 0.0.0.0:8000
Owner of 1 socket hidden. Run with sudo to see it. +1 more: ?
Esc close  Up/Down scroll
"#]],
    );
}

/// A filter means the same as on the command line. If it matches nothing, it selects the rows that contain its text.
#[test]
fn filters() {
    for (filter, count) in [
        ("5432", 1),
        ("postgres", 1),
        ("postg", 1),
        ("8000-8100", 2),
        ("-u", 2),
        ("--user root -t", 5),
        ("nothing such", 0),
    ] {
        let lines = shown((120, 30), false, &typed(&format!("/{filter}")));
        let rule = lines.iter().find(|line| line.starts_with('─'));
        let expected = format!("{count} with {filter} ─");
        match rule {
            Some(rule) => assert!(rule.ends_with(&expected), "{filter}: {lines:#?}"),
            None => assert!(count == 0 && lines[3].contains("No row matches"), "{filter}: {lines:#?}"),
        }
    }
    let lines = shown((120, 30), false, &typed("/--port 3"));
    assert!(lines.last().unwrap().starts_with("/--port 3_  "), "{lines:#?}");
}

/// A socket is counted if the filter depends on its unknown owner.
#[test]
fn a_filter_counts_what_it_cannot_decide() {
    let lines = shown((120, 30), false, &typed("/--process nginx"));
    assert!(
        lines.iter().any(|line| line.contains("3 sockets left out: their owners could not be seen")),
        "{lines:#?}"
    );
}

/// The first line of every view and of every text has the number of gaps. The line above the keys has one cause, and
/// the number of further causes.
#[test]
fn the_gaps_are_always_in_sight() {
    let card = vec![Key::Enter];
    for size in [(40, 12), (80, 24), (200, 50)] {
        for keys in [
            typed(""),
            typed("2"),
            typed("3"),
            typed("4"),
            typed("?"),
            typed("/"),
            typed("ssr"),
            card.clone(),
        ] {
            let lines = shown(size, false, &keys);
            let (first, above) = (&lines[0], &lines[lines.len() - 2]);
            assert!(first.contains("view incomplete (1 gap)"), "{size:?} {keys:?}: {lines:#?}");
            let cause = above.starts_with("Owner of 1 socket hidden. ");
            let further = above.ends_with(" +1 more: ?") || above.contains("closed") || keys == card;
            assert!(cause && further, "{size:?} {keys:?}: {lines:#?}");
        }
        let paused = &shown(size, false, &typed("p"))[0];
        assert!(paused.starts_with("paused") && paused.contains("view incomplete (1 gap)"), "{paused}");
    }
    let narrow = shown((9, 5), false, &typed("p"));
    assert_eq!(narrow[0], "1 gap");
}

/// No line is wider than the terminal, and no frame is higher. Lines with and without colour have the same text. Only
/// the blanks at their ends may differ.
#[test]
fn fits_every_terminal() {
    let texts: [&[Key]; 4] = [&[], &[Key::Char('4'), Key::Down], &[Key::Enter], &[Key::Char('?')]];
    for keys in texts {
        for width in [1, 2, 9, 20, 39, 40, 60, 80, 140] {
            for height in [1, 2, 5, 8, 12, 24] {
                let plain = shown((width, height), false, keys);
                let coloured = shown((width, height), true, keys);
                assert!(plain.len() <= height.into(), "{width}x{height}: {plain:#?}");
                for (plain, coloured) in plain.iter().zip(&coloured) {
                    assert!(plain.width() <= width.into(), "{width}x{height}: {plain}");
                    assert!(!plain.contains('\x1b'));
                    assert_eq!(bleached(coloured).trim_end(), plain.trim_end(), "{width}x{height}");
                }
                assert_eq!(plain.len(), coloured.len());
            }
        }
    }
}

/// A long list can be scrolled. The selected row is always visible, and stays selected after a scan.
#[test]
fn the_selected_row_stays_selected() {
    let mut many = empty();
    many.sockets = (1..=50).map(|port| socket(&format!("tcp/127.0.0.1:{port}"), Owner::Kernel)).collect();
    let (mut explorer, report) = screen(&many, &many, (80, 12), false);
    let selected = |explorer: &Explorer| {
        let lines = explorer.frame(source(&report), report.snapshot.taken);
        let row = lines.iter().find(|line| line.starts_with(" >")).unwrap().clone();
        row.split_whitespace().nth(2).unwrap().to_owned()
    };
    for (keys, port) in [
        (&[][..], "1"),
        (&[Key::Down, Key::Char('j')], "3"),
        (&[Key::PageDown], "10"),
        (&[Key::Char('k')], "9"),
        (&[Key::End], "50"),
        (&[Key::PageUp], "43"),
        (&[Key::Char('g')], "1"),
        (&[Key::Char('r')], "50"),
    ] {
        press(&mut explorer, &report, keys);
        assert_eq!(selected(&explorer), port, "{keys:?}");
    }
    press(&mut explorer, &report, &[Key::Char('r'), Key::PageDown]);
    assert_eq!(selected(&explorer), "8");
    // A listener appears above the selected row.
    let mut more = many.clone();
    more.sockets.push(socket("tcp/0.0.0.0:7", Owner::Kernel));
    let more = crate::render::fixtures::report(&more);
    explorer.make_rows(source(&more));
    let lines = explorer.frame(source(&more), more.snapshot.taken);
    assert!(lines.iter().any(|line| line.starts_with(" >tcp") && line.contains(" 8 ")), "{lines:#?}");
}

/// The columns do not shrink when a wide listener is no longer shown.
#[test]
fn columns_do_not_become_narrower() {
    let mut wide = empty();
    wide.sockets = vec![socket("tcp/[2001:db8:1111:2222:3333:4444:5555:6666]:80", Owner::Kernel)];
    let mut narrow = empty();
    narrow.sockets = vec![socket("tcp/127.0.0.1:81", Owner::Kernel)];
    let header = |before: &Snapshot| {
        let (mut explorer, report) = screen(before, &narrow, (200, 20), false);
        (0..100).for_each(|_| _ = explorer.fade());
        explorer.make_rows(source(&report));
        explorer.frame(source(&report), report.snapshot.taken)[2].clone()
    };
    assert!(header(&wide).width() > header(&narrow).width() + 10);
}

#[test]
fn nothing_listens_on_a_target_yet() {
    let snapshot = empty();
    let (explorer, mut report) = screen(&snapshot, &snapshot, (80, 12), false);
    let lines = |report: &Report| explorer.frame(source(report), report.snapshot.taken).join("\n");
    assert!(!lines(&report).contains("--until-listening"));
    report.question.is_narrowed = true;
    assert!(
        lines(&report).contains("\nTo wait until something listens and then quit, use --until-listening.\n")
    );
}

#[test]
fn nothing_to_show() {
    let mut snapshot = empty();
    let lines = |snapshot: &Snapshot| {
        let (explorer, report) = screen(snapshot, snapshot, (80, 12), false);
        explorer.frame(source(&report), report.snapshot.taken).join("\n")
    };
    assert_snapshot(
        lines(&snapshot),
        str![[r#"
12:00:00 UTC  0 listeners  no gaps  every 1 s
[Listeners]  Connections  Changes 0  Findings

No listeners.







q quit  ? help  Enter card  / filter  Tab view  s sort  p pause  K end process
"#]],
    );
    snapshot.gaps = vec![gap(Stage::Sockets, "TCP sockets", None)];
    assert_snapshot(
        lines(&snapshot),
        str![[r#"
12:00:00 UTC  0 listeners  view incomplete (1 gap)  every 1 s
[Listeners]  Connections  Changes 0  Findings

No listener was seen, but not everything could be seen.






1 list of sockets could not be read. Run with sudo to see it.
q quit  ? help  Enter card  / filter  Tab view  s sort  p pause  K end process
"#]],
    );
}
