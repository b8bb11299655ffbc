//! The fields of packets in registers, and the values with which rules compare these fields.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Family;
use crate::model::firewall::{FilterField, FilterValue};

/// The names of interfaces, by index.
pub(in super::super) type Links = HashMap<u32, String>;

/// `IFNAMSIZ` (linux/if.h).
const NAME_LENGTH: u8 = 16;

/// The encoding of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Address,
    /// A number in network order.
    Number,
    /// A number in host order.
    HostNumber,
    /// `NFPROTO_*`.
    Family,
    /// `ETH_P_*`.
    EtherType,
    /// The name of an interface.
    Name,
    /// The index of an interface.
    Index,
    /// The index of the interface on the route back to the client; 0 if there is no route. If the rule tests only
    /// whether there is a route, the value is 1 or 0.
    Route,
    /// A field that portolan does not evaluate.
    Opaque,
}

/// A field of a packet in a register, or the first bytes of this field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) field: FilterField,
    pub(super) form: Form,
    pub(super) len: u8,
}

impl Part {
    pub(super) const fn opaque(len: u8) -> Self {
        Part { field: FilterField::Unknown, form: Form::Opaque, len }
    }

    /// Returns the first `len` bytes of this part. The first bytes of a number cannot be evaluated.
    pub(super) fn cut(self, len: u8) -> Self {
        match self.form {
            _ if len >= self.len => self,
            Form::Address | Form::Name => Part { len, ..self },
            _ => Part::opaque(len),
        }
    }
}

/// The facts that the earlier conditions of a rule imply about its packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// The family of all packets, if they are all of one family.
    pub(super) family: Option<Family>,
    /// The transport protocol of all packets, if they all have the same protocol.
    pub(super) protocol: Option<u8>,
}

/// `nft_payload_bases` in linux/netfilter/nf_tables.h.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// Returns the fields in the `len` bytes of a packet at `offset` from `base`.
pub(super) fn of_packet(base: u32, offset: u32, len: u8, context: Context) -> Vec<Part> {
    let known: &[(u32, u8, FilterField, Form)] = match (base, context.family, context.protocol) {
        (NETWORK, Some(Family::Ipv4), _) => &[
            (9, 1, FilterField::Protocol(Some(Family::Ipv4)), Form::Number),
            (12, 4, FilterField::Source(Family::Ipv4), Form::Address),
            (16, 4, FilterField::Destination(Family::Ipv4), Form::Address),
        ],
        (NETWORK, Some(Family::Ipv6), _) => &[
            (6, 1, FilterField::Protocol(Some(Family::Ipv6)), Form::Number),
            (8, 16, FilterField::Source(Family::Ipv6), Form::Address),
            (24, 16, FilterField::Destination(Family::Ipv6), Form::Address),
        ],
        (TRANSPORT, _, Some(6)) => &[
            (0, 2, FilterField::SourcePort(None), Form::Number),
            (2, 2, FilterField::DestinationPort(None), Form::Number),
            (13, 1, FilterField::TcpFlags, Form::Number),
        ],
        // Every protocol with ports has its ports at these offsets.
        (TRANSPORT, ..) => &[
            (0, 2, FilterField::SourcePort(None), Form::Number),
            (2, 2, FilterField::DestinationPort(None), Form::Number),
        ],
        _ => &[],
    };
    let (mut parts, mut at, mut left) = (Vec::new(), offset, len);
    while left > 0 {
        let part = match known.iter().find(|(start, ..)| *start == at) {
            Some((_, len, field, form)) => Part { field: *field, form: *form, len: *len }.cut(left),
            None => {
                let next = known.iter().map(|(start, ..)| *start).find(|start| *start > at);
                let gap = next.and_then(|next| u8::try_from(next - at).ok()).unwrap_or(left);
                Part::opaque(gap.min(left))
            }
        };
        parts.push(part);
        at = at.saturating_add(part.len.into());
        left -= part.len;
    }
    parts
}

/// Returns the field that `meta` loads (`nft_meta_keys` in linux/netfilter/nf_tables.h).
pub(super) fn of_meta(key: u32, is_netdev: bool) -> Part {
    let (field, form, len) = match key {
        1 => (FilterField::Family, Form::EtherType, 2),
        3 => (FilterField::Mark, Form::HostNumber, 4),
        4 => (FilterField::InInterface, Form::Index, 4),
        5 => (FilterField::OutInterface, Form::Index, 4),
        6 => (FilterField::InInterface, Form::Name, NAME_LENGTH),
        7 => (FilterField::OutInterface, Form::Name, NAME_LENGTH),
        15 if !is_netdev => (FilterField::Family, Form::Family, 1),
        16 => (FilterField::Protocol(None), Form::Number, 1),
        19 => (FilterField::PacketType, Form::Number, 1),
        // These keys load the name of an interface kind or of a bridge.
        17 | 18 | 26 | 27 | 34 => return Part::opaque(NAME_LENGTH),
        // This key loads the time.
        30 => return Part::opaque(8),
        _ => return Part::opaque(4),
    };
    Part { field, form, len }
}

/// Returns the field that `ct` loads (`nft_ct_keys` in linux/netfilter/nf_tables.h).
pub(super) fn of_connection(key: u32) -> Part {
    let (field, form, len) = match key {
        0 => (FilterField::ConnectionState, Form::HostNumber, 4),
        1 => (FilterField::ConnectionDirection, Form::Number, 1),
        2 => (FilterField::ConnectionStatus, Form::HostNumber, 4),
        3 => (FilterField::ConnectionMark, Form::HostNumber, 4),
        7 | 10 => return Part::opaque(1),
        11 | 12 => return Part::opaque(2),
        6 | 8 | 9 | 13 | 21 | 22 => return Part::opaque(16),
        14..=16 => return Part::opaque(8),
        _ => return Part::opaque(4),
    };
    Part { field, form, len }
}

/// Returns the field that `fib` loads (`nft_fib_result` and `nft_fib_flags` in linux/netfilter/nf_tables.h).
pub(super) fn of_route(result: u32, flags: u32) -> Part {
    const SOURCE: u32 = 1;
    const DESTINATION: u32 = 2;
    const PRESENT: u32 = 32;
    match (result, flags) {
        (1, flags) if flags & SOURCE != 0 => {
            let len = if flags & PRESENT != 0 { 1 } else { 4 };
            Part { field: FilterField::Unknown, form: Form::Route, len }
        }
        (3, DESTINATION) => Part { field: FilterField::DestinationType, form: Form::HostNumber, len: 4 },
        (3, SOURCE) => Part { field: FilterField::SourceType, form: Form::HostNumber, len: 4 },
        (2, _) => Part::opaque(NAME_LENGTH),
        _ => Part::opaque(4),
    }
}

/// Returns the range from `first` to `last`. Both must have as many bytes as the part.
pub(super) fn value(part: Part, first: &[u8], last: &[u8], links: &Links) -> FilterValue {
    let is_single = first == last;
    let found = match part.form {
        Form::Address => address(part.field, first, 0)
            .zip(address(part.field, last, 0xff))
            .map(|(first, last)| FilterValue::Addresses(first, last)),
        Form::Number => network_number(first).zip(network_number(last)).map(range),
        // The kernel compares numbers in host order byte by byte. So portolan evaluates a single number, but not a
        // range.
        Form::HostNumber if is_single || first.len() == 1 => {
            host_number(first).zip(host_number(last)).map(range)
        }
        Form::Family if is_single => Some(single(family(first))),
        Form::EtherType if is_single => Some(single(family_of_frame(first))),
        Form::Name => name(first, last),
        Form::Index if is_single => {
            let index = host_number(first).and_then(|index| u32::try_from(index).ok());
            index.and_then(|index| links.get(&index)).map(|name| FilterValue::Name(name.clone()))
        }
        _ => None,
    };
    found.unwrap_or(FilterValue::Unknown)
}

const fn single(number: u64) -> FilterValue {
    FilterValue::Numbers(number, number)
}

const fn range((first, last): (u64, u64)) -> FilterValue {
    FilterValue::Numbers(first, last)
}

/// Returns the address that begins with these bytes. `rest` fills the missing bytes.
pub(super) fn address(field: FilterField, bytes: &[u8], rest: u8) -> Option<IpAddr> {
    match field {
        FilterField::Source(Family::Ipv4) | FilterField::Destination(Family::Ipv4) => {
            Some(Ipv4Addr::from(padded::<4>(bytes, rest)?).into())
        }
        FilterField::Source(Family::Ipv6) | FilterField::Destination(Family::Ipv6) => {
            Some(Ipv6Addr::from(padded::<16>(bytes, rest)?).into())
        }
        _ => None,
    }
}

/// Parses an address of 4 or 16 bytes.
pub(super) fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(padded::<4>(bytes, 0)?)),
        16 => Some(IpAddr::from(padded::<16>(bytes, 0)?)),
        _ => None,
    }
}

fn padded<const N: usize>(bytes: &[u8], rest: u8) -> Option<[u8; N]> {
    let mut whole = [rest; N];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(whole)
}

/// Parses at most eight bytes in network order.
pub(super) fn network_number(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Parses at most eight bytes in host order.
pub(super) fn host_number(bytes: &[u8]) -> Option<u64> {
    if cfg!(target_endian = "big") {
        return network_number(bytes);
    }
    (bytes.len() <= 8).then(|| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Returns 4 for `NFPROTO_IPV4`, 6 for `NFPROTO_IPV6`, 0 for other families.
fn family(bytes: &[u8]) -> u64 {
    match bytes {
        [2] => 4,
        [10] => 6,
        _ => 0,
    }
}

/// Returns 4 for `ETH_P_IP`, 6 for `ETH_P_IPV6`, 0 for other families.
fn family_of_frame(bytes: &[u8]) -> u64 {
    match bytes {
        [0x08, 0x00] => 4,
        [0x86, 0xdd] => 6,
        _ => 0,
    }
}

/// Returns the name of an interface. For a range of names with the same beginning, returns a pattern such as `eth*`.
fn name(first: &[u8], last: &[u8]) -> Option<FilterValue> {
    let is_whole = first.contains(&0) || first.len() >= usize::from(NAME_LENGTH);
    let alike = first.iter().zip(last).take_while(|(first, last)| first == last).count();
    let (begin, end) = (first.get(alike..)?, last.get(alike..)?);
    if begin.is_empty() && is_whole {
        let name = first.split(|byte| *byte == 0).next()?;
        return Some(FilterValue::Name(String::from_utf8(name.to_vec()).ok()?));
    }
    let is_rest = begin.iter().all(|byte| *byte == 0) && end.iter().all(|byte| *byte == 0xff);
    let mut beginning = String::from_utf8(first.get(..alike)?.to_vec()).ok()?;
    (is_rest && !beginning.contains('\0')).then(|| {
        beginning.push('*');
        FilterValue::Name(beginning)
    })
}
