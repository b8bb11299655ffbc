//! Parses the matches and targets of iptables in rules of nftables (linux/netfilter/xt_*.h, linux/netfilter/nf_nat.h).
//!
//! Numbers are in host order, except addresses and translated ports.

use super::super::bytes;
use super::attributes::{attributes, name, number_or_zero};
use super::conditions::{is, within};
use super::fields::address_of;
use super::reader::Reader;
use crate::model::Family;
use crate::model::firewall::{FilterAction, FilterCondition, FilterField, FilterValue, conntrack};

/// The targets that do not affect the decision. After them, the kernel continues with the next rule. They change no
/// field that a rule can compare.
pub(in super::super) const WITHOUT_EFFECT: [&str; 14] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "SET",
    "CLASSIFY",
    "AUDIT",
    "TRACE",
    "RATEEST",
    "TCPMSS",
    "DSCP",
    "TOS",
    "CHECKSUM",
    "IDLETIMER",
    "LED",
];

/// The targets that can change the source address of packets.
pub(in super::super) const SOURCE_TARGETS: [&str; 3] = ["SNAT", "MASQUERADE", "NETMAP"];

#[derive(Clone, Copy)]
struct Structure<'d>(&'d [u8]);

impl<'d> Structure<'d> {
    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn short(self, at: usize) -> Option<u16> {
        bytes::short(self.0, at)
    }

    fn number(self, at: usize) -> Option<u32> {
        bytes::number(self.0, at)
    }

    /// Parses a `nf_inet_addr`.
    fn address(self, at: usize, family: Family) -> Option<std::net::IpAddr> {
        let length = if family == Family::Ipv4 { 4 } else { 16 };
        address_of(self.0.get(at..at + length)?)
    }
}

/// Adds the conditions of a match; returns `None` if the expression is malformed.
pub(super) fn matched<'d>(reader: &mut Reader<'d, '_, '_>, data: &'d [u8]) -> Option<()> {
    let [_, kind, revision, info] = attributes::<4>(data)?;
    let (kind, info) = (name(kind)?, info.unwrap_or_default());
    if kind == b"comment" {
        reader.comment = name(Some(info));
        return Some(());
    }
    let family = reader.table.family;
    let found = conditions(kind, number_or_zero(revision), Structure(info), family);
    let found = found.unwrap_or_else(|| vec![FilterCondition::Unknown]);
    let is_named = |condition: &FilterCondition| {
        matches!(condition, FilterCondition::Unknown | FilterCondition::Usual | FilterCondition::Unusual)
    };
    if found.iter().any(is_named) {
        reader.matches.push(kind);
    }
    reader.conditions(found);
    Some(())
}

/// Returns the conditions of a match; `None` if the match is not understood.
fn conditions(
    kind: &[u8],
    revision: u32,
    info: Structure<'_>,
    family: Option<Family>,
) -> Option<Vec<FilterCondition>> {
    Some(match (kind, revision) {
        (b"tcp", 0) => tcp(info)?,
        (b"udp", 0) => {
            let inverted = info.byte(8)?;
            let source = range(FilterField::SourcePort(Some(17)), info, 0, inverted & 1 != 0)?;
            let destination = range(FilterField::DestinationPort(Some(17)), info, 4, inverted & 2 != 0)?;
            source.into_iter().chain(destination).collect()
        }
        (b"multiport", 1) => vec![multiport(info)?],
        (b"conntrack" | b"state", 1..=3) => connection(info, revision)?,
        (b"state", 0) => vec![any_bit(FilterField::ConnectionState, state_bits(info.number(0)?, 64), false)],
        (b"addrtype", 1) => address_types(info)?,
        (b"mark", 1) => vec![mark(FilterField::Mark, info)?],
        (b"connmark", 1) => vec![mark(FilterField::ConnectionMark, info)?],
        (b"pkttype", 0) => {
            let number = info.number(0)?.into();
            let negated = info.number(4)? != 0;
            vec![is(FilterField::PacketType, FilterValue::Numbers(number, number), negated)]
        }
        (b"iprange", 1) => address_ranges(info, family?)?,
        (b"limit", 0) => vec![FilterCondition::Usual],
        (b"hashlimit", 1..=3) => {
            const INVERTED: u32 = 1 << 4;
            let mode = if revision == 1 { info.number(16)? } else { info.number(272)? };
            vec![if mode & INVERTED != 0 { FilterCondition::Unusual } else { FilterCondition::Usual }]
        }
        (b"connlimit", 1) => {
            // Without this flag, the match applies to clients above the limit.
            let is_inverted = info.number(20)? & 1 != 0;
            vec![if is_inverted { FilterCondition::Usual } else { FilterCondition::Unusual }]
        }
        (b"icmp" | b"icmp6", _) => {
            vec![is(FilterField::OfOtherProtocol, FilterValue::Unknown, false)]
        }
        // Packets with a header for source routes are unusual.
        (b"rt", _) => vec![FilterCondition::Unusual],
        (b"rpfilter", 0) => {
            const INVERTED: u8 = 8;
            let is_inverted = info.byte(0)? & INVERTED != 0;
            vec![if is_inverted { FilterCondition::Unusual } else { FilterCondition::Usual }]
        }
        (b"recent", _) => recent(info)?,
        _ => return None,
    })
}

/// Parses `xt_tcp`.
fn tcp(info: Structure<'_>) -> Option<Vec<FilterCondition>> {
    let (option, mask, flags, inverted) = (info.byte(8)?, info.byte(9)?, info.byte(10)?, info.byte(11)?);
    let mut found = Vec::new();
    found.extend(range(FilterField::SourcePort(Some(6)), info, 0, inverted & 1 != 0)?);
    found.extend(range(FilterField::DestinationPort(Some(6)), info, 4, inverted & 2 != 0)?);
    if mask != 0 {
        found.push(FilterCondition::Masked {
            field: FilterField::TcpFlags,
            mask: mask.into(),
            value: flags.into(),
            negated: inverted & 4 != 0,
        });
    }
    if option != 0 {
        found.push(FilterCondition::Unknown);
    }
    Some(found)
}

/// Returns the condition that a port is in a range. Returns `Some(None)` for all ports, and `None` if the structure is
/// malformed.
fn range(
    field: FilterField,
    info: Structure<'_>,
    at: usize,
    negated: bool,
) -> Option<Option<FilterCondition>> {
    let (first, last) = (info.short(at)?, info.short(at + 2)?);
    let is_any = (first, last) == (0, u16::MAX) && !negated;
    Some((!is_any).then(|| is(field, FilterValue::Numbers(first.into(), last.into()), negated)))
}

/// Parses `xt_multiport_v1`.
fn multiport(info: Structure<'_>) -> Option<FilterCondition> {
    const MOST: usize = 15;
    let field = match info.byte(0)? {
        0 => FilterField::SourcePort(None),
        1 => FilterField::DestinationPort(None),
        _ => return None,
    };
    let count = usize::from(info.byte(1)?).min(MOST);
    let mut ports = Vec::new();
    let mut at = 0;
    while at < count {
        let first = info.short(2 + 2 * at)?;
        let is_range = info.byte(2 + 2 * MOST + at)? != 0 && at + 1 < count;
        at += usize::from(is_range);
        let last = info.short(2 + 2 * at)?;
        at += 1;
        ports.push(vec![FilterValue::Numbers(first.into(), last.into())]);
    }
    let negated = info.byte(2 + 3 * MOST)? != 0;
    Some(within(vec![field], ports, negated))
}

fn any_bit(field: FilterField, mask: u64, negated: bool) -> FilterCondition {
    FilterCondition::Masked { field, mask, value: 0, negated: !negated }
}

/// Converts the bits of a connection's state to the bits of nftables. Some bits differ
/// (linux/netfilter/xt_conntrack.h).
fn state_bits(bits: u32, untracked: u32) -> u64 {
    const SOURCE_TRANSLATED: u32 = 1 << 6;
    const DESTINATION_TRANSLATED: u32 = 1 << 7;
    let mut found = u64::from(bits & 0xf);
    if bits & untracked != 0 {
        found |= conntrack::UNTRACKED;
    }
    if untracked != SOURCE_TRANSLATED && bits & SOURCE_TRANSLATED != 0 {
        found |= conntrack::SOURCE_TRANSLATED;
    }
    if untracked != SOURCE_TRANSLATED && bits & DESTINATION_TRANSLATED != 0 {
        found |= conntrack::DESTINATION_TRANSLATED;
    }
    found
}

/// Parses `xt_conntrack_mtinfo1` to `xt_conntrack_mtinfo3`.
fn connection(info: Structure<'_>, revision: u32) -> Option<Vec<FilterCondition>> {
    const UNTRACKED: u32 = 1 << 8;
    const STATE: u16 = 1;
    const STATUS: u16 = 1 << 6;
    const DIRECTION: u16 = 1 << 12;
    const ALIAS: u16 = 1 << 13;
    let (flags, inverted) = (info.short(146)?, info.short(148)?);
    let (state, status) = match revision {
        1 => (info.byte(150)?.into(), info.byte(151)?.into()),
        _ => (info.short(150)?, info.short(152)?),
    };
    let mut found = Vec::new();
    if flags & STATE != 0 {
        let bits = state_bits(state.into(), UNTRACKED);
        found.push(any_bit(FilterField::ConnectionState, bits, inverted & STATE != 0));
    }
    if flags & STATUS != 0 {
        let of_translation = conntrack::SOURCE_TRANSLATED | conntrack::DESTINATION_TRANSLATED;
        let status = u64::from(status);
        found.push(match status & !of_translation {
            0 => any_bit(FilterField::ConnectionStatus, status, inverted & STATUS != 0),
            _ => FilterCondition::Unknown,
        });
    }
    if flags & DIRECTION != 0 {
        let direction = u64::from(inverted & DIRECTION != 0);
        let value = FilterValue::Numbers(direction, direction);
        found.push(is(FilterField::ConnectionDirection, value, false));
    }
    if flags & !(STATE | STATUS | DIRECTION | ALIAS) != 0 {
        found.push(FilterCondition::Unknown);
    }
    Some(found)
}

/// Parses `xt_addrtype_info_v1`.
fn address_types(info: Structure<'_>) -> Option<Vec<FilterCondition>> {
    const SOURCE_INVERTED: u32 = 1;
    const DESTINATION_INVERTED: u32 = 2;
    let flags = info.number(4)?;
    let mut found = Vec::new();
    for (field, at, inverted) in [
        (FilterField::SourceType, 0, SOURCE_INVERTED),
        (FilterField::DestinationType, 2, DESTINATION_INVERTED),
    ] {
        let types = info.short(at)?;
        if types != 0 {
            let types = (0..16).filter(|kind| types & (1 << kind) != 0);
            let keys = types.map(|kind| vec![FilterValue::Numbers(kind, kind)]);
            found.push(within(vec![field], keys, flags & inverted != 0));
        }
    }
    // The flags for a single interface are not evaluated.
    if flags & !(SOURCE_INVERTED | DESTINATION_INVERTED) != 0 {
        found.push(FilterCondition::Unknown);
    }
    Some(found)
}

/// Parses `xt_mark_mtinfo1` and `xt_connmark_mtinfo1`.
fn mark(field: FilterField, info: Structure<'_>) -> Option<FilterCondition> {
    let (value, mask) = (info.number(0)?.into(), info.number(4)?.into());
    Some(FilterCondition::Masked { field, mask, value, negated: info.byte(8)? != 0 })
}

/// Parses `xt_iprange_mtinfo`.
fn address_ranges(info: Structure<'_>, family: Family) -> Option<Vec<FilterCondition>> {
    let flags = info.byte(64)?;
    let mut found = Vec::new();
    for (field, at, wanted, inverted) in
        [(FilterField::Source(family), 0, 1, 1 << 4), (FilterField::Destination(family), 32, 2, 1 << 5)]
    {
        if flags & wanted != 0 {
            let range = FilterValue::Addresses(info.address(at, family)?, info.address(at + 16, family)?);
            found.push(is(field, range, flags & inverted != 0));
        }
    }
    Some(found)
}

/// Parses `xt_recent_mtinfo`. `--set` matches every client. `--hitcount` with `--seconds` matches only clients that
/// send many packets.
fn recent(info: Structure<'_>) -> Option<Vec<FilterCondition>> {
    const SET: u8 = 2;
    const CHECK_AND_UPDATE: u8 = 1 | 4;
    let (seconds, hits) = (info.number(0)?, info.number(4)?);
    let (action, is_inverted) = (info.byte(8)?, info.byte(9)? != 0);
    Some(match action {
        SET if !is_inverted => Vec::new(),
        action if action & CHECK_AND_UPDATE != 0 && seconds > 0 && hits > 0 && !is_inverted => {
            vec![FilterCondition::Unusual]
        }
        _ => vec![FilterCondition::Unknown],
    })
}

pub(super) fn target<'d>(reader: &mut Reader<'d, '_, '_>, data: &'d [u8]) -> Option<FilterAction> {
    let [_, kind, revision, info] = attributes::<4>(data)?;
    let (kind, info) = (std::str::from_utf8(name(kind)?).ok()?, Structure(info.unwrap_or_default()));
    reader.target = Some(kind);
    let family = reader.table.family;
    Some(match (kind, number_or_zero(revision)) {
        ("DNAT" | "REDIRECT", revision) => {
            let action = family.and_then(|family| destination(kind, info, revision, family));
            action.unwrap_or(FilterAction::Unknown)
        }
        ("TPROXY", revision) => {
            family.and_then(|family| steering(info, revision, family)).unwrap_or(FilterAction::Unknown)
        }
        ("SNAT" | "MASQUERADE", _) => FilterAction::Accept,
        ("REJECT", _) => FilterAction::Drop,
        ("MARK" | "CONNMARK", _) => FilterAction::Mark,
        ("NOTRACK", _) => FilterAction::Untrack,
        // The bit is `XT_CT_NOTRACK` of `xt_ct_target_info`.
        ("CT", _) if info.short(0)? & 1 != 0 => FilterAction::Untrack,
        ("CT", _) => FilterAction::Continue,
        ("TEE", _) => FilterAction::Send { to: None, is_copy: true },
        (kind, _) if WITHOUT_EFFECT.contains(&kind) => FilterAction::Continue,
        _ => FilterAction::Unknown,
    })
}

/// Parses `xt_tproxy_target_info` and `xt_tproxy_target_info_v1`. If the address or the port is zero, the rule does not
/// set it.
fn steering(info: Structure<'_>, revision: u32, family: Family) -> Option<FilterAction> {
    let (address, port) = match revision {
        0 => (info.address(8, Family::Ipv4)?, info.0.get(12..14)?),
        _ => (info.address(8, family)?, info.0.get(24..26)?),
    };
    let port = u16::from_be_bytes(*port.first_chunk()?);
    Some(FilterAction::Steer {
        address: Some(address).filter(|address| !address.is_unspecified()),
        port: Some(port).filter(|port| *port != 0),
    })
}

/// Parses `nf_nat_ipv4_multi_range_compat`, `nf_nat_range` and `nf_nat_range2`. If there are several destinations, the
/// first one is used.
fn destination(kind: &str, info: Structure<'_>, revision: u32, family: Family) -> Option<FilterAction> {
    const HAS_ADDRESS: u32 = 1;
    const HAS_PORT: u32 = 2;
    const PREFIX: u32 = 1 << 6;
    // The old structure begins with the number of ranges, followed by the first range.
    let (flags, address, port) = match (family, revision) {
        (Family::Ipv4, 0) => (info.number(4)?, info.address(8, family)?, info.0.get(16..18)?),
        _ => (info.number(0)?, info.address(4, family)?, info.0.get(36..38)?),
    };
    if flags & PREFIX != 0 {
        return None;
    }
    let port = u16::from_be_bytes(*port.first_chunk()?);
    let address = Some(address).filter(|_| flags & HAS_ADDRESS != 0 && kind == "DNAT");
    let port = Some(port).filter(|_| flags & HAS_PORT != 0);
    Some(FilterAction::Translate { address, port })
}
