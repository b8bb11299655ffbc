//! The state of the parser within a rule: the registers, and the conditions so far.

use super::conditions::both;
use super::fields::{Context, Links};
use super::registers::Registers;
use super::sets::Sets;
use crate::model::Family;
use crate::model::firewall::{FilterAction, FilterCondition, FilterField, FilterRule, FilterValue};

/// The data that the reader needs about the table of a rule.
pub(super) struct Table<'d, 't> {
    pub(super) family: Option<Family>,
    pub(super) is_inet: bool,
    pub(super) is_netdev: bool,
    pub(super) sets: &'t mut Sets<'d>,
    pub(super) links: &'t Links,
}

pub(super) struct Reader<'d, 't, 's> {
    pub(super) table: &'s mut Table<'d, 't>,
    pub(super) registers: Registers<'d>,
    pub(super) context: Context,
    pub(super) conditions: Vec<FilterCondition>,
    /// The next three fields are set only for a rule of iptables.
    pub(super) comment: Option<&'d [u8]>,
    pub(super) target: Option<&'d str>,
    /// The matches of a rule of iptables that were not converted to conditions on fields.
    pub(super) matches: Vec<&'d [u8]>,
}

/// The rules that a list of expressions defines, without text. There is one rule for each action, because the list can
/// continue after an action, for example after a mark.
#[derive(Debug, Default)]
pub(super) struct ReadRule<'d> {
    pub(super) rules: Vec<FilterRule>,
    /// The next three fields are set only for rules of iptables; see [`Reader`].
    pub(super) comment: Option<&'d [u8]>,
    pub(super) target: Option<&'d str>,
    pub(super) matches: Vec<&'d [u8]>,
}

impl ReadRule<'_> {
    pub(super) fn push(&mut self, conditions: &[FilterCondition], action: FilterAction) {
        self.rules.push(FilterRule { text: String::new(), conditions: conditions.to_vec(), action });
    }
}

impl Reader<'_, '_, '_> {
    /// Adds conditions, and stores the family and the protocol that they require.
    pub(super) fn conditions(&mut self, conditions: Vec<FilterCondition>) {
        for condition in conditions {
            match condition.single() {
                Some((FilterField::Family, FilterValue::Numbers(first, last))) if first == last => {
                    let family = match first {
                        4 => Some(Family::Ipv4),
                        6 => Some(Family::Ipv6),
                        _ => None,
                    };
                    if family.is_some() && self.context.family == family {
                        continue; // known
                    }
                    self.context.family = family;
                }
                Some((FilterField::Protocol(_), FilterValue::Numbers(first, last))) if first == last => {
                    self.context.protocol = u8::try_from(*first).ok();
                }
                _ => {}
            }
            match self.conditions.last().and_then(|last| both(last, &condition)) {
                // The two conditions are the ends of one range. They become a single condition.
                Some(range) => {
                    self.conditions.pop();
                    self.conditions.push(range);
                }
                None => self.conditions.push(condition),
            }
        }
    }

    pub(super) fn limit(&mut self, is_inverted: bool) {
        self.conditions.push(match is_inverted {
            true => FilterCondition::Unusual,
            false => FilterCondition::Usual,
        });
    }
}
