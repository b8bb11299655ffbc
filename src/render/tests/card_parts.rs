//! Checks parts of a card: the login session of a hidden process, the number of connections, and ways to stop a
//! listener.

use std::sync::Arc;

use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::listener_card::{card, held, node, of, parents};
use super::terminal;
use crate::judge::{HowToStop, Listener, StartedBy};
use crate::model::*;

/// Another user does not see the process, but sees the control group of the socket.
#[test]
fn a_hidden_process_in_a_login_session() {
    let mut one = socket("tcp/0.0.0.0:3000", Owner::Hidden);
    one.attributes = Arc::new(SocketAttributes {
        user: Some("ann".to_owned()),
        unit: Some("session-4.scope".to_owned()),
        ..(*one.attributes).clone()
    });
    let report = report(&of(vec![one], Vec::new()));
    let listener = Listener::only(&report.entries).unwrap();
    let why = StartedBy::of(&listener, "linux").map(|why| start_text::started_by(&why));
    assert_eq!(why.as_deref(), Some("in login session 4 of ann"));
}

/// A connection that one side has closed does not count as a client.
#[test]
fn only_established_connections_count() {
    let listener = socket("tcp/0.0.0.0:22", held(&[41]));
    let connection = |port, state| Socket {
        state,
        peer: Some(Peer { address: [192, 0, 2, 7].into(), port }),
        ..socket("tcp/192.0.2.1:22", Owner::Kernel)
    };
    let sockets = vec![
        listener,
        connection(50001, State::Established),
        connection(50002, State::TimeWait),
        connection(50003, State::FinWait2),
    ];
    let report = report(&of(sockets, vec![process(41, "sshd")]));
    let counts: Vec<u32> = report.entries.iter().filter_map(|entry| entry.connections).collect();
    assert_eq!(counts, [1]);
}

#[test]
fn the_command_that_removes_a_rule() {
    for (rule, text) in [
        (
            "nft rule ip nat2 pre, handle 2",
            "nft delete rule ip nat2 pre handle 2   (removes the rule that forwards this port)",
        ),
        (
            "nft rule ip nat2 pre, handle 2: tcp dport 80 dnat to 10.0.0.1 comment \"a, handle 3\"",
            "nft delete rule ip nat2 pre handle 2   (removes the rule that forwards this port)",
        ),
        (
            "nft rule ip nat $(x), handle 2",
            "remove the kernel rule that forwards this port: nft rule ip nat $(x), handle 2",
        ),
        (
            "iptables -t nat -A PREROUTING -j REDIRECT",
            "remove the kernel rule that forwards this port: iptables -t nat -A PREROUTING -j REDIRECT",
        ),
    ] {
        assert_eq!(start_text::how_to_stop(&HowToStop::Rule(rule), "linux"), text);
    }
}

#[test]
fn services_of_other_systems() {
    for (os, unit, why, stop) in [
        ("windows", "Spooler", "service Spooler", Some("net stop Spooler")),
        ("windows", "Dhcp,Dnscache", "service Dhcp,Dnscache", None),
        ("macos", "com.apple.smbd", "service com.apple.smbd", Some("kill 35")),
    ] {
        let server = Process { unit: Some(unit.to_owned()), ..process(35, "server") };
        let report = report(&of(vec![socket("tcp/0.0.0.0:80", held(&[35]))], vec![server]));
        let listener = Listener::only(&report.entries).unwrap();
        let started = StartedBy::of(&listener, os).map(|why| start_text::started_by(&why));
        assert_eq!(started.as_deref(), Some(why));
        let how = HowToStop::of(&listener, os).map(|how| start_text::how_to_stop(&how, os));
        assert_eq!(how.as_deref(), stop);
    }
    assert_eq!(
        start_text::how_to_stop(&HowToStop::Kill { pids: vec![7, 8], restarted_by: None }, "windows"),
        "taskkill /PID 7 /PID 8"
    );
}

/// A part is cut only if the card would have more than 14 lines. The answers are cut last.
#[test]
fn parts_are_cut_only_in_a_card_that_is_too_long() {
    let path = "/srv/applications/shop/current/vendor/bundle/ruby/3.1.0/bin/server";
    let mut origin = Origin::of(OriginKind::Package);
    (origin.package, origin.version) = (Some("shop-server".into()), Some("15.18-0+deb12u1".into()));
    let words =
        "server --listen-address 0.0.0.0 --data-directory /srv/data/shop --log-file /var/log/shop.log";
    let server = Process {
        exe: Some(Exe { path: path.into(), state: ExeState::Present, open_directories: None }),
        origin: Some(origin),
        cmdline: words.split(' ').map(str::to_owned).collect(),
        cwd: Some("/srv/applications/shop".into()),
        project: Some("shop".into()),
        unit: Some("session-c5.scope".into()),
        parents: parents(&["systemd"]),
        ..process(35, "server")
    };
    let text = card(&of(vec![socket("tcp/0.0.0.0:8080", held(&[35]))], vec![server.clone()]), &terminal(80));
    assert_snapshot(
        &text,
        str![[r#"
tcp 0.0.0.0:8080  server
  Process     server (pid 35, user root), since 10:00 UTC today (2 h)
  Command     server --listen-address 0.0.0.0 --data-directory /srv/data/shop
              --log-file /var/log/shop.log
  Program     /srv/applications/shop/current/vendor/bundle/ruby/3.1.0/bin/
              server, package shop-server 15.18-0+deb12u1
  Directory   /srv/applications/shop (project shop)
  Why         in the background in login session c5; the process that started it
              has ended
  Reachable   on every address of this machine
  To stop     kill 35
  Registry    registered for http-alt: HTTP Alternate (see port 80). Commonly
              used by: HTTP alternate: Tomcat, Jenkins, nginx, proxies,
              development servers.

"#]],
    );
    assert!(text.lines().count() <= 14 && !text.contains('…'), "{text}");
    // Findings leave fewer lines for the details.
    let open = Origin { writable: Some(path.into()), ..Origin::of(OriginKind::Open) };
    let server = Process { origin: Some(open), ..server };
    let text = card(&of(vec![socket("tcp/0.0.0.0:22", held(&[35]))], vec![server]), &terminal(80));
    assert_snapshot(
        &text,
        str![[r#"
tcp 0.0.0.0:22  server
  Process     server (pid 35, user root), since 10:00 UTC today (2 h)
  Command     server --listen-address 0.0.0.0 --data-directory /srv/data/shop -…
  Program     /srv/applications/shop/current/vendor/bundle/ruby/3.1.0/bin/server
  Directory   /srv/applications/shop (project shop)
  Why         in the background in login session c5; the process that started …
  Reachable   on every address of this machine
  Flags       impostor (critical): server (pid 35) listens on the port of ssh,
              but is not a known server of that service (sshd, dropbear,
              tinysshd, sslh, sslh-select, systemd and 14 more). An impostor
              collects passwords or gives a shell. If ssh.socket is used,
              systemd owns the socket.
              writable-executable (critical): Any user can write to the program,
              script or library, or to a directory above it: server (pid 35,
              /srv/applications/shop/current/vendor/bundle/ruby/3.1.0/bin/
              server);
              /srv/applications/shop/current/vendor/bundle/ruby/3.1.0/bin/server
              is world-writable.
  To stop     kill 35
  More        portolan explain 22

"#]],
    );
    assert!(text.lines().count() <= 20, "{text}");
}

#[test]
fn a_command_line_with_thousands_of_words() {
    let mut server = Process { cwd: Some("/srv/shop".into()), ..process(35, "server") };
    server.cmdline = vec!["word".to_owned(); 4096];
    let snapshot = of(vec![socket("tcp/0.0.0.0:8080", held(&[35]))], vec![server]);
    for width in [40, 80, 200] {
        let text = card(&snapshot, &terminal(width));
        assert!(text.lines().count() <= 40 && text.contains("To stop     kill 35"), "{width}: {text}");
    }
}

/// If a rule forwards a port, the card shows the process that receives the traffic.
#[test]
fn the_process_behind_a_rule() {
    let (here, of_container) = (std::net::Ipv4Addr::UNSPECIFIED, [10, 9, 0, 3].into());
    let mut texts = String::new();
    for address in [here, [10, 9, 0, 2].into(), of_container] {
        let mut port = socket("tcp/0.0.0.0:8443", Owner::Kernel);
        port.state = State::Published;
        let to = Peer { address: address.into(), port: 3000 };
        let forwarding =
            Some(Forwarding { to, rule: "nft rule ip nat2 pre, handle 2".into(), container: None });
        port.attributes = Arc::new(SocketAttributes { forwarding, ..SocketAttributes::default() });
        let mut snapshot = of(vec![port, socket("tcp/0.0.0.0:3000", held(&[35]))], vec![node()]);
        let with = |netns, address: [u8; 4]| Firewall {
            netns,
            interfaces: vec![firewall::Interface {
                addresses: vec![(address.into(), 24)],
                ..Default::default()
            }],
            ..Firewall::default()
        };
        snapshot.firewalls = vec![with(None, [10, 9, 0, 2]), with(Some(7), [10, 9, 0, 3])];
        let mut report = report(&snapshot);
        report.entries.retain(|entry| entry.socket.local.port == 8443);
        let listener = Listener::only(&report.entries).unwrap();
        let text = text(|w| listener_card::listing(&listener, 20, &report, &terminal(80), w));
        let lines = text.lines().filter(|line| line.contains("8443") || line.contains("Forwards"));
        lines.for_each(|line| texts += &format!("{line}\n"));
    }
    assert_snapshot(
        &texts,
        str![[r#"
tcp 0.0.0.0:8443  NAT rule
  Forwards to port 3000 of this machine: node server.js (pid 35, user ann)
              published (info): The kernel forwards tcp/8443 to port 3000 of
tcp 0.0.0.0:8443  NAT rule
  Forwards to 10.9.0.2:3000: node server.js (pid 35, user ann)
              published (info): The kernel forwards tcp/8443 to 10.9.0.2:3000;
tcp 0.0.0.0:8443  NAT rule
  Forwards to 10.9.0.3:3000
  Flags       published (info): The kernel forwards tcp/8443 to 10.9.0.3:3000;

"#]],
    );
}

/// The name under which a program was started is shown only if other users cannot replace its file, because a program
/// can give itself any name.
#[test]
fn a_program_whose_file_has_another_name() {
    let card = |name: &str, line: &str, exe: &str, kind| {
        let mut server = Process { cmdline: vec![line.to_owned()], ..process(6, name) };
        server.exe = Some(Exe { path: exe.to_owned(), ..server.exe.unwrap() });
        server.origin = Some(Origin::of(kind));
        let report = report(&of(vec![socket("tcp/127.0.0.1:4", held(&[6]))], vec![server]));
        let listener = Listener::only(&report.entries).unwrap();
        text(|w| listener_card::listing(&listener, 24, &report, &terminal(80), w))
    };
    let check = "/usr/bin/redis-check-rdb";
    let redis = "/usr/bin/redis-server 127.0.0.1:6379";
    for (name, line, exe, kind, wanted) in [
        ("redis-server", redis, check, OriginKind::System, " (started as redis-server)"),
        ("redis-server", redis, check, OriginKind::User, ""),
        ("other", redis, check, OriginKind::System, ""),
        ("python3", "python3", "/usr/bin/python3.11", OriginKind::System, ""),
    ] {
        let card = card(name, line, exe, kind);
        assert!(card.contains(&format!("\n  Program     {exe}{wanted}\n")), "{card}");
    }
}

/// If the terminal has free rows, a critical finding keeps its sentence, also on a card of more than 14 lines.
#[test]
fn a_critical_finding_uses_the_free_rows() {
    let redis = Process {
        cmdline: vec!["redis-server".to_owned(), "--protected-mode".to_owned(), "no".to_owned()],
        ..process(6, "redis-server")
    };
    let snapshot = of(vec![socket("tcp/0.0.0.0:6379", held(&[6]))], vec![redis]);
    let report = report(&snapshot);
    let listener = Listener::only(&report.entries).unwrap();
    let critical = listener.findings().iter().map(|(_, found)| found.severity).max();
    assert_eq!(critical, Some(Severity::Critical));
    let at_80 = |free| text(|w| listener_card::listing(&listener, free, &report, &terminal(80), w));
    assert!(at_80(20).contains("Fix:"), "{}", at_80(20));
    assert!(at_80(14).lines().count() <= 14, "{}", at_80(14));
}
