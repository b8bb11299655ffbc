//! The rules for address translation (NAT) of all tools, and the search for the ports that these rules publish.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::model::{Family, Network, Protocol};

/// The point at which the kernel translates the destination of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    /// For packets that arrive from other machines.
    Prerouting,
    /// For packets that programs of this machine send.
    Output,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The hook and priority; `None` if the chain is not a base chain.
    pub(super) base: Option<(Hook, i64)>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) families: Vec<Family>,
    pub(super) chains: HashMap<String, Chain>,
    /// Whether the rules give packets to another socket (TPROXY) instead of changing their destination.
    pub(super) steers: bool,
}

/// A rule, or one element of a rule's map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) condition: Condition,
    pub(super) action: Action,
    /// Identifies the rule in reports.
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Changes the destination. An `address` of `None` stands for this machine; if `port` is `None`, the port does not
    /// change.
    Forward { address: Option<IpAddr>, port: Option<u16> },
    /// Continues in another chain, and returns at its end.
    Jump(String),
    /// Continues in another chain, and does not return to this chain.
    Goto(String),
    /// Leaves this chain.
    Return,
    /// Ends the translation: the packet stays unchanged, or is dropped.
    End,
    /// Does not affect published ports: counts, logs, sets a mark.
    Continue,
    /// An unknown effect, which may be a translation.
    Unclear,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Destination {
    #[default]
    Anything,
    ThisMachine,
    Within(Network),
}

/// The packets to which a rule applies. A field that is `None` permits every value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) family: Option<Family>,
    pub(super) protocols: Option<Vec<Protocol>>,
    pub(super) ports: Option<Vec<RangeInclusive<u16>>>,
    pub(super) destination: Destination,
    /// The destinations to which the rule does not apply.
    pub(super) except: Vec<Network>,
    pub(super) device: Option<String>,
    /// Whether there are conditions that are not evaluated, such as the source, a mark or the time.
    pub(super) further: bool,
}

impl Condition {
    /// Returns the condition of packets that meet both conditions; `None` if no packet can meet both.
    pub(super) fn and(&self, other: &Condition) -> Option<Condition> {
        let destination = match (&self.destination, &other.destination) {
            (Destination::Anything, one) | (one, Destination::Anything) => one.clone(),
            (Destination::ThisMachine, one) | (one, Destination::ThisMachine) => one.clone(),
            (Destination::Within(a), Destination::Within(b)) if a.covers(*b) => Destination::Within(*b),
            (Destination::Within(a), Destination::Within(b)) if b.covers(*a) => Destination::Within(*a),
            _ => return None,
        };
        let protocols = match (&self.protocols, &other.protocols) {
            (Some(a), Some(b)) => Some(a.iter().filter(|one| b.contains(one)).copied().collect()),
            (one, None) | (None, one) => one.clone(),
        };
        let ports = match (&self.ports, &other.ports) {
            (Some(a), Some(b)) => Some(overlap(a, b)),
            (one, None) | (None, one) => one.clone(),
        };
        let families = (self.family, other.family);
        let is_impossible = matches!(families, (Some(a), Some(b)) if a != b)
            || protocols.as_ref().is_some_and(Vec::is_empty)
            || ports.as_ref().is_some_and(Vec::is_empty)
            || matches!((&self.device, &other.device), (Some(a), Some(b)) if a != b);
        (!is_impossible).then(|| Condition {
            family: self.family.or(other.family),
            protocols,
            ports,
            destination,
            except: [self.except.as_slice(), other.except.as_slice()].concat(),
            device: self.device.clone().or_else(|| other.device.clone()),
            further: self.further || other.further,
        })
    }

    /// Returns the destination if it is a single address.
    fn address(&self) -> Option<IpAddr> {
        match self.destination {
            Destination::Within(network) => network.address(),
            _ => None,
        }
    }

    /// Returns whether every packet that meets `other` also meets this condition. Returns false if this is uncertain.
    fn surely_covers(&self, other: &Condition) -> bool {
        let destination = match (&self.destination, &other.destination) {
            (Destination::Anything, _) => true,
            (Destination::Within(a), Destination::Within(b)) => a.covers(*b),
            (a, b) => a == b,
        };
        let protocols = match (&self.protocols, &other.protocols) {
            (None, _) => true,
            (Some(a), Some(b)) => b.iter().all(|one| a.contains(one)),
            (Some(_), None) => false,
        };
        let ports = match (&self.ports, &other.ports) {
            (None, _) => true,
            (Some(a), Some(b)) => {
                b.iter().all(|b| a.iter().any(|a| a.contains(b.start()) && a.contains(b.end())))
            }
            (Some(_), None) => false,
        };
        let family = self.family.is_none() || self.family == other.family;
        let device = self.device.is_none() || self.device == other.device;
        destination && protocols && ports && family && device && !self.further && self.except.is_empty()
    }
}

fn overlap(a: &[RangeInclusive<u16>], b: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let both =
        a.iter().flat_map(|a| b.iter().map(move |b| *a.start().max(b.start())..=*a.end().min(b.end())));
    both.filter(|range| !range.is_empty()).collect()
}

pub(super) fn outside(range: &RangeInclusive<u16>) -> Vec<RangeInclusive<u16>> {
    let below = range.start().checked_sub(1).map(|end| 0..=end);
    let above = range.end().checked_add(1).map(|start| start..=u16::MAX);
    below.into_iter().chain(above).collect()
}

/// A rule that publishes ports. Its condition includes the conditions of every rule that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublishingRule {
    pub(super) hook: Hook,
    pub(super) families: Vec<Family>,
    pub(super) condition: Condition,
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    /// Whether the rule gives packets to another socket (TPROXY) instead of changing their destination.
    pub(super) steers: bool,
    pub(super) text: String,
}

/// The kernel's limit of jumps between chains (`NFT_JUMP_STACK_SIZE`, net/netfilter/nf_tables.h).
const DEEPEST: usize = 16;
/// The maximum number of visited rules. In a hostile rule set, each chain could jump to every other chain.
const MOST_RULES: usize = 2_000_000;

#[derive(Debug)]
pub(super) struct Published {
    /// The rules, in the order in which the kernel applies them.
    pub(super) rules: Vec<PublishingRule>,
    pub(super) unclear: BTreeSet<String>,
    /// False if the search stopped after [`MOST_RULES`] rules.
    pub(super) is_complete: bool,
}

pub(super) fn publishing(tables: &[Table]) -> Published {
    let mut bases: Vec<(Hook, i64, &Table, &Chain)> = tables
        .iter()
        .flat_map(|table| table.chains.values().map(move |chain| (table, chain)))
        .filter_map(|(table, chain)| chain.base.map(|(hook, priority)| (hook, priority, table, chain)))
        .collect();
    bases.sort_by_key(|(hook, priority, ..)| (*hook, *priority));
    let mut walk = Walk { left: MOST_RULES, found: Vec::new(), unclear: BTreeSet::new() };
    for (hook, _, table, chain) in bases {
        let mut taken = Taken::default();
        walk.chain((hook, table), chain, &Condition::default(), &mut taken, DEEPEST);
    }
    Published { rules: walk.found, unclear: walk.unclear, is_complete: walk.left > 0 }
}

struct Walk {
    left: usize,
    found: Vec<PublishingRule>,
    unclear: BTreeSet<String>,
}

/// The packets that earlier rules have already translated, grouped by destination. Look-ups must be fast, because a
/// table can have 10,000 destinations.
#[derive(Default)]
struct Taken {
    single: HashMap<IpAddr, Vec<Condition>>,
    others: Vec<Condition>,
}

impl Taken {
    fn add(&mut self, condition: Condition) {
        if condition.further || !condition.except.is_empty() {
            return; // if there are exceptions or conditions that are not evaluated, the answer is never certain
        }
        match condition.address() {
            Some(address) => self.single.entry(address).or_default().push(condition),
            None => self.others.push(condition),
        }
    }

    fn covers(&self, condition: &Condition) -> bool {
        let single = condition.address().and_then(|address| self.single.get(&address));
        let mut earlier = single.into_iter().flatten().chain(&self.others);
        earlier.any(|earlier| earlier.surely_covers(condition))
    }
}

impl Walk {
    fn chain(
        &mut self,
        at: (Hook, &Table),
        chain: &Chain,
        reached: &Condition,
        taken: &mut Taken,
        depth: usize,
    ) {
        let mut returned = Taken::default();
        for rule in &chain.rules {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let Some(condition) = reached.and(&rule.condition) else { continue };
            if taken.covers(&condition) || returned.covers(&condition) {
                continue;
            }
            match &rule.action {
                Action::Continue => {}
                Action::Unclear => {
                    self.unclear.insert(rule.text.clone());
                }
                Action::End => taken.add(condition),
                Action::Return => returned.add(condition),
                Action::Forward { address, port } => {
                    taken.add(condition.clone());
                    self.found.push(PublishingRule {
                        hook: at.0,
                        families: at.1.families.clone(),
                        condition,
                        address: *address,
                        port: *port,
                        steers: at.1.steers,
                        text: rule.text.clone(),
                    });
                }
                Action::Jump(name) | Action::Goto(name) => {
                    if let Some(next) = at.1.chains.get(name)
                        && depth > 0
                    {
                        self.chain(at, next, &condition, taken, depth - 1);
                    }
                    if matches!(rule.action, Action::Goto(_)) {
                        returned.add(condition);
                    }
                }
            }
        }
    }
}
