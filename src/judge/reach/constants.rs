//! Collects the addresses, ports and interface names that the rules of a firewall contain. Between two of these
//! constants, the rules treat all values alike, so only one value is evaluated.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::Firewall;
use crate::model::address_set::number;
use crate::model::firewall::{
    FilterAction, FilterCondition, FilterElement, FilterElements, FilterField, FilterHook, FilterValue,
};

/// A translation of destinations: the new address, the new port, and the text of the rule.
pub(super) type Translation<'f> = (Option<IpAddr>, Option<u16>, &'f str);

#[derive(Debug, Default)]
pub(super) struct Constants<'f> {
    /// The first address of each range between two constants, for IPv4 and IPv6.
    addresses: [Vec<u128>; 2],
    ports: Vec<u64>,
    /// Whether a rule compares single bits of a port.
    has_port_masks: bool,
    pub(super) names: Vec<&'f str>,
    pub(super) translations: Vec<Translation<'f>>,
}

#[derive(Default)]
struct Collected<'f> {
    addresses: [BTreeSet<u128>; 2],
    ports: BTreeSet<u64>,
    names: BTreeSet<&'f str>,
    found: Constants<'f>,
}

impl<'f> Constants<'f> {
    pub(super) fn of(firewall: &'f Firewall) -> Self {
        let mut collected = Collected::default();
        for table in &firewall.tables {
            for chain in &table.chains {
                let devices = chain.base.iter().flat_map(|base| base.devices.iter().flatten());
                collected.names.extend(devices.map(|name| &**name));
                for rule in &chain.rules {
                    for condition in &rule.conditions {
                        match condition {
                            FilterCondition::In { fields, elements, .. } => {
                                collected.add_elements(fields, elements, &rule.text);
                            }
                            FilterCondition::Masked { field, .. } if is_port(*field) => {
                                collected.found.has_port_masks = true;
                            }
                            _ => {}
                        }
                    }
                    let sees_arrivals = chain.base.as_ref().is_none_or(|base| base.hook <= FilterHook::Input);
                    let may_change = matches!(
                        rule.action,
                        FilterAction::Unknown | FilterAction::Send { is_copy: false, .. }
                    );
                    if may_change && sees_arrivals {
                        // The rule may change the destination to any address and port.
                        collected.found.translations.push((None, None, &rule.text));
                    }
                    collected.add_action(&rule.action, &rule.text);
                }
            }
            // Any rule of the table can use the set for any field, so the elements are collected for every kind of
            // field.
            for element in table.sets.iter().flat_map(|set| set.elements.iter().flatten()) {
                collected.add_element(None, element, "");
            }
        }
        let Collected { addresses, ports, names, found } = collected;
        Constants {
            addresses: addresses.map(|set| set.into_iter().collect()),
            ports: ports.into_iter().collect(),
            names: names.into_iter().collect(),
            ..found
        }
    }

    /// Returns the index of the address range that contains the address.
    pub(super) fn address_class(&self, address: IpAddr) -> usize {
        let bounds = &self.addresses[usize::from(address.is_ipv6())];
        bounds.partition_point(|bound| *bound <= number(address))
    }

    /// Returns the first address of each range that begins after `first` and not after `last`.
    pub(super) fn addresses_within(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = u128> + '_ {
        let bounds = &self.addresses[usize::from(first.is_ipv6())];
        let from = bounds.partition_point(|bound| *bound <= number(first));
        bounds[from..].iter().copied().take_while(move |bound| *bound <= number(last))
    }

    /// Returns the index of the port range that contains the port.
    pub(super) fn port_class(&self, port: u16) -> usize {
        match self.has_port_masks {
            true => port.into(),
            false => self.ports.partition_point(|bound| *bound <= u64::from(port)),
        }
    }
}

const fn is_port(field: FilterField) -> bool {
    matches!(field, FilterField::SourcePort(_) | FilterField::DestinationPort(_))
}

impl<'f> Collected<'f> {
    fn add_action(&mut self, action: &'f FilterAction, text: &'f str) {
        match action {
            FilterAction::Lookup(fields, elements) | FilterAction::TranslateBy(fields, elements) => {
                self.add_elements(fields, elements, text);
            }
            FilterAction::Translate { address, port } | FilterAction::Steer { address, port } => {
                if let Some(port) = port {
                    self.add_ports((*port).into(), (*port).into());
                }
                if let Some(address) = address {
                    self.add_addresses(*address, *address);
                }
                self.found.translations.push((*address, *port, text));
            }
            _ => {}
        }
    }

    fn add_elements(&mut self, fields: &[FilterField], elements: &'f FilterElements, text: &'f str) {
        if let FilterElements::Listed(listed) = elements {
            listed.iter().for_each(|element| self.add_element(Some(fields), element, text));
        }
    }

    fn add_element(&mut self, fields: Option<&[FilterField]>, element: &'f FilterElement, text: &'f str) {
        for (at, value) in element.key.iter().enumerate() {
            let field = fields.and_then(|fields| fields.get(at)).copied();
            match value {
                FilterValue::Addresses(first, last)
                    if !matches!(field, Some(FilterField::Source(_))) || text.is_empty() =>
                {
                    self.add_addresses(*first, *last);
                }
                FilterValue::Numbers(first, last) if field.is_none_or(is_port) => {
                    self.add_ports(*first, *last);
                }
                FilterValue::Name(name) => {
                    self.names.insert(name);
                }
                _ => {}
            }
        }
        if let Some(action) = &element.action {
            self.add_leaf(action, text);
        }
    }

    /// Adds the action of an element. This action is never a look-up.
    fn add_leaf(&mut self, action: &'f FilterAction, text: &'f str) {
        if matches!(action, FilterAction::Translate { .. }) {
            self.add_action(action, text);
        }
    }

    fn add_addresses(&mut self, first: IpAddr, last: IpAddr) {
        let bounds = &mut self.addresses[usize::from(first.is_ipv6())];
        bounds.insert(number(first));
        bounds.extend(number(last).checked_add(1));
    }

    fn add_ports(&mut self, first: u64, last: u64) {
        self.ports.insert(first);
        self.ports.extend(last.checked_add(1));
    }
}
