//! Reads the rules and interfaces of the packet filter, which `judge` evaluates.

mod interfaces;
mod local_routes;
pub(super) mod peers;

use std::path::Path;

use self::interfaces::PacketHandler;
use super::files::slurp;
use super::iptables;
use super::nftables::{self, Links};
use super::rule_sets::RuleSets;
use crate::model::firewall::{FilterTable, Interface};
use crate::model::{Family, Firewall, Gap, Netns, Note, Stage};

#[derive(Debug, Default)]
pub(super) struct ReadFirewall {
    pub(super) firewall: Firewall,
    pub(super) gap: Option<Gap>,
    /// Set if programs or filters see packets before the firewall.
    pub(super) note: Option<Note>,
}

/// Reads the packet filter of `netns`, the network namespace of the calling thread (`None` for portolan's own).
pub(super) fn read(netns: Option<&Netns>, sets: RuleSets) -> ReadFirewall {
    let mut note = None;
    let mut firewall = Firewall { netns: netns.map(|netns| netns.inode), ..Firewall::default() };
    let mut gap = None;
    let rules = sets.into_rules();
    if let Some((why, _)) = rules.failures.into_iter().next() {
        firewall.unread = Some(format!("the rules could not be read: {why}"));
        gap = Some(failed(why));
    } else if rules.is_refused {
        firewall.is_refused = true;
        gap = Some(Gap::refused_rules());
    } else {
        firewall.tables = rules.tables;
        // A table of iptables exists as soon as any program has listed it, so tables without rules are left out.
        firewall.tables.retain(decides);
    }
    match interfaces::list(!firewall.tables.is_empty()) {
        Ok((interfaces, handlers, tuns)) => {
            let mut up = interfaces.iter().filter(|one| one.is_up && !one.is_loopback && !one.is_internal);
            let outer = up.next();
            firewall.is_internal = outer.is_none();
            let is_tun = |one: &&Interface| tuns.contains(&one.index);
            firewall.tun =
                outer.filter(|one| is_tun(one) && up.all(|other| is_tun(&other))).map(|one| one.name.clone());
            firewall.interfaces = interfaces;
            if is_set("ipv4", "all", "route_localnet") {
                firewall.interfaces.iter_mut().for_each(|one| one.routes_localnet = true);
            }
            note = packet_handlers(netns, &handlers);
        }
        Err(errno) => {
            firewall
                .unread
                .get_or_insert_with(|| format!("the interfaces could not be read: rtnetlink: {errno}"));
        }
    }
    let is_needed = |one: &Interface| one.uncertain.is_some() || one.routes_localnet || one.peer.is_some();
    if firewall.tables.is_empty() && !firewall.interfaces.iter().any(is_needed) {
        firewall.interfaces.clear();
    } else {
        firewall.local_routes = local_routes::list(&firewall.interfaces);
        // For IPv4, the kernel forwards a packet if the interface on which the packet arrives has the setting
        // `forwarding`.
        let forwards_any = firewall.interfaces.iter().any(|interface| interface.forwards);
        // For IPv6, the kernel forwards a packet if `forwarding` is set for `all`, or if the interface on which the
        // packet arrives has the setting `force_forwarding` (Linux 6.17).
        let forwards_six = |interface: &Interface| is_set("ipv6", &interface.name, "force_forwarding");
        firewall.forwards = [
            is_set("ipv4", "all", "forwarding") || forwards_any,
            is_set("ipv6", "all", "forwarding") || firewall.interfaces.iter().any(forwards_six),
        ];
    }
    ReadFirewall { firewall, gap, note }
}

fn packet_handlers(netns: Option<&Netns>, handlers: &[PacketHandler]) -> Option<Note> {
    let [first, ..] = handlers else { return None };
    let place = netns.map(|netns| format!(" of the network namespace {}", netns.inode)).unwrap_or_default();
    let nouns = if handlers.len() == 1 { "network device" } else { "network devices" };
    let what = format!(
        "{nouns}{place} with a program or filter that sees incoming packets before the firewall and the sockets, and \
            can answer, drop or redirect these packets ({first})"
    );
    let note = Note::new(what).counted(handlers.len());
    Some(note.with_remedy("bpftool net; tc filter show dev DEVICE ingress").marked_important())
}

/// Returns whether any base chain of a table has rules, or drops packets by its policy.
fn decides(table: &FilterTable) -> bool {
    let mut bases = table.chains.iter().filter(|chain| chain.base.is_some());
    bases.any(|chain| !chain.rules.is_empty() || chain.base.as_ref().is_some_and(|base| base.drops))
}

fn failed(why: String) -> Gap {
    Gap::new(Stage::Sockets, "the rules of the firewall", why)
}

/// Returns whether a setting of the kernel is on for an interface, or for `all`.
fn is_set(family: &str, interface: &str, setting: &str) -> bool {
    let path = format!("/proc/sys/net/{family}/conf/{interface}/{setting}");
    Path::new(&path).exists() && slurp(path, 16, 16).is_ok_and(|text| text.trim_ascii() != b"0")
}

/// Parses any bytes as rules of nftables and iptables, for tests and fuzzing.
#[must_use]
pub fn parse(bytes: &[u8]) -> Firewall {
    Firewall { tables: tables(bytes), ..Firewall::default() }
}

/// Parses any bytes with every parser of rules.
pub(super) fn tables(bytes: &[u8]) -> Vec<FilterTable> {
    let names = ["lo", "eth0", "wg0", "docker0"].map(str::to_owned);
    let links: Links = (1..).zip(names).collect();
    let mut tables = nftables::parse(bytes, &links).unwrap_or_default();
    let printed = String::from_utf8_lossy(bytes);
    for family in [Family::Ipv4, Family::Ipv6] {
        tables.extend(iptables::parse(&printed, family).into_iter().map(|(_, table)| table));
    }
    tables
}
