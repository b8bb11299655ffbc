//! Packets that reach an interface without being routed. Rules of the family netdev, filters of traffic control, and
//! BPF programs can send packets in this way. The settings for forwarding and the rules of other hooks do not apply to
//! these packets.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Firewalls, View};
use crate::model::firewall::{FilterAction, Interface};
use crate::model::{Reach, Socket, unmapped};

impl Firewalls<'_> {
    /// Returns an unknown reach, with the rule, if a rule may send packets of other machines to the loopback interface.
    /// From there the packets can reach a socket on a loopback address.
    pub(in super::super) fn sent_to_loopback(&mut self, socket: &Socket) -> Option<Arc<Reach>> {
        let view = self.views.get(&socket.netns.as_ref().map(|netns| netns.inode))?;
        let loopback = view.firewall.interfaces.iter().find(|interface| interface.is_loopback)?;
        // For an IPv4 loopback address, the kernel drops packets that this machine did not send.
        let is_accepted = match unmapped(socket.local.address) {
            IpAddr::V4(_) => loopback.routes_localnet,
            IpAddr::V6(_) => true,
        };
        let why = view.sends_to(&[loopback]).filter(|_| is_accepted)?;
        Some(self.shared(Reach::unknown(&why)))
    }
}

impl View<'_> {
    /// Returns the rule or filter that may send packets to one of these interfaces.
    fn sends_to(&self, targets: &[&Interface]) -> Option<String> {
        let firewall = self.firewall;
        let mut rules = firewall.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        let rule = rules.find(|rule| match &rule.action {
            FilterAction::Send { to: None, .. } => true,
            FilterAction::Send { to: Some(name), .. } => targets.iter().any(|target| target.name == *name),
            _ => false,
        });
        let is_target = |index: &u32| targets.iter().any(|target| target.index == *index);
        let mut filtered = firewall.interfaces.iter().filter(|one| is_outer(one));
        let filter = || {
            let from = filtered.find(|interface| interface.sends_to.iter().any(is_target))?;
            Some(format!(
                "a filter of traffic control (tc) sends packets from {} to another interface",
                from.name
            ))
        };
        rule.map(|rule| rule.text.clone()).or_else(filter)
    }

    /// Returns the reason why packets of other machines can reach an interface without being routed. If the interface
    /// is a member of a bridge, the packets may also come through the bridge or through its other members.
    pub(super) fn carries_to(&self, link: &Interface) -> Option<String> {
        let interfaces = &self.firewall.interfaces;
        let is_joined = |one: &&Interface| {
            one.index == link.index
                || link.master.is_some_and(|bridge| one.index == bridge || one.master == Some(bridge))
        };
        let targets: Vec<&Interface> = interfaces.iter().filter(is_joined).collect();
        let program = || {
            let interface = interfaces.iter().find(|one| one.has_program && is_outer(one))?;
            interface.uncertain.clone()
        };
        self.sends_to(&targets).or_else(program)
    }
}

/// Returns whether packets of other machines can arrive on an interface.
fn is_outer(interface: &Interface) -> bool {
    interface.is_up && !interface.is_loopback && !interface.is_local_only && interface.peer.is_none()
}
