//! Follows one packet of every client through the rules of one base chain.
//!
//! If it is uncertain whether a rule applies to a client, both possibilities are followed. If a client then has several
//! possible results, its result is unknown.

use std::net::IpAddr;

use super::clients::{Clients, Counted};
use super::conditions::{matched, with_values_of};
use super::index::IndexedTable;
use super::packet::{Packet, Tracking, Value};
use crate::model::address_set::AddressSet;
use crate::model::firewall::{
    FilterAction, FilterChain, FilterElement, FilterElements, FilterField, FilterRule, FilterValue,
};

/// The maximum number of chains that call each other in a row (`NFT_JUMP_STACK_SIZE`, net/netfilter/nf_tables.h).
const DEEPEST: usize = 16;
/// The maximum number of uncertain rules that are recorded.
const MOST_DOUBTS: usize = 32;
/// A rule, and the clients to whose packets it may apply.
pub(super) type Affected<'f> = (&'f str, AddressSet);

/// A rule, and the clients whose packets it accepts or drops.
#[derive(Clone, Debug)]
pub(super) struct Decision<'f> {
    pub(super) text: &'f str,
    pub(super) clients: AddressSet,
    /// Whether only some of the clients whose packets reach the rule meet its conditions.
    pub(super) is_selective: bool,
}

impl<'f> Decision<'f> {
    pub(super) fn affected(&self) -> Affected<'f> {
        (self.text, self.clients.clone())
    }
}

#[derive(Debug)]
pub(super) struct Walk<'f, 'w> {
    table: &'w IndexedTable<'f>,
    pub(super) packet: &'w mut Packet,
    steps: &'w mut usize,
    /// The clients whose packets may be accepted.
    pub(super) accepted: AddressSet,
    /// The clients whose packets may be dropped.
    pub(super) dropped: AddressSet,
    /// Each new destination (address and port) that packets may get, with the clients of these packets and the rule.
    pub(super) translated: Vec<(Option<IpAddr>, Option<u16>, Affected<'f>)>,
    pub(super) accepts: Vec<Decision<'f>>,
    pub(super) drops: Vec<Decision<'f>>,
    /// Each rule that may or may not apply, with the clients in question.
    pub(super) doubts: Vec<Affected<'f>>,
    /// The clients whose packets may get another source address.
    pub(super) hidden: AddressSet,
    /// The number of rules on the way to this point that apply only to clients that send many packets (rate limits).
    unusual: usize,
}

struct Live {
    /// The clients whose packets may be at the next rule.
    here: AddressSet,
    /// The clients whose packets may have left the chain.
    returned: AddressSet,
}

/// The clients to which an action applies.
struct Taken<'f> {
    sure: AddressSet,
    may: AddressSet,
    text: &'f str,
}

impl<'f, 'w> Walk<'f, 'w> {
    pub(super) fn new(table: &'w IndexedTable<'f>, packet: &'w mut Packet, steps: &'w mut usize) -> Self {
        Walk {
            table,
            packet,
            steps,
            accepted: AddressSet::default(),
            dropped: AddressSet::default(),
            translated: Vec::new(),
            accepts: Vec::new(),
            drops: Vec::new(),
            doubts: Vec::new(),
            hidden: AddressSet::default(),
            unusual: 0,
        }
    }

    /// Follows the packet through a base chain. The policy of the chain applies to packets that no rule accepts or
    /// drops.
    pub(super) fn base_chain(&mut self, chain: &'f FilterChain, clients: AddressSet) {
        let undecided = self.chain(&chain.name, clients, "", DEEPEST);
        if undecided.is_empty() {
            return;
        }
        let (drops, text) = chain.base.as_ref().map_or((false, ""), |base| (base.drops, &*base.text));
        if drops {
            self.drops.push(Decision { text, clients: undecided.clone(), is_selective: false });
            self.dropped.add(&undecided);
        } else {
            self.accepts.push(Decision { text, clients: undecided.clone(), is_selective: false });
            self.accepted.add(&undecided);
        }
    }

    /// Follows the packet through a chain. Returns the clients whose packets may return from the chain.
    fn chain(&mut self, name: &str, clients: AddressSet, caller: &'f str, depth: usize) -> AddressSet {
        let tables = self.table;
        let Some((chain, index)) = tables.chain(name).filter(|_| depth > 0) else {
            self.give_up(&clients, caller);
            return AddressSet::default();
        };
        let mut live = Live { here: clients, returned: AddressSet::default() };
        for at in index.rules(self.packet, chain.rules.len()) {
            if live.here.is_empty() {
                break;
            }
            let Some(rule) = chain.rules.get(at) else { continue };
            if *self.steps == 0 {
                self.give_up(&live.here, "there are too many rules");
                return live.returned;
            }
            // A rule with a large set of addresses takes more time, so it counts as several rules.
            *self.steps = self.steps.saturating_sub(1 + live.here.len() / 64);
            // A rule with temporary elements closes the port only for some time, so the rule is treated like a rate
            // limit.
            let is_temporary =
                matches!(rule.action, FilterAction::Drop | FilterAction::Jump(_) | FilterAction::Goto(_))
                    && tables.has_temporary(&rule.conditions);
            if is_temporary {
                self.apply(rule, &mut live, Counted::Permanent, depth);
                self.apply(rule, &mut live, Counted::ForSomeTime, depth);
            } else {
                self.apply(rule, &mut live, Counted::All, depth);
            }
        }
        live.returned.add(&live.here);
        live.returned
    }

    fn apply(&mut self, rule: &'f FilterRule, live: &mut Live, counted: Counted, depth: usize) {
        let Some(matched) = matched(&rule.conditions, self.packet, self.table, &live.here, counted) else {
            return;
        };
        let is_certain = match rule.action {
            FilterAction::Accept => true,
            // A limit that lets the first packets through leaves the port open.
            _ => !matched.is_usual,
        };
        let is_unusual = matched.is_unusual || counted == Counted::ForSomeTime;
        let sure = if is_certain && !is_unusual { matched.sure } else { AddressSet::default() };
        let taken = Taken { sure, may: matched.may, text: &rule.text };
        self.unusual += usize::from(is_unusual);
        self.act(&rule.action, taken, live, depth);
        self.unusual -= usize::from(is_unusual);
    }

    fn act(&mut self, action: &'f FilterAction, taken: Taken<'f>, live: &mut Live, depth: usize) {
        if taken.may.is_empty() {
            return;
        }
        let Taken { sure, may, text } = taken;
        let matters = match action {
            FilterAction::Continue
            | FilterAction::ChangeSource
            | FilterAction::Send { is_copy: true, .. }
            | FilterAction::Lookup(..)
            | FilterAction::TranslateBy(..) => false,
            FilterAction::Accept => true,
            _ => self.unusual == 0,
        };
        if matters && sure != may && self.doubts.len() < MOST_DOUBTS {
            self.doubts.push((text, may.clone()));
        }
        let decision = || {
            let is_selective = sure != live.here;
            (!sure.is_empty()).then(|| Decision { text, clients: sure.clone(), is_selective })
        };
        match action {
            FilterAction::Accept => {
                self.accepted.add(&may);
                self.accepts.extend(decision());
            }
            FilterAction::Drop => {
                if self.unusual == 0 {
                    self.dropped.add(&may);
                    self.drops.extend(decision());
                }
            }
            FilterAction::Return => live.returned.add(&may),
            FilterAction::Jump(name) => {
                let back = self.chain(name, may, text, depth - 1);
                live.here.remove(&sure, self.packet.family);
                live.here.add(&back);
                return;
            }
            FilterAction::Goto(name) => {
                let back = self.chain(name, may, text, depth - 1);
                live.returned.add(&back);
            }
            FilterAction::Lookup(fields, of) | FilterAction::TranslateBy(fields, of) => {
                self.look_up(fields, of, &Taken { sure, may, text }, live, depth);
                return;
            }
            FilterAction::Translate { address, port } => {
                self.translated.push((*address, *port, (text, may)));
            }
            FilterAction::Mark => {
                self.packet.is_marked = true;
                return;
            }
            FilterAction::Untrack => {
                self.packet.tracking = Tracking::Uncertain;
                return;
            }
            FilterAction::ChangeSource => {
                self.hidden.add(&may);
                return;
            }
            FilterAction::Continue | FilterAction::Send { is_copy: true, .. } => return,
            FilterAction::Steer { .. } | FilterAction::Send { .. } | FilterAction::Unknown => {
                self.give_up(&may, text);
            }
        }
        live.here.remove(&sure, self.packet.family);
    }

    /// Applies the action of the element whose key matches the values of the packet.
    fn look_up(
        &mut self,
        fields: &[FilterField],
        of: &'f FilterElements,
        taken: &Taken<'f>,
        live: &mut Live,
        depth: usize,
    ) {
        let packet = self.packet.clone();
        // Clients can choose another value of the field, so it is uncertain which element applies.
        let is_chosen = fields.iter().any(|field| packet.is_chosen_by_client(*field));
        let taken = &Taken {
            sure: if is_chosen { AddressSet::default() } else { taken.sure.clone() },
            may: taken.may.clone(),
            text: taken.text,
        };
        let values: Vec<Value<'_>> = fields.iter().map(|field| packet.value(*field)).collect();
        if values.contains(&Value::Absent) {
            return;
        }
        let Some(elements) = self.table.elements(of) else {
            self.doubts.push((taken.text, taken.may.clone()));
            self.give_up(&taken.may, taken.text);
            return;
        };
        let is_default =
            |element: &&FilterElement| element.key.iter().all(|value| *value == FilterValue::Any);
        // At most one element applies to a client. The default element applies if no other element does.
        let (mut others_sure, mut others_may) = (taken.may.clone(), taken.may.clone());
        for element in elements.iter().filter(|element| !is_default(element)) {
            if element.is_temporary && element.action == Some(FilterAction::Drop) {
                continue;
            }
            let (sure, may) = match with_values_of(element, &values, packet.family) {
                Clients::None => continue,
                Clients::All => (taken.may.clone(), taken.may.clone()),
                Clients::Unknown => (AddressSet::default(), taken.may.clone()),
                Clients::Some { sure, may } => (sure, may),
            };
            others_sure = others_sure.without(&may, packet.family);
            others_may = others_may.without(&sure, packet.family);
            let taken = Taken { sure: taken.sure.and(&sure), may: taken.may.and(&may), text: taken.text };
            self.act_of(element, taken, live, depth);
        }
        if let Some(element) = elements.iter().find(is_default) {
            let taken = Taken {
                sure: taken.sure.and(&others_sure),
                may: taken.may.and(&others_may),
                text: taken.text,
            };
            self.act_of(element, taken, live, depth);
        }
    }

    fn act_of(&mut self, element: &'f FilterElement, taken: Taken<'f>, live: &mut Live, depth: usize) {
        match &element.action {
            Some(FilterAction::Lookup(..) | FilterAction::TranslateBy(..)) | None => {
                self.give_up(&taken.may, taken.text);
            }
            Some(action) => self.act(action, taken, live, depth),
        }
    }

    /// Records that the packets of these clients may have any result.
    fn give_up(&mut self, clients: &AddressSet, text: &'f str) {
        self.accepted.add(clients);
        self.dropped.add(clients);
        // The rule is put first, because it explains the result better than a rule that may not apply.
        self.doubts.insert(0, (text, clients.clone()));
        self.doubts.truncate(MOST_DOUBTS);
    }
}
