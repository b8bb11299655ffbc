//! Rule sets as the real tools print them, and what they let through.

use std::net::IpAddr;
use std::sync::Arc;

use super::Firewalls;
use crate::model::firewall::Interface;
use crate::model::{
    Endpoint, Firewall, Forwarding, Owner, Peer, Reach, ReachKind, Socket, SocketAttributes, State,
};
use crate::observe::linux::firewall::parse;

fn interface(name: &str, addresses: &[&str]) -> Interface {
    let address = |text: &&str| {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse::<IpAddr>().unwrap(), length.parse().unwrap())
    };
    Interface {
        name: name.to_owned(),
        is_loopback: name == "lo",
        is_up: true,
        addresses: addresses.iter().map(address).collect(),
        ..Interface::default()
    }
}

/// A machine with two interfaces, one of docker's, and these rules.
fn machine(printed: &[&str]) -> Firewall {
    let tables = printed.iter().flat_map(|printed| parse(printed.as_bytes()).tables).collect();
    Firewall {
        tables,
        forwards: [true, true],
        interfaces: vec![
            interface("lo", &["127.0.0.1/8", "::1/128"]),
            interface("eth0", &["10.0.0.1/24", "fd00::1/64", "fe80::1/64"]),
            interface("wg0", &["10.8.0.1/24"]),
            interface("docker0", &["172.17.0.1/16"]),
        ],
        ..Firewall::default()
    }
}

fn listener(local: &str) -> Socket {
    let local: Endpoint = local.parse().unwrap();
    Socket {
        state: if local.protocol.is_datagram() { State::Unconnected } else { State::Listen },
        v6only: local.address.is_ipv6().then_some(false),
        local,
        peer: None,
        mptcp: false,
        attributes: SocketAttributes::default().into(),
        inode: 1.try_into().ok(),
        cookie: None,
        queues: None,
        owner: Owner::Unknown,
    }
}

fn published(local: &str, to: &str) -> Socket {
    let to: std::net::SocketAddr = to.parse().unwrap();
    let to = Peer { address: to.ip(), port: to.port() };
    let forwarding = Some(Forwarding { to, rule: "rule".to_owned() });
    let attributes = Arc::new(SocketAttributes { forwarding, ..SocketAttributes::default() });
    Socket { state: State::Published, attributes, v6only: None, ..listener(local) }
}

fn reach_in(firewall: &Firewall, socket: &Socket) -> Reach {
    let to = socket.forwarding.as_ref().map(|forwarding| forwarding.to);
    Firewalls::new(std::slice::from_ref(firewall)).reach(socket, to).unwrap()
}

/// Returns a reach in short: `open`, `limited: 10.0.0.0/8`.
fn short(reach: &Reach) -> String {
    let more = if reach.more > 0 { format!(" +{}", reach.more) } else { String::new() };
    match reach.kind {
        ReachKind::Limited => format!("limited: {}{more}", reach.from.join("; ")),
        kind => kind.name().to_owned(),
    }
}

/// Checks the reach of each socket, and a part of the rule that decides.
fn check(printed: &[&str], cases: &[(Socket, &str, &str)]) {
    let firewall = machine(printed);
    for (socket, wanted, rule) in cases {
        let reach = reach_in(&firewall, socket);
        let name = format!("{}: {reach:?}", socket.local);
        assert_eq!(short(&reach), *wanted, "{name}");
        assert!(reach.rule.as_deref().unwrap_or("none").contains(rule), "{name}");
    }
}

#[test]
fn ufw() {
    let rules = [
        include_str!("../../../tests/captures/firewalls/ufw.iptables"),
        &include_str!("../../../tests/captures/firewalls/ufw.ip6tables").replace("*filter", "*filter6"),
    ];
    // The parser reads each text for both families; the recorded ones are of one each.
    let mut firewall = machine(&[]);
    for (text, family) in rules.iter().zip([crate::model::Family::Ipv4, crate::model::Family::Ipv6]) {
        let tables = parse(text.replace("*filter6", "*filter").as_bytes()).tables;
        firewall.tables.extend(tables.into_iter().filter(|table| table.families == [family]));
    }
    for (local, wanted, rule) in [
        ("tcp/0.0.0.0:22", "open", "--dport 22 "),
        ("tcp/[::]:22", "open", "--dport 22 "),
        ("tcp/0.0.0.0:2222", "open", "ufw-user-limit-accept -j ACCEPT"),
        ("tcp/0.0.0.0:5432", "limited: 10.0.0.0/8", "-s 10.0.0.0/8"),
        ("tcp/[::]:5432", "limited: 10.0.0.0/8", "-s 10.0.0.0/8"),
        ("tcp/10.0.0.1:6379", "filtered", "--dport 6379"),
        ("tcp/[::]:9999", "filtered", "policy DROP"),
        ("udp/0.0.0.0:53", "limited: anyone on eth0", "-i eth0"),
        ("udp/0.0.0.0:5353", "limited: anyone to multicast addresses", "224.0.0.251"),
        ("udp/0.0.0.0:68", "unknown", "--sport 67"),
    ] {
        let reach = reach_in(&firewall, &listener(local));
        assert_eq!(short(&reach), wanted, "{local}: {reach:?}");
        assert!(reach.rule.as_deref().unwrap_or("none").contains(rule), "{local}: {reach:?}");
    }
}

#[test]
fn firewalld() {
    check(
        &[include_str!("../../../tests/captures/firewalls/firewalld.json")],
        &[
            (
                listener("tcp/0.0.0.0:22"),
                "limited: anyone but 1.2.3.4 on eth0, docker0; anyone on wg0",
                "filter_IN_",
            ),
            (listener("tcp/[fd00::1]:22"), "open", "filter_IN_"),
            (
                listener("tcp/0.0.0.0:8005"),
                "limited: anyone but 1.2.3.4 on eth0, docker0; anyone on wg0",
                "filter_IN_",
            ),
            (
                listener("tcp/0.0.0.0:5432"),
                "limited: 10.0.0.0/8 on eth0, docker0; anyone on wg0",
                "filter_IN_",
            ),
            (listener("tcp/10.0.0.1:9999"), "limited: anyone on wg0", "filter_IN_trusted"),
        ],
    );
}

#[test]
fn fail2ban() {
    check(
        &[include_str!("../../../tests/captures/firewalls/fail2ban.json")],
        &[
            (
                listener("tcp/0.0.0.0:22"),
                "limited: anyone but 192.0.2.1, 198.51.100.9, 203.0.113.7",
                "policy accept",
            ),
            (listener("tcp/0.0.0.0:80"), "open", "policy accept"),
            (
                listener("tcp/[::]:22"),
                "limited: any IPv4 address but 192.0.2.1, 198.51.100.9, 203.0.113.7; any IPv6 address but 2001:db8::7",
                "policy accept",
            ),
        ],
    );
}

#[test]
fn plain_nft() {
    check(
        &[include_str!("../../../tests/captures/firewalls/plain.json")],
        &[
            (listener("tcp/0.0.0.0:22"), "open", "input, handle"),
            (listener("tcp/[::]:443"), "open", "input, handle"),
            (
                listener("tcp/0.0.0.0:5432"),
                "limited: 10.0.0.0/8; 192.0.2.0/29; 192.0.2.8/31",
                "database, handle",
            ),
            (listener("tcp/[::]:9090"), "limited: anyone on wg0", "input, handle"),
            (listener("udp/0.0.0.0:5010"), "open", "input, handle"),
            (listener("udp/0.0.0.0:5011"), "filtered", "policy drop of the nft chain inet filter input"),
            (listener("tcp/10.0.0.1:53"), "filtered", "policy drop"),
        ],
    );
}

#[test]
fn docker() {
    let rules = include_str!("../../../tests/captures/firewalls/docker.iptables");
    check(
        &[rules],
        &[
            (listener("tcp/0.0.0.0:22"), "open", "policy ACCEPT"),
            // The ports are not published to docker's own network.
            (
                published("tcp/0.0.0.0:8080", "172.17.0.2:80"),
                "limited: anyone on eth0, wg0",
                "-d 172.17.0.2/32",
            ),
            (
                published("tcp/0.0.0.0:8081", "172.17.0.3:80"),
                "limited: 10.0.0.0/8 on eth0; anyone on wg0",
                "-d 172.17.0.3/32",
            ),
            // No rule forwards it: another kind of rule does.
            (published("tcp/0.0.0.0:8082", "172.17.0.3:80"), "unknown", ""),
        ],
    );
}

#[test]
fn without_rules() {
    assert_eq!(reach_in(&machine(&[]), &listener("tcp/0.0.0.0:1")), Reach::open());
    let unread = Firewall { unread: Some("no permission".to_owned()), ..Firewall::default() };
    assert_eq!(reach_in(&unread, &listener("tcp/0.0.0.0:1")), Reach::unknown("no permission"));
    let mut firewalls = [unread];
    firewalls[0].netns = Some(7);
    let mut firewalls = Firewalls::new(&firewalls);
    assert_eq!(firewalls.reach(&listener("tcp/0.0.0.0:1"), None), None, "of another namespace");
    assert_eq!(firewalls.reach(&listener("tcp/127.0.0.1:1"), None), None, "on loopback");
}
