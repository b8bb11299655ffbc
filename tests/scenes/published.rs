//! Ports that a kernel rule forwards: each is listed exactly if a client gets an answer, with the right destination.

use std::collections::BTreeMap;
use std::process::Command;

use libtest_mimic::Failed;
use rustix::net::{AddressFamily, SocketType};

use crate::binding::Random;
use crate::lab::{Lab, Outcome, Scene, Server, on_port, sleep, tcp};
use crate::{same, wires};

pub const SCENES: &[Scene] = &[
    ("published_exactly_where_a_client_gets_an_answer", published_exactly_where_a_client_gets_an_answer),
    ("a_redirect_is_named_by_list_explain_and_audit", a_redirect_is_named),
    ("one_port_of_a_long_redirect", one_port_of_a_long_redirect),
    ("a_port_that_tproxy_takes", ports_that_tproxy_takes),
    ("loopback_that_other_machines_reach", loopback_that_other_machines_reach),
    ("a_nearby_machine_that_sends_packets_for_127_0_0_1", a_nearby_machine_that_sends_packets_for_127_0_0_1),
];

/// Ports without a listener on the machine; each has a listener in the container.
const PORTS: [u16; 10] = [80, 81, 2222, 6379, 8000, 8001, 8002, 8003, 9000, 9001];
/// Ports with a listener on the machine.
const OWN: [u16; 2] = [7000, 7001];
const MACHINE: &str = "10.30.0.1";
const CONTAINER: &str = "172.30.0.2";
const SITUATIONS: usize = 200;

pub fn sh(command: &str) -> Outcome {
    let output = Command::new("sh").args(["-c", command]).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {error}").into()) }
}

/// Makes a network namespace with one link to the machine.
pub fn machine_behind_a_wire(lab: &Lab, device: &str, own: &str, other: &str) -> Result<Server, Failed> {
    let server = lab.helper(["in-namespace", "-", "answer"])?;
    let pid = server.pid();
    sh(&format!(
        "ip link add {device} type veth peer name wire0 netns {pid} && ip address add {own}/24 dev {device} && \
         ip link set {device} up && nsenter -t {pid} -n sh -c 'ip link set lo up && ip address add {other}/24 dev wire0 && \
         ip link set wire0 up && ip route add default via {own}'"
    ))?;
    Ok(server)
}

/// Returns the answer at each port of an address of the machine, for a client in a namespace.
pub fn answers(lab: &Lab, namespace: &str, address: &str) -> Result<BTreeMap<u16, String>, Failed> {
    let places: Vec<String> = PORTS.iter().map(|port| format!("{address}:{port}")).collect();
    let client =
        lab.helper(["in-namespace", namespace, "ask"].map(str::to_owned).into_iter().chain(places))?;
    let pairs = client.said.iter().skip(1).filter_map(|word| word.split_once('='));
    pairs.map(|(port, answer)| Ok((port.parse()?, answer.to_owned()))).collect()
}

/// Returns a random rule, in the syntax of its tool.
fn rule(random: &mut Random) -> String {
    let port = random.one_of(&PORTS);
    let to = random.one_of(&PORTS);
    let own = random.one_of(&OWN);
    let tool = random.one_of(&["iptables-nft -w", "iptables-legacy -w", "nft"]);
    let output = random.below(3) == 0;
    if tool == "nft" {
        let chain = if output { "output" } else { "prerouting" };
        let ports = match random.below(4) {
            0 => format!("tcp dport {{ {port}, 8000-8001 }}"),
            1 => format!("meta l4proto tcp th dport {port}"),
            2 => "tcp dport 8002-8003".to_owned(),
            _ => format!("tcp dport {port}"),
        };
        let destination = random.one_of(&[
            "",
            "",
            "fib daddr type local ",
            "ip daddr 10.30.0.0/24 ",
            "ip daddr 10.99.0.1 ",
        ]);
        let action = match random.below(6) {
            0 => format!("redirect to :{own}"),
            1 => "accept".to_owned(),
            2 => format!("dnat ip to {CONTAINER}"),
            3 => {
                return format!(
                    "nft 'add rule inet t {chain} {destination}dnat ip to tcp dport map {{ {port} : {CONTAINER} . {to} }}'"
                );
            }
            4 => {
                return format!(
                    "nft 'add rule inet t {chain} {destination}tcp dport vmap {{ {port} : jump more }}'"
                );
            }
            _ => format!("dnat ip to {CONTAINER}:{to}"),
        };
        return format!("nft 'add rule inet t {chain} {destination}{ports} counter {action}'");
    }
    let chain = if output { "OUTPUT" } else { random.one_of(&["PREROUTING", "PREROUTING", "MORE"]) };
    let ports = match random.below(4) {
        0 => format!("-m multiport --dports {port},8000:8001"),
        1 => "--dport 8002:8003".to_owned(),
        _ => format!("--dport {port}"),
    };
    let destination = random.one_of(&[
        "",
        "",
        "-m addrtype --dst-type LOCAL",
        "-d 10.30.0.0/24",
        "-d 10.99.0.1",
        "! -d 127.0.0.0/8",
    ]);
    let device = if output { "" } else { random.one_of(&["", "", "! -i docker0", "-i outside"]) };
    let action = match random.below(6) {
        0 => format!("REDIRECT --to-ports {own}"),
        1 => "RETURN".to_owned(),
        2 => "ACCEPT".to_owned(),
        3 => format!("DNAT --to-destination {CONTAINER}"),
        _ => format!("DNAT --to-destination {CONTAINER}:{to}"),
    };
    format!("{tool} -t nat -A {chain} {device} {destination} -p tcp {ports} -j {action}")
}

const START: &str = "nft flush ruleset; iptables-legacy -t nat -F; iptables-legacy -t nat -X; \
    nft 'add table inet t; add chain inet t prerouting { type nat hook prerouting priority -90; }; \
    add chain inet t output { type nat hook output priority -90; }; add chain inet t more; \
    add rule inet t more tcp dport 81 redirect to :7001; \
    add chain inet t post { type nat hook postrouting priority 90; }; \
    add rule inet t post ip saddr 127.0.0.0/8 oifname bridge0 masquerade'; \
    for i in iptables-nft iptables-legacy; do $i -w -t nat -N MORE; $i -w -t nat -A PREROUTING -p tcp -j MORE; done";

/// Returns whether the tools are installed; prints the name of a missing tool.
pub fn has_tools() -> bool {
    let missing = ["ip", "nsenter", "nft", "iptables", "iptables-legacy"]
        .into_iter()
        .find(|tool| sh(&format!("command -v {tool} >/dev/null")).is_err());
    missing
        .into_iter()
        .for_each(|tool| eprintln!("{tool} is not installed here: published ports were not tested"));
    missing.is_none()
}

fn published_exactly_where_a_client_gets_an_answer(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    // Forwarded traffic from a loopback address needs another source address to get an answer.
    sh("ip link set lo up && cd /proc/sys/net/ipv4 && echo 1 | tee ip_forward conf/all/route_localnet")?;
    let outside = machine_behind_a_wire(lab, "outside", MACHINE, "10.30.0.2")?;
    let container = machine_behind_a_wire(lab, "bridge0", "172.30.0.1", CONTAINER)?;
    let places = PORTS.map(|port| format!("{CONTAINER}:{port}"));
    let inside = container.pid().to_string();
    let _servers =
        lab.helper(["in-namespace", &inside, "answer"].map(str::to_owned).into_iter().chain(places))?;
    let places = OWN.map(|port| format!("0.0.0.0:{port}"));
    let _own = lab.helper(["in-namespace", "-", "answer"].map(str::to_owned).into_iter().chain(places))?;
    let mut random = Random(16);
    let (mut answered, mut refused) = (0, 0);
    for situation in 0..SITUATIONS {
        let rules: Vec<String> = (0..=random.below(3)).map(|_| rule(&mut random)).collect();
        sh(&format!("{START}; {}", rules.join(" && ")))?;
        let said = format!("{situation}: {rules:#?}");
        let report = lab.json(&["--state", "published"])?;
        same!(
            report["gaps"].as_array().map(|gaps| gaps.iter().filter(|gap| gap["stage"] == "sockets").count()),
            Some(0),
            "{said}"
        );
        // For each port: the answer for clients on other machines, for clients on this machine, and for clients on
        // this machine at 127.0.0.1.
        let mut listed: [BTreeMap<u16, String>; 3] = Default::default();
        for row in report["listeners"].as_array().ok_or("no rows")? {
            let to = &row["forwards_to"];
            let there = if to["address"] == CONTAINER { CONTAINER } else { "here" };
            let kind = match (row["exposure"].as_str(), row["address"].as_str()) {
                (_, Some("::" | "::1")) => continue,
                (Some("loopback"), Some("127.0.0.1")) => 2,
                (Some("loopback"), _) => 1,
                _ => 0,
            };
            let port = row["port"].as_u64().ok_or("no port")?.try_into()?;
            listed[kind].insert(port, format!("{there}:{}", to["port"]));
        }
        let from_outside = answers(lab, &outside.pid().to_string(), MACHINE)?;
        let from_here = answers(lab, "-", MACHINE)?;
        let at_loopback = answers(lab, "-", "127.0.0.1")?;
        for port in PORTS {
            let [outer, here, loopback] = listed.each_ref().map(|listed| listed.get(&port));
            same!(from_outside.get(&port), outer, "port {port} from outside, {said}");
            if here.is_some() {
                same!(from_here.get(&port), here, "port {port} from here, {said}");
            }
            if loopback.is_some() {
                same!(at_loopback.get(&port), loopback, "port {port} at 127.0.0.1, {said}");
            }
            if [outer, here, loopback] == [None; 3] {
                same!((from_here.get(&port), at_loopback.get(&port)), (None, None), "port {port}, {said}");
            }
            answered += usize::from(outer.is_some());
            refused += usize::from(outer.is_none());
        }
    }
    same!(answered > SITUATIONS && refused > SITUATIONS, true, "{answered} answered, {refused} refused");
    Ok(())
}

/// The port of a redirect, the finding, and the listener behind it.
fn a_redirect_is_named(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    lab.alone()?;
    sh(
        "ip link set lo up && iptables -w -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080",
    )?;
    let server = lab.helper(["in-namespace", "-", "answer", "0.0.0.0:8080"])?;
    let report = lab.json(&["80"])?;
    let row = &report["listeners"][0];
    same!((&row["state"], &row["port"], &row["owner"]), (&"published".into(), &80.into(), &"kernel".into()));
    same!(row["forwards_to"]["port"], 8080);
    // The port of the service is not asked for, but the service is named and judged.
    same!(row["forwards_to"]["pids"], serde_json::json!([server.pid()]), "{row:#}");
    same!(report["listeners"].as_array().map(Vec::len), Some(1));
    let flags = row["flags"].as_array().ok_or("no flags")?;
    same!(flags.iter().any(|flag| flag["code"] == "published"), true, "{row:#}");
    let rule = flags.iter().find_map(|flag| flag["evidence"]["rule"].as_str());
    same!(rule.map(|rule| rule.contains("--dport 80")), Some(true));
    for arguments in [["explain", "80"], ["audit", "--fail-on=info"]] {
        let output = lab.portolan(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        same!(text.contains("forwards tcp/80") || text.contains("(NAT rule)"), true, "{text}");
    }
    // The port is free for a program, but no program owns it.
    let output = lab.portolan(["watch", "--until-free", "80", "--timeout", "0"]).output()?;
    same!(output.status.code(), Some(0));
    same!(tcp("0.0.0.0:80").is_ok(), true);
    drop(server);
    // Every port of this machine leads to another address: the services behind the ports were not judged.
    same!(report["gaps"].to_string().contains("another address"), false);
    sh("iptables -w -t nat -A PREROUTING -p tcp -j DNAT --to-destination 10.9.9.9")?;
    let report = lab.json(&[])?;
    same!(
        (&report["complete"], report["gaps"].to_string().contains("another address")),
        (&false.into(), true)
    );
    same!(lab.portolan(["audit"]).output()?.status.code(), Some(3));
    // The kernel drops traffic from another machine to a loopback address.
    sh(
        "iptables -w -t nat -F && iptables -w -t nat -A PREROUTING -p tcp --dport 81 -j DNAT --to-destination 127.0.0.1:9",
    )?;
    same!(lab.json(&["--state", "published"])?["listeners"].as_array().map(Vec::len), Some(0));
    Ok(())
}

/// A rule for thousands of ports has no row for each port, but a port that is asked for has its row.
fn one_port_of_a_long_redirect(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    lab.alone()?;
    sh("ip link set lo up && \
        nft 'table ip t { chain pre { type nat hook prerouting priority -100; tcp dport != 1-6999 redirect to :8000; }; }'")?;
    let _server = lab.helper(["in-namespace", "-", "answer", "0.0.0.0:8000"])?;
    for (target, rows) in [("7004", 1), ("7000-7300", 301), ("6999", 0), ("7004/udp", 0)] {
        let report = lab.json(&[target, "--state", "published"])?;
        same!(report["listeners"].as_array().map(Vec::len), Some(rows), "{target}");
    }
    same!(lab.portolan(["7004"]).output()?.status.code(), Some(0));
    let explained = String::from_utf8(lab.portolan(["explain", "7004"]).output()?.stdout)?;
    same!(explained.contains("forwards tcp/7004"), true, "{explained}");
    Ok(())
}

/// A TPROXY rule gives the clients of its ports to a transparent socket. Each port is listed exactly if a machine outside
/// gets an answer there.
fn ports_that_tproxy_takes(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    sh(
        "ip link set lo up && ip rule add fwmark 1 lookup 100 && ip route add local default dev lo table 100",
    )?;
    let outside = machine_behind_a_wire(lab, "outside", MACHINE, "10.30.0.2")?;
    let server = lab.helper(["in-namespace", "-", "answer-for-any", "0.0.0.0:7000"])?;
    let _local = lab.helper(["in-namespace", "-", "answer-for-any", "127.0.0.1:7001"])?;
    let nft = |rule: &str| {
        format!(
            "nft 'table inet t {{ chain pre {{ type filter hook prerouting priority mangle; {rule}; }}; }}'"
        )
    };
    let iptables =
        |tool: &str, rule: &str| format!("{tool} -w -t mangle -A PREROUTING -p tcp {rule} --tproxy-mark 1");
    for (name, rule, ports, to) in [
        ("no rule", "true".to_owned(), &[][..], 0),
        ("iptables", iptables("iptables", "--dport 8000 -j TPROXY --on-port 7000"), &[8000], 7000),
        (
            "a loopback address",
            iptables("iptables", "--dport 8001 -j TPROXY --on-port 7001 --on-ip 127.0.0.1"),
            &[8001],
            7001,
        ),
        ("legacy", iptables("iptables-legacy", "--dport 8002 -j TPROXY --on-port 7000"), &[8002], 7000),
        ("nft", nft("tcp dport { 80, 81 } tproxy to :7000 meta mark set 1 accept"), &[80, 81], 7000),
        ("nft, IPv4", nft("tcp dport 6379 tproxy ip to 127.0.0.1:7001 meta mark set 1"), &[6379], 7001),
        // The packets without the mark do not get to the socket.
        ("a filter", nft("tcp dport 80 accept"), &[], 0),
    ] {
        sh(&rule)?;
        let report = lab.json(&["80", "81", "6379", "8000-8003", "--state", "published"])?;
        let rows = report["listeners"].as_array().ok_or("no rows")?;
        let rows: Vec<_> = rows.iter().filter(|row| row["family"] == "ipv4").collect();
        let mut listed: Vec<u16> =
            rows.iter().filter_map(|row| row["port"].as_u64()?.try_into().ok()).collect();
        listed.sort_unstable();
        let answered: Vec<u16> = answers(lab, &outside.pid().to_string(), MACHINE)?.into_keys().collect();
        same!((&*listed, &*answered), (ports, ports), "{name}: {report:#}");
        for row in rows {
            same!(row["forwards_to"]["port"], to, "{name}");
        }
        if name == "iptables" {
            let report = lab.json(&["8000"])?;
            let rows = report["listeners"].as_array().into_iter().flatten();
            let row = rows.into_iter().find(|row| row["state"] == "published").ok_or("no row")?;
            same!(row["forwards_to"]["pids"], serde_json::json!([server.pid()]), "{row:#}");
            let output = lab.portolan(["8000"]).output()?;
            same!(output.status.code(), Some(0));
            let card = String::from_utf8(lab.portolan(["explain", "8000"]).output()?.stdout)?;
            same!(card.contains("TPROXY"), true, "{card}");
        }
        sh("iptables -w -t mangle -F; iptables-legacy -w -t mangle -F; nft delete table inet t || true")?;
    }
    // A rule for every port has no rows, but a note, and a port that is asked for has its row.
    sh(&iptables("iptables", "-j TPROXY --on-port 7000"))?;
    same!(lab.json(&["9999"])?["listeners"][0]["forwards_to"]["port"], 7000);
    let report = lab.json(&[])?;
    same!(report["notes"].to_string().contains("TPROXY"), true, "{report:#}");
    Ok(())
}

/// A transparent socket receives the traffic that a TPROXY rule sends to it, and `route_localnet` opens the loopback
/// addresses.
fn loopback_that_other_machines_reach(lab: &Lab) -> Outcome {
    lab.alone()?;
    wires::loopback_up()?;
    let plain = Server::start(&sleep(), vec![tcp("127.0.0.1:6379")?])?;
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpTransparent, &true)?;
    rustix::net::bind(&socket, &"127.0.0.1:6380".parse::<std::net::SocketAddr>()?)?;
    rustix::net::listen(&socket, 1)?;
    let transparent = Server::start(&sleep(), vec![socket])?;
    let report = lab.json(&["6379-6380"])?;
    let exposure = |port| on_port(&report, port).map(|row| row["exposure"].clone());
    same!((exposure(6379)?, exposure(6380)?), ("loopback".into(), "any".into()));
    wires::veth("wire3")?;
    let note = |lab: &Lab| -> Result<bool, Failed> {
        let text = String::from_utf8(lab.portolan(["audit"]).output()?.stdout)?;
        Ok(text.contains("route_localnet") && text.contains("wire3"))
    };
    same!(note(lab)?, false);
    std::fs::write("/proc/sys/net/ipv4/conf/wire3/route_localnet", "1")?;
    same!(note(lab)?, true);
    drop((plain, transparent));
    Ok(())
}

/// A machine on the same link that has a route for 127.0.0.1 to this machine. Its packets arrive if the interface
/// accepts them, or if a rule changes their destination first. The exposure of each port is `link-local` exactly if this
/// machine gets an answer.
fn a_nearby_machine_that_sends_packets_for_127_0_0_1(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    sh("ip link set lo up && echo 1 >/proc/sys/net/ipv4/ip_forward")?;
    let nearby = machine_behind_a_wire(lab, "outside", MACHINE, "10.30.0.2")?;
    let other = machine_behind_a_wire(lab, "other", "10.31.0.1", "10.31.0.2")?;
    let container = machine_behind_a_wire(lab, "bridge0", "172.30.0.1", CONTAINER)?;
    for (machine, gateway) in [(&nearby, MACHINE), (&other, "10.31.0.1")] {
        sh(&format!(
            "nsenter -t {} -n sh -c 'ip address del 127.0.0.1/8 dev lo; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; \
             ip route add 127.0.0.1/32 via {gateway}'",
            machine.pid()
        ))?;
    }
    let inside = container.pid().to_string();
    let places = [format!("{CONTAINER}:80")];
    let _server =
        lab.helper(["in-namespace", &inside, "answer"].map(str::to_owned).into_iter().chain(places))?;
    let _own = lab.helper(["in-namespace", "-", "answer", "127.0.0.1:6379", "127.0.0.1:8000"])?;
    let docker = "iptables -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -d 127.0.0.1/32 ! -i bridge0 -p tcp \
        --dport 81 -j DNAT --to-destination 172.30.0.2:80";
    let all = "/proc/sys/net/ipv4/conf/all/route_localnet";
    let one = "/proc/sys/net/ipv4/conf/other/route_localnet";
    for (name, command, ports) in [
        ("an ordinary machine", "true".to_owned(), vec![]),
        ("every interface accepts such packets", format!("echo 1 >{all}"), vec![6379, 8000]),
        (
            "a rule as that of kube-proxy",
            "iptables -w -A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
                .to_owned(),
            vec![],
        ),
        ("one interface accepts them", format!("iptables -w -F; echo 0 >{all}; echo 1 >{one}"), vec![6379, 8000]),
        ("a rule for one port", "iptables -w -A INPUT -p tcp --dport 8000 -j DROP".to_owned(), vec![6379]),
        ("a port that Docker 27 publishes", format!("iptables -w -F; echo 0 >{one}; {docker}"), vec![81]),
        (
            "a port that Docker 28 publishes",
            "iptables -w -t raw -A PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP".to_owned(),
            vec![],
        ),
    ] {
        sh(&command)?;
        let report = lab.json(&["81", "6379", "8000"])?;
        let rows = report["listeners"].as_array().ok_or("no rows")?;
        let listed = rows.iter().filter(|row| row["exposure"] == "link-local");
        let listed: Vec<u64> = listed.filter_map(|row| row["port"].as_u64()).collect();
        let mut answered: Vec<u64> = Vec::new();
        for machine in [&nearby, &other] {
            let answers = answers(lab, &machine.pid().to_string(), "127.0.0.1")?;
            answered.extend(answers.into_keys().map(u64::from));
        }
        answered.sort_unstable();
        answered.dedup();
        same!(listed, answered, "{name}: {report:#}");
        same!(answered, ports, "{name}");
    }
    Ok(())
}
