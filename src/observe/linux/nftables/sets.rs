//! The sets and maps of a table, with their elements.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::attributes::{attributes, each, name, number, number_or_zero, text};
use super::fields::{Form, Links, Part, address_of, value};
use crate::model::firewall::{
    FilterAction, FilterElement, FilterElements, FilterField, FilterSet, FilterValue,
};

const MOST_ELEMENTS: usize = 200_000;
/// `nft_set_flags` in linux/netfilter/nf_tables.h.
const ANONYMOUS: u32 = 0x1;
const INTERVAL: u32 = 0x4;
/// `nft_set_elem_flags`.
const INTERVAL_END: u32 = 0x1;
const CATCH_ALL: u32 = 0x2;

/// The fields in the key of an element, each with its offset.
pub(super) type Key = Vec<(Part, usize)>;

/// The data that a rule reads from an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Data {
    None,
    Verdict,
    Destination { address: Option<Source<IpAddr>>, port: Option<Source<u16>>, is_six: bool },
}

/// The place of a value: in the rule, or in an element of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source<T> {
    Rule(T),
    /// The value is at this offset in the data of an element.
    Element(usize),
}

impl<T> Source<T> {
    /// Returns the value from the rule; `None` if the value is in an element.
    pub(super) fn of_rule(self) -> Option<T> {
        match self {
            Source::Rule(value) => Some(value),
            Source::Element(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct RawElement<'d> {
    /// The first key; `None` for the default element, which matches every key that has no other element.
    key: Option<&'d [u8]>,
    /// The last key of an interval, if the keys have several fields.
    last: Option<&'d [u8]>,
    data: Option<&'d [u8]>,
    flags: u32,
    /// Whether the element matches only some packets, because of a limit.
    is_limited: bool,
    is_temporary: bool,
}

#[derive(Debug, Default)]
pub(super) struct RawSet<'d> {
    flags: u32,
    pub(super) key_length: usize,
    pub(super) data_length: usize,
    elements: Vec<RawElement<'d>>,
}

#[derive(Debug, Default)]
pub(super) struct Sets<'d> {
    raw: HashMap<&'d [u8], RawSet<'d>>,
    /// The names of the converted sets. A set is converted once for each combination of its name in the kernel, the
    /// fields of its key, and the kind of its data.
    known: HashMap<(&'d [u8], Key, Data), String>,
    read: Vec<(&'d [u8], FilterSet)>,
    /// The sets to which rules add elements.
    pub(super) changed: HashSet<&'d [u8]>,
}

impl<'d> Sets<'d> {
    pub(super) fn add(&mut self, message: &'d [u8]) -> Option<()> {
        let [_, _, set, flags, _, key_length, _, data_length, ..] = attributes::<9>(message)?;
        let length = |value| usize::try_from(number_or_zero(value)).ok();
        let raw = RawSet {
            flags: number_or_zero(flags),
            key_length: length(key_length)?,
            data_length: length(data_length)?,
            elements: Vec::new(),
        };
        self.raw.entry(name(set)?).or_insert(raw);
        Some(())
    }

    pub(super) fn add_elements(&mut self, message: &'d [u8]) -> Option<()> {
        let [_, _, set, elements] = attributes::<4>(message)?;
        let Some(set) = self.raw.get_mut(name(set)?) else { return Some(()) };
        for element in each(elements.unwrap_or_default()) {
            set.elements.push(raw_element(element?.1)?);
        }
        Some(())
    }

    pub(super) fn get(&self, set: &[u8]) -> Option<&RawSet<'d>> {
        self.raw.get(set)
    }

    /// Returns the elements of a set. `key` contains the fields that form the key of an element.
    pub(super) fn elements(&mut self, set: &'d [u8], key: &Key, data: Data, links: &Links) -> FilterElements {
        let wanted = (set, key.clone(), data);
        if let Some(name) = self.known.get(&wanted) {
            return FilterElements::Named(name.clone());
        }
        let raw = self.raw.get(set);
        let elements = raw.and_then(|raw| raw.elements(key, data, links));
        match (raw, elements) {
            // An anonymous set belongs to one rule, so its elements are stored in this rule.
            (Some(raw), Some(elements)) if raw.flags & ANONYMOUS != 0 => FilterElements::Listed(elements),
            (_, elements) => {
                let times = self.read.iter().filter(|(name, _)| *name == set).count();
                let name = match times {
                    0 => text(set),
                    times => format!("{} ({})", text(set), times + 1),
                };
                self.known.insert(wanted, name.clone());
                let new = FilterSet { name: name.clone(), is_changed_by_rules: false, elements };
                self.read.push((set, new));
                FilterElements::Named(name)
            }
        }
    }

    pub(super) fn finish(self) -> Vec<FilterSet> {
        let Sets { read, changed, .. } = self;
        let finished = |(name, set): (&[u8], FilterSet)| FilterSet {
            is_changed_by_rules: changed.contains(name),
            ..set
        };
        read.into_iter().map(finished).collect()
    }
}

fn raw_element(bytes: &[u8]) -> Option<RawElement<'_>> {
    let found = attributes::<12>(bytes)?;
    let [_, key, data, flags, timeout, expiration, _, expression, _, _, last, expressions] = found;
    let flags = number_or_zero(flags);
    let (key, last) = (bytes_of(key)?, bytes_of(last)?);
    (key.is_some() || flags & CATCH_ALL != 0).then_some(())?;
    let mut all = each(expressions.unwrap_or_default());
    let is_limited = expression.is_some_and(limits)
        || all.any(|expression| expression.is_none_or(|(_, expression)| limits(expression)));
    let is_temporary = timeout.is_some() || expiration.is_some();
    Some(RawElement { key, last, data, flags, is_limited, is_temporary })
}

/// Returns the bytes of a key. Returns `Some(None)` if there is no key, and `None` if it is malformed.
fn bytes_of(key: Option<&[u8]>) -> Option<Option<&[u8]>> {
    match key {
        // The attribute is `NFTA_DATA_VALUE`.
        Some(key) => Some(attributes::<2>(key)?[1]),
        None => Some(None),
    }
}

/// Returns whether an expression of an element can limit the matching packets.
fn limits(expression: &[u8]) -> bool {
    let kind = attributes::<2>(expression).and_then(|[_, kind]| name(kind));
    !matches!(kind, Some(b"counter" | b"last"))
}

struct Element<'d> {
    first: &'d [u8],
    last: Vec<u8>,
    data: Option<&'d [u8]>,
    is_limited: bool,
    is_temporary: bool,
}

impl<'d> RawSet<'d> {
    fn elements(&self, key: &Key, data: Data, links: &Links) -> Option<Vec<FilterElement>> {
        if self.elements.len() > MOST_ELEMENTS {
            return None;
        }
        let others = self.elements.iter().find(|element| element.flags & CATCH_ALL != 0);
        let mut elements = Vec::with_capacity(self.elements.len());
        for element in self.keys() {
            let values = key.iter().map(|(part, at)| {
                let end = at + usize::from(part.len);
                let (Some(first), Some(last)) = (element.first.get(*at..end), element.last.get(*at..end))
                else {
                    return FilterValue::Unknown;
                };
                match element.is_limited {
                    true => FilterValue::Unknown,
                    false => value(*part, first, last, links),
                }
            });
            elements.push(FilterElement {
                key: values.collect(),
                action: action(element.data, data)?,
                is_temporary: element.is_temporary,
            });
        }
        if let Some(others) = others {
            let key =
                vec![if others.is_limited { FilterValue::Unknown } else { FilterValue::Any }; key.len()];
            let action = action(others.data, data)?;
            elements.push(FilterElement { key, action, is_temporary: others.is_temporary });
        }
        Some(elements)
    }

    /// Returns the elements, each with its first and last key. For a single key, the two are equal.
    fn keys(&self) -> Vec<Element<'d>> {
        let has_key = |element: &&RawElement<'d>| element.flags & CATCH_ALL == 0;
        let elements = self.elements.iter().filter(has_key);
        let is_of_halves =
            self.flags & INTERVAL != 0 && self.elements.iter().all(|element| element.last.is_none());
        if !is_of_halves {
            let whole = elements.filter_map(|element| {
                let first = element.key?;
                let last = element.last.unwrap_or(first).to_vec();
                let RawElement { data, is_limited, is_temporary, .. } = *element;
                Some(Element { first, last, data, is_limited, is_temporary })
            });
            return whole.collect();
        }
        // The kernel stores an interval as two elements. One has the first key. The other has the flag `INTERVAL_END`
        // and the first key after the interval.
        let mut bounds: Vec<&RawElement<'d>> = elements.collect();
        bounds.sort_by_key(|element| (element.key, element.flags & INTERVAL_END == 0));
        let mut whole = Vec::new();
        let mut open: Option<&RawElement<'d>> = None;
        for bound in bounds {
            let Some(key) = bound.key else { continue };
            if let Some((first, start)) = open.take().and_then(|start| Some((start.key?, start))) {
                let last = before(key);
                let RawElement { data, is_limited, is_temporary, .. } = *start;
                whole.push(Element { first, last, data, is_limited, is_temporary });
            }
            open = (bound.flags & INTERVAL_END == 0).then_some(bound);
        }
        if let Some((first, start)) = open.and_then(|start| Some((start.key?, start))) {
            let last = vec![0xff; first.len()];
            let RawElement { data, is_limited, is_temporary, .. } = *start;
            whole.push(Element { first, last, data, is_limited, is_temporary });
        }
        whole
    }
}

/// Returns the previous key.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    key
}

/// Returns the action of an element. Returns `Some(None)` if it has no action, and `None` if its data are malformed.
fn action(data: Option<&[u8]>, wanted: Data) -> Option<Option<FilterAction>> {
    let Some(data) = data else { return (wanted == Data::None).then_some(None) };
    let [_, value, verdict] = attributes::<3>(data)?;
    Some(match wanted {
        Data::None => None,
        Data::Verdict => Some(self::verdict(verdict?).unwrap_or(FilterAction::Unknown)),
        Data::Destination { address, port, is_six } => {
            let value = value?;
            let address = match address {
                Some(Source::Rule(address)) => Some(address),
                Some(Source::Element(at)) => {
                    let length = if is_six { 16 } else { 4 };
                    Some(address_of(value.get(at..at + length)?)?)
                }
                None => None,
            };
            let port = match port {
                Some(Source::Rule(port)) => Some(port),
                Some(Source::Element(at)) => {
                    Some(u16::from_be_bytes(value.get(at..at + 2)?.try_into().ok()?))
                }
                None => None,
            };
            Some(FilterAction::Translate { address, port })
        }
    })
}

pub(super) fn fields(key: &Key) -> Vec<FilterField> {
    key.iter().map(|(part, _)| part.field).collect()
}

/// Returns whether no field of a key can be evaluated.
pub(super) fn is_opaque(key: &Key) -> bool {
    key.iter().all(|(part, _)| part.form == Form::Opaque)
}

/// Returns the action of a verdict (linux/netfilter.h, `nft_verdicts` in linux/netfilter/nf_tables.h).
pub(super) fn verdict(bytes: &[u8]) -> Option<FilterAction> {
    let [_, code, chain] = attributes::<3>(bytes)?;
    Some(match number(code)?.cast_signed() {
        0 => FilterAction::Drop,
        1 => FilterAction::Accept,
        -1 | -2 => FilterAction::Continue,
        -3 => FilterAction::Jump(text(name(chain)?)),
        -4 => FilterAction::Goto(text(name(chain)?)),
        -5 => FilterAction::Return,
        _ => FilterAction::Unknown,
    })
}
