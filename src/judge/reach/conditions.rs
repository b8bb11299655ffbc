//! Whether a packet meets the conditions of a rule: for which clients surely, and for which perhaps.

use super::address_set::{AddressSet, number};
use super::packet::{Packet, Value};
use crate::model::Family;
use crate::model::firewall::{
    FilterCondition, FilterElement, FilterElements, FilterField, FilterTable, FilterValue,
};

/// The clients whose packets meet a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    None,
    All,
    /// It is not known which.
    Unknown,
    Some {
        /// Those whose packets meet it.
        sure: AddressSet,
        /// Those whose packets may meet it, which contains `sure`.
        may: AddressSet,
    },
}

impl Clients {
    /// Returns the clients whose packets do not meet the condition.
    fn negated(self, family: Family) -> Self {
        match self {
            Clients::None => Clients::All,
            Clients::All => Clients::None,
            Clients::Unknown => Clients::Unknown,
            Clients::Some { sure, may } => {
                Clients::Some { sure: may.complement(family), may: sure.complement(family) }
            }
        }
    }
}

/// The clients whose packets meet all conditions of a rule.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub(super) sure: AddressSet,
    pub(super) may: AddressSet,
    /// Whether clients that send few packets meet it, and others may not.
    pub(super) is_usual: bool,
    /// Whether clients that send few packets do not meet it.
    pub(super) is_unusual: bool,
}

/// Returns which of these clients meet all conditions; `None` if none does.
pub(super) fn matched(
    conditions: &[FilterCondition],
    packet: &Packet,
    table: &FilterTable,
    live: &AddressSet,
) -> Option<Matched> {
    let (mut is_sure, mut is_usual, mut is_unusual) = (true, false, false);
    let mut sets: Option<(AddressSet, AddressSet)> = None;
    for condition in conditions {
        match met(condition, packet, table) {
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

fn met(condition: &FilterCondition, packet: &Packet, table: &FilterTable) -> Met {
    Met::Clients(match condition {
        FilterCondition::In { fields, elements, negated } => {
            let clients = with_value_in(fields, elements, packet, table);
            match clients {
                // A packet without the field meets neither a condition nor its opposite.
                None => Clients::None,
                Some(clients) if *negated => clients.negated(packet.family),
                Some(clients) => clients,
            }
        }
        FilterCondition::Masked { field, mask, value, negated } => match packet.bits(*field) {
            None => Clients::None,
            // Certain bits that differ decide, although others are not known.
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

/// Returns the elements of a set or map; `None` if they are not known.
pub(super) fn elements<'t>(
    elements: &'t FilterElements,
    table: &'t FilterTable,
) -> Option<&'t [FilterElement]> {
    match elements {
        FilterElements::Listed(listed) => Some(listed),
        FilterElements::Named(name) => {
            let set = table.sets.iter().find(|set| set.name == *name)?;
            set.elements.as_deref().filter(|_| !set.is_changed_by_rules)
        }
    }
}

/// Returns the clients for which the fields have the values of an element; `None` if the packet lacks a field.
fn with_value_in(
    fields: &[FilterField],
    of: &FilterElements,
    packet: &Packet,
    table: &FilterTable,
) -> Option<Clients> {
    let values: Vec<Value<'_>> = fields.iter().map(|field| packet.value(*field)).collect();
    if values.contains(&Value::Absent) {
        return None;
    }
    let Some(elements) = elements(of, table) else { return Some(Clients::Unknown) };
    let depends_on_client = values.contains(&Value::Client);
    let (mut sure, mut may) = (Vec::new(), Vec::new());
    let mut is_unknown = false;
    for element in elements {
        match with_values_of(element, &values, packet.family) {
            Clients::None => {}
            Clients::All => return Some(Clients::All),
            Clients::Unknown => is_unknown = true,
            Clients::Some { sure: one, may: other } => {
                one.push_to(&mut sure);
                other.push_to(&mut may);
            }
        }
    }
    Some(match (is_unknown, depends_on_client) {
        (true, false) => Clients::Unknown,
        (false, false) => Clients::None,
        (true, true) => Clients::Some { sure: AddressSet::of(sure), may: AddressSet::all(packet.family) },
        (false, true) => Clients::Some { sure: AddressSet::of(sure), may: AddressSet::of(may) },
    })
}

/// Returns the clients for which the fields with these values match one element.
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

/// Returns whether an interface has this name; `*` at the end of the pattern stands for any further characters.
pub(super) fn is_called(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}
