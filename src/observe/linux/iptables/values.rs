//! Parses the words and values in the output of `iptables-save` (iptables-extensions(8)).

use std::borrow::Cow;
use std::net::IpAddr;

use crate::model::Network;
use crate::model::firewall::{ADDRESS_TYPES, FilterCondition, FilterField, FilterValue, conntrack};

/// Splits a line at the spaces outside quotes.
pub(super) fn words(line: &str) -> Vec<Cow<'_, str>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(' ');
    while !rest.is_empty() {
        let end = rest.find([' ', '"']).unwrap_or(rest.len());
        let (word, after) = match rest[end..].starts_with('"') {
            true => quoted(rest),
            false => (Cow::Borrowed(&rest[..end]), &rest[end..]),
        };
        words.push(word);
        rest = after.trim_start_matches(' ');
    }
    words
}

/// Returns the first word, without its quotes, and the rest.
fn quoted(text: &str) -> (Cow<'_, str>, &str) {
    let mut word = String::new();
    let mut is_quoted = false;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => word.extend(letters.next().map(|(_, letter)| letter)),
            ' ' if !is_quoted => return (word.into(), &text[at..]),
            _ => word.push(letter),
        }
    }
    (word.into(), "")
}

pub(super) fn protocol(name: &str) -> Option<u8> {
    Some(match name {
        "tcp" => 6,
        "udp" => 17,
        "udplite" => 136,
        "sctp" => 132,
        "dccp" => 33,
        "icmp" => 1,
        "igmp" => 2,
        "ipv6-icmp" | "icmpv6" => 58,
        "esp" => 50,
        "ah" => 51,
        "gre" => 47,
        "ipencap" | "ipip" => 4,
        "ipv6" => 41,
        "ospf" => 89,
        "vrrp" => 112,
        "ipcomp" => 108,
        number => number.parse().ok()?,
    })
}

/// Parses `10.0.0.0/8`, `10.0.0.1` and `10.0.0.0/255.0.0.0`.
pub(super) fn addresses(text: &str) -> Option<FilterValue> {
    let Some((address, length)) = text.split_once('/') else {
        let address = text.parse().ok()?;
        return Some(FilterValue::Addresses(address, address));
    };
    block(address, length)
}

pub(super) fn address_range(text: &str) -> Option<FilterValue> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    Some(FilterValue::Addresses(first, last))
}

pub(super) fn interface(name: &str) -> FilterValue {
    match name.strip_suffix('+') {
        Some(beginning) => FilterValue::Name(format!("{beginning}*")),
        None => FilterValue::Name(name.to_owned()),
    }
}

/// Parses a port (`80`), a range (`80:90`, `:90`, `80:`), or a list of ports and ranges (`80,90:99`).
pub(super) fn ports(text: &str) -> Option<Vec<FilterValue>> {
    let range = |part: &str| match part.split_once(':') {
        Some((first, last)) => {
            let first = if first.is_empty() { 0 } else { first.parse().ok()? };
            let last = if last.is_empty() { u16::MAX.into() } else { last.parse().ok()? };
            Some(FilterValue::Numbers(first, last))
        }
        None => part.parse().ok().map(|port| FilterValue::Numbers(port, port)),
    };
    text.split(',').map(range).collect()
}

pub(super) fn states(text: &str) -> Option<u64> {
    let bit = |name| conntrack::NAMES.iter().find(|(_, known)| *known == name).map(|(bit, _)| bit);
    text.split(',').try_fold(0, |bits, name| Some(bits | bit(name)?))
}

/// Parses `0x8000/0x8000` and `5`.
pub(super) fn mark(field: FilterField, text: &str, negated: bool) -> Option<FilterCondition> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    Some(FilterCondition::Masked { field, mask: number(mask)?, value: number(value)?, negated })
}

pub(super) fn address_types(text: &str) -> Option<Vec<FilterValue>> {
    let kind = |name| {
        let number = u64::try_from(ADDRESS_TYPES.iter().position(|known| *known == name)?).ok()?;
        Some(FilterValue::Numbers(number, number))
    };
    text.split(',').map(kind).collect()
}

pub(super) fn flags(text: &str) -> Option<u64> {
    match text {
        "NONE" => Some(0),
        "ALL" => Some(0x3f),
        names => names.split(',').try_fold(0, |bits, name| Some(bits | flag_of(name)?)),
    }
}

/// Parses `10.0.0.2`, `10.0.0.2:80`, `:80`, `[fd00::2]:80`, and ranges. For a range, the first address or port is
/// returned.
pub(super) fn destination(text: &str) -> Option<(Option<IpAddr>, Option<u16>)> {
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

fn block(address: &str, length: &str) -> Option<FilterValue> {
    let (first, last) = Network::new(address.parse().ok()?, length.parse().ok()?)?.bounds();
    Some(FilterValue::Addresses(first, last))
}

fn flag_of(name: &str) -> Option<u64> {
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
