//! Finds the new destination of a rule that translates addresses. The destination is a constant or comes from a map.

use super::attributes::{attributes, number, number_or_zero};
use super::conditions::is;
use super::fields::address_of;
use super::reader::Reader;
use super::registers::Mapping;
use super::sets::{Data, Source, fields};
use crate::model::firewall::{FilterAction, FilterField, FilterValue};

/// `NFT_NAT_SNAT` (linux/netfilter/nf_tables.h).
const OF_SOURCE: u32 = 0;
/// `NF_NAT_RANGE_NETMAP` (linux/netfilter/nf_nat.h): the new address keeps a part of the old address.
const PREFIX: u32 = 1 << 6;
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const IPV4: u32 = 2;
const IPV6: u32 = 10;

/// Returns whether the expression `nat` translates the source.
pub(super) fn is_of_source(data: &[u8]) -> bool {
    attributes::<2>(data).is_some_and(|[_, kind]| number_or_zero(kind) == OF_SOURCE)
}

/// Returns the action of the expression `nat`; `None` if the expression is malformed. If there are several
/// destinations, the first one is used, as in the list of published ports.
pub(super) fn translation(reader: &mut Reader<'_, '_, '_>, data: &[u8]) -> Option<FilterAction> {
    let [_, kind, family, address, _, port, _, flags] = attributes::<8>(data)?;
    let family = number_or_zero(family);
    only_family(reader, family);
    if number_or_zero(kind) == OF_SOURCE {
        return Some(FilterAction::Accept);
    }
    let is_understood = number_or_zero(flags) & PREFIX == 0;
    let action = new_destination(reader, address, port, family == IPV6).filter(|_| is_understood);
    Some(action.unwrap_or(FilterAction::Unknown))
}

pub(super) fn redirect(reader: &mut Reader<'_, '_, '_>, data: &[u8]) -> Option<FilterAction> {
    let [_, port] = attributes::<2>(data)?;
    Some(new_destination(reader, None, port, false).unwrap_or(FilterAction::Unknown))
}

pub(super) fn steering(reader: &mut Reader<'_, '_, '_>, data: &[u8]) -> Option<FilterAction> {
    let [_, family, address, port] = attributes::<4>(data)?;
    let family = number_or_zero(family);
    only_family(reader, family);
    Some(match new_destination(reader, address, port, family == IPV6) {
        Some(FilterAction::Translate { address, port }) => FilterAction::Steer { address, port },
        _ => FilterAction::Unknown,
    })
}

/// Adds the family of the expression as a condition. In a table for both families, the kernel changes only packets of
/// this family.
fn only_family(reader: &mut Reader<'_, '_, '_>, family: u32) {
    let version = match family {
        IPV4 => 4,
        IPV6 => 6,
        _ => return,
    };
    if reader.table.is_inet {
        reader.conditions(vec![is(FilterField::Family, FilterValue::Numbers(version, version), false)]);
    }
}

/// Returns a translation to the address and port in these registers; `None` if their content is not understood.
fn new_destination(
    reader: &mut Reader<'_, '_, '_>,
    address: Option<&[u8]>,
    port: Option<&[u8]>,
    is_six: bool,
) -> Option<FilterAction> {
    let read_address = |bytes: &[u8]| address_of(bytes.get(..if is_six { 16 } else { 4 })?);
    let read_port = |bytes: &[u8]| Some(u16::from_be_bytes(*bytes.first_chunk()?));
    let mut mappings = Vec::new();
    let address = match address {
        Some(_) => Some(source(reader, number(address)?, read_address, &mut mappings)?),
        None => None,
    };
    let port = match port {
        Some(_) => Some(source(reader, number(port)?, read_port, &mut mappings)?),
        None => None,
    };
    let Some(mapping) = mappings.pop() else {
        return Some(FilterAction::Translate {
            address: address.and_then(Source::of_rule),
            port: port.and_then(Source::of_rule),
        });
    };
    mappings.iter().all(|other| other.condition == mapping.condition).then_some(())?;
    // If the map does not contain the key, the action `TranslateBy` has no effect. So no condition about the key is
    // needed.
    if mapping.condition < reader.conditions.len() {
        reader.conditions.remove(mapping.condition);
    }
    let data = Data::Destination { address, port, is_six };
    let elements = reader.table.sets.elements(mapping.set, &mapping.key, data, reader.table.links);
    Some(FilterAction::TranslateBy(fields(&mapping.key), elements))
}

/// Returns the place of the value in a register; `None` if it is unknown. If the value comes from a map, the look-up is
/// added to `mappings`.
fn source<'d, T>(
    reader: &Reader<'d, '_, '_>,
    register: u32,
    read: impl Fn(&[u8]) -> Option<T>,
    mappings: &mut Vec<Mapping<'d>>,
) -> Option<Source<T>> {
    if let Some(bytes) = reader.registers.constant(register) {
        return read(bytes).map(Source::Rule);
    }
    let (mapping, at) = reader.registers.mapping(register)?;
    mappings.push(mapping.clone());
    Some(Source::Element(at))
}
