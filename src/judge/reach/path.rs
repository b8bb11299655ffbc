//! Follows a new connection through all base chains: from the interface to the service, and with the answer back to the
//! client.

use std::net::IpAddr;

use super::index::IndexedTable;
use super::packet::{InterfaceName, Packet, Tracking};
use super::walk::{Affected, Decision, Walk};
use crate::model::Peer;
use crate::model::address_set::AddressSet;
use crate::model::firewall::{FilterChain, FilterHook};

/// The kernel looks up the connection of a packet at this priority (`NF_IP_PRI_CONNTRACK`).
const TRACKING: i64 = -200;
/// The kernel translates destinations at this priority (`NF_IP_PRI_NAT_DST`). The priority of the chain with the rules
/// does not matter.
const TRANSLATION: i64 = -100;

/// Reports show this text instead of a rule if the kernel drops packets at the routing decision (`ip_route_input_slow`,
/// net/ipv4/route.c).
const MARTIAN: &str = "the kernel drops packets from other machines to 127.0.0.0/8";

/// A base chain, with the index of its table.
pub(super) type Base<'f> = (usize, &'f FilterChain);

/// The place that packets should reach.
pub(super) struct Target<'t> {
    /// Whether packets arrive if their destination does not change. This is so if a socket has the destination, or if
    /// the packets leave towards the target.
    pub(super) has_socket: bool,
    /// The destination to which the kernel must translate the packets.
    pub(super) forwarded_to: Option<Peer>,
    /// The interface on which packets leave this machine towards the target.
    pub(super) leaves_on: InterfaceName,
    /// Returns whether an address belongs to this machine.
    pub(super) is_own: &'t dyn Fn(IpAddr) -> bool,
    /// Whether packets for loopback addresses are accepted on the interface on which they arrive.
    pub(super) accepts_loopback: bool,
}

/// The clients whose packets arrive or are lost, and the rules that decide this.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome<'f> {
    /// The clients whose packets may arrive.
    pub(super) arrived: AddressSet,
    /// The clients whose packets may be dropped or redirected.
    pub(super) lost: AddressSet,
    /// Whether a rule may redirect packets to the target.
    pub(super) is_forwarded: bool,
    pub(super) accepts: Vec<Decision<'f>>,
    pub(super) drops: Vec<Decision<'f>>,
    pub(super) doubts: Vec<Affected<'f>>,
    /// The clients whose packets may get another source address.
    pub(super) hidden: AddressSet,
}

pub(super) struct Path<'f, 'w> {
    pub(super) tables: &'w [IndexedTable<'f>],
    /// The base chains, in the order in which a packet passes through them.
    pub(super) chains: &'w [Base<'f>],
    pub(super) steps: usize,
}

impl<'f> Path<'f, '_> {
    pub(super) fn send(&mut self, first: &Packet, target: &Target<'_>) -> Outcome<'f> {
        let mut outcome = Outcome::default();
        let mut arriving = first.clone();
        let mut live = AddressSet::all(first.family);
        live = self.pass(
            &[FilterHook::Ingress, FilterHook::Prerouting],
            is_early,
            &mut arriving,
            live,
            &mut outcome,
        );
        let translated = self.translate(&mut arriving, &mut live, target, &mut outcome);
        // Packets whose destination did not change go to the socket.
        if target.has_socket {
            let mut packet = arriving.clone();
            let left = self.pass(&[FilterHook::Prerouting], is_late, &mut packet, live, &mut outcome);
            let left = routed(&packet, left, target, &mut outcome);
            if !packet.is_own {
                packet.leaves_on = target.leaves_on.clone();
            }
            let left = self.pass(last_hooks(&packet), |_| true, &mut packet, left, &mut outcome);
            self.rest(first, &packet, &left, &mut outcome);
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
            let left = self.pass(&[FilterHook::Prerouting], is_late, &mut packet, translated, &mut outcome);
            let left = if is_redirected { left } else { routed(&packet, left, target, &mut outcome) };
            if !packet.is_own {
                packet.leaves_on = target.leaves_on.clone();
            }
            let left = self.pass(last_hooks(&packet), |_| true, &mut packet, left, &mut outcome);
            self.rest(first, &packet, &left, &mut outcome);
            outcome.arrived.add(&left);
        }
        outcome
    }

    /// Sends packets through the chains of these hooks. Returns the clients whose packets may have passed all chains.
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
                let known = packet.tracking;
                packet.tracking = tracking(chain, known);
                let before = packet.tracking;
                let mut walk = Walk::new(table, packet, &mut steps);
                walk.base_chain(chain, live.clone());
                // Restores the earlier state, unless a rule has excluded the packet from connection tracking.
                if walk.packet.tracking == before && before != Tracking::Uncertain {
                    walk.packet.tracking = known;
                }
                let translated = walk.translated.iter().map(|(.., (text, clients))| (*text, clients.clone()));
                // A rule outside the chains for translation changed the destination of these packets. These packets are
                // not followed, so it is uncertain whether they arrive.
                let translated: Vec<Affected<'f>> = translated.collect();
                let mut left = walk.accepted;
                for (text, clients) in translated {
                    left.add(&clients);
                    outcome.lost.add(&clients);
                    outcome.doubts.push((text, clients));
                }
                if !is_certain && !walk.dropped.is_empty() {
                    left.add(&walk.dropped);
                    outcome.doubts.extend(walk.drops.iter().map(Decision::affected));
                }
                outcome.lost.add(&walk.dropped);
                if matches!(hook, FilterHook::Input | FilterHook::Forward) {
                    outcome.accepts.extend(walk.accepts);
                }
                outcome.drops.extend(walk.drops);
                outcome.doubts.extend(walk.doubts);
                outcome.hidden.add(&walk.hidden);
                live = left;
            }
        }
        self.steps = steps;
        live
    }

    /// Sends packets through the chains that translate destinations. Returns the clients whose packets may get the
    /// destination of the target. Afterwards, `live` contains the clients whose packets keep their destination.
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
                    outcome.drops.push(Decision { text, clients, is_selective: true });
                }
            }
            *live = left;
        }
        self.steps = steps;
        at_target
    }

    /// Follows the answer, and the next packet of the client. If one of these packets is lost, the service may not
    /// work, although the first packet of the client arrived.
    fn rest(&mut self, first: &Packet, last: &Packet, clients: &AddressSet, outcome: &mut Outcome<'f>) {
        let tracking = match last.tracking {
            Tracking::Uncertain => Tracking::Uncertain,
            _ => Tracking::Established,
        };
        let accepts = std::mem::take(&mut outcome.accepts);
        let drops = outcome.drops.len();
        let lost = std::mem::take(&mut outcome.lost);
        let hidden = outcome.hidden.clone();
        let filters = |chain: &FilterChain| !translates(chain);
        let mut answer = Packet { is_answer: true, is_marked: false, tracking, ..last.clone() };
        answer.leaves_on = std::mem::replace(&mut answer.arrives_on, last.leaves_on.clone());
        let hooks: &[FilterHook] = match last.is_own {
            true => &[FilterHook::Output, FilterHook::Postrouting],
            false => &[FilterHook::Prerouting, FilterHook::Forward, FilterHook::Postrouting],
        };
        self.pass(hooks, filters, &mut answer, clients.clone(), outcome);
        if !DATAGRAMS.contains(&last.protocol) {
            let mut early = Packet { is_later: true, tracking, ..first.clone() };
            let hooks = [FilterHook::Ingress, FilterHook::Prerouting];
            let live = self.pass(&hooks, is_early, &mut early, clients.clone(), outcome);
            let Packet { is_marked, tracking, .. } = early;
            let mut late = Packet { is_later: true, is_marked, tracking, ..last.clone() };
            let live = self.pass(&[FilterHook::Prerouting], is_late, &mut late, live, outcome);
            self.pass(last_hooks(&late), filters, &mut late, live, outcome);
        }
        // If a rule drops one of these packets, it is uncertain whether the service works for the client. The rule is
        // moved to `doubts`.
        let unserved: Vec<Affected<'f>> =
            outcome.drops.drain(drops..).map(|decision| decision.affected()).collect();
        outcome.doubts.extend(unserved);
        outcome.lost.add(&lost);
        outcome.accepts = accepts;
        outcome.hidden = hidden;
    }
}

/// Returns the clients whose packets pass the routing decision. At this point, the kernel drops packets that other
/// machines send to a loopback address.
fn routed(packet: &Packet, live: AddressSet, target: &Target<'_>, outcome: &mut Outcome<'_>) -> AddressSet {
    if target.accepts_loopback || !packet.address.is_loopback() || live.is_empty() {
        return live;
    }
    outcome.lost.add(&live);
    outcome.drops.push(Decision { text: MARTIAN, clients: live, is_selective: false });
    AddressSet::default()
}

/// UDP and UDP-Lite. Their connections may consist of one packet.
const DATAGRAMS: [u8; 2] = [17, 136];

const fn last_hooks(packet: &Packet) -> &'static [FilterHook] {
    match packet.is_own {
        true => &[FilterHook::Input],
        false => &[FilterHook::Forward, FilterHook::Postrouting],
    }
}

/// Returns whether a chain at the hook `Ingress` or `Prerouting` filters packets before their destinations are
/// translated.
fn is_early(chain: &FilterChain) -> bool {
    !translates(chain) && (is_at(chain, FilterHook::Ingress) || priority(chain) < TRANSLATION)
}

/// Returns whether a chain at the hook `Prerouting` filters packets after their destinations are translated.
fn is_late(chain: &FilterChain) -> bool {
    !translates(chain) && priority(chain) >= TRANSLATION
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

/// Returns the tracking state that a packet has in a base chain. `known` is the state after the kernel has looked up
/// the connection.
fn tracking(chain: &FilterChain, known: Tracking) -> Tracking {
    let Some(base) = &chain.base else { return Tracking::Uncertain };
    match base.hook {
        _ if known == Tracking::Uncertain => known,
        FilterHook::Ingress => Tracking::Before,
        FilterHook::Prerouting | FilterHook::Output if base.priority < TRACKING => Tracking::Before,
        FilterHook::Prerouting | FilterHook::Output if base.priority == TRACKING => Tracking::Uncertain,
        _ => known,
    }
}

/// Returns whether a base chain runs for the interface of a packet: true if it certainly runs, false if it may run,
/// `None` if it does not run.
fn is_called_for(chain: &FilterChain, packet: &Packet) -> Option<bool> {
    let devices = chain.base.as_ref()?.devices.as_ref();
    let Some(devices) = devices else { return Some(true) };
    match &packet.arrives_on {
        InterfaceName::Known(name) if !devices.is_empty() => devices.contains(name).then_some(true),
        _ => Some(false),
    }
}
