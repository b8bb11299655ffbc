//! Parts of a card: the login session of a hidden process, the number of connections, and ways to stop a listener.

use std::sync::Arc;

use super::super::fixtures::*;
use super::super::*;
use super::listener_card::{held, of};
use crate::judge::{HowToStop, Listener, StartedBy};
use crate::model::*;

/// Another user sees no process, but the control group of the socket.
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

/// A connection that one side has closed is no client any more.
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
            "nft rule ip nat2 pre, handle 2 (\"a, handle 3\")",
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
