use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, bleached, terminal};
use crate::judge::Question;
use crate::model::*;

fn listing(snapshot: &Snapshot, style: &Style) -> String {
    let report = report(snapshot);
    text(|w| table::listing(&report, true, style, w))
}

#[test]
fn a_pipe_gets_the_full_table() {
    assert_snapshot(
        listing(&scene(), &PLAIN),
        str![[r#"
PROTO  ADDRESS         PORT   EXPOSURE    SERVICE            PROCESS                               PID                  USER                     UNIT                FLAGS
tcp    0.0.0.0         3416   any         IANA: commandport  python3 -m serve                      812                  root                     -                   orphaned (presumed)
udp    [::]            4913   any         -                  (hidden)                              -                    65534                    -                   unexplained
tcp    0.0.0.0         8000   any         nginx              nginx ×4, ?                           21,22,23,24,4000025  root                     -                   -
udp    0.0.0.0         51820  any         -                  (kernel)                              -                    root                     -                   -
tcp    [fe80::1%eth0]  22     link-local  (ssh)              (unknown)                             -                    -                        -                   ?
tcp    127.0.0.1       5432   loopback    PostgreSQL         postgres                              900                  root                     -                   -
tcp    127.0.0.1       8003   loopback    IANA: mcreport     \x1b[2J\x0aevil\u{202e}, \x28kernel)  1000,1001            \x1b[2J\x0aevil\u{202e}  evil\u{9b}.service  shared, unexplained
tcp    127.0.0.1       60417  loopback    -                  (vanished)                            -                    root                     -                   ephemeral

"#]],
    );
}

#[test]
fn at_120_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(120)),
        str![[r#"
PROTO  ADDRESS         PORT   REACH  SERVICE            PROCESS               PID   USER                     FLAGS
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
tcp    0.0.0.0         3416   any    IANA: commandport  serve                 812   root                     orphaned?
udp    [::]            4913   any    -                  (hidden)              -     65534                    unexplained
tcp    0.0.0.0         8000   any    nginx              nginx ×4, ?           21    root                     -
udp    0.0.0.0         51820  any    -                  (kernel)              -     root                     -
tcp    [fe80::1%eth0]  22     link   (ssh)              (unknown)             -     -                        ?
tcp    127.0.0.1       5432   lo     PostgreSQL         postgres              900   root                     -
tcp    127.0.0.1       8003   lo     IANA: mcreport     \x1b[2J\x0aevil\u{2…  1000  \x1b[2J\x0aevil\u{202e}  shared +1
tcp    127.0.0.1       60417  lo     -                  (vanished)            -     root                     ephemeral
8 listeners. Warning: 1 orphaned (1 presumed). Notice: 1 shared. Info: 1 ephemeral, 2 unexplained. Not judged (?): 1,
because the program is not visible.
Owner of 1 socket hidden. Run with sudo to see it.
1 socket closed during the scan.
REACH lo: this machine only. REACH link: only machines on the same link can connect. SERVICE in parentheses: the service
that usually uses the port. PROCESS (kernel): the socket belongs to the kernel, not to a process.

"#]],
    );
}

#[test]
fn at_80_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(80)),
        str![[r#"
PROTO ADDRESS        PORT  REACH SERVICE    PROCESS    PID  USER     FLAGS
────────────────────────────────────────────────────────────────────────────────
tcp   0.0.0.0        3416  any   IANA: com… serve      812  root     orphaned?
udp   [::]           4913  any   -          (hidden)   -    65534    unexplained
tcp   0.0.0.0        8000  any   nginx      nginx ×4,… 21   root     -
udp   0.0.0.0        51820 any   -          (kernel)   -    root     -
tcp   [fe80::1%eth0] 22    link  (ssh)      (unknown)  -    -        ?
tcp   127.0.0.1      5432  lo    PostgreSQL postgres   900  root     -
tcp   127.0.0.1      8003  lo    IANA: mcr… \x1b[2J\x… 1000 \x1b[2J… shared +1
tcp   127.0.0.1      60417 lo    -          (vanished) -    root     ephemeral
8 listeners. Warning: 1 orphaned (1 presumed). Notice: 1 shared. Info: 1
ephemeral, 2 unexplained. Not judged (?): 1, because the program is not visible.
Owner of 1 socket hidden. Run with sudo to see it.
1 socket closed during the scan.
REACH lo: this machine only. REACH link: only machines on the same link can
connect. SERVICE in parentheses: the service that usually uses the port. PROCESS
(kernel): the socket belongs to the kernel, not to a process.

"#]],
    );
}

#[test]
fn at_60_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(60)),
        str![[r#"
PROTO ADDRESS       PORT  REACH SERVICE PROCESS  FLAGS
────────────────────────────────────────────────────────────
tcp   0.0.0.0       3416  any   IANA: … serve    orphaned?
udp   [::]          4913  any   -       (hidden) unexplained
tcp   0.0.0.0       8000  any   nginx   nginx ×… -
udp   0.0.0.0       51820 any   -       (kernel) -
tcp   [fe80::1%eth… 22    link  (ssh)   (unknow… ?
tcp   127.0.0.1     5432  lo    Postgr… postgres -
tcp   127.0.0.1     8003  lo    IANA: … \x1b[2J… shared +1
tcp   127.0.0.1     60417 lo    -       (vanish… ephemeral
8 listeners. Warning: 1 orphaned (1 presumed). Notice: 1
shared. Info: 1 ephemeral, 2 unexplained. Not judged (?): 1,
because the program is not visible.
Owner of 1 socket hidden. Run with sudo to see it.
1 socket closed during the scan.
REACH lo: this machine only. REACH link: only machines on
the same link can connect. SERVICE in parentheses: the
service that usually uses the port. PROCESS (kernel): the
socket belongs to the kernel, not to a process.

"#]],
    );
}

#[test]
fn exposure_and_user_stay_at_80_columns() {
    let mut with_long_flags = scene();
    for exe in with_long_flags.processes.iter_mut().filter_map(|process| process.exe.as_mut()) {
        exe.open_directories = Some(vec!["/usr".into()]);
    }
    let mut wide = scene();
    wide.sockets[0].local = "udplite/[2001:db8:85a3::8a2e:370:7334%eth0]:3416".parse().unwrap();
    wide.sockets[3].owner = Owner::Held((4_000_000..4_000_300).collect::<Vec<_>>().into());
    for process in &mut wide.processes {
        process.unit = Some("a-unit-with-a-long-name@instance.service".into());
        process.user = Some("systemd-timesync".into());
    }
    for snapshot in [scene(), with_long_flags, wide] {
        let text = listing(&snapshot, &terminal(80));
        let header = text.lines().next().unwrap();
        for column in ["ADDRESS", "PORT", "REACH", "SERVICE", "PROCESS", "USER", "FLAGS"] {
            assert!(header.contains(column), "{text}");
        }
    }
}

/// A wide terminal shows everything: both flags, the confidence, the unit.
#[test]
fn at_200_columns() {
    assert_snapshot(
        listing(&scene(), &terminal(200)),
        str![[r#"
PROTO  ADDRESS         PORT   EXPOSURE    SERVICE            PROCESS                               PID             USER                     UNIT                FLAGS
───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
tcp    0.0.0.0         3416   any         IANA: commandport  python3 -m serve                      812             root                     -                   orphaned (presumed)
udp    [::]            4913   any         -                  (hidden)                              -               65534                    -                   unexplained
tcp    0.0.0.0         8000   any         nginx              nginx ×4, ?                           21,22,23,24 +1  root                     -                   -
udp    0.0.0.0         51820  any         -                  (kernel)                              -               root                     -                   -
tcp    [fe80::1%eth0]  22     link-local  (ssh)              (unknown)                             -               -                        -                   ?
tcp    127.0.0.1       5432   loopback    PostgreSQL         postgres                              900             root                     -                   -
tcp    127.0.0.1       8003   loopback    IANA: mcreport     \x1b[2J\x0aevil\u{202e}, \x28kernel)  1000,1001       \x1b[2J\x0aevil\u{202e}  evil\u{9b}.service  shared, unexplained
tcp    127.0.0.1       60417  loopback    -                  (vanished)                            -               root                     -                   ephemeral
8 listeners. Warning: 1 orphaned (1 presumed). Notice: 1 shared. Info: 1 ephemeral, 2 unexplained. Not judged (?): 1, because the program is not visible.
Owner of 1 socket hidden. Run with sudo to see it.
1 socket closed during the scan.
SERVICE in parentheses: the service that usually uses the port. PROCESS (kernel): the socket belongs to the kernel, not to a process.

"#]],
    );
}

/// Down to 60 columns, the essential columns stay visible, even with the longest protocol name. No line is wider than
/// the terminal, each row is one line, and cells stay aligned with their column.
#[test]
fn fits_every_terminal() {
    let mut snapshot = scene();
    snapshot.sockets[0].local = "udplite/[2001:db8:85a3::8a2e:370:7334%数据数据0]:3416".parse().unwrap();
    snapshot.processes[0].name = Some("数据数据数据数据数据".into());
    std::sync::Arc::make_mut(&mut snapshot.sockets[2].attributes).netns =
        Some(Netns { inode: 4_026_531_840, name: None });
    snapshot.sockets[3].peer = Some(Peer { address: "192.0.2.7".parse().unwrap(), port: 40000 });
    for width in (0..=300).chain([u16::MAX]) {
        let text = listing(&snapshot, &terminal(width));
        for line in text.lines() {
            // The texts above and below the table are wrapped, but a single word can have up to 20 columns.
            assert!(line.width() <= usize::from(width.max(20)), "{width}: {line}\n{text}");
        }
        let rule = text.lines().position(|line| line.starts_with('─'));
        assert_eq!(rule, Some(1), "{text}");
        let header = text.lines().next().unwrap();
        let essential: &[&str] = match width {
            100.. => &["PROTO", "ADDRESS", "PORT", "EXPOSURE", "SERVICE", "PROCESS", "PID", "FLAGS"],
            60.. => &["PROTO", "ADDRESS", "PORT", "SERVICE", "PROCESS", "FLAGS"],
            _ => &["PORT", "FLAGS"],
        };
        for column in essential {
            // A narrow table has a shorter name for this column.
            let is_short = *column == "EXPOSURE" && header.contains("REACH");
            assert!(header.contains(column) || is_short, "{width}: no {column} in {header}");
        }
        assert!(text.contains("\n8 listeners.") || width < 20, "{text}");
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for width in [None, Some(80), Some(120)] {
        let plain = listing(&scene(), &Style { width, color: false, ..Style::default() });
        let coloured = listing(&scene(), &Style { width, color: true, ..Style::default() });
        assert!(!plain.contains('\x1b'));
        assert_eq!(bleached(&coloured), plain);
        // The most severe flag is a warning, so it is dark yellow.
        let row = coloured.lines().find(|line| line.contains("orphaned")).unwrap();
        assert!(row.contains("\x1b[38;5;3morphaned"), "{row:?}");
    }
}

/// No name of a process reaches the terminal unescaped, splits a row, or looks like a mark.
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

/// A pipe shows all pids of a prefork server. A terminal shows one pid and a count.
#[test]
fn many_owners() {
    let pids: Vec<Pid> = (2_000_000..2_000_300).collect();
    let snapshot = Snapshot {
        processes: pids.iter().map(|pid| process(*pid, "apache2")).collect(),
        sockets: vec![socket("tcp/0.0.0.0:8000", Owner::Held(pids.into()))],
        ..empty()
    };
    let piped = listing(&snapshot, &PLAIN);
    assert_eq!(piped.lines().count(), 2);
    assert!(
        piped.contains("apache2 ×300") && piped.contains(",2000150,") && piped.contains(",2000299  root")
    );
    let shown = listing(&snapshot, &terminal(80));
    assert!(shown.contains("Apache HTTP Server apache2 ×300 2000000 root"), "{shown}");
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
No listener was seen, but not everything could be seen.
1 list of sockets could not be read. Run with sudo to see it.

"#]],
    );
    let snapshot = scene();
    let mut report = report(&snapshot);
    report.entries.clear();
    let one = crate::judge::Report { seen: 1, ..report.clone() };
    let summary = text(|w| write_summary(&one, "", &PLAIN, w));
    assert!(summary.starts_with("The only socket that was seen does not match.\n"), "{summary}");
    assert_snapshot(
        text(|w| write_summary(&report, "", &PLAIN, w)),
        str![[r#"
No match among the 8 sockets seen.
12 processes could not be read. Run with sudo to see them.
2 other network namespaces.

"#]],
    );
}

/// If the firewall limits the clients, the cell of the exposure has a remark. A narrow table shows only the remark.
#[test]
fn what_the_firewall_leaves_of_an_exposure() {
    use super::super::cells::{CellFormat, exposure};
    let mut report = report(&scene());
    let entry = &mut report.entries[0];
    for (kind, long, short) in [
        (ReachKind::Open, "any", "any"),
        (ReachKind::Limited, "any (limited)", "limited"),
        (ReachKind::Filtered, "any (filtered)", "filtered"),
        (ReachKind::Unknown, "any?", "any?"),
    ] {
        entry.set_reach(Reach { kind, ..Reach::open() }.into());
        let cell = |form| exposure(entry, form).text.into_owned();
        assert_eq!(
            [
                cell(CellFormat::Data),
                cell(CellFormat::Complete),
                cell(CellFormat::Long),
                cell(CellFormat::Short)
            ],
            ["any", long, long, short]
        );
    }
}

#[test]
fn nothing_on_one_port() {
    for (gaps, answer) in [
        (Vec::new(), "Nothing listens on port 5433."),
        (vec![Gap::refused_rules()], "No listener seen on port 5433."),
    ] {
        let mut report = report(&Snapshot { gaps, ..empty() });
        report.question = Question { is_narrowed: true, port: Some(5433), ..Question::default() };
        let text = text(|w| write_summary(&report, "", &terminal(80), w));
        assert_eq!(text.lines().next(), Some(answer));
    }
}

/// Returns listeners of a web server: a container of Docker on 8080, development servers, and PostgreSQL.
fn web_server() -> Snapshot {
    let proxy = |pid, address: &str| {
        let line =
            format!("docker-proxy -proto tcp -host-ip {address} -host-port 8080 -container-ip 172.17.0.2");
        let line = format!("{line} -container-port 80");
        let container = Container {
            id: "4f1c".into(),
            manager: "docker".into(),
            name: Some("frontend".into()),
            ..Container::default()
        };
        Process {
            cmdline: line.split(' ').map(str::to_owned).collect(),
            exe: Some(Exe {
                path: "/usr/sbin/docker-proxy".into(),
                state: ExeState::Present,
                open_directories: None,
            }),
            forwards_to_container: Some(std::sync::Arc::new(container)),
            unit: Some("docker.service".into()),
            ..process(pid, "docker-proxy")
        }
    };
    let held = |pid: Pid| Owner::Held([pid].to_vec().into());
    let node = Process { user: Some("www-data".into()), ..process(20711, "node") };
    Snapshot {
        sockets: vec![
            socket("tcp/0.0.0.0:8080", held(5511)),
            socket("tcp/[::]:8080", held(5512)),
            socket("tcp/127.0.0.1:3000", held(20711)),
            socket("tcp/127.0.0.1:5432", held(790)),
        ],
        processes: vec![proxy(5511, "0.0.0.0"), proxy(5512, "::"), node, process(790, "postgres")],
        ..empty()
    }
}

/// A column shrinks only if its table is too wide. The name of a container is cut only at its end.
#[test]
fn containers_and_products() {
    let listing = |style: &Style| {
        let mut report = report(&web_server());
        report.entries = merge(report.entries);
        text(|w| table::listing(&report, true, style, w))
    };
    for style in [PLAIN, terminal(200)] {
        let text = listing(&style);
        assert!(
            text.contains("  (Node.js, React and Rails development servers, Grafana, Gitea)  "),
            "{text}"
        );
        assert!(!text.contains('…'), "{text}");
    }
    assert_snapshot(
        listing(&terminal(80)),
        str![[r#"
PROTO ADDRESS   PORT REACH SERVICE             PROCESS      PID   USER     FLAGS
────────────────────────────────────────────────────────────────────────────────
tcp   *         8080 any   to frontend         docker-proxy 5511  root     -
tcp   127.0.0.1 3000 lo    (Node.js, React…)   node serve   20711 www-data -
tcp   127.0.0.1 5432 lo    PostgreSQL          postgres     790   root     -
3 listeners, none with a flag. Not judged: the service behind the published port
8080 (sudo portolan audit judges it).
REACH lo: this machine only. SERVICE in parentheses: the service that usually
uses the port.

"#]],
    );
}

/// Without the column STATE, a closed connection would look like an established one.
#[test]
fn the_state_of_a_connection_stays_at_80_columns() {
    let connection = |local: &str, state, owner| Socket {
        state,
        peer: Some(Peer { address: "203.0.113.115".parse().unwrap(), port: 50628 }),
        ..socket(local, owner)
    };
    let mut snapshot = web_server();
    for local in ["tcp/192.168.100.20:8080", "tcp/192.168.100.20:3000"] {
        snapshot.sockets.push(connection(local, State::TimeWait, Owner::Kernel));
        snapshot.sockets.push(connection(local, State::Established, Owner::Hidden));
    }
    snapshot.scope.states = State::ALL.to_vec();
    let text = listing(&snapshot, &terminal(80));
    assert_snapshot(
        &text,
        str![[r#"
PROTO ADDRESS        PORT PEER                   STATE     PROCESS      FLAGS
─────────────────────────────────────────────────────────────────────────────
tcp   0.0.0.0        8080 -                      listen    docker-proxy -
tcp   [::]           8080 -                      listen    docker-proxy -
tcp   192.168.100.20 3000 203.0.113.115:50628    estab     (hidden)     -
tcp   192.168.100.20 3000 203.0.113.115:50628    time-wait (kernel)     -
tcp   192.168.100.20 8080 <- 203.0.113.115:50628 estab     (hidden)     -
tcp   192.168.100.20 8080 <- 203.0.113.115:50628 time-wait (kernel)     -
tcp   127.0.0.1      3000 -                      listen    node serve   -
tcp   127.0.0.1      5432 -                      listen    postgres     -
4 listeners and 4 other sockets, none with a flag. Not judged: the service
behind the published port 8080 (sudo portolan audit judges it).
Owners of 2 sockets hidden.
PROCESS (kernel): the socket belongs to the kernel, not to a process.

"#]],
    );
    assert!(text.contains(" 203.0.113.115:50628 time-wait "), "{text}");
    for width in 20..=200 {
        let text = listing(&snapshot, &terminal(width));
        assert!(text.lines().all(|line| line.width() <= width.into()), "{width}: {text}");
    }
}

/// The screen of `watch` at 80 columns cuts no usual word, even with long process IDs. It can hide the PID, because the
/// card of each row shows it.
#[test]
fn usual_words_on_a_screen_of_80_columns() {
    let held = |pid: u32| Owner::Held(vec![pid].into());
    let programs = ["docker-proxy", "redis-server", "containerd", "postgres", "cupsd"];
    let pids = 4_190_001..;
    let ports = 40_001..;
    let snapshot = Snapshot {
        sockets: pids
            .clone()
            .zip(ports)
            .take(5)
            .map(|(pid, port)| socket(&format!("tcp/0.0.0.0:{port}"), held(pid)))
            .collect(),
        processes: pids
            .zip(programs)
            .map(|(pid, name)| Process { user: Some("www-data".into()), ..process(pid, name) })
            .collect(),
        ..empty()
    };
    let mut report = report(&snapshot);
    report.entries[0].set_reach(Reach { kind: ReachKind::Filtered, ..Reach::open() }.into());
    let style = terminal(78);
    let layout = table::TableLayout::of_screen(&report.entries.iter(), &report.snapshot, &style);
    let lines = table::lines(report.entries.iter(), &report.snapshot, &layout, &style).unwrap().join("\n");
    for word in programs.iter().chain(&["filtered", "www-data"]) {
        assert!(lines.contains(&format!(" {word} ")), "{word}: {lines}");
    }
}

#[test]
fn the_wide_table_begins_with_the_list() {
    let report = report(&scene());
    let list = text(|w| table::listing(&report, true, &PLAIN, w));
    let wide = text(|w| table::wide(&report, true, &PLAIN, w));
    assert_eq!(list.lines().count(), wide.lines().count());
    for (list, wide) in list.lines().zip(wide.lines()) {
        assert!(wide.starts_with(list), "{list}\n{wide}");
    }
    assert!(wide.contains(" FLAGS") && wide.contains("  STARTED ") && wide.contains(" CMDLINE"), "{wide}");
}

/// If a table is too wide, a long flag is cut, so that the number of further flags stays visible.
#[test]
fn a_long_first_flag() {
    let mut snapshot = scene();
    let mut server = process(6, "server");
    server.exe = server.exe.map(|exe| Exe { state: ExeState::Deleted, ..exe });
    snapshot.sockets.push(socket("tcp/0.0.0.0:4", Owner::Held(vec![6].into())));
    snapshot.processes.push(server);
    for (width, wanted) in [(120, " deleted-executable +"), (80, "… +")] {
        let table = listing(&snapshot, &terminal(width));
        let row = table.lines().find(|line| line.contains(" 4 ")).unwrap();
        assert!(row.contains(wanted), "{table}");
    }
}
