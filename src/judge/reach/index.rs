//! Indexes the chains and sets of a firewall, because a node of Kubernetes can have 10,000 rules.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::clients::{Clients, Counted};
use super::packet::Packet;
use crate::model::Family;
use crate::model::firewall::{
    FilterChain, FilterCondition, FilterElement, FilterElements, FilterField, FilterSet, FilterTable,
    FilterValue,
};

/// A chain with more rules than this gets an index of its rules by destination.
const INDEXED: usize = 32;

#[derive(Debug)]
pub(super) struct IndexedTable<'f> {
    pub(super) table: &'f FilterTable,
    chains: HashMap<&'f str, (&'f FilterChain, ChainIndex)>,
    sets: HashMap<&'f str, &'f FilterSet>,
    /// For each condition that tests only the client address, the clients that meet the condition. They are computed
    /// once, because a condition can have 10,000 elements.
    clients: RefCell<HashMap<(*const FilterCondition, Family, Counted), Clients>>,
    temporary: HashSet<&'f str>,
}

/// An index of the rules of a long chain. A rule with a destination address is in `by_address`. Otherwise, a rule with
/// a destination port is in `by_port`. All other rules are in `others`.
#[derive(Debug, Default)]
pub(super) struct ChainIndex {
    by_address: HashMap<IpAddr, Vec<usize>>,
    by_port: HashMap<u64, Vec<usize>>,
    others: Vec<usize>,
}

impl<'f> IndexedTable<'f> {
    pub(super) fn new(table: &'f FilterTable) -> Self {
        let chains = table.chains.iter().map(|chain| (&*chain.name, (chain, ChainIndex::new(chain))));
        let sets = table.sets.iter().map(|set| (&*set.name, set)).collect();
        let is_temporary =
            |set: &&FilterSet| set.elements.iter().flatten().any(|element| element.is_temporary);
        let temporary = table.sets.iter().filter(is_temporary).map(|set| &*set.name).collect();
        IndexedTable { table, chains: chains.collect(), sets, clients: RefCell::default(), temporary }
    }

    pub(super) fn chain(&self, name: &str) -> Option<&(&'f FilterChain, ChainIndex)> {
        self.chains.get(name)
    }

    /// Returns the elements of a set or map; `None` if the elements are not known.
    pub(super) fn elements(&self, elements: &'f FilterElements) -> Option<&'f [FilterElement]> {
        match elements {
            FilterElements::Listed(listed) => Some(listed),
            FilterElements::Named(name) => {
                let set = self.sets.get(&**name)?;
                set.elements.as_deref().filter(|_| !set.is_changed_by_rules)
            }
        }
    }

    pub(super) fn has_temporary(&self, conditions: &[FilterCondition]) -> bool {
        conditions.iter().any(|condition| match condition {
            FilterCondition::In { elements: FilterElements::Named(name), .. } => {
                self.temporary.contains(&**name)
            }
            _ => false,
        })
    }

    /// Returns the clients that meet a condition on the client address alone. `find` is called only once for each
    /// condition.
    pub(super) fn clients(
        &self,
        condition: &'f FilterCondition,
        family: Family,
        counted: Counted,
        find: impl FnOnce() -> Clients,
    ) -> Clients {
        let mut known = self.clients.borrow_mut();
        known.entry((std::ptr::from_ref(condition), family, counted)).or_insert_with(find).clone()
    }
}

impl ChainIndex {
    fn new(chain: &FilterChain) -> Self {
        let mut index = ChainIndex::default();
        if chain.rules.len() <= INDEXED {
            return index;
        }
        for (at, rule) in chain.rules.iter().enumerate() {
            let singles = || rule.conditions.iter().filter_map(FilterCondition::single);
            let address = singles().find_map(|(field, value)| match (field, value) {
                (FilterField::Destination(_), FilterValue::Addresses(first, last)) if first == last => {
                    Some(*first)
                }
                _ => None,
            });
            let port = singles().find_map(|(field, value)| match (field, value) {
                (FilterField::DestinationPort(_), FilterValue::Numbers(first, last)) if first == last => {
                    Some(*first)
                }
                _ => None,
            });
            match (address, port) {
                (Some(address), _) => index.by_address.entry(address).or_default().push(at),
                (None, Some(port)) => index.by_port.entry(port).or_default().push(at),
                (None, None) => index.others.push(at),
            }
        }
        index
    }

    /// Returns the indices of the rules that can apply to a packet, in ascending order. `all` is the number of rules in
    /// the chain.
    pub(super) fn rules(&self, packet: &Packet, all: usize) -> Vec<usize> {
        if all <= INDEXED || packet.is_answer {
            return (0..all).collect();
        }
        let mut rules = self.others.clone();
        rules.extend(self.by_address.get(&packet.address).into_iter().flatten());
        rules.extend(self.by_port.get(&packet.port.into()).into_iter().flatten());
        rules.sort_unstable();
        rules
    }
}
