//! Tests rules as the real tools print them, and the packets that these rules let through.

mod interfaces;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Firewalls;
use crate::model::firewall::{Interface, LocalRoute};
use crate::model::{
    Family, Firewall, Forwarding, Owner, Peer, Reach, ReachKind, Socket, SocketAttributes, State,
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

/// Returns the firewall of a machine with these rules. One of its interfaces belongs to Docker.
fn machine(rules: &[impl AsRef<[u8]>]) -> Firewall {
    let tables = rules.iter().flat_map(|rules| parse(rules.as_ref()).tables).collect();
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
    let forwarding = Some(Forwarding { to, rule: "rule".to_owned(), container: None });
    let attributes = Arc::new(SocketAttributes { forwarding, ..SocketAttributes::default() });
    Socket { state: State::Published, attributes, v6only: None, ..listener(local) }
}

fn reach_in(firewall: &Firewall, socket: &Socket) -> Reach {
    let to = socket.forwarding.as_ref().map(|forwarding| forwarding.to);
    Firewalls::new(std::slice::from_ref(firewall), HashMap::new())
        .reach(socket, to)
        .as_deref()
        .cloned()
        .unwrap()
}

/// Returns a reach in short: `open`, `limited: 10.0.0.0/8`.
fn short(reach: &Reach) -> String {
    let more = if reach.more > 0 { format!(" +{}", reach.more) } else { String::new() };
    match reach.kind {
        ReachKind::Limited => {
            let from: Vec<String> = reach.from.iter().map(ToString::to_string).collect();
            format!("limited: {}{more}", from.join("; "))
        }
        kind => kind.name().to_owned(),
    }
}

/// Checks the reach of each socket, and a part of the text of the rule that decides.
fn check(rules: &[impl AsRef<[u8]>], cases: &[(Socket, &str, &str)]) {
    let firewall = machine(rules);
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
        include_str!("../../../../tests/captures/firewalls/ufw.iptables"),
        &include_str!("../../../../tests/captures/firewalls/ufw.ip6tables").replace("*filter", "*filter6"),
    ];
    // Each recorded text is for one family, but the parser reads every text for both families.
    let mut firewall = machine(&[""]);
    for (text, family) in rules.iter().zip([Family::Ipv4, Family::Ipv6]) {
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
        &[include_bytes!("../../../../tests/captures/firewalls/firewalld.json.netlink")],
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
        &[include_bytes!("../../../../tests/captures/firewalls/fail2ban.json.netlink")],
        &[
            (
                listener("tcp/0.0.0.0:22"),
                "limited: anyone but 192.0.2.1, 198.51.100.9, 203.0.113.7",
                "f2b-chain, handle",
            ),
            (listener("tcp/0.0.0.0:80"), "open", "policy accept"),
            (
                listener("tcp/[::]:22"),
                "limited: any IPv4 address but 192.0.2.1, 198.51.100.9, 203.0.113.7; any IPv6 address but 2001:db8::7",
                "f2b-chain, handle",
            ),
        ],
    );
}

#[test]
fn plain_nft() {
    check(
        &[include_bytes!("../../../../tests/captures/firewalls/plain.nft.netlink")],
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
    let rules = include_str!("../../../../tests/captures/firewalls/docker.iptables");
    check(
        &[rules],
        &[
            (listener("tcp/0.0.0.0:22"), "open", "policy ACCEPT"),
            // The rules do not forward the published ports for packets from Docker's own network.
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
            // No rule of address translation forwards this port.
            (published("tcp/0.0.0.0:8082", "172.17.0.3:80"), "unknown", ""),
        ],
    );
}

#[test]
fn without_rules() {
    assert_eq!(reach_in(&machine(&[""]), &listener("tcp/0.0.0.0:1")), Reach::open());
    let unread = Firewall { unread: Some("no permission".to_owned()), ..Firewall::default() };
    assert_eq!(reach_in(&unread, &listener("tcp/0.0.0.0:1")), Reach::unknown("no permission"));
    let mut firewalls = [unread];
    firewalls[0].netns = Some(7);
    let mut firewalls = Firewalls::new(&firewalls, HashMap::new());
    assert_eq!(firewalls.reach(&listener("tcp/0.0.0.0:1"), None), None, "of another namespace");
    assert_eq!(firewalls.reach(&listener("tcp/127.0.0.1:1"), None), None, "on loopback");
}

/// If packets for another port can reach a listener, the rules for the listener's own port do not decide alone.
#[test]
fn other_ways_to_a_filtered_port() {
    let closed = machine(&["*filter\n:INPUT DROP\nCOMMIT\n"]);
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

/// Rules in the syntax of nft, and the same rules as the kernel lists them.
const NFT: &str = include_str!("../../../../tests/captures/firewalls/conditions.nft.tsv");
const NFT_LIST: &[u8] = include_bytes!("../../../../tests/captures/firewalls/conditions.nft.tsv.netlink");

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn conditions_of_nft() {
    let all = machine(&[NFT_LIST]);
    assert_eq!(all.tables.len(), lines(NFT).count());
    for (table, line) in all.tables.iter().zip(lines(NFT)) {
        let [_, socket, wanted, name, rule] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let firewall = Firewall { tables: vec![table.clone()], ..all.clone() };
        let reach = reach_in(&firewall, &listener(socket));
        assert_eq!(short(&reach), wanted, "{name}: {rule}: {reach:?}");
    }
}

/// Rules of iptables as `iptables-save` prints them, and the same rules of iptables-nft as the kernel lists them.
const IPTABLES: &str = include_str!("../../../../tests/captures/firewalls/conditions.iptables.tsv");
const IPTABLES_LIST: &[u8] =
    include_bytes!("../../../../tests/captures/firewalls/conditions.iptables.tsv.netlink");

#[test]
fn conditions_of_iptables_in_nftables() {
    let all = machine(&[IPTABLES_LIST]);
    let [table] = all.tables.as_slice() else { panic!("{:?}", all.tables) };
    for (at, line) in lines(IPTABLES).enumerate() {
        let (wanted, rule) = line.split_once('\t').unwrap();
        let case = table.chains.iter().find(|chain| chain.name == format!("CASE{at:03}")).unwrap();
        let mut table = table.clone();
        let input = table.chains.iter_mut().find(|chain| chain.name == "INPUT").unwrap();
        input.rules.extend(case.rules.iter().cloned());
        let firewall = Firewall { tables: vec![table], ..all.clone() };
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:80"));
        assert_eq!(short(&reach), wanted, "{rule}: {reach:?}");
    }
}

/// Each rule has the form that `iptables-save` 1.8.9 prints. The policy of the chain drops packets.
#[test]
fn conditions_of_iptables() {
    let others = [
        ("-m set --match-set x src -j ACCEPT", "unknown"),
        ("-m set --match-set x src -j DROP", "filtered"),
        ("-m owner --uid-owner 0 -j ACCEPT", "unknown"),
        ("-m u32 --u32 0x0 -j ACCEPT", "unknown"),
        ("-m rpfilter -j ACCEPT", "open"),
        ("-m rpfilter --invert -j DROP", "filtered"),
        ("-m rt --rt-type 0 -j ACCEPT", "unknown"),
        ("-j NFQUEUE --queue-num 0", "unknown"),
        ("-j LOG --log-prefix \"-j ACCEPT \"", "filtered"),
    ];
    let recorded =
        lines(IPTABLES).map(|line| line.split_once('\t').unwrap()).map(|(wanted, rule)| (rule, wanted));
    for (rule, wanted) in recorded.chain(others) {
        let known = "-A INPUT -m state --state ESTABLISHED -j ACCEPT\n";
        let printed = format!(
            "*filter\n:INPUT DROP [0:0]\n:C - [0:0]\n{known}-A INPUT {rule}\n-A C -j ACCEPT\nCOMMIT\n"
        );
        let firewall = machine(&[&printed]);
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:80"));
        assert_eq!(short(&reach), wanted, "{rule}: {reach:?}");
    }
}

/// A rule can depend on changes that earlier rules made to the packet, and on other tables.
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
    // A rule that is not understood can change the destination of a packet.
    let rewritten =
        "*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp --dport 7000 -j NFQUEUE --queue-num 0\nCOMMIT\n";
    let rewritten_answer =
        "*mangle\n:POSTROUTING ACCEPT\n-A POSTROUTING -p tcp --sport 80 -j NFQUEUE --queue-num 0\nCOMMIT\n";
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
        ("another port may be rewritten", &[rewritten, closed], "unknown"),
        ("a port of an answer may be rewritten", &[rewritten_answer, closed], "filtered"),
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

/// A machine can accept packets for addresses that no interface has.
#[test]
fn addresses_that_a_route_makes_local() {
    let own = "-A INPUT -d 10.0.0.1/32 -j DROP\n-A INPUT -d 10.8.0.1/32 -j DROP\n-A INPUT -d 172.17.0.1/32 -j DROP\n";
    let half = "-A INPUT -d 10.55.0.0/17 -j DROP\n";
    let mut firewall = machine(&[&format!("*filter\n:INPUT ACCEPT\n{own}{half}COMMIT\n")]);
    firewall.tables.retain(|table| table.families == [Family::Ipv4]);
    let to_others = "-A INPUT ! -d 10.55.0.0/16 -j ACCEPT\n";
    let closed_route = machine(&[&format!("*filter\n:INPUT DROP\n{own}{to_others}COMMIT\n")]);
    let route = |first: &str, last: &str, uncertain: bool| {
        vec![LocalRoute { first: first.parse().unwrap(), last: last.parse().unwrap(), uncertain }]
    };
    for (name, routes, wanted) in [
        ("no route", vec![], "filtered"),
        (
            "a network",
            route("10.55.0.0", "10.55.255.255", false),
            "limited: anyone to addresses in 10.55.0.0/16",
        ),
        ("the closed half", route("10.55.0.0", "10.55.127.255", false), "filtered"),
        ("an address", route("10.55.200.1", "10.55.200.1", false), "limited: anyone to 10.55.200.1"),
        ("every address, for some packets", route("0.0.0.0", "255.255.255.255", true), "unknown"),
        ("a closed address, for some packets", route("10.55.0.1", "10.55.0.1", true), "filtered"),
        ("another family", route("fd55::", "fd55::ffff", false), "filtered"),
    ] {
        let firewall = Firewall { local_routes: routes, ..firewall.clone() };
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:80"));
        assert_eq!(short(&reach), wanted, "{name}: {reach:?}");
    }
    let routes = route("10.55.0.0", "10.55.255.255", false);
    let firewall = Firewall { local_routes: routes, ..closed_route };
    assert_eq!(short(&reach_in(&firewall, &listener("tcp/0.0.0.0:80"))), "filtered");
}

/// The work for one answer is limited, even if there are ten thousand rules or if chains call each other.
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
    assert_eq!(
        short(&reach),
        "limited: anyone but 10.0.0.1, 10.0.1.1, 10.0.2.1, 10.0.3.1 and other networks"
    );
}
