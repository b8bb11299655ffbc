//! Writes rules of nftables in the notation of nft, with an ellipsis for the conditions and actions that are not
//! evaluated. Counters and logs are left out.

use std::net::IpAddr;

use crate::model::Protocol;
use crate::model::firewall::{
    ADDRESS_TYPES, FilterAction, FilterCondition, FilterElement, FilterElements, FilterField, FilterRule,
    FilterValue, conntrack,
};
use crate::model::{Family, Network};

/// The maximum number of elements of a set that the text of a rule contains. The others become an ellipsis.
const FEW: usize = 6;

/// Returns the text of a rule, such as `iifname "eth0" tcp dport 22 accept`. Conditions that are not evaluated become
/// an ellipsis. `rejects` says whether the rule answers the packets that it drops.
pub(super) fn rule(rules: &[FilterRule], rejects: bool, comment: Option<&str>) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(FilterRule { conditions, action, .. }) = rules.last() {
        let protocol = conditions.iter().find_map(protocol_of);
        let fields = fields(conditions, action);
        for condition in conditions.iter().filter(|condition| !is_implied(condition, &fields)) {
            let text = condition_words(condition, protocol.as_deref()).unwrap_or_else(|| "…".to_owned());
            if words.last() != Some(&text) {
                words.push(text);
            }
        }
        words.extend(action_words(action, protocol.as_deref(), rejects));
    }
    words.extend(comment.map(|comment| format!("comment \"{comment}\"")));
    words.join(" ")
}

/// Returns the name of the protocol that a condition requires.
fn protocol_of(condition: &FilterCondition) -> Option<String> {
    match condition.single()? {
        (FilterField::Protocol(_), value) => protocol(value),
        _ => None,
    }
}

fn fields(conditions: &[FilterCondition], action: &FilterAction) -> Vec<FilterField> {
    let mut found: Vec<FilterField> = conditions
        .iter()
        .flat_map(|condition| match condition {
            FilterCondition::In { fields, .. } => fields.as_slice(),
            FilterCondition::Masked { field, .. } => std::slice::from_ref(field),
            _ => &[],
        })
        .copied()
        .collect();
    if let FilterAction::Lookup(fields, _) = action {
        found.extend(fields);
    }
    found
}

/// Returns whether the text can leave out a condition because another field implies it: `tcp dport` implies the
/// protocol, and `ip saddr` the family.
fn is_implied(condition: &FilterCondition, fields: &[FilterField]) -> bool {
    use FilterField::{Destination, DestinationPort, Source, SourcePort, TcpFlags};
    match condition.single() {
        Some((FilterField::Protocol(_), _)) => {
            protocol_of(condition).is_some()
                && fields.iter().any(|field| matches!(field, SourcePort(_) | DestinationPort(_) | TcpFlags))
        }
        Some((FilterField::Family, _)) => {
            fields.iter().any(|field| matches!(field, Source(_) | Destination(_)))
        }
        _ => false,
    }
}

fn action_words(action: &FilterAction, protocol: Option<&str>, rejects: bool) -> Option<String> {
    let to = |address: &Option<IpAddr>, port: &Option<u16>| match (address, port) {
        (Some(IpAddr::V6(address)), Some(port)) => format!(" to [{address}]:{port}"),
        (Some(address), Some(port)) => format!(" to {address}:{port}"),
        (Some(address), None) => format!(" to {address}"),
        (None, Some(port)) => format!(" to :{port}"),
        (None, None) => String::new(),
    };
    Some(match action {
        FilterAction::Accept => "accept".to_owned(),
        FilterAction::Drop if rejects => "reject".to_owned(),
        FilterAction::Drop => "drop".to_owned(),
        FilterAction::Return => "return".to_owned(),
        FilterAction::Jump(chain) => format!("jump {chain}"),
        FilterAction::Goto(chain) => format!("goto {chain}"),
        FilterAction::Lookup(fields, elements) => {
            let names: Option<Vec<String>> = fields.iter().map(|field| name(*field, protocol)).collect();
            let map = match elements {
                FilterElements::Named(map) => format!("@{map}"),
                FilterElements::Listed(_) => "{ … }".to_owned(),
            };
            format!("{} vmap {map}", names.map_or_else(|| "…".to_owned(), |names| names.join(" . ")))
        }
        FilterAction::Translate { address: None, port } => format!("redirect{}", to(&None, port)),
        FilterAction::Translate { address, port } => format!("dnat{}", to(address, port)),
        FilterAction::Steer { address, port } => format!("tproxy{}", to(address, port)),
        FilterAction::Untrack => "notrack".to_owned(),
        FilterAction::Send { to, is_copy } => {
            let what = if *is_copy { "dup" } else { "fwd" };
            format!("{what} to {}", to.as_deref().unwrap_or("…"))
        }
        FilterAction::Continue => return None,
        _ => "…".to_owned(),
    })
}

/// Returns the text of a condition; `None` if nft has no notation for it, or if it is not evaluated.
fn condition_words(condition: &FilterCondition, protocol: Option<&str>) -> Option<String> {
    match condition {
        FilterCondition::In { fields, elements, negated } => {
            let names: Option<Vec<String>> = fields.iter().map(|field| name(*field, protocol)).collect();
            let not = if *negated { "!= " } else { "" };
            let elements = match elements {
                FilterElements::Named(set) => format!("@{set}"),
                FilterElements::Listed(listed) => listed_words(fields, listed)?,
            };
            Some(format!("{} {not}{elements}", names?.join(" . ")))
        }
        FilterCondition::Masked { field, mask, value, negated } => {
            let name = name(*field, protocol)?;
            Some(match (field, value, negated) {
                (FilterField::ConnectionState | FilterField::ConnectionStatus, 0, true) => {
                    format!("{name} {}", states(*mask))
                }
                (FilterField::ConnectionState | FilterField::ConnectionStatus, 0, false) => {
                    format!("{name} ! {}", states(*mask))
                }
                (_, _, true) => format!("{name} & {mask:#x} != {value:#x}"),
                (_, _, false) => format!("{name} & {mask:#x} == {value:#x}"),
            })
        }
        _ => None,
    }
}

/// Returns the values of a set: `22`, or `{ 22, 80 }`. They are sorted, because the kernel returns them in any order.
fn listed_words(fields: &[FilterField], listed: &[FilterElement]) -> Option<String> {
    let text = |element: &FilterElement| -> Option<String> {
        let values = fields.iter().zip(&element.key).map(|(field, value)| value_words(*field, value));
        Some(values.collect::<Option<Vec<_>>>()?.join(" . "))
    };
    let mut values: Vec<String> = listed.iter().map(text).collect::<Option<_>>()?;
    values.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    if values.len() > FEW {
        values.truncate(FEW);
        values.push("…".to_owned());
    }
    match values.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("{{ {} }}", several.join(", "))),
    }
}

/// Returns the name of a field; `None` if it is not evaluated. `protocol` is the protocol that the rule requires.
fn name(field: FilterField, protocol: Option<&str>) -> Option<String> {
    let ip = |family| if family == Family::Ipv4 { "ip" } else { "ip6" };
    Some(match field {
        FilterField::Family => "meta nfproto".to_owned(),
        FilterField::Protocol(_) => "meta l4proto".to_owned(),
        FilterField::Source(family) => format!("{} saddr", ip(family)),
        FilterField::Destination(family) => format!("{} daddr", ip(family)),
        FilterField::SourcePort(_) => format!("{} sport", protocol.unwrap_or("th")),
        FilterField::DestinationPort(_) => format!("{} dport", protocol.unwrap_or("th")),
        FilterField::InInterface => "iifname".to_owned(),
        FilterField::OutInterface => "oifname".to_owned(),
        FilterField::ConnectionState => "ct state".to_owned(),
        FilterField::ConnectionStatus => "ct status".to_owned(),
        FilterField::ConnectionDirection => "ct direction".to_owned(),
        FilterField::Mark => "meta mark".to_owned(),
        FilterField::ConnectionMark => "ct mark".to_owned(),
        FilterField::PacketType => "meta pkttype".to_owned(),
        FilterField::DestinationType => "fib daddr type".to_owned(),
        FilterField::SourceType => "fib saddr type".to_owned(),
        FilterField::TcpFlags => "tcp flags".to_owned(),
        FilterField::OfOtherProtocol | FilterField::Unknown => return None,
    })
}

fn value_words(field: FilterField, value: &FilterValue) -> Option<String> {
    /// The types of packets (linux/if_packet.h).
    const PACKET_TYPES: [&str; 4] = ["host", "broadcast", "multicast", "other"];
    let at = |names: &[&str], number: u64| Some((*names.get(usize::try_from(number).ok()?)?).to_owned());
    Some(match (field, value) {
        (_, FilterValue::Any) => "*".to_owned(),
        (_, FilterValue::Name(name)) => format!("\"{name}\""),
        (_, FilterValue::Addresses(first, last)) => match Network::spanning(*first, *last) {
            Some(network) => network.to_string(),
            None => format!("{first}-{last}"),
        },
        (FilterField::Protocol(_), value) => protocol(value)?,
        (FilterField::Family, FilterValue::Numbers(4, 4)) => "ipv4".to_owned(),
        (FilterField::Family, FilterValue::Numbers(6, 6)) => "ipv6".to_owned(),
        (FilterField::ConnectionState | FilterField::ConnectionStatus, FilterValue::Numbers(first, last))
            if first == last =>
        {
            states(*first)
        }
        (FilterField::ConnectionDirection, FilterValue::Numbers(number, _)) => {
            at(&["original", "reply"], *number)?
        }
        (FilterField::PacketType, FilterValue::Numbers(number, _)) => at(&PACKET_TYPES, *number)?,
        (FilterField::DestinationType | FilterField::SourceType, FilterValue::Numbers(number, _)) => {
            at(&ADDRESS_TYPES, *number)?.to_lowercase()
        }
        (FilterField::Mark | FilterField::ConnectionMark, FilterValue::Numbers(first, last))
            if first == last =>
        {
            format!("{first:#x}")
        }
        (_, FilterValue::Numbers(first, last)) if first == last => first.to_string(),
        (FilterField::SourcePort(_) | FilterField::DestinationPort(_), FilterValue::Numbers(first, last)) => {
            format!("{first}-{}", last.min(&u16::MAX.into()))
        }
        (_, FilterValue::Numbers(first, last)) => format!("{first}-{last}"),
        (_, FilterValue::Unknown) => return None,
    })
}

fn protocol(value: &FilterValue) -> Option<String> {
    match value {
        FilterValue::Numbers(1, 1) => Some("icmp".to_owned()),
        FilterValue::Numbers(58, 58) => Some("icmpv6".to_owned()),
        FilterValue::Numbers(first, last) if first == last => {
            let known = u8::try_from(*first).ok().and_then(Protocol::numbered);
            Some(known.map_or_else(|| first.to_string(), |known| known.to_string()))
        }
        _ => None,
    }
}

fn states(bits: u64) -> String {
    let found = conntrack::NAMES.iter().filter(|(bit, _)| bits & bit != 0);
    found.map(|(_, name)| name.to_lowercase()).collect::<Vec<_>>().join(",")
}
