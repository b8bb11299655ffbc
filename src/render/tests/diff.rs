use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::terminal;
use crate::baseline::compare;
use crate::model::*;

/// Returns two changes as a table. In the first, a PostgreSQL on loopback is replaced by another program on every
/// address. In the second, a web server is new, and its workers do not run as the user who created the socket.
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
  before  127.0.0.1:5432, loopback, /usr/lib/postgresql/15/bin/postgres as
          postgres
  after   0.0.0.0:5432, any, /usr/lib/postgresql/15/bin/postgres as postgres
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
widened   tcp 0.0.0.0:5432  127.0.0.1:5432, loopback, /usr/lib/postgresql/15/bin/postgres as postgres  0.0.0.0:5432, any, /usr/lib/postgresql/15/bin/postgres as postgres
2 changes since 2026-11-21 12:00 UTC.

"#]],
    );
}

/// One hidden service has moved. Another has vanished on both loopback addresses (IPv4 and IPv6).
#[test]
fn hidden_services_of_units() {
    let hidden = |local: &str, unit: &str| {
        let mut socket = socket(local, Owner::Hidden);
        let attributes = std::sync::Arc::make_mut(&mut socket.attributes);
        attributes.unit = Some(unit.to_owned());
        attributes.cgroup = Some(format!("/system.slice/{unit}"));
        socket
    };
    let cups = ["tcp/127.0.0.1:631", "tcp/[::1]:631"].map(|local| hidden(local, "cups.service"));
    let of = |sockets: Vec<Socket>| report(&Snapshot { sockets, ..empty() });
    let before = of(cups.into_iter().chain([hidden("tcp/127.0.0.1:9100", "metrics.service")]).collect());
    let mut after = of(vec![hidden("tcp/0.0.0.0:9100", "metrics.service")]);
    let limited = Reach { kind: ReachKind::Limited, from: vec!["anyone on eth1".into()], ..Reach::open() };
    after.entries[0].set_reach(limited.into());
    let comparison = compare(&before, &after);
    let table = text(|w| diff::table(&comparison, &terminal(80), w));
    let rest = text(|w| diff::not_comparable(&comparison, &terminal(80), w));
    assert_snapshot(
        table + &rest,
        str![[r#"
widened tcp 0.0.0.0:9100
  before  127.0.0.1:9100, loopback, (hidden, unit metrics.service) as root
  after   0.0.0.0:9100, any (limited), (hidden, unit metrics.service) as root;
          probably the same service: same unit metrics.service
vanished tcp 127.0.0.1+[::1]:631
  before  (hidden, unit cups.service) as root
2 changes since 2026-11-21 12:00 UTC. 1 socket cannot be compared. This is not
an all-clear.
portolan: not comparable: 1 socket (the process was not visible)

"#]],
    );
}
