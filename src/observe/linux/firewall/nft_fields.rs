//! Fields and values in the output of `nft --json` (libnftables-json(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::model::Family;
use crate::model::firewall::{FilterField, FilterValue, conntrack};

/// Returns the field that an expression reads.
pub(super) fn field(expression: &Value) -> FilterField {
    let payload = &expression["payload"];
    if let (Some(protocol), Some(name)) = (payload["protocol"].as_str(), payload["field"].as_str()) {
        return match (protocol, name) {
            ("ip", "saddr") => FilterField::Source(Family::Ipv4),
            ("ip", "daddr") => FilterField::Destination(Family::Ipv4),
            ("ip6", "saddr") => FilterField::Source(Family::Ipv6),
            ("ip6", "daddr") => FilterField::Destination(Family::Ipv6),
            ("ip", "protocol") => FilterField::Protocol(Some(Family::Ipv4)),
            ("ip6", "nexthdr") => FilterField::Protocol(Some(Family::Ipv6)),
            ("tcp", "flags") => FilterField::TcpFlags,
            (name, "sport") => transport(name).map_or(FilterField::Unknown, FilterField::SourcePort),
            (name, "dport") => transport(name).map_or(FilterField::Unknown, FilterField::DestinationPort),
            ("icmp" | "icmpv6" | "igmp" | "esp" | "ah" | "arp", _) => FilterField::OfOtherProtocol,
            _ => FilterField::Unknown,
        };
    }
    if let Some(name) = expression["meta"]["key"].as_str() {
        return match name {
            "l4proto" => FilterField::Protocol(None),
            "nfproto" | "protocol" => FilterField::Family,
            "iifname" | "iif" => FilterField::InInterface,
            "oifname" | "oif" => FilterField::OutInterface,
            "mark" => FilterField::Mark,
            "pkttype" => FilterField::PacketType,
            _ => FilterField::Unknown,
        };
    }
    let connection = &expression["ct"];
    if let Some(name) = connection["key"].as_str() {
        return match name {
            "state" => FilterField::ConnectionState,
            "status" => FilterField::ConnectionStatus,
            "direction" => FilterField::ConnectionDirection,
            "mark" => FilterField::ConnectionMark,
            _ => FilterField::Unknown,
        };
    }
    let route = &expression["fib"];
    match (route["result"].as_str(), route["flags"].as_array().map(Vec::as_slice)) {
        (Some("type"), Some([only])) if only == "daddr" => FilterField::DestinationType,
        (Some("type"), Some([only])) if only == "saddr" => FilterField::SourceType,
        _ => FilterField::Unknown,
    }
}

/// Returns the number of a transport protocol; `Some(None)` for any.
fn transport(name: &str) -> Option<Option<u8>> {
    Some(match name {
        "th" => None,
        "tcp" => Some(6),
        "udp" => Some(17),
        "udplite" => Some(136),
        "sctp" => Some(132),
        "dccp" => Some(33),
        _ => return None,
    })
}

/// What the values of a field are: one word can be the name of an interface or of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Address,
    /// A port, a mark, or another number.
    Number,
    Interface,
    Family,
    Protocol,
    /// The state, the status or the direction of a connection.
    Connection,
    PacketType,
    AddressType,
    Other,
}

impl ValueKind {
    /// Returns the kind of the values that a field has.
    pub(super) const fn of(field: FilterField) -> Self {
        match field {
            FilterField::Source(_) | FilterField::Destination(_) => ValueKind::Address,
            FilterField::SourcePort(_)
            | FilterField::DestinationPort(_)
            | FilterField::Mark
            | FilterField::ConnectionMark => ValueKind::Number,
            FilterField::InInterface | FilterField::OutInterface => ValueKind::Interface,
            FilterField::Family => ValueKind::Family,
            FilterField::Protocol(_) => ValueKind::Protocol,
            FilterField::ConnectionState
            | FilterField::ConnectionStatus
            | FilterField::ConnectionDirection => ValueKind::Connection,
            FilterField::PacketType => ValueKind::PacketType,
            FilterField::DestinationType | FilterField::SourceType => ValueKind::AddressType,
            FilterField::TcpFlags | FilterField::OfOtherProtocol | FilterField::Unknown => ValueKind::Other,
        }
    }

    /// Returns the kinds of the values of a named set by its type (nft(8), "Data types").
    pub(super) fn of_set(kind: &Value) -> Vec<Self> {
        match kind {
            Value::Array(kinds) => kinds.iter().flat_map(Self::of_set).collect(),
            Value::Object(object) => match object.get("typeof") {
                Some(expression) => match expression["concat"].as_array() {
                    Some(parts) => parts.iter().map(|part| Self::of(field(part))).collect(),
                    None => vec![Self::of(field(expression))],
                },
                None => vec![ValueKind::Other],
            },
            other => vec![match other.as_str().unwrap_or_default() {
                "ipv4_addr" | "ipv6_addr" => ValueKind::Address,
                "inet_service" | "mark" => ValueKind::Number,
                "ifname" | "iface_index" => ValueKind::Interface,
                "nf_proto" => ValueKind::Family,
                "inet_proto" => ValueKind::Protocol,
                "ct_state" | "ct_status" | "ct_dir" => ValueKind::Connection,
                "pkt_type" => ValueKind::PacketType,
                "fib_addrtype" => ValueKind::AddressType,
                _ => ValueKind::Other,
            }],
        }
    }
}

/// Returns the value of an element.
pub(super) fn value(value: &Value, kind: ValueKind) -> FilterValue {
    if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
        return match (single(first, kind), single(last, kind)) {
            (Some(FilterValue::Numbers(first, _)), Some(FilterValue::Numbers(last, _))) => {
                FilterValue::Numbers(first, last)
            }
            (Some(FilterValue::Addresses(first, _)), Some(FilterValue::Addresses(last, _))) => {
                FilterValue::Addresses(first, last)
            }
            _ => FilterValue::Unknown,
        };
    }
    let prefix = &value["prefix"];
    if let (Some(address), Some(length)) = (prefix["addr"].as_str(), prefix["len"].as_u64()) {
        return block(address, length).unwrap_or(FilterValue::Unknown);
    }
    single(value, kind).unwrap_or(FilterValue::Unknown)
}

fn single(value: &Value, kind: ValueKind) -> Option<FilterValue> {
    if let Some(number) = value.as_u64() {
        return (kind != ValueKind::Interface).then_some(FilterValue::Numbers(number, number));
    }
    let text = value.as_str()?;
    match kind {
        _ if text == "*" => Some(FilterValue::Any),
        ValueKind::Interface => Some(FilterValue::Name(text.to_owned())),
        ValueKind::Address => {
            text.parse().ok().map(|address: IpAddr| FilterValue::Addresses(address, address))
        }
        kind => number_of(text, kind).map(|number| FilterValue::Numbers(number, number)),
    }
}

/// Returns the addresses of `address/length`.
pub(super) fn block(address: &str, length: u64) -> Option<FilterValue> {
    let length = u32::try_from(length).ok()?;
    Some(match address.parse().ok()? {
        IpAddr::V4(four) if length <= 32 => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let bits = four.to_bits();
            FilterValue::Addresses(
                Ipv4Addr::from_bits(bits & !host).into(),
                Ipv4Addr::from_bits(bits | host).into(),
            )
        }
        IpAddr::V6(six) if length <= 128 => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let bits = six.to_bits();
            FilterValue::Addresses(
                Ipv6Addr::from_bits(bits & !host).into(),
                Ipv6Addr::from_bits(bits | host).into(),
            )
        }
        _ => return None,
    })
}

/// Returns the number of a name that nft prints.
fn number_of(name: &str, kind: ValueKind) -> Option<u64> {
    Some(match (kind, name) {
        // Families, also by their Ethernet protocol.
        (ValueKind::Family, "ipv4" | "ip") => 4,
        (ValueKind::Family, "ipv6" | "ip6") => 6,
        (ValueKind::Family, _) => 0,
        (ValueKind::Protocol, "tcp") => 6,
        (ValueKind::Protocol, "udp") => 17,
        (ValueKind::Protocol, "udplite") => 136,
        (ValueKind::Protocol, "sctp") => 132,
        (ValueKind::Protocol, "dccp") => 33,
        (ValueKind::Protocol, "icmp") => 1,
        (ValueKind::Protocol, "igmp") => 2,
        (ValueKind::Protocol, "icmpv6" | "ipv6-icmp") => 58,
        (ValueKind::Protocol, "esp") => 50,
        (ValueKind::Protocol, "ah") => 51,
        (ValueKind::Protocol, "gre") => 47,
        (ValueKind::Protocol, "comp") => 108,
        (ValueKind::Protocol, "ospf") => 89,
        (ValueKind::Protocol, "vrrp") => 112,
        (ValueKind::Connection, "invalid") => conntrack::INVALID,
        (ValueKind::Connection, "established") => conntrack::ESTABLISHED,
        (ValueKind::Connection, "related") => conntrack::RELATED,
        (ValueKind::Connection, "new") => conntrack::NEW,
        (ValueKind::Connection, "untracked") => conntrack::UNTRACKED,
        (ValueKind::Connection, "snat") => conntrack::SOURCE_TRANSLATED,
        (ValueKind::Connection, "dnat") => conntrack::DESTINATION_TRANSLATED,
        (ValueKind::Connection, "original") => 0,
        (ValueKind::Connection, "reply") => 1,
        // linux/if_packet.h
        (ValueKind::PacketType, "host" | "unicast") => 0,
        (ValueKind::PacketType, "broadcast") => 1,
        (ValueKind::PacketType, "multicast") => 2,
        (ValueKind::PacketType, "other") => 3,
        // linux/rtnetlink.h
        (ValueKind::AddressType, "unspec") => 0,
        (ValueKind::AddressType, "unicast") => 1,
        (ValueKind::AddressType, "local") => 2,
        (ValueKind::AddressType, "broadcast") => 3,
        (ValueKind::AddressType, "anycast") => 4,
        (ValueKind::AddressType, "multicast") => 5,
        (ValueKind::AddressType, "blackhole") => 6,
        (ValueKind::AddressType, "unreachable") => 7,
        (ValueKind::AddressType, "prohibit") => 8,
        _ => return None,
    })
}

/// Returns the number of a value of this field, or the bits of a list of names.
pub(super) fn numbers_of(value: &Value, field: FilterField) -> Option<u64> {
    match value {
        Value::Array(all) => all.iter().try_fold(0, |bits, one| Some(bits | numbers_of(one, field)?)),
        Value::Object(object) => {
            let all = object.get("|")?.as_array()?;
            all.iter().try_fold(0, |bits, one| Some(bits | numbers_of(one, field)?))
        }
        Value::Number(number) => number.as_u64(),
        Value::String(name) => match (field, name.as_str()) {
            (FilterField::TcpFlags, name) => flag_of(name),
            (FilterField::ConnectionState | FilterField::ConnectionStatus, name) => {
                number_of(name, ValueKind::Connection)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Returns the bit of a flag of TCP.
pub(super) fn flag_of(name: &str) -> Option<u64> {
    Some(match name.to_ascii_lowercase().as_str() {
        "fin" => 0x01,
        "syn" => 0x02,
        "rst" => 0x04,
        "psh" => 0x08,
        "ack" => 0x10,
        "urg" => 0x20,
        "ecn" => 0x40,
        "cwr" => 0x80,
        _ => return None,
    })
}
