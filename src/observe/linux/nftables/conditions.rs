//! Turns comparisons of registers into conditions on the fields of a packet.

use super::fields::{Form, Links, Part, host_number, network_number, value};
use super::registers::Piece;
use super::sets::{Key, fields, is_opaque};
use crate::model::firewall::{FilterCondition, FilterElement, FilterElements, FilterField, FilterValue};

/// `nft_cmp_ops` in linux/netfilter/nf_tables.h.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const BELOW: u32 = 2;
const AT_MOST: u32 = 3;
const ABOVE: u32 = 4;
const AT_LEAST: u32 = 5;

/// Returns the condition that the values of the fields are equal to one of the keys. With `negated`, they must differ
/// from every key.
pub(super) fn within(
    fields: Vec<FilterField>,
    keys: impl IntoIterator<Item = Vec<FilterValue>>,
    negated: bool,
) -> FilterCondition {
    let elements =
        keys.into_iter().map(|key| FilterElement { key, action: None, is_temporary: false }).collect();
    FilterCondition::In { fields, elements: FilterElements::Listed(elements), negated }
}

pub(super) fn is(field: FilterField, value: FilterValue, negated: bool) -> FilterCondition {
    within(vec![field], [vec![value]], negated)
}

/// Returns the overlap of two ranges of one field as a single condition; `None` for other conditions.
pub(super) fn both(one: &FilterCondition, other: &FilterCondition) -> Option<FilterCondition> {
    let ((field, one), (same, other)) = (one.single()?, other.single()?);
    let range = match (one, other) {
        _ if field != same => return None,
        (FilterValue::Numbers(a, b), FilterValue::Numbers(c, d)) if a.max(c) <= b.min(d) => {
            FilterValue::Numbers(*a.max(c), *b.min(d))
        }
        (FilterValue::Addresses(a, b), FilterValue::Addresses(c, d)) if a.max(c) <= b.min(d) => {
            FilterValue::Addresses(*a.max(c), *b.min(d))
        }
        _ => return None,
    };
    Some(is(field, range, false))
}

pub(super) fn compared(pieces: &[Piece], operator: u32, bytes: &[u8], links: &Links) -> Vec<FilterCondition> {
    let negated = operator == NOT_EQUAL;
    match (pieces, operator) {
        ([one], EQUAL | NOT_EQUAL) if one.part.form == Form::Route => {
            vec![has_route(one.part, bytes, negated)]
        }
        ([one], EQUAL | NOT_EQUAL) if is_masked(one) && one.part.form != Form::Address => {
            vec![masked(one, bytes, negated).unwrap_or(FilterCondition::Unknown)]
        }
        (_, EQUAL) => {
            let each = pieces.iter().map(|piece| match piece.part.form {
                Form::Opaque | Form::Route => FilterCondition::Unknown,
                _ => is(piece.part.field, piece_value(piece, bytes, links), false),
            });
            each.collect()
        }
        (_, NOT_EQUAL)
            if pieces.iter().any(|piece| matches!(piece.part.form, Form::Opaque | Form::Route)) =>
        {
            vec![FilterCondition::Unknown]
        }
        (_, NOT_EQUAL) => {
            let fields = pieces.iter().map(|piece| piece.part.field).collect();
            let key = pieces.iter().map(|piece| piece_value(piece, bytes, links)).collect();
            vec![within(fields, [key], true)]
        }
        ([one], BELOW | AT_MOST | ABOVE | AT_LEAST) => {
            let condition = ordered(one, operator, bytes, links);
            vec![condition.unwrap_or(FilterCondition::Unknown)]
        }
        _ => vec![FilterCondition::Unknown],
    }
}

fn is_masked(piece: &Piece) -> bool {
    piece.mask.as_ref().is_some_and(|mask| mask.iter().any(|byte| *byte != 0xff))
}

/// Returns the condition that there is a route back to the client. There usually is a route, through the interface on
/// which the client's packets arrive.
fn has_route(part: Part, bytes: &[u8], negated: bool) -> FilterCondition {
    let is_zero = bytes.iter().all(|byte| *byte == 0);
    match (is_zero, negated) {
        (true, true) => FilterCondition::Usual,
        (true, false) => FilterCondition::Unusual,
        // A length of 1 byte means that the rule tests only whether there is a route.
        (false, _) if part.len == 1 && negated => FilterCondition::Unusual,
        (false, _) if part.len == 1 => FilterCondition::Usual,
        (false, _) => FilterCondition::Unknown,
    }
}

/// Returns the condition that the masked bits of a field have this value; `None` if the field is not a number.
fn masked(piece: &Piece, bytes: &[u8], negated: bool) -> Option<FilterCondition> {
    let number = match piece.part.form {
        Form::Number => network_number,
        Form::HostNumber => host_number,
        _ => return None,
    };
    let (mask, value) = (number(piece.mask.as_ref()?)?, number(bytes)?);
    Some(FilterCondition::Masked { field: piece.part.field, mask, value, negated })
}

/// Returns the possible values of a piece whose masked bits are equal to these bytes.
fn piece_value(piece: &Piece, bytes: &[u8], links: &Links) -> FilterValue {
    let Some(bytes) = bytes.get(piece.at..piece.at + usize::from(piece.part.len)) else {
        return FilterValue::Unknown;
    };
    let Some(mask) = piece.mask.as_ref().filter(|_| is_masked(piece)) else {
        return value(piece.part, bytes, bytes, links);
    };
    if piece.part.form != Form::Address || !is_prefix(mask) {
        return FilterValue::Unknown;
    }
    // The mask sets the other bits of the address to zero before the comparison. If one of these bits is set in the
    // compared bytes, the comparison is never true.
    if bytes.iter().zip(mask).any(|(byte, mask)| byte & !mask != 0) {
        return FilterValue::Unknown;
    }
    let last: Vec<u8> = bytes.iter().zip(mask).map(|(byte, mask)| byte | !mask).collect();
    value(piece.part, bytes, &last, links)
}

fn is_prefix(mask: &[u8]) -> bool {
    let ones = mask.iter().take_while(|byte| **byte == 0xff).count();
    let rest = mask.get(ones..).unwrap_or_default();
    rest.first().is_none_or(|byte| byte.leading_ones() + byte.trailing_zeros() >= 8)
        && rest.iter().skip(1).all(|byte| *byte == 0)
}

/// Returns the condition of `<`, `<=`, `>` or `>=`. The kernel compares bytes in memory order.
fn ordered(piece: &Piece, operator: u32, bytes: &[u8], links: &Links) -> Option<FilterCondition> {
    let part = piece.part;
    if piece.mask.is_some() || bytes.len() != usize::from(part.len) {
        return None;
    }
    let (least, most) = (vec![0; bytes.len()], vec![0xff; bytes.len()]);
    let never = || Some(within(vec![part.field], [], false));
    let (first, last) = match operator {
        BELOW if bytes == least => return never(),
        ABOVE if bytes == most => return never(),
        BELOW => (least, step(bytes, false)),
        AT_MOST => (least, bytes.to_vec()),
        ABOVE => (step(bytes, true), most),
        _ => (bytes.to_vec(), most),
    };
    Some(between(part, &first, &last, false, links))
}

fn step(bytes: &[u8], up: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for byte in bytes.iter_mut().rev() {
        let (stepped, carries) = if up { byte.overflowing_add(1) } else { byte.overflowing_sub(1) };
        *byte = stepped;
        if !carries {
            break;
        }
    }
    bytes
}

/// Returns the condition that a field is in a range. With `negated`, the field must be outside the range.
pub(super) fn in_range(
    pieces: &[Piece],
    negated: bool,
    first: &[u8],
    last: &[u8],
    links: &Links,
) -> FilterCondition {
    match pieces {
        [Piece { part, mask: None, .. }] if [first.len(), last.len()] == [usize::from(part.len); 2] => {
            between(*part, first, last, negated, links)
        }
        _ => FilterCondition::Unknown,
    }
}

fn between(part: Part, first: &[u8], last: &[u8], negated: bool, links: &Links) -> FilterCondition {
    match part.form {
        Form::Address | Form::Number | Form::HostNumber => {
            is(part.field, value(part, first, last, links), negated)
        }
        _ => FilterCondition::Unknown,
    }
}

/// Returns the condition that a set contains the key. With `negated`, the set must not contain the key.
pub(super) fn in_elements(
    key: &Key,
    negated: bool,
    elements: impl FnOnce() -> FilterElements,
) -> FilterCondition {
    if is_opaque(key) {
        return FilterCondition::Unknown;
    }
    FilterCondition::In { fields: fields(key), elements: elements(), negated }
}
