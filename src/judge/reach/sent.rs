//! Packets that are sent to an interface without being routed there: by rules of the family netdev, by filters of traffic
//! control, and by BPF programs. The settings for forwarding and the rules of other hooks do not apply to them.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Firewalls, View};
use crate::model::firewall::{FilterAction, Interface};
use crate::model::{Reach, Socket, unmapped};

impl Firewalls<'_> {
    /// Returns an unknown reach, with the rule, if packets of other machines can be sent to the loopback interface and from
    /// there to a socket on a loopback address.
    pub(in super::super) fn sent_to_loopback(&mut self, socket: &Socket) -> Option<Arc<Reach>> {
        let view = self.views.get(&socket.netns.as_ref().map(|netns| netns.inode))?;
        let loopback = view.firewall.interfaces.iter().find(|interface| interface.is_loopback)?;
        // For an IPv4 loopback address, the kernel drops a packet that was not sent by this machine.
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
                "a filter of traffic control (tc) sends packets of {} to another interface",
                from.name
            ))
        };
        rule.map(|rule| rule.text.clone()).or_else(filter)
    }

    /// Returns why packets of other machines can come to an interface, or to the bridge that has it as a port, without being
    /// routed.
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
