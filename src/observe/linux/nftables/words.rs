//! Writes the text of rules that iptables created as nftables rules, in the notation of iptables. Parts that are not
//! evaluated become an ellipsis.

use std::net::IpAddr;

use super::reader::ReadRule;
use crate::model::Protocol;
use crate::model::firewall::{
    ADDRESS_TYPES, FilterAction, FilterCondition, FilterElements, FilterField, FilterRule, FilterValue,
    conntrack,
};

/// Returns the name of a chain: `iptables -t nat OUTPUT`.
pub(super) fn table(is_six: bool, table: &str, chain: &str) -> String {
    format!("{} -t {table} {chain}", if is_six { "ip6tables" } else { "iptables" })
}

/// Returns the text of a rule: `iptables -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 8080`.
pub(super) fn rule(place: &str, rules: &[FilterRule], read: &ReadRule<'_>, comment: Option<&str>) -> String {
    let mut words = match place.rsplit_once(' ') {
        Some((table, chain)) => format!("{table} -A {chain}"),
        None => place.to_owned(),
    };
    let last = rules.last();
    let mut hidden = 0;
    for condition in last.iter().flat_map(|rule| &rule.conditions) {
        match condition_words(condition) {
            Some(text) => {
                words.push(' ');
                words.push_str(&text);
            }
            None => hidden += 1,
        }
    }
    for name in &read.matches {
        words.push_str(&format!(" -m {} …", String::from_utf8_lossy(name)));
    }
    if hidden > read.matches.len() {
        words.push_str(" …");
    }
    if let Some(comment) = comment {
        words.push_str(&format!(" -m comment --comment \"{comment}\""));
    }
    if let Some(target) = last.and_then(|rule| target(&rule.action, read.target)) {
        words.push(' ');
        words.push_str(&target);
    }
    words
}

fn target(action: &FilterAction, name: Option<&str>) -> Option<String> {
    Some(match (action, name) {
        (FilterAction::Translate { address, port }, name) => {
            let port = port.map(|port| port.to_string());
            match (address, port) {
                (Some(address), port) => format!("-j DNAT --to-destination {}", place(*address, port)),
                (None, Some(port)) if name == Some("DNAT") => format!("-j DNAT --to-destination :{port}"),
                (None, Some(port)) => format!("-j REDIRECT --to-ports {port}"),
                (None, None) => format!("-j {}", name.unwrap_or("REDIRECT")),
            }
        }
        (FilterAction::Steer { address, port }, _) => {
            let port = port.map(|port| format!(" --on-port {port}")).unwrap_or_default();
            let address = address.map(|address| format!(" --on-ip {address}")).unwrap_or_default();
            format!("-j TPROXY{port}{address}")
        }
        (_, Some(name)) => format!("-j {name}"),
        (FilterAction::Jump(chain), _) => format!("-j {chain}"),
        (FilterAction::Goto(chain), _) => format!("-g {chain}"),
        (FilterAction::Accept, _) => "-j ACCEPT".to_owned(),
        (FilterAction::Drop, _) => "-j DROP".to_owned(),
        (FilterAction::Return, _) => "-j RETURN".to_owned(),
        (FilterAction::Mark, _) => "-j MARK".to_owned(),
        (FilterAction::Continue, _) => return None,
        _ => "-j …".to_owned(),
    })
}

fn place(address: IpAddr, port: Option<String>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(four), Some(port)) => format!("{four}:{port}"),
        (IpAddr::V6(six), Some(port)) => format!("[{six}]:{port}"),
    }
}

/// Returns the text of a condition; `None` if iptables has no notation for it.
fn condition_words(condition: &FilterCondition) -> Option<String> {
    let not = |negated: &bool| if *negated { "! " } else { "" };
    match condition {
        FilterCondition::In { fields, elements: FilterElements::Listed(listed), negated } => {
            let [field] = fields.as_slice() else { return None };
            let values = listed.iter().map(|element| element.key.first());
            let values: Vec<&FilterValue> = values.collect::<Option<_>>()?;
            Some(format!("{}{}", not(negated), values_words(*field, &values)?))
        }
        FilterCondition::Masked { field, mask, value, negated } => Some(match (field, value) {
            (FilterField::ConnectionState, 0) => format!("{}--ctstate {}", not(&!negated), states(*mask)),
            (FilterField::ConnectionStatus, 0) => format!("{}--ctstatus {}", not(&!negated), states(*mask)),
            (FilterField::TcpFlags, 2) if *mask == 0x17 => format!("{}--syn", not(negated)),
            (FilterField::TcpFlags, _) => format!("{}--tcp-flags {mask:#x} {value:#x}", not(negated)),
            (FilterField::Mark | FilterField::ConnectionMark, _) => {
                format!("{}--mark {value:#x}/{mask:#x}", not(negated))
            }
            _ => return None,
        }),
        _ => None,
    }
}

fn values_words(field: FilterField, values: &[&FilterValue]) -> Option<String> {
    let joined = |of: &dyn Fn(&FilterValue) -> Option<String>| {
        let texts: Option<Vec<String>> = values.iter().map(|value| of(value)).collect();
        texts.map(|texts| texts.join(","))
    };
    Some(match field {
        FilterField::Protocol(_) => format!("-p {}", joined(&protocol)?),
        FilterField::Source(_) => addresses("-s", "--src-range", values)?,
        FilterField::Destination(_) => addresses("-d", "--dst-range", values)?,
        FilterField::SourcePort(_) if values.len() == 1 => format!("--sport {}", joined(&ports)?),
        FilterField::SourcePort(_) => format!("--sports {}", joined(&ports)?),
        FilterField::DestinationPort(_) if values.len() == 1 => format!("--dport {}", joined(&ports)?),
        FilterField::DestinationPort(_) => format!("--dports {}", joined(&ports)?),
        FilterField::InInterface => format!("-i {}", joined(&interface)?),
        FilterField::OutInterface => format!("-o {}", joined(&interface)?),
        FilterField::SourceType => format!("--src-type {}", joined(&address_type)?),
        FilterField::DestinationType => format!("--dst-type {}", joined(&address_type)?),
        _ => return None,
    })
}

fn single(value: &FilterValue) -> Option<u64> {
    match value {
        FilterValue::Numbers(first, last) if first == last => Some(*first),
        _ => None,
    }
}

fn protocol(value: &FilterValue) -> Option<String> {
    let known = |number| u8::try_from(number).ok().and_then(Protocol::numbered);
    Some(match single(value)? {
        1 => "icmp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        number => known(number).map_or_else(|| number.to_string(), |known| known.to_string()),
    })
}

fn addresses(single: &str, range: &str, values: &[&FilterValue]) -> Option<String> {
    let [FilterValue::Addresses(first, last)] = values else { return None };
    Some(match crate::model::Network::spanning(*first, *last) {
        Some(network) => format!("{single} {network}"),
        None => format!("{range} {first}-{last}"),
    })
}

fn ports(value: &FilterValue) -> Option<String> {
    match value {
        FilterValue::Numbers(first, last) if first == last => Some(first.to_string()),
        FilterValue::Numbers(first, last) => Some(format!("{first}:{}", last.min(&u16::MAX.into()))),
        _ => None,
    }
}

fn interface(value: &FilterValue) -> Option<String> {
    match value {
        FilterValue::Name(name) => Some(name.replace('*', "+")),
        _ => None,
    }
}

fn address_type(value: &FilterValue) -> Option<String> {
    ADDRESS_TYPES.get(usize::try_from(single(value)?).ok()?).map(|name| (*name).to_owned())
}

fn states(bits: u64) -> String {
    let found = conntrack::NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    found.collect::<Vec<_>>().join(",")
}
