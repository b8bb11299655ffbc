//! The way of a new connection through all base chains, from the interface to the service, and that of its answer.

use std::net::IpAddr;

use super::address_set::AddressSet;
use super::packet::{InterfaceName, Packet, Tracking};
use super::walk::{Decision, IndexedTable, Walk};
use crate::model::Peer;
use crate::model::firewall::{FilterChain, FilterHook};

/// The kernel looks up the connection of a packet at this priority (`NF_IP_PRI_CONNTRACK`).
const TRACKING: i64 = -200;
/// It translates destinations at this one, in whichever chains the rules are (`NF_IP_PRI_NAT_DST`).
const TRANSLATION: i64 = -100;

/// A base chain, with its table.
pub(super) type Base<'f> = (usize, &'f FilterChain);

/// Where packets are to arrive.
pub(super) struct Target<'t> {
    /// Whether a socket of this machine has the address and port of the packet.
    pub(super) has_socket: bool,
    /// The place to which the kernel is to translate the destination.
    pub(super) forwarded_to: Option<Peer>,
    /// The interface through which packets leave to that place.
    pub(super) leaves_on: InterfaceName,
    /// Whether an address belongs to this machine.
    pub(super) is_own: &'t dyn Fn(IpAddr) -> bool,
}

/// What happens to the packets of every client.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome<'f> {
    /// The clients whose packets may arrive.
    pub(super) arrived: AddressSet,
    /// The clients whose packets may be dropped, or led elsewhere.
    pub(super) lost: AddressSet,
    /// Whether a rule may give packets the destination of the target.
    pub(super) is_forwarded: bool,
    pub(super) accepts: Vec<Decision<'f>>,
    pub(super) drops: Vec<Decision<'f>>,
    pub(super) doubts: Vec<Decision<'f>>,
}

/// The base chains of a firewall, and what is left of the work for them.
pub(super) struct Path<'f, 'w> {
    pub(super) tables: &'w [IndexedTable<'f>],
    /// In the order in which a packet passes them.
    pub(super) chains: &'w [Base<'f>],
    /// The rules that may still be visited.
    pub(super) steps: usize,
}

impl<'f> Path<'f, '_> {
    /// Sends packets of every client on their way.
    pub(super) fn send(&mut self, packet: &Packet, target: &Target<'_>) -> Outcome<'f> {
        let mut outcome = Outcome::default();
        let mut arriving = packet.clone();
        let mut live = AddressSet::all(packet.family);
        live = self.pass(&[FilterHook::Ingress], |_| true, &mut arriving, live, &mut outcome);
        let before = |priority| priority < TRANSLATION;
        live = self.pass(
            &[FilterHook::Prerouting],
            |c| !translates(c) && before(priority(c)),
            &mut arriving,
            live,
            &mut outcome,
        );
        let translated = self.translate(&mut arriving, &mut live, target, &mut outcome);
        let behind = |chain: &FilterChain| !translates(chain) && !before(priority(chain));
        // What keeps its destination goes to the socket.
        if target.has_socket {
            let mut packet = arriving.clone();
            let left = self.pass(&[FilterHook::Prerouting], behind, &mut packet, live, &mut outcome);
            let left = self.pass(&[FilterHook::Input], |_| true, &mut packet, left, &mut outcome);
            self.answer(&packet, &left, &[FilterHook::Output, FilterHook::Postrouting], &mut outcome);
            outcome.arrived.add(&left);
        } else {
            outcome.lost.add(&live);
        }
        if let Some(to) = target.forwarded_to
            && !translated.is_empty()
        {
            outcome.is_forwarded = true;
            let mut packet = arriving;
            let is_redirected = to.address.is_unspecified();
            packet.port = to.port;
            if !is_redirected {
                packet.address = to.address;
            }
            packet.is_own = is_redirected || (target.is_own)(to.address);
            packet.is_translated = true;
            let left = self.pass(&[FilterHook::Prerouting], behind, &mut packet, translated, &mut outcome);
            let left = if packet.is_own {
                let left = self.pass(&[FilterHook::Input], |_| true, &mut packet, left, &mut outcome);
                self.answer(&packet, &left, &[FilterHook::Output, FilterHook::Postrouting], &mut outcome);
                left
            } else {
                packet.leaves_on = target.leaves_on.clone();
                let hooks = [FilterHook::Forward, FilterHook::Postrouting];
                let left = self.pass(&hooks, |_| true, &mut packet, left, &mut outcome);
                let hooks = [FilterHook::Prerouting, FilterHook::Forward, FilterHook::Postrouting];
                self.answer(&packet, &left, &hooks, &mut outcome);
                left
            };
            outcome.arrived.add(&left);
        }
        outcome
    }

    /// Sends packets through the chains of these hooks; returns the clients whose packets may be left.
    fn pass(
        &mut self,
        hooks: &[FilterHook],
        wanted: impl Fn(&FilterChain) -> bool,
        packet: &mut Packet,
        mut live: AddressSet,
        outcome: &mut Outcome<'f>,
    ) -> AddressSet {
        let mut steps = self.steps;
        for hook in hooks {
            for (table, chain) in self.chains.iter().filter(|(_, chain)| is_at(chain, *hook) && wanted(chain))
            {
                let Some(table) =
                    self.tables.get(*table).filter(|t| t.table.families.contains(&packet.family))
                else {
                    continue;
                };
                if live.is_empty() {
                    break;
                }
                let Some(is_certain) = is_called_for(chain, packet) else { continue };
                if packet.tracking == Tracking::Before && !packet.is_answer {
                    packet.tracking = tracking(chain);
                }
                let mut walk = Walk::new(table, packet, &mut steps);
                walk.base_chain(chain, live.clone());
                let translated = walk.translated.iter().map(|(.., (text, clients))| (*text, clients.clone()));
                // A destination that is translated at another point is not followed.
                let translated: Vec<Decision<'f>> = translated.collect();
                let mut left = walk.accepted;
                for (text, clients) in translated {
                    left.add(&clients);
                    outcome.lost.add(&clients);
                    outcome.doubts.push((text, clients));
                }
                if !is_certain && !walk.dropped.is_empty() {
                    left.add(&walk.dropped);
                    outcome.doubts.extend(walk.drops.iter().cloned());
                }
                outcome.lost.add(&walk.dropped);
                if matches!(hook, FilterHook::Input | FilterHook::Forward) {
                    outcome.accepts.extend(walk.accepts);
                }
                outcome.drops.extend(walk.drops);
                outcome.doubts.extend(walk.doubts);
                live = left;
            }
        }
        self.steps = steps;
        live
    }

    /// Sends packets through the chains that translate destinations. Removes the clients from `live` whose packets get
    /// another destination, and returns those whose packets may get the one of the target.
    fn translate(
        &mut self,
        packet: &mut Packet,
        live: &mut AddressSet,
        target: &Target<'_>,
        outcome: &mut Outcome<'f>,
    ) -> AddressSet {
        let mut at_target = AddressSet::default();
        let mut steps = self.steps;
        for (table, chain) in self.chains {
            let Some(table) = self.tables.get(*table).filter(|t| t.table.families.contains(&packet.family))
            else {
                continue;
            };
            if !is_at(chain, FilterHook::Prerouting) || !translates(chain) || live.is_empty() {
                continue;
            }
            if packet.tracking == Tracking::Before {
                packet.tracking = Tracking::New;
            }
            let mut walk = Walk::new(table, packet, &mut steps);
            walk.base_chain(chain, live.clone());
            let (mut left, translated) = (walk.accepted, walk.translated);
            outcome.lost.add(&walk.dropped);
            outcome.drops.extend(walk.drops);
            outcome.doubts.extend(walk.doubts);
            for (address, port, (text, clients)) in translated {
                let port = port.unwrap_or(packet.port);
                let stays = port == packet.port && address.is_none_or(|address| address == packet.address);
                let is_target = target.forwarded_to.is_some_and(|to| {
                    let wanted = Some(to.address).filter(|to| !to.is_unspecified());
                    let is_there = address == wanted || (address.is_none() && wanted == Some(packet.address));
                    port == to.port && is_there
                });
                if is_target {
                    at_target.add(&clients);
                } else if stays {
                    left.add(&clients);
                } else {
                    outcome.lost.add(&clients);
                    outcome.drops.push((text, clients));
                }
            }
            *live = left;
        }
        self.steps = steps;
        at_target
    }

    /// Sends the answers to these clients on their way. A client that may get none may not reach the service.
    fn answer(
        &mut self,
        packet: &Packet,
        clients: &AddressSet,
        hooks: &[FilterHook],
        outcome: &mut Outcome<'f>,
    ) {
        let mut answer = packet.clone();
        answer.is_answer = true;
        answer.leaves_on = std::mem::replace(&mut answer.arrives_on, packet.leaves_on.clone());
        answer.tracking = match packet.tracking {
            Tracking::Uncertain => Tracking::Uncertain,
            _ => Tracking::Established,
        };
        answer.is_marked = false;
        let accepts = std::mem::take(&mut outcome.accepts);
        let drops = outcome.drops.len();
        let lost = std::mem::take(&mut outcome.lost);
        self.pass(hooks, |chain| !translates(chain), &mut answer, clients.clone(), outcome);
        // The packets arrive, but the client sees no answer: neither is certain.
        let unanswered: Vec<Decision<'f>> = outcome.drops.drain(drops..).collect();
        outcome.doubts.extend(unanswered);
        outcome.lost.add(&lost);
        outcome.accepts = accepts;
    }
}

fn is_at(chain: &FilterChain, hook: FilterHook) -> bool {
    chain.base.as_ref().is_some_and(|base| base.hook == hook)
}

fn translates(chain: &FilterChain) -> bool {
    chain.base.as_ref().is_some_and(|base| base.translates)
}

fn priority(chain: &FilterChain) -> i64 {
    chain.base.as_ref().map_or(0, |base| base.priority)
}

/// Returns how the connection of a new packet is tracked in a base chain.
fn tracking(chain: &FilterChain) -> Tracking {
    let Some(base) = &chain.base else { return Tracking::Uncertain };
    match base.hook {
        FilterHook::Ingress => Tracking::Before,
        FilterHook::Prerouting if base.priority < TRACKING => Tracking::Before,
        FilterHook::Prerouting if base.priority == TRACKING => Tracking::Uncertain,
        _ => Tracking::New,
    }
}

/// Returns whether a base chain is certainly called for the interface of a packet; `None` if it is not called.
fn is_called_for(chain: &FilterChain, packet: &Packet) -> Option<bool> {
    let devices = chain.base.as_ref()?.devices.as_ref();
    let Some(devices) = devices else { return Some(true) };
    match &packet.arrives_on {
        InterfaceName::Known(name) if !devices.is_empty() => devices.contains(name).then_some(true),
        _ => Some(false),
    }
}
