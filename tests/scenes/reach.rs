//! The reported reach through the firewall, compared with the ports that real clients on two interfaces reach, under
//! random rule sets.

use std::fs;
use std::net::IpAddr;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::binding::Random;
use crate::lab::{Lab, Outcome, Scene, Server};
use crate::published::{has_tools, machine_behind_a_wire, sh};
use crate::reach_rules::{RuleSet, rule_set};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("reach_is_what_clients_reach", reach_is_what_clients_reach),
    ("nobody_and_everyone", nobody_and_everyone),
    ("a_route_makes_a_network_local", a_route_makes_a_network_local),
    ("a_bridge_of_this_machine", a_bridge_of_this_machine),
    ("a_changed_tcp_option_and_udp", a_changed_tcp_option_and_udp),
    ("headers_and_flags_that_a_client_chooses", headers_and_flags_that_a_client_chooses),
];

/// The random rule sets of an ordinary run, and the variable that asks for another number.
const SITUATIONS: usize = 200;
const VARIABLE: &str = "PORTOLAN_RULE_SETS";
const TCP: [u16; 5] = [22, 80, 443, 5432, 7000];
/// Every TCP port with a socket.
const OWN_TCP: [u16; 7] = [22, 80, 443, 5432, 7000, DUAL, ON_LEFT];
/// A port on both families with one socket, and one on a single address.
const DUAL: u16 = 8443;
const ON_LEFT: u16 = 8001;
const UDP: [u16; 3] = [53, 5000, 5353];
/// Ports that a rule forwards, to a container and to this machine.
const FORWARDED: [u16; 2] = [9000, 9001];
/// The first attempts get so many milliseconds. An outcome that was not expected is tried again, for longer.
const FIRST: u32 = 120;
const AGAIN: u32 = 3000;

/// A client: its interface of the machine, the addresses of the machine, and its own.
struct Client {
    device: &'static str,
    machine: [&'static str; 2],
    own: [[&'static str; 3]; 2],
}

const CLIENTS: [Client; 2] = [
    Client {
        device: "left",
        machine: ["10.31.0.1", "fd31::1"],
        own: [["10.31.0.2", "10.31.0.77", "10.31.0.200"], ["fd31::2", "fd31::77", "fd31::200"]],
    },
    Client {
        device: "right",
        machine: ["10.32.0.1", "fd32::1"],
        own: [["10.32.0.2", "10.32.0.77", "10.32.0.200"], ["fd32::2", "fd32::77", "fd32::200"]],
    },
];

/// One attempt to connect.
#[derive(Clone)]
struct Attempt {
    client: usize,
    from: &'static str,
    to: &'static str,
    protocol: &'static str,
    port: u16,
}

impl Attempt {
    fn text(&self) -> String {
        let to: IpAddr = self.to.parse().unwrap();
        format!("{},{},{}", self.protocol, self.from, std::net::SocketAddr::new(to, self.port))
    }
}

fn attempts(protocol: &'static str, family: usize, port: u16) -> Vec<Attempt> {
    let of = |(client, at): (usize, &'static Client)| {
        at.own[family].map(|from| Attempt { client, from, to: at.machine[family], protocol, port })
    };
    CLIENTS.iter().enumerate().flat_map(of).collect()
}

/// Every attempt that a situation makes.
fn all_attempts() -> Vec<Attempt> {
    let mut all = Vec::new();
    for family in [0, 1] {
        all.extend(TCP.iter().chain([&DUAL]).flat_map(|port| attempts("tcp", family, *port)));
        all.extend(UDP.iter().flat_map(|port| attempts("udp", family, *port)));
    }
    all.extend(FORWARDED.iter().flat_map(|port| attempts("tcp", 0, *port)));
    all.extend(
        attempts("tcp", 0, ON_LEFT)
            .into_iter()
            .map(|attempt| Attempt { to: CLIENTS[0].machine[0], ..attempt }),
    );
    all
}

/// Returns whether the service of a row would answer an attempt without a firewall.
fn is_for(attempt: &Attempt, row: &Value, protocol: &str, port: u16) -> bool {
    let is_six = attempt.from.contains(':');
    let is_family = row["v6only"] == false || (row["family"] == "ipv6") == is_six;
    (attempt.protocol, attempt.port) == (protocol, port) && is_family
}

/// Starts all attempts at once.
fn send_all(probes: &mut [Server], attempts: &[Attempt], limit: u32) -> Outcome {
    for (client, probe) in probes.iter_mut().enumerate() {
        let own = attempts.iter().filter(|attempt| attempt.client == client);
        let words: Vec<String> = own.map(Attempt::text).collect();
        probe.send(&format!("{limit} {}", words.join(" ")))?;
    }
    Ok(())
}

/// Returns which attempts got an answer.
fn receive_all(probes: &mut [Server], attempts: &[Attempt]) -> Result<Vec<bool>, Failed> {
    let mut answers = vec![false; attempts.len()];
    let of_client = |client| (0..attempts.len()).filter(move |at| attempts[*at].client == client);
    for (client, probe) in probes.iter_mut().enumerate() {
        let answer = probe.line()?;
        let bits = answer.first().ok_or("no answer")?;
        for (at, bit) in of_client(client).zip(bits.chars()) {
            answers[at] = bit == '1';
        }
    }
    Ok(answers)
}

/// Returns whether an entry of `reach_from` includes an attempt; `None` if it does not say.
fn includes(entry: &str, attempt: &Attempt) -> Option<bool> {
    let from: IpAddr = attempt.from.parse().unwrap();
    let (entry, to) = entry.split_once(" to ").map_or((entry, None), |(entry, to)| (entry, Some(to)));
    let (clients, on) = entry.split_once(" on ").map_or((entry, None), |(clients, on)| (clients, Some(on)));
    let names = |list: &str, name: &str| list.split(", ").any(|one| one == name);
    if on.is_some_and(|on| !names(on, CLIENTS[attempt.client].device))
        || to.is_some_and(|to| !names(to, attempt.to))
    {
        return Some(false);
    }
    let within = |network: &str| {
        network.parse::<portolan::model::Network>().is_ok_and(|network| network.contains(from))
    };
    let (which, but) = clients.split_once(" but ").unwrap_or((clients, ""));
    let is_within = match which {
        "anyone" => true,
        "any IPv4 address" => from.is_ipv4(),
        "any IPv6 address" => from.is_ipv6(),
        network => within(network),
    };
    if !is_within {
        return Some(false);
    }
    let (but, others) = but.strip_suffix(" and other networks").map_or((but, false), |but| (but, true));
    match but.split(", ").any(within) {
        true => Some(false),
        false if others => None,
        false => Some(true),
    }
}

/// Returns what a row says about an attempt; `None` if it does not say.
fn expected(row: &Value, attempt: &Attempt) -> Option<bool> {
    match row["reach"].as_str() {
        Some("open") => Some(true),
        Some("filtered") => Some(false),
        Some("limited") => {
            let entries: Vec<&str> = row["reach_from"].as_array()?.iter().filter_map(Value::as_str).collect();
            let said: Vec<Option<bool>> = entries.iter().map(|entry| includes(entry, attempt)).collect();
            if said.contains(&Some(true)) {
                return Some(true);
            }
            (row["reach_more"] == 0 && !said.contains(&None)).then_some(false)
        }
        _ => None,
    }
}

/// Makes the machine, its clients and its servers; returns the probes of the clients and everything that must live.
fn machine(lab: &Lab) -> Result<(Vec<Server>, Vec<Server>), Failed> {
    sh("ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    let mut kept = Vec::new();
    let mut probes = Vec::new();
    for client in &CLIENTS {
        let [four, six] = client.own;
        let peer = machine_behind_a_wire(lab, client.device, client.machine[0], four[0])?;
        let pid = peer.pid();
        let more: Vec<String> = [format!("{}/24", four[1]), format!("{}/24", four[2])]
            .into_iter()
            .chain(six.map(|six| format!("{six}/64")))
            .map(|address| format!("ip address add {address} dev wire0 nodad"))
            .collect();
        sh(&format!(
            "ip address add {}/64 dev {} nodad && nsenter -t {pid} -n sh -c '{}'",
            client.machine[1],
            client.device,
            more.join(" && ").replace("/24 dev wire0 nodad", "/24 dev wire0")
        ))?;
        probes.push(lab.helper(["probe", &pid.to_string()])?);
        kept.push(peer);
    }
    let container = machine_behind_a_wire(lab, "inner", "172.31.0.1", "172.31.0.2")?;
    kept.push(lab.helper(["serve", &container.pid().to_string(), "tcp,0.0.0.0:80"])?);
    kept.push(container);
    let places: Vec<String> = ["0.0.0.0", "[::]"]
        .iter()
        .flat_map(|any| {
            let tcp = TCP.map(|port| format!("tcp,{any}:{port}"));
            tcp.into_iter().chain(UDP.map(|port| format!("udp,{any}:{port}")))
        })
        .chain([format!("dual,[::]:{DUAL}"), format!("tcp,{}:{ON_LEFT}", CLIENTS[0].machine[0])])
        .collect();
    kept.push(lab.helper(["serve", "-"].map(str::to_owned).into_iter().chain(places))?);
    Ok((probes, kept))
}

fn install(lab: &Lab, set: &RuleSet) -> Outcome {
    let empty = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*mangle\n:PREROUTING ACCEPT\nCOMMIT\n";
    fs::write(lab.path("empty"), empty)?;
    let mut script = "nft flush ruleset".to_owned();
    for tool in ["iptables-legacy-restore", "ip6tables-legacy-restore"] {
        script += &format!(" && {tool} < {}", lab.path("empty"));
    }
    if !set.nft.is_empty() {
        fs::write(lab.path("rules.nft"), &set.nft)?;
        script += &format!(" && nft -f {}", lab.path("rules.nft"));
    }
    for (tool, text) in &set.restored {
        let path = lab.path(tool);
        fs::write(&path, text)?;
        script += &format!(" && {tool} -n < {path}");
    }
    sh(&script).map_err(|failed| {
        format!("{}\n{}{:?}", failed.message().unwrap_or_default(), set.nft, set.restored).into()
    })
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    limited: usize,
    filtered: usize,
    unknown: usize,
}

fn reach_is_what_clients_reach(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let (mut probes, _kept) = machine(lab)?;
    let situations = match std::env::var(VARIABLE) {
        Ok(number) => number.parse()?,
        Err(_) => SITUATIONS,
    };
    let mut random = Random(4);
    let (mut understood, mut others) = (Count::default(), Count::default());
    let mut decided = [0, 0];
    let all = all_attempts();
    let mut refused = 0;
    for situation in 0..situations {
        // A tool refuses rules whose conditions exclude each other.
        let mut set = rule_set(&mut random);
        while let Err(failed) = install(lab, &set) {
            refused += 1;
            if refused > situations {
                return Err(failed);
            }
            set = rule_set(&mut random);
        }
        // The clients try while the rules are read.
        send_all(&mut probes, &all, FIRST)?;
        let report = lab.json(&["--state", "listen", "--state", "unconnected", "--state", "published"])?;
        let answers = receive_all(&mut probes, &all)?;
        let said = || {
            format!(
                "situation {situation}:\n{}{}",
                set.nft,
                set.restored.iter().map(|(tool, text)| format!("{tool}\n{text}")).collect::<String>()
            )
        };
        let gaps = report["gaps"]
            .as_array()
            .map_or(0, |gaps| gaps.iter().filter(|gap| gap["stage"] == "sockets").count());
        if gaps != 0 {
            return Err(format!("a gap: {} in {}", report["gaps"], said()).into());
        }
        for row in report["listeners"].as_array().ok_or("no rows")? {
            let port: u16 = row["port"].as_u64().ok_or("no port")?.try_into()?;
            let (protocol, ports): (_, &[u16]) =
                if row["protocol"] == "tcp" { ("tcp", &OWN_TCP) } else { ("udp", &UDP) };
            let is_published = row["state"] == "published";
            if row["exposure"] == "loopback"
                || !(ports.contains(&port) || (is_published && FORWARDED.contains(&port)))
            {
                continue;
            }
            let of_row: Vec<usize> =
                (0..all.len()).filter(|at| is_for(&all[*at], row, protocol, port)).collect();
            let own: Vec<Attempt> = of_row.iter().map(|at| all[*at].clone()).collect();
            let mut got: Vec<bool> = of_row.iter().map(|at| answers[*at]).collect();
            let wanted: Vec<Option<bool>> = own.iter().map(|attempt| expected(row, attempt)).collect();
            let differs = |got: &[bool]| {
                got.iter().zip(&wanted).any(|(got, wanted)| wanted.is_some_and(|wanted| wanted != *got))
            };
            if differs(&got) {
                send_all(&mut probes, &own, AGAIN)?;
                got = receive_all(&mut probes, &own)?;
            }
            let is_wrong = differs(&got);
            // Clients with addresses that no probe has can change the result.
            if is_wrong {
                let at = format!(
                    "{} {} {}: {} {} by {}",
                    row["protocol"],
                    row["address"],
                    row["port"],
                    row["reach"],
                    row["reach_from"],
                    row["reach_rule"]
                );
                let attempts: Vec<&str> = own.iter().map(|attempt| attempt.from).collect();
                return Err(format!("{at}\nreached by {attempts:?}: {got:?}\n{}", said()).into());
            }
            let count = if set.is_understood { &mut understood } else { &mut others };
            match row["reach"].as_str() {
                Some("open") => count.open += 1,
                Some("limited") => count.limited += 1,
                Some("filtered") => count.filtered += 1,
                _ => count.unknown += 1,
            }
            decided[0] += got.iter().filter(|got| **got).count();
            decided[1] += got.iter().filter(|got| !**got).count();
        }
    }
    eprintln!(
        "{situations} rule sets, and {refused} that the tools refused; understood: {understood:?}; others: {others:?}; attempts answered and not: {decided:?}"
    );
    let sum = understood.open + understood.limited + understood.filtered + understood.unknown;
    same!(understood.unknown * 10 <= sum, true, "{understood:?}");
    same!(
        understood.open > sum / 20 && understood.limited > sum / 20 && understood.filtered > sum / 20,
        true,
        "{understood:?}"
    );
    same!(others.unknown > 0, true, "{others:?}");
    Ok(())
}

/// The texts of table, card, audit and JSON.
fn nobody_and_everyone(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let (_probes, _kept) = machine(lab)?;
    let text = |arguments: &[&str]| -> Result<String, Failed> {
        let output = lab.portolan(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let reach = |lab: &Lab| Ok::<_, Failed>(lab.json(&["tcp/0.0.0.0:80", "-4"])?["listeners"][0].clone());
    let row = reach(lab)?;
    same!((&row["reach"], &row["reach_rule"]), (&"open".into(), &Value::Null));
    sh("iptables -w -A INPUT -p tcp --dport 80 -j DROP")?;
    let row = reach(lab)?;
    same!(
        (&row["reach"], row["reach_rule"].as_str().map(|rule| rule.contains("INPUT"))),
        (&"filtered".into(), Some(true))
    );
    // The card names both families apart.
    let card = text(&["explain", "80"])?;
    for clients in ["IPv4: the firewall lets in nobody (", "IPv6: the firewall lets in everyone"] {
        same!(card.contains(clients), true, "{card}");
    }
    sh("ip6tables -w -A INPUT -p tcp --dport 80 -j DROP")?;
    same!(text(&["80", "-4", "-o", "table"])?.contains("any (filtered)"), true);
    same!(text(&["explain", "80"])?.contains("the firewall lets in nobody (nft rule ip"), true);
    let (report, _) = lab.json_as_nobody(&["80"])?;
    same!(
        (&report["listeners"][0]["reach"], &report["listeners"][0]["reach_rule"]),
        (&"unknown".into(), &Value::Null)
    );
    Ok(())
}

/// Returns whether the first client gets an answer from an address and port.
fn is_answered(
    probes: &mut [Server],
    protocol: &'static str,
    to: &'static str,
    port: u16,
) -> Result<bool, Failed> {
    let attempt = Attempt { client: 0, from: CLIENTS[0].own[0][0], to, protocol, port };
    send_all(probes, std::slice::from_ref(&attempt), AGAIN)?;
    Ok(receive_all(probes, &[attempt])? == [true])
}

/// The kernel accepts packets for every address of the network, although no interface has one.
fn a_route_makes_a_network_local(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let (mut probes, _kept) = machine(lab)?;
    let reach = || Ok::<_, Failed>(lab.json(&["tcp/0.0.0.0:80", "-4"])?["listeners"][0].clone());
    sh("nft 'table ip own { chain input { type filter hook input priority 0; policy accept; \
        ip daddr { 10.31.0.1, 10.32.0.1, 172.31.0.1 } drop; }; }'")?;
    same!(
        (&reach()?["reach"], is_answered(&mut probes, "tcp", "10.55.1.1", 80)?),
        (&"filtered".into(), false)
    );
    sh("ip route add local 10.55.0.0/16 dev lo")?;
    let row = reach()?;
    same!((&row["reach"], is_answered(&mut probes, "tcp", "10.55.1.1", 80)?), (&"limited".into(), true));
    same!(row["reach_from"], serde_json::json!(["anyone to addresses in 10.55.0.0/16"]));
    sh("ip route del local 10.55.0.0/16 dev lo && ip route add local default dev lo table 100")?;
    same!(
        (&reach()?["reach"], is_answered(&mut probes, "tcp", "10.55.1.1", 80)?),
        (&"unknown".into(), false)
    );
    Ok(())
}

/// The containers behind a bridge of this machine are not other machines, unless the bridge has a port that leads
/// outside.
fn a_bridge_of_this_machine(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let (_probes, _kept) = machine(lab)?;
    sh(
        "ip link add docker0 type bridge && ip address add 172.18.0.1/16 dev docker0 && ip link set docker0 up && \
        ip link set inner master docker0",
    )?;
    let table = |devices: &str| {
        sh(&format!(
            "nft 'flush ruleset; table inet own {{ chain input {{ type filter hook input priority 0; policy drop; \
             iifname {{ {devices} }} accept; }}; }}'"
        ))
    };
    let reach = || Ok::<_, Failed>(lab.json(&["tcp/0.0.0.0:80", "-4"])?["listeners"][0].clone());
    table("left, right")?;
    same!(reach()?["reach"], "open");
    table("docker0")?;
    let row = reach()?;
    same!((&row["reach"], &row["reach_from"][1]), (&"machine".into(), &"clients on docker0".into()));
    // A device that is no end of a wire inside this machine.
    sh("ip tuntap add outside mode tap && ip link set outside up master docker0")?;
    let row = reach()?;
    same!((&row["reach"], &row["reach_from"][0]), (&"limited".into(), &"anyone on docker0".into()));
    Ok(())
}

/// The kernel leaves such a rule if the packet is not TCP.
fn a_changed_tcp_option_and_udp(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let (mut probes, _kept) = machine(lab)?;
    sh("nft 'table ip own { chain input { type filter hook input priority 0; policy accept; \
        tcp option maxseg size set 1000 drop; }; }'")?;
    for (protocol, port, wanted) in [("udp", 5000, ("open", true)), ("tcp", 80, ("filtered", false))] {
        let report = lab.json(&[&format!("{protocol}/0.0.0.0:{port}"), "-4"])?;
        let reach = report["listeners"][0]["reach"].clone();
        let is_answered = is_answered(&mut probes, protocol, CLIENTS[0].machine[0], port)?;
        same!((reach.as_str(), is_answered), (Some(wanted.0), wanted.1));
    }
    Ok(())
}

/// A client can add an extension header to IPv6 packets, and the flag PSH to the packet that opens a connection. A rule
/// that drops only packets without them closes no port, and one that accepts only packets with them opens it.
fn headers_and_flags_that_a_client_chooses(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let _kept = machine(lab)?;
    let input = |rules: &str| {
        sh(&format!(
            "nft 'flush ruleset; table inet own {{ chain input {{ type filter hook input priority 0; {rules}; }}; }}'"
        ))
    };
    let opening = "fin | syn | rst | psh | ack | urg";
    for (rules, four, six) in [
        ("tcp dport 80 drop".to_owned(), "filtered", "filtered"),
        ("ip6 nexthdr tcp tcp dport 80 drop".to_owned(), "open", "unknown"),
        ("ip6 nexthdr != udp tcp dport 80 drop".to_owned(), "open", "filtered"),
        ("ip6 nexthdr vmap { tcp : drop, udp : accept }".to_owned(), "open", "unknown"),
        ("policy drop; ip6 nexthdr tcp accept".to_owned(), "filtered", "open"),
        ("policy drop; ip6 nexthdr icmpv6 accept".to_owned(), "filtered", "filtered"),
        ("policy drop; ip6 nexthdr 60 accept".to_owned(), "filtered", "unknown"),
        (format!("tcp dport 80 tcp flags & ({opening}) == syn drop"), "unknown", "unknown"),
        (
            format!("policy drop; ct state established accept; tcp flags & ({opening}) == syn accept"),
            "open",
            "open",
        ),
        ("tcp dport 80 tcp flags & (syn | ack) == syn drop".to_owned(), "filtered", "filtered"),
        ("tcp flags & (psh | ack) == psh drop".to_owned(), "open", "open"),
        ("policy drop; tcp flags & (psh | ack) == psh accept".to_owned(), "unknown", "unknown"),
    ] {
        input(&rules)?;
        let report = lab.json(&["tcp/80"])?;
        let rows = report["listeners"].as_array().ok_or("no rows")?;
        for (is_six, wanted) in [(false, four), (true, six)] {
            let of_family =
                |row: &&Value| row["address"].as_str().is_some_and(|one| one.contains(':')) == is_six;
            let row = rows.iter().find(of_family).ok_or("no row")?;
            same!(row["reach"].as_str(), Some(wanted), "{rules}: {row:#}");
        }
    }
    Ok(())
}
