//! Finds the clients whose packets meet the conditions of a rule, certainly or possibly.

use super::clients::{Clients, Counted};
use super::index::IndexedTable;
use super::packet::{Packet, Value};
use crate::model::Family;
use crate::model::address_set::{AddressSet, number};
use crate::model::firewall::{FilterCondition, FilterElement, FilterValue};

/// The headers that can be between the IPv6 header and the header of the transport protocol (RFC 8200). Any program can
/// request some of these headers.
const EXTENSION_HEADERS: [u64; 4] = [0, 43, 44, 60];

#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub(super) sure: AddressSet,
    pub(super) may: AddressSet,
    /// Whether most clients, but not all, meet a condition of the rule. The exceptions are clients that send many
    /// packets (a rate limit) or choose rare headers.
    pub(super) is_usual: bool,
    /// Whether a condition of the rule is met only by clients that have sent many packets or choose rare headers.
    pub(super) is_unusual: bool,
}

/// Returns the clients in `live` that meet all conditions; `None` if there are no such clients.
pub(super) fn matched<'f>(
    conditions: &'f [FilterCondition],
    packet: &Packet,
    table: &IndexedTable<'f>,
    live: &AddressSet,
    counted: Counted,
) -> Option<Matched> {
    let (mut is_sure, mut is_usual, mut is_unusual) = (true, false, false);
    let mut sets: Option<(AddressSet, AddressSet)> = None;
    for condition in conditions {
        match met(condition, packet, table, counted) {
            Met::Clients(Clients::None) => return None,
            Met::Clients(Clients::All) => {}
            Met::Clients(Clients::Unknown) => is_sure = false,
            Met::Clients(Clients::Some { sure, may }) => {
                let (all_sure, all_may) = match sets {
                    None => (live.and(&sure), live.and(&may)),
                    Some((earlier_sure, earlier_may)) => (earlier_sure.and(&sure), earlier_may.and(&may)),
                };
                if all_may.is_empty() {
                    return None;
                }
                sets = Some((all_sure, all_may));
            }
            Met::Usual => is_usual = true,
            Met::Unusual => is_unusual = true,
        }
    }
    let (sure, may) = sets.unwrap_or_else(|| (live.clone(), live.clone()));
    let sure = if is_sure { sure } else { AddressSet::default() };
    Some(Matched { sure, may, is_usual, is_unusual })
}

enum Met {
    Clients(Clients),
    Usual,
    Unusual,
}

fn met<'f>(
    condition: &'f FilterCondition,
    packet: &Packet,
    table: &IndexedTable<'f>,
    counted: Counted,
) -> Met {
    Met::Clients(match condition {
        FilterCondition::In { fields, elements, negated } => {
            let values: Vec<Value<'_>> = fields.iter().map(|field| packet.value(*field)).collect();
            // A packet without the field meets neither a condition on the field nor the negated condition.
            if values.contains(&Value::Absent) {
                return Met::Clients(Clients::None);
            }
            let family = packet.family;
            let with = |values: &[Value<'_>]| {
                let Some(elements) = table.elements(elements) else { return Clients::Unknown };
                // A temporary element of a negated condition excludes clients only for some time. Later, these clients
                // meet the condition.
                let is_permanent = counted == Counted::Permanent && !negated;
                let elements = elements.iter().filter(|element| !(is_permanent && element.is_temporary));
                let clients = with_value_in(elements, values, family);
                if *negated { clients.negated(family) } else { clients }
            };
            let find = || with(&values);
            if let Some(at) = fields.iter().position(|field| packet.is_chosen_by_client(*field)) {
                let others: Vec<Clients> = EXTENSION_HEADERS
                    .iter()
                    .map(|header| {
                        let mut values = values.clone();
                        values[at] = Value::Number(*header);
                        with(&values)
                    })
                    .collect();
                return match with(&values) {
                    Clients::All if !others.iter().all(|other| matches!(other, Clients::All)) => Met::Usual,
                    Clients::None if !others.iter().all(|other| matches!(other, Clients::None)) => {
                        Met::Unusual
                    }
                    clients => Met::Clients(clients),
                };
            }
            match values.as_slice() {
                // The clients are the same for all packets of one family, so they are stored.
                [Value::Client] => table.clients(condition, family, counted, find),
                _ => find(),
            }
        }
        FilterCondition::Masked { field, mask, value, negated } => match packet.bits(*field) {
            None => Clients::None,
            Some((certain, number))
                if mask & !certain == 0
                    && (number ^ value) & mask & !packet.chosen_bits(*field) == 0
                    && mask & packet.chosen_bits(*field) != 0 =>
            {
                let is_equal = (number ^ value) & mask == 0;
                return if is_equal == *negated { Met::Unusual } else { Met::Usual };
            }
            // If a known bit differs, the values differ, so the unknown bits do not matter.
            Some((certain, number)) if (number ^ value) & mask & certain != 0 => {
                if *negated {
                    Clients::All
                } else {
                    Clients::None
                }
            }
            Some((certain, _)) if mask & !certain != 0 => Clients::Unknown,
            Some(_) if *negated => Clients::None,
            Some(_) => Clients::All,
        },
        FilterCondition::Usual => return Met::Usual,
        FilterCondition::Unusual => return Met::Unusual,
        FilterCondition::Unknown => Clients::Unknown,
    })
}

/// Returns the clients whose packets match at least one element. `values` are the values of the packet for the fields
/// of a key.
fn with_value_in<'e>(
    elements: impl Iterator<Item = &'e FilterElement>,
    values: &[Value<'_>],
    family: Family,
) -> Clients {
    let depends_on_client = values.contains(&Value::Client);
    let (mut sure, mut may) = (Vec::new(), Vec::new());
    let mut is_unknown = false;
    for element in elements {
        match with_values_of(element, values, family) {
            Clients::None => {}
            Clients::All => return Clients::All,
            Clients::Unknown => is_unknown = true,
            Clients::Some { sure: one, may: other } => {
                one.push_to(&mut sure);
                other.push_to(&mut may);
            }
        }
    }
    match (is_unknown, depends_on_client) {
        (true, false) => Clients::Unknown,
        (false, false) => Clients::None,
        (true, true) => Clients::Some { sure: AddressSet::of(sure), may: AddressSet::all(family) },
        (false, true) => Clients::Some { sure: AddressSet::of(sure), may: AddressSet::of(may) },
    }
}

pub(super) fn with_values_of(element: &FilterElement, values: &[Value<'_>], family: Family) -> Clients {
    if element.key.len() != values.len() {
        return Clients::Unknown;
    }
    let mut is_sure = true;
    let mut range = None;
    for (accepted, value) in element.key.iter().zip(values) {
        match (accepted, value) {
            (FilterValue::Any, _) => {}
            (FilterValue::Numbers(first, last), Value::Number(number)) => {
                if number < first || number > last {
                    return Clients::None;
                }
            }
            (FilterValue::Addresses(first, last), Value::Address(address)) => {
                if first.is_ipv4() != address.is_ipv4() || address < first || address > last {
                    return Clients::None;
                }
            }
            (FilterValue::Name(pattern), Value::Name(name)) => {
                if !is_called(name, pattern) {
                    return Clients::None;
                }
            }
            (FilterValue::Addresses(first, last), Value::Client) => {
                if first.is_ipv4() != (family == Family::Ipv4) {
                    return Clients::None;
                }
                range = Some((number(*first), number(*last)));
            }
            _ => is_sure = false,
        }
    }
    match (range, is_sure) {
        (None, true) => Clients::All,
        (None, false) => Clients::Unknown,
        (Some(range), is_sure) => {
            let may = AddressSet::of(vec![range]);
            Clients::Some { sure: if is_sure { may.clone() } else { AddressSet::default() }, may }
        }
    }
}

/// Returns whether an interface has this name; `*` at the end of the pattern matches any further characters.
pub(super) fn is_called(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}
