use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::terminal;
use crate::baseline::compare;
use crate::model::*;

/// Returns two changes. A PostgreSQL on loopback is replaced by another program on every address. A web server is new:
/// its workers do not run as the user who created the socket.
fn changes(style: &Style) -> String {
    let postgres = Process {
        exe: Some(Exe {
            path: "/usr/lib/postgresql/15/bin/postgres".into(),
            state: ExeState::Present,
            open_directories: None,
        }),
        uid: Some(105),
        user: Some("postgres".into()),
        ..process(900, "postgres")
    };
    let worker = Process { uid: Some(33), user: Some("www-data".into()), ..process(22, "nginx") };
    let before = Snapshot {
        sockets: vec![socket("tcp/127.0.0.1:5432", Owner::Held(vec![900].into()))],
        processes: vec![postgres.clone()],
        ..empty()
    };
    let after = Snapshot {
        sockets: vec![
            socket("tcp/0.0.0.0:5432", Owner::Held(vec![900].into())),
            socket("tcp/0.0.0.0:80", Owner::Held(vec![21, 22].into())),
        ],
        processes: vec![process(21, "nginx"), worker, postgres],
        ..empty()
    };
    let (before, after) = (report(&before), report(&after));
    text(|w| diff::table(&compare(&before, &after), style, w))
}

/// A path stays in one piece, also if the table is wider than the terminal.
#[test]
fn no_word_is_broken_at_80_columns() {
    let narrow = changes(&terminal(80));
    for line in narrow.lines() {
        assert!(line.width() <= 80, "{line}");
    }
    assert_snapshot(
        narrow,
        str![[r#"
appeared tcp 0.0.0.0:80
  after   /usr/bin/nginx as root,www-data
widened tcp 0.0.0.0:5432
  before  127.0.0.1:5432 (loopback) /usr/lib/postgresql/15/bin/postgres as
          postgres
  after   0.0.0.0:5432 (any) /usr/lib/postgresql/15/bin/postgres as postgres
2 changes since 2026-11-21 12:00 UTC.

"#]],
    );
}

#[test]
fn a_wide_terminal_has_a_table() {
    assert_snapshot(
        changes(&terminal(200)),
        str![[r#"
CHANGE    WHERE             BEFORE                                                                     AFTER
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
appeared  tcp 0.0.0.0:80    -                                                                          /usr/bin/nginx as root,www-data
widened   tcp 0.0.0.0:5432  127.0.0.1:5432 (loopback) /usr/lib/postgresql/15/bin/postgres as postgres  0.0.0.0:5432 (any) /usr/lib/postgresql/15/bin/postgres as postgres
2 changes since 2026-11-21 12:00 UTC.

"#]],
    );
}
