//! Converts the rules of a packet filter into rules for address translation (NAT).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::rules::{Action, Chain, Condition, Destination, Hook, Rule, Table, outside};
use crate::model::firewall::{
    FilterAction, FilterBase, FilterCondition, FilterElement, FilterElements, FilterField, FilterHook,
    FilterRule, FilterSet, FilterTable, FilterValue,
};
use crate::model::{Family, Network, Protocol};

/// Returns the NAT rules of a table, and its rules that give packets to another socket (TPROXY).
pub(super) fn tables(table: &FilterTable) -> impl Iterator<Item = Table> {
    let rules = || table.chains.iter().flat_map(|chain| &chain.rules);
    let steers = rules().any(|rule| matches!(rule.action, FilterAction::Steer { .. }));
    let of_steering = steers.then(|| of_kind(table, true)).flatten();
    of_kind(table, false).into_iter().chain(of_steering)
}

/// Returns the TPROXY rules of a table if `steers` is set, and otherwise its NAT rules. Returns `None` if the table has
/// no chain for them.
fn of_kind(table: &FilterTable, steers: bool) -> Option<Table> {
    let is_wanted = |base: &FilterBase| hook(base, steers).is_some();
    table.chains.iter().any(|chain| chain.base.as_ref().is_some_and(is_wanted)).then(|| {
        let sets = table.sets.iter().map(|set| (&*set.name, set)).collect();
        let chains = table.chains.iter().map(|chain| {
            let base = chain.base.as_ref().and_then(|base| Some((hook(base, steers)?, base.priority)));
            let rules = chain.rules.iter().flat_map(|rule| rules(rule, &sets, steers)).collect();
            (chain.name.clone(), Chain { base, rules })
        });
        Table { families: table.families.clone(), chains: chains.collect(), steers }
    })
}

type Sets<'t> = HashMap<&'t str, &'t FilterSet>;

fn hook(base: &FilterBase, steers: bool) -> Option<Hook> {
    match base.hook {
        _ if base.translates == steers => None,
        FilterHook::Prerouting => Some(Hook::Prerouting),
        FilterHook::Output if !steers => Some(Hook::Output),
        _ => None,
    }
}

/// Returns the NAT rules for a rule of the filter: one rule, or one for each element of a map. A rule that no packet
/// can match is left out.
fn rules(rule: &FilterRule, sets: &Sets<'_>, steers: bool) -> Vec<Rule> {
    let mut condition = Condition::default();
    for one in &rule.conditions {
        let matched = condition_of_rule(one, sets).unwrap_or_else(unknown);
        match condition.and(&matched) {
            Some(both) => condition = both,
            None => return Vec::new(), // no packet meets both conditions
        }
    }
    let one = |condition, action| Rule { condition, action, text: rule.text.clone() };
    let (FilterAction::Lookup(fields, of) | FilterAction::TranslateBy(fields, of)) = &rule.action else {
        return vec![one(condition, action(&rule.action, steers))];
    };
    let Some(elements) = elements(of, sets) else { return vec![one(condition, Action::Unclear)] };
    let (others, listed): (Vec<_>, Vec<_>) = elements.iter().partition(|element| is_default(element));
    let of_element = |element: &&FilterElement| {
        let mut condition = condition.clone();
        for (field, value) in fields.iter().zip(&element.key) {
            let matched = condition_of(*field, &[value], false).unwrap_or_else(unknown);
            condition = condition.and(&matched)?;
        }
        Some(one(condition, element.action.as_ref().map_or(Action::Unclear, |found| action(found, steers))))
    };
    listed.iter().chain(&others).filter_map(of_element).collect()
}

fn is_default(element: &FilterElement) -> bool {
    element.key.iter().all(|value| *value == FilterValue::Any)
}

fn unknown() -> Condition {
    Condition { further: true, ..Condition::default() }
}

fn action(action: &FilterAction, steers: bool) -> Action {
    match action {
        FilterAction::Accept | FilterAction::Drop => Action::End,
        FilterAction::Return => Action::Return,
        FilterAction::Jump(chain) => Action::Jump(chain.clone()),
        FilterAction::Goto(chain) => Action::Goto(chain.clone()),
        FilterAction::Steer { address, port } if steers => Action::Forward { address: *address, port: *port },
        // Only TPROXY rules are wanted here. A rule that is not understood is presumed not to be a TPROXY rule.
        FilterAction::Steer { .. }
        | FilterAction::Translate { .. }
        | FilterAction::Send { .. }
        | FilterAction::Unknown
            if steers =>
        {
            Action::Continue
        }
        FilterAction::Translate { address, port } => Action::Forward { address: *address, port: *port },
        FilterAction::Mark
        | FilterAction::Untrack
        | FilterAction::Continue
        | FilterAction::ChangeSource
        | FilterAction::Steer { .. } => Action::Continue,
        FilterAction::Send { is_copy: true, .. } => Action::Continue,
        FilterAction::Lookup(..)
        | FilterAction::TranslateBy(..)
        | FilterAction::Send { .. }
        | FilterAction::Unknown => Action::Unclear,
    }
}

/// Returns the elements of a set or map; `None` if they are not known.
fn elements<'t>(of: &'t FilterElements, sets: &Sets<'t>) -> Option<&'t [FilterElement]> {
    match of {
        FilterElements::Listed(listed) => Some(listed),
        FilterElements::Named(name) => {
            let set = sets.get(&**name).filter(|set| !set.is_changed_by_rules)?;
            set.elements.as_deref()
        }
    }
}

fn condition_of_rule(condition: &FilterCondition, sets: &Sets<'_>) -> Option<Condition> {
    let FilterCondition::In { fields, elements: of, negated } = condition else { return None };
    let [field] = fields.as_slice() else { return None };
    let values: Option<Vec<&FilterValue>> =
        elements(of, sets)?.iter().map(|element| element.key.first()).collect();
    condition_of(*field, &values?, *negated)
}

/// Returns the condition that a field has one of these values. With `negated`, the field has none of them. Returns
/// `None` if portolan does not evaluate the condition.
fn condition_of(field: FilterField, values: &[&FilterValue], negated: bool) -> Option<Condition> {
    let mut condition = Condition::default();
    match (field, negated) {
        (_, false) if values == [&FilterValue::Any] => {}
        (FilterField::DestinationPort(of), _) => {
            let ranges: Vec<RangeInclusive<u16>> =
                values.iter().map(|value| ports(value)).collect::<Option<_>>()?;
            condition.protocols = of.map(|number| Protocol::numbered(number).into_iter().collect());
            condition.ports = match (negated, ranges.as_slice()) {
                (false, _) => Some(ranges),
                (true, [one]) => Some(outside(one)),
                (true, _) => return None,
            };
        }
        (FilterField::Destination(family), true) => {
            condition.family = Some(family);
            condition.except = values.iter().map(|value| network(value)).collect::<Option<_>>()?;
        }
        (FilterField::Destination(_), false) => match values {
            [one] => condition.destination = Destination::Within(network(one)?),
            _ => return None,
        },
        (FilterField::DestinationType, false) if values == [&FilterValue::Numbers(LOCAL, LOCAL)] => {
            condition.destination = Destination::ThisMachine;
        }
        (FilterField::Protocol(family), false) => {
            condition.family = family;
            let numbers: Option<Vec<u64>> = values.iter().map(|value| single(value)).collect();
            let known =
                numbers?.into_iter().filter_map(|number| Protocol::numbered(u8::try_from(number).ok()?));
            condition.protocols = Some(known.collect());
        }
        (FilterField::Family, false) => match values {
            [FilterValue::Numbers(4, 4)] => condition.family = Some(Family::Ipv4),
            [FilterValue::Numbers(6, 6)] => condition.family = Some(Family::Ipv6),
            _ => return None,
        },
        (FilterField::InInterface, false) => match values {
            [FilterValue::Name(name)] if !name.ends_with('*') => condition.device = Some(name.clone()),
            _ => return None,
        },
        // With this condition, Docker excludes traffic from its own bridge. Other machines do not use this bridge, so
        // the condition is ignored.
        (FilterField::InInterface, true) => {}
        _ => return None,
    }
    Some(condition)
}

/// `RTN_LOCAL` (linux/rtnetlink.h).
const LOCAL: u64 = 2;

fn single(value: &FilterValue) -> Option<u64> {
    match value {
        FilterValue::Numbers(first, last) if first == last => Some(*first),
        _ => None,
    }
}

fn ports(value: &FilterValue) -> Option<RangeInclusive<u16>> {
    match value {
        FilterValue::Numbers(first, last) => {
            Some(u16::try_from(*first).ok()?..=u16::try_from(*last).unwrap_or(u16::MAX))
        }
        _ => None,
    }
}

fn network(value: &FilterValue) -> Option<Network> {
    match value {
        FilterValue::Addresses(first, last) => Network::spanning(*first, *last),
        _ => None,
    }
}
