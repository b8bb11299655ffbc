//! Rule sets as the real tools print them, and what they let through.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Firewalls;
use crate::model::firewall::Interface;
use crate::model::{Firewall, Forwarding, Owner, Peer, Reach, ReachKind, Socket, SocketAttributes, State};
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
    let socket = crate::judge::tests::socket(local, Owner::Unknown);
    Socket { v6only: socket.local.address.is_ipv6().then_some(false), ..socket }
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
    Firewalls::new(std::slice::from_ref(firewall), HashMap::new()).reach(socket, to).unwrap()
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
    let mut firewalls = Firewalls::new(&firewalls, HashMap::new());
    assert_eq!(firewalls.reach(&listener("tcp/0.0.0.0:1"), None), None, "of another namespace");
    assert_eq!(firewalls.reach(&listener("tcp/127.0.0.1:1"), None), None, "on loopback");
}

/// Packets for another port can reach a listener: then the rules for its own port do not decide.
#[test]
fn other_ways_to_a_filtered_port() {
    let closed = machine(&[&with_nft_rule(r#"{"drop": null}"#)]);
    let redis = listener("tcp/10.0.0.1:6379");
    assert_eq!(reach_in(&closed, &redis).kind, ReachKind::Filtered);
    let steered = Firewall { steering: Some("sk_lookup".to_owned()), ..closed.clone() };
    assert_eq!(reach_in(&steered, &redis), Reach::unknown("sk_lookup"));
    for (to, kind) in [
        ("10.0.0.1:6379", ReachKind::Unknown),
        ("10.0.0.1:6380", ReachKind::Filtered),
        ("10.0.0.9:6379", ReachKind::Filtered),
    ] {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let forwarded = HashMap::from([(Peer { address: to.ip(), port: to.port() }, "IPVS".to_owned())]);
        let mut firewalls = Firewalls::new(std::slice::from_ref(&closed), forwarded);
        assert_eq!(firewalls.reach(&redis, None).unwrap().kind, kind, "{to}");
    }
}

/// A chain of nft for packets that arrive, which drops what no rule decides, with these expressions as its only rule.
fn with_nft_rule(expressions: &str) -> String {
    format!(
        r#"{{"nftables": [
        {{"set": {{"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "flags": ["interval"], "elem": ["1.2.3.4", {{"prefix": {{"addr": "10.0.0.0", "len": 8}}}}]}}}},
        {{"set": {{"family": "inet", "table": "t", "name": "d", "type": "ipv4_addr", "size": 65535, "flags": ["timeout"]}}}},
        {{"set": {{"family": "inet", "table": "t", "name": "e", "type": "ipv4_addr"}}}},
        {{"chain": {{"family": "inet", "table": "t", "name": "c"}}}},
        {{"chain": {{"family": "inet", "table": "t", "name": "i", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}}},
        {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 1, "expr": [{{"set": {{"op": "add", "elem": {{"payload": {{"protocol": "ip", "field": "saddr"}}}}, "set": "@d"}}}}]}}}},
        {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 3, "expr": [{{"accept": null}}]}}}},
        {{"rule": {{"family": "inet", "table": "t", "chain": "i", "handle": 4, "expr": [{{"match": {{"op": "in", "left": {{"ct": {{"key": "state"}}}}, "right": "established"}}}}, {{"accept": null}}]}}}},
        {{"rule": {{"family": "inet", "table": "t", "chain": "i", "handle": 2, "expr": [{expressions}]}}}}]}}"#
    )
}

fn matched(left: &str, operator: &str, right: &str) -> String {
    format!(r#"{{"match": {{"op": "{operator}", "left": {left}, "right": {right}}}}}, {{"accept": null}}"#)
}

fn payload(protocol: &str, field: &str) -> String {
    format!(r#"{{"payload": {{"protocol": "{protocol}", "field": "{field}"}}}}"#)
}

fn meta(key: &str) -> String {
    format!(r#"{{"meta": {{"key": "{key}"}}}}"#)
}

/// The forms that nft 1.0.6 prints.
#[test]
fn conditions_of_nft() {
    let (source, port) = (payload("ip", "saddr"), payload("tcp", "dport"));
    let flags = payload("tcp", "flags");
    for (name, rule, wanted) in [
        ("a port", matched(&port, "==", "80"), "open"),
        ("another port", matched(&port, "==", "81"), "filtered"),
        ("a port of another protocol", matched(&payload("udp", "dport"), "!=", "81"), "filtered"),
        ("a port of any protocol", matched(&payload("th", "dport"), "==", r#"{"set": [53, {"range": [60, 90]}]}"#), "open"),
        ("ports above", matched(&port, ">=", "80"), "open"),
        ("ports below", matched(&port, "<", "80"), "filtered"),
        ("a named set", matched(&source, "==", r#""@s""#), "limited: 1.2.3.4; 10.0.0.0/8"),
        ("not in a named set", matched(&source, "!=", r#""@s""#), "limited: anyone but 1.2.3.4, 10.0.0.0/8"),
        ("an empty set", matched(&source, "==", r#""@e""#), "filtered"),
        ("a set that rules fill", matched(&source, "==", r#""@d""#), "unknown"),
        ("a set that is missing", matched(&source, "==", r#""@x""#), "unknown"),
        ("a range", matched(&source, "==", r#"{"range": ["10.1.1.0", "10.1.1.3"]}"#), "limited: 10.1.1.0/30"),
        ("bits of an address", matched(&format!(r#"{{"&": [{source}, "0.0.0.255"]}}"#), "==", r#""0.0.0.1""#), "unknown"),
        ("addresses of the other family", matched(&payload("ip6", "saddr"), "!=", r#""fd00::1""#), "filtered"),
        ("a device", matched(&meta("iifname"), "==", r#""e*""#), "limited: anyone on eth0"),
        ("devices", matched(&meta("iifname"), "==", r#"{"set": ["eth0", "wg*"]}"#), "limited: anyone on eth0, wg0"),
        ("not a device", matched(&meta("iif"), "!=", r#""eth0""#), "limited: anyone on wg0, docker0"),
        ("a device that leaves", matched(&meta("oifname"), "!=", r#""eth0""#), "open"),
        ("a new connection", matched(r#"{"ct": {"key": "state"}}"#, "in", r#"["new", "untracked"]"#), "open"),
        ("a known connection", matched(r#"{"ct": {"key": "state"}}"#, "in", r#"["established", "related"]"#), "filtered"),
        ("not a new connection", matched(r#"{"ct": {"key": "state"}}"#, "!=", r#""new""#), "filtered"),
        ("the client's direction", matched(r#"{"ct": {"key": "direction"}}"#, "==", r#""original""#), "open"),
        ("translated", matched(r#"{"ct": {"key": "status"}}"#, "in", r#""dnat""#), "filtered"),
        ("IPv4", matched(&meta("nfproto"), "==", r#""ipv4""#), "open"),
        ("IPv6 by its number", matched(&meta("protocol"), "==", r#""ip6""#), "filtered"),
        ("ICMP", matched(&payload("ip", "protocol"), "==", r#""icmp""#), "filtered"),
        ("a type of ICMP", matched(&payload("icmp", "type"), "!=", r#""echo-request""#), "filtered"),
        ("TCP's first packet", matched(&format!(r#"{{"&": [{flags}, ["fin", "syn", "rst", "ack"]]}}"#), "==", r#""syn""#), "open"),
        ("not TCP's first packet", matched(&format!(r#"{{"&": [{flags}, ["fin", "syn", "rst", "ack"]]}}"#), "!=", r#""syn""#), "filtered"),
        ("one of TCP's flags", matched(&flags, "in", r#"["syn", "ack"]"#), "open"),
        ("exactly one of TCP's flags", matched(&flags, "==", r#""syn""#), "unknown"),
        ("no mark", matched(&meta("mark"), "==", "0"), "open"),
        ("a mark", matched(&format!(r#"{{"&": [{}, 255]}}"#, meta("mark")), "==", "1"), "filtered"),
        ("a type of packets", matched(&meta("pkttype"), "==", r#"{"set": ["broadcast", "multicast"]}"#), "filtered"),
        ("an address of this machine", matched(r#"{"fib": {"result": "type", "flags": ["daddr"]}}"#, "==", r#""local""#), "open"),
        ("no route back", matched(r#"{"fib": {"result": "oif", "flags": ["saddr", "iif"]}}"#, "==", "true"), "open"),
        ("a user", matched(&meta("skuid"), "==", "0"), "unknown"),
        ("a port of the client", matched(&payload("tcp", "sport"), "==", r#"{"range": [1024, 65535]}"#), "unknown"),
        ("a destination", matched(&payload("ip", "daddr"), "==", r#""10.0.0.1""#), "limited: anyone to 10.0.0.1"),
        ("a concatenation", matched(&format!(r#"{{"concat": [{source}, {port}]}}"#), "==", r#"{"set": [{"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": [80, 90]}]}, {"concat": ["1.1.1.1", 22]}]}"#), "limited: 10.0.0.0/8"),
        ("a map of verdicts", r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[22, {"drop": null}], ["*", {"jump": {"target": "c"}}]]}}}"#.to_owned(), "open"),
        ("a map with a drop", r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[80, {"drop": null}], ["*", {"jump": {"target": "c"}}]]}}}"#.to_owned(), "filtered"),
        ("a limit", r#"{"limit": {"rate": 1, "burst": 5, "per": "second"}}, {"accept": null}"#.to_owned(), "open"),
        ("above a limit", r#"{"limit": {"rate": 1, "burst": 5, "per": "second", "inv": true}}, {"drop": null}"#.to_owned(), "filtered"),
        ("above a limit, accepted", r#"{"limit": {"rate": 1, "burst": 5, "per": "second", "inv": true}}, {"accept": null}"#.to_owned(), "unknown"),
        ("a rejection of IPv4", r#"{"reject": {"type": "icmp", "expr": "port-unreachable"}}"#.to_owned(), "filtered"),
        (
            "two excluded ports, which the kernel compares at once",
            format!(
                r#"{{"match": {{"op": "!=", "left": {}, "right": 1}}}}, {}"#,
                payload("tcp", "sport"),
                matched(&port, "!=", "80")
            ),
            "unknown",
        ),
        ("an option of TCP", r#"{"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": {"rt": {"key": "mtu"}}}}, {"accept": null}"#.to_owned(), "open"),
        ("another destination", r#"{"mangle": {"key": {"payload": {"protocol": "ip", "field": "daddr"}}, "value": "1.1.1.1"}}, {"accept": null}"#.to_owned(), "unknown"),
        ("a queue", r#"{"queue": {"num": 0}}"#.to_owned(), "unknown"),
        ("a new kind of expression", r#"{"somersault": 1}, {"drop": null}"#.to_owned(), "unknown"),
        ("a chain that is missing", r#"{"jump": {"target": "x"}}"#.to_owned(), "unknown"),
        ("a chain", r#"{"log": {"prefix": "x"}}, {"counter": {"packets": 0, "bytes": 0}}, {"goto": {"target": "c"}}"#.to_owned(), "open"),
    ] {
        let firewall = machine(&[&with_nft_rule(&rule)]);
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:80"));
        assert_eq!(short(&reach), wanted, "{name}: {reach:?}");
    }
}

/// nft leaves out the conditions that an action implies.
#[test]
fn an_action_implies_its_family_and_protocol() {
    let rule = |action: &str| {
        with_nft_rule(&format!("{{\"reject\": {action}}}"))
            .replace("\"policy\": \"drop\"", "\"policy\": \"accept\"")
    };
    let (four, six) = ("tcp/0.0.0.0:80", "tcp/[fd00::1]:80");
    for (action, local, wanted) in [
        (r#"{"type": "icmp", "expr": "port-unreachable"}"#, four, "filtered"),
        (r#"{"type": "icmp", "expr": "port-unreachable"}"#, six, "open"),
        (r#"{"type": "icmpv6", "expr": "no-route"}"#, four, "open"),
        (r#"{"type": "icmpv6", "expr": "no-route"}"#, six, "filtered"),
        (r#"{"type": "icmpx", "expr": "admin-prohibited"}"#, six, "filtered"),
        (r#"{"type": "tcp reset"}"#, six, "filtered"),
        (r#"{"type": "tcp reset"}"#, "udp/[fd00::1]:80", "open"),
    ] {
        let reach = reach_in(&machine(&[&rule(action)]), &listener(local));
        assert_eq!(short(&reach), wanted, "{action} {local}: {reach:?}");
    }
}

/// The options as `iptables-save` 1.8.9 prints them, before a policy that drops.
#[test]
fn conditions_of_iptables() {
    for (rule, wanted) in [
        ("-p tcp -m tcp --dport 80 -j ACCEPT", "open"),
        ("-p udp -m udp --dport 80 -j ACCEPT", "filtered"),
        ("-p tcp -m multiport --dports 22,79:81 -j ACCEPT", "open"),
        ("-p tcp -m multiport ! --dports 22,79:81 -j ACCEPT", "filtered"),
        ("-s 10.0.0.0/8 -j ACCEPT", "limited: 10.0.0.0/8"),
        ("! -s 10.0.0.0/8 -j ACCEPT", "limited: anyone but 10.0.0.0/8"),
        ("-m iprange --src-range 1.1.1.0-1.1.1.3 -j ACCEPT", "limited: 1.1.1.0/30"),
        ("-i eth+ -j ACCEPT", "limited: anyone on eth0"),
        ("! -i eth0 -j ACCEPT", "limited: anyone on wg0, docker0"),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "filtered"),
        ("-p tcp -m state --state NEW -j ACCEPT", "open"),
        ("-m conntrack --ctstate DNAT -j ACCEPT", "filtered"),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", "filtered"),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", "open"),
        ("-m mark --mark 0x8000/0x8000 -j ACCEPT", "filtered"),
        ("-m mark ! --mark 0x8000/0x8000 -j ACCEPT", "open"),
        ("-m addrtype --dst-type LOCAL -j ACCEPT", "open"),
        ("-m addrtype --dst-type BROADCAST,MULTICAST -j ACCEPT", "filtered"),
        ("-m pkttype --pkt-type broadcast -j ACCEPT", "filtered"),
        ("-m limit --limit 3/min -j ACCEPT", "open"),
        (
            "-p tcp -m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name q -j ACCEPT",
            "open",
        ),
        (
            "-p tcp -m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr -j ACCEPT",
            "unknown",
        ),
        ("-m recent --rcheck --name x --mask 255.255.255.255 --rsource -j ACCEPT", "unknown"),
        ("-m recent --set --name x --mask 255.255.255.255 --rsource -j ACCEPT", "open"),
        ("-m comment --comment \"--set -j DROP\" -j ACCEPT", "open"),
        ("-m comment --comment ! -j ACCEPT", "open"),
        ("-m set --match-set x src -j ACCEPT", "unknown"),
        ("-m set --match-set x src -j DROP", "filtered"),
        ("-m owner --uid-owner 0 -j ACCEPT", "unknown"),
        ("-m u32 --u32 0x0 -j ACCEPT", "unknown"),
        ("-m rpfilter -j ACCEPT", "open"),
        ("-m rpfilter --invert -j DROP", "filtered"),
        ("-m rt --rt-type 0 -j ACCEPT", "unknown"),
        ("-j NFQUEUE --queue-num 0", "unknown"),
        ("-j LOG --log-prefix \"-j ACCEPT \"", "filtered"),
        ("-p tcp -m tcp --sport 1024:65535 -j ACCEPT", "unknown"),
        ("-g C", "open"),
        ("-p icmp -m icmp --icmp-type 8 -j ACCEPT", "filtered"),
    ] {
        let known = "-A INPUT -m state --state ESTABLISHED -j ACCEPT\n";
        let printed = format!(
            "*filter\n:INPUT DROP [0:0]\n:C - [0:0]\n{known}-A INPUT {rule}\n-A C -j ACCEPT\nCOMMIT\n"
        );
        let firewall = machine(&[&printed]);
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:80"));
        assert_eq!(short(&reach), wanted, "{rule}: {reach:?}");
    }
}

/// A rule can depend on what earlier rules did to the packet, and on other tables.
#[test]
fn several_chains() {
    let mark = "*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -s 10.0.0.0/8 -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n";
    let by_mark = "*filter\n:INPUT DROP\n-A INPUT -m mark --mark 0x1 -j ACCEPT\nCOMMIT\n";
    let untracked = "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -j CT --notrack\nCOMMIT\n";
    let new = "*filter\n:INPUT DROP\n-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\nCOMMIT\n";
    let only_new = "*filter\n:INPUT DROP\n-A INPUT -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n";
    let raw = "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n";
    let security = "*security\n:INPUT ACCEPT\n-A INPUT -i eth0 -j DROP\nCOMMIT\n";
    let silent = "*filter\n:INPUT ACCEPT\n:OUTPUT DROP\nCOMMIT\n";
    let answers = "*filter\n:INPUT ACCEPT\n:OUTPUT DROP\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n";
    let redirect = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 81\nCOMMIT\n";
    let to_this =
        "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -m tcp --dport 9 -j REDIRECT --to-ports 80\nCOMMIT\n";
    let closed = "*filter\n:INPUT DROP\nCOMMIT\n";
    let tproxy = "*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -j TPROXY --on-port 1\nCOMMIT\n";
    for (name, rules, wanted) in [
        ("a mark that a rule sets", &[mark, by_mark][..], "unknown"),
        ("a mark that no rule sets", &[by_mark], "filtered"),
        ("without tracking", &[untracked, new], "unknown"),
        ("a new connection", &[new], "open"),
        ("a new connection that is cut", &[only_new], "unknown"),
        ("before tracking", &[raw], "filtered"),
        ("the second table decides", &[new, security], "limited: anyone on wg0, docker0"),
        ("no answer", &[silent], "unknown"),
        ("an answer", &[answers], "open"),
        ("redirected away", &[redirect], "filtered"),
        ("redirected here", &[to_this, closed], "unknown"),
        ("closed", &[closed], "filtered"),
        ("TPROXY", &[tproxy], "unknown"),
    ] {
        let reach = reach_in(&machine(rules), &listener("tcp/0.0.0.0:80"));
        assert_eq!(short(&reach), wanted, "{name}: {reach:?}");
    }
    let mut firewall = machine(&[closed]);
    firewall.interfaces[1].uncertain = Some("an XDP program".to_owned());
    assert_eq!(short(&reach_in(&firewall, &listener("tcp/0.0.0.0:80"))), "unknown");
    let transparent = Arc::new(SocketAttributes { transparent: true, ..SocketAttributes::default() });
    let transparent = Socket { attributes: transparent, ..listener("tcp/127.0.0.1:80") };
    assert_eq!(short(&reach_in(&machine(&[closed]), &transparent)), "unknown");
    let bound = Socket { local: "tcp/0.0.0.0%wg0:80".parse().unwrap(), ..listener("tcp/0.0.0.0:80") };
    assert_eq!(short(&reach_in(&machine(&[new, security]), &bound)), "open");
}

/// Rules that are too many, and chains that call each other, end with an answer.
#[test]
fn work_is_bounded() {
    let calls: String =
        (0..60).map(|n| format!("-A C{n} -j C{}\n-A C{n} -j C{}\n", (n + 1) % 60, (n + 7) % 60)).collect();
    let chains: String = (0..60).map(|n| format!(":C{n} - [0:0]\n")).collect();
    let printed = format!("*filter\n:INPUT DROP\n{chains}-A INPUT -j C0\n{calls}COMMIT\n");
    assert_eq!(short(&reach_in(&machine(&[&printed]), &listener("tcp/0.0.0.0:80"))), "unknown");
    let many: String =
        (0..10_000).map(|n| format!("-A INPUT -s 10.{}.{}.1/32 -j DROP\n", n / 256, n % 256)).collect();
    let printed = format!("*filter\n:INPUT ACCEPT\n{many}COMMIT\n");
    let reach = reach_in(&machine(&[&printed]), &listener("tcp/0.0.0.0:80"));
    assert_eq!(short(&reach), "limited: anyone but 10.0.0.1, 10.0.1.1, 10.0.2.1, 10.0.3.1 and others");
}
