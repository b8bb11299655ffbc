//! The output of `iptables-save` and `ip6tables-save`, for the table `nat`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::rules::{Action, Chain, Condition, Destination, Hook, Rule, Table, outside};
use crate::model::{Family, Protocol};

/// The maximum length of the text of a rule in reports.
const LONGEST_TEXT: usize = 300;

/// The targets that translate no destination (iptables-extensions(8)). Other targets, such as NETMAP, may do so.
const OTHER_TARGETS: [&str; 17] = [
    "SNAT",
    "MASQUERADE",
    "LOG",
    "NFLOG",
    "ULOG",
    "MARK",
    "CONNMARK",
    "SET",
    "CLASSIFY",
    "AUDIT",
    "TRACE",
    "RATEEST",
    "QUEUE",
    "NFQUEUE",
    "TCPMSS",
    "DSCP",
    "IDLETIMER",
];

/// Parses the output for one family; returns the table, and the address translation rules that were not understood.
pub(super) fn parse(output: &str, family: Family) -> (Table, Vec<String>) {
    let mut chains: HashMap<String, Chain> = HashMap::new();
    let mut unclear = Vec::new();
    let mut in_nat = false;
    for line in output.lines() {
        if let Some(name) = line.strip_prefix('*') {
            in_nat = name.trim() == "nat";
        } else if !in_nat {
        } else if let Some(declared) = line.strip_prefix(':') {
            let name = declared.split(' ').next().unwrap_or_default();
            let base = match name {
                "PREROUTING" => Some((Hook::Prerouting, -100)),
                "OUTPUT" => Some((Hook::Output, -100)),
                _ => None,
            };
            chains.entry(name.to_owned()).or_default().base = base;
        } else if let Some(words) = line.strip_prefix("-A ").map(words) {
            let Some((name, words)) = words.split_first() else { continue };
            let text: String = line.chars().take(LONGEST_TEXT).collect();
            match rule(words, text.clone()) {
                Some(rule) => chains.entry(name.clone()).or_default().rules.push(rule),
                None => unclear.push(text),
            }
        }
    }
    let is_unknown = |rule: &Rule| match &rule.action {
        Action::Jump(target) => !chains.contains_key(target) && !OTHER_TARGETS.contains(&target.as_str()),
        _ => false,
    };
    let unknown = chains.values().flat_map(|chain| &chain.rules).filter(|rule| is_unknown(rule));
    unclear.extend(unknown.map(|rule| rule.text.clone()));
    (Table { families: vec![family], chains }, unclear)
}

/// Splits a line at spaces; a quoted word (a comment) can contain them.
pub(in super::super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut begun) = (false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, begun) = (!quoted, true),
            '\\' if quoted => word.extend(letters.next()),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                begun = true;
                word.push(letter);
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Returns `None` if the rule translates an address but is not understood.
fn rule(words: &[String], text: String) -> Option<Rule> {
    let mut condition = Condition::default();
    let (mut target, mut goes, mut to) = (None, None, None);
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let (negated, option, after) = match (word.as_str(), after.split_first()) {
            ("!", Some((option, after))) => (true, option.as_str(), after),
            (option, _) => (false, option, after),
        };
        let values = after.iter().take_while(|word| *word != "!" && !word.starts_with('-')).count();
        let value = after.first().filter(|_| values > 0).map_or("", String::as_str);
        rest = after.get(values..).unwrap_or_default();
        match option {
            "-j" | "--jump" => target = Some(value),
            "-g" | "--goto" => goes = Some(value),
            "--to-destination" | "--to-ports" | "--to-port" => to = Some(value),
            "-m" | "--comment" => {}
            _ if target.is_some() => {} // an option of the target
            _ => match_of(&mut condition, option, value, negated),
        }
    }
    let action = match (target, goes) {
        (_, Some(chain)) => Action::Goto(chain.to_owned()),
        (Some("DNAT"), _) => {
            let (address, port) = destination(to?)?;
            Action::Forward { address, port }
        }
        (Some("REDIRECT"), _) => {
            let port = match to {
                Some(to) => Some(first_number(to)?),
                None => None,
            };
            Action::Forward { address: None, port }
        }
        (Some("RETURN"), _) => Action::Return,
        (Some("ACCEPT" | "DROP"), _) => Action::End,
        // A chain, or another target: the caller knows the chains.
        (Some(chain), _) => Action::Jump(chain.to_owned()),
        (None, None) => Action::Continue,
    };
    Some(Rule { condition, action, text })
}

/// Adds one option to the condition.
fn match_of(condition: &mut Condition, option: &str, value: &str, negated: bool) {
    match (option, negated) {
        ("-p" | "--protocol", false) => {
            condition.protocols = match value {
                "all" | "0" => None,
                name => Some(protocol(name).into_iter().collect()),
            };
        }
        ("-d" | "--destination", _) => match value.parse() {
            Ok(network) if negated => condition.except.push(network),
            Ok(network) => condition.destination = Destination::Within(network),
            Err(_) => condition.further = true,
        },
        ("--dst-type", false) if value == "LOCAL" => {
            if condition.destination == Destination::Anything {
                condition.destination = Destination::ThisMachine;
            }
        }
        // Docker excludes traffic from its own bridge, which no outside client uses.
        ("-i" | "--in-interface", true) => {}
        ("-i" | "--in-interface", false) if !value.ends_with('+') => {
            condition.device = Some(value.to_owned());
        }
        ("--dport" | "--destination-port" | "--dports" | "--destination-ports", _) => match ports(value) {
            Some(ranges) if !negated => condition.ports = Some(ranges),
            Some(ranges) if ranges.len() == 1 => {
                condition.ports = Some(ranges.iter().flat_map(outside).collect());
            }
            _ => condition.further = true,
        },
        _ => condition.further = true,
    }
}

pub(super) fn protocol(name: &str) -> Option<Protocol> {
    Some(match name {
        "tcp" | "6" => Protocol::Tcp,
        "udp" | "17" => Protocol::Udp,
        "udplite" | "136" => Protocol::Udplite,
        "sctp" | "132" => Protocol::Sctp,
        "dccp" | "33" => Protocol::Dccp,
        _ => return None,
    })
}

/// `80`, `80:90`, `80,90:99`.
fn ports(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let range = |part: &str| match part.split_once(':') {
        Some((low, high)) => Some(low.parse().ok()?..=high.parse().ok()?),
        None => part.parse().ok().map(|port| port..=port),
    };
    text.split(',').map(range).collect()
}

/// Parses `10.0.0.2`, `10.0.0.2:80`, `:80`, `[fd00::2]:80`, and ranges of both. Of a range, the first address or port
/// counts.
pub(in super::super) fn destination(text: &str) -> Option<(Option<IpAddr>, Option<u16>)> {
    if let Some(port) = text.strip_prefix(':') {
        return Some((None, Some(first_number(port)?)));
    }
    let (address, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port))),
    };
    let address = address.split('-').next()?.parse().ok()?;
    let port = match port {
        Some(port) => Some(first_number(port)?),
        None => None,
    };
    Some((Some(address), port))
}

fn first_number(text: &str) -> Option<u16> {
    text.split(['-', '/', ':']).next()?.parse().ok()
}

/// Parses `/proc/net/ip_vs`: the virtual services of IPVS, each with its first server.
pub(super) fn virtual_services(text: &str) -> Vec<(Protocol, SocketAddr, SocketAddr)> {
    let mut services = Vec::new();
    let mut service = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("->"), Some(server)) => {
                let found = service.take().zip(in_hexadecimal(server));
                services.extend(found.map(|((protocol, at), server)| (protocol, at, server)));
            }
            (Some(name), Some(at)) => {
                service = protocol(&name.to_ascii_lowercase()).zip(in_hexadecimal(at));
            }
            _ => {}
        }
    }
    services
}

/// Parses `0A600001:01BB`, `[fd00:0000:0000:0000:0000:0000:0000:0001]:01BB`.
fn in_hexadecimal(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(six) => IpAddr::V6(six.parse().ok()?),
        None => IpAddr::V4(u32::from_str_radix(address, 16).ok()?.into()),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}
