//! Finds published ports without a socket: NAT and TPROXY rules of nftables and iptables, and virtual services of IPVS.

mod filter;
mod ipvs;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use rustix::io::Errno;

use self::rules::{Condition, Destination, Hook, Published, PublishingRule};
use super::files::read_records;
use super::links;
use super::rule_sets::RuleSets;
use super::settings::routes_to_loopback;
use crate::model::{
    Endpoint, Family, Forwarding, Gap, Netns, Note, Owner, Peer, Protocol, Socket, SocketAttributes, Stage,
    State,
};
use crate::observe::Scope;

/// If a rule has at most this many ports, each port gets a row. A rule with more ports becomes a note or a gap.
const MOST_PORTS: usize = 256;
/// The maximum number of bytes that are read from a file in `/proc` or `/sys`.
const LARGEST: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct PublishedPorts {
    pub(super) sockets: Vec<Socket>,
    pub(super) gaps: Vec<Gap>,
    pub(super) notes: Vec<Note>,
}

/// Finds the published ports in `netns`, the network namespace of the calling thread (`None` for portolan's own).
pub(super) fn published_ports(scope: &Scope, netns: Option<&Netns>, sets: &RuleSets) -> PublishedPorts {
    let mut ports = PublishedPorts::default();
    if !scope.states.contains(&State::Published) {
        return ports;
    }
    let read = sets.read();
    let tables: Vec<_> = read.tables.iter().flat_map(filter::tables).collect();
    let Published { rules, unclear, is_complete } = rules::publishing(&tables);
    let mut sources = Sources { unclear, is_refused: read.is_refused, ..Sources::default() };
    sources.refusals.extend(read.failures.iter().filter(|(_, of_nat)| *of_nat).map(|(why, _)| why.clone()));
    sources.read_virtual_services();
    if !is_complete {
        sources.refusals.push("too many rules".to_owned());
    }
    if !rules.is_empty() || !sources.services.is_empty() {
        ports.add_rows(scope, netns, rules, &sources.services);
    }
    ports.gaps.extend(sources.gap());
    if sources.is_refused {
        ports.gaps.push(Gap::refused_rules());
    }
    ports
}

/// The virtual services of IPVS, and the reasons why the list of published ports is incomplete.
#[derive(Default)]
struct Sources {
    services: Vec<(Protocol, SocketAddr, SocketAddr)>,
    refusals: Vec<String>,
    unclear: BTreeSet<String>,
    /// Whether only root may read the rules.
    is_refused: bool,
}

impl Sources {
    fn gap(&self) -> Option<Gap> {
        let why = self.refusals.first().cloned().or_else(|| {
            let first = self.unclear.first()?;
            Some(format!("the rule was not understood: {first}"))
        })?;
        let gap = |what| Gap::new(Stage::Sockets, what, why);
        Some(match self.unclear.len() {
            0 => gap("ports that the kernel forwards by NAT rules"),
            1 => gap("NAT rule that may forward ports").counted(1_u64),
            count => gap("NAT rules that may forward ports").counted(count),
        })
    }

    fn read_virtual_services(&mut self) {
        match read_records("/proc/thread-self/net/ip_vs", LARGEST) {
            Ok(text) => self.services = ipvs::virtual_services(&text),
            Err(Errno::ACCESS | Errno::PERM) => self.is_refused = true,
            Err(Errno::NOENT) => {}
            Err(errno) => self.refusals.push(format!("/proc/net/ip_vs: {errno}")),
        }
    }
}

impl PublishedPorts {
    fn add_rows(
        &mut self,
        scope: &Scope,
        netns: Option<&Netns>,
        rules: Vec<PublishingRule>,
        services: &[(Protocol, SocketAddr, SocketAddr)],
    ) {
        let own = match links::all_addresses() {
            Ok(own) => own,
            Err(errno) => {
                let why = format!("rtnetlink: {errno}");
                self.gaps.push(Gap::new(Stage::Sockets, "the addresses of this machine", why));
                HashSet::new()
            }
        };
        let mut rows =
            Rows { scope, netns, own: &own, seen: HashSet::new(), elsewhere: 0, sockets: &mut self.sockets };
        let (mut to_others, mut to_this_machine) = (Vec::new(), Vec::new());
        for rule in rules {
            if !rows.add(&rule) {
                let is_judged_there = rule.address.is_none() || rule.steers || rule.hook == Hook::Output;
                if is_judged_there { &mut to_this_machine } else { &mut to_others }.push(rule.text);
            }
        }
        for (protocol, at, server) in services {
            let text = format!("IPVS virtual service {protocol} {at}");
            let forwarding = forwarding(*server, &text);
            rows.add_one(endpoint(*protocol, at.ip(), at.port(), None), forwarding, false);
        }
        let elsewhere = rows.elsewhere;
        if elsewhere > 0 {
            let rules = if elsewhere == 1 { "NAT rule" } else { "NAT rules" };
            let note = Note::new(format!("{rules} for addresses that this machine does not have"));
            self.notes.push(note.counted(elsewhere).with_remedy("nft list ruleset"));
        }
        if let Some(first) = to_this_machine.first() {
            let what = format!(
                "NAT rule{} that {} more than {MOST_PORTS} ports to this machine itself, or only for programs on \
                 this machine; the ports are not listed one by one; the first rule: {first}",
                if to_this_machine.len() == 1 { "" } else { "s" },
                if to_this_machine.len() == 1 { "forwards" } else { "forward" }
            );
            let note = Note::new(what).counted(to_this_machine.len()).with_remedy("nft list ruleset");
            self.notes.push(note.marked_important());
        }
        if let Some(first) = to_others.first() {
            let (rules, forward) =
                if to_others.len() == 1 { ("NAT rule", "forwards") } else { ("NAT rules", "forward") };
            let what = format!("{rules} that {forward} more than {MOST_PORTS} ports to another address");
            let why =
                format!("portolan does not judge the services behind so many ports; the first rule: {first}");
            self.gaps.push(Gap::new(Stage::Sockets, what, why).counted(to_others.len()));
        }
    }
}

struct Rows<'r> {
    scope: &'r Scope,
    netns: Option<&'r Netns>,
    own: &'r HashSet<IpAddr>,
    /// The existing rows. The last value is true if only programs on this machine can reach the port.
    seen: HashSet<(Protocol, IpAddr, u16, bool)>,
    /// The number of rules for addresses that this machine does not have.
    elsewhere: u64,
    sockets: &'r mut Vec<Socket>,
}

impl Rows<'_> {
    /// Adds a row for each port of the rule, if the port is in the scope. Returns false and adds no row if there are
    /// too many ports.
    fn add(&mut self, rule: &PublishingRule) -> bool {
        let Condition { protocols, ports, destination, device, .. } = &rule.condition;
        let all = [Protocol::Tcp, Protocol::Udp];
        let protocols = protocols.as_deref().unwrap_or(&all);
        let every = [0..=u16::MAX];
        let ports = self.in_scope(ports.as_deref().unwrap_or(&every));
        let count: usize = ports.iter().map(|range| usize::from(range.end() - range.start()) + 1).sum();
        // The ports that a user asked for always get a row.
        if count > MOST_PORTS && self.scope.ports.is_none() {
            return false;
        }
        let mut is_elsewhere = false;
        for address in self.destinations(rule, destination, &mut is_elsewhere) {
            for port in ports.iter().cloned().flatten().filter(|port| *port != 0) {
                for protocol in protocols {
                    let to = rule.address.unwrap_or(match rule.hook {
                        Hook::Prerouting => Family::of(address).wildcard(),
                        Hook::Output => Family::of(address).loopback(),
                    });
                    let to = SocketAddr::new(to, rule.port.unwrap_or(port));
                    let is_unchanged = rule.address.is_none() && to.port() == port;
                    if !is_unchanged {
                        let local = rule.hook == Hook::Output;
                        let at = endpoint(*protocol, address, port, device.as_deref());
                        self.add_one(at, forwarding(to, &rule.text), local);
                    }
                }
            }
        }
        self.elsewhere += u64::from(is_elsewhere);
        true
    }

    fn in_scope(&self, ranges: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
        let Some(asked) = &self.scope.ports else { return ranges.to_vec() };
        let both = |range: &RangeInclusive<u16>| {
            let parts =
                asked.iter().map(|asked| asked.low.max(*range.start())..=asked.high.min(*range.end()));
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
        };
        ranges.iter().flat_map(both).collect()
    }

    /// Returns the addresses at which the ports of a rule can be reached.
    fn destinations(
        &self,
        rule: &PublishingRule,
        destination: &Destination,
        is_elsewhere: &mut bool,
    ) -> Vec<IpAddr> {
        // The kernel drops packets from other machines to a loopback address, unless `route_localnet` is set.
        if rule.hook == Hook::Prerouting
            && !rule.steers
            && rule.address.is_some_and(|to| to.is_loopback() && !(to.is_ipv4() && routes_to_loopback()))
        {
            return Vec::new();
        }
        let is_own = |address: &IpAddr| self.own.contains(address) || address.is_loopback();
        match destination {
            Destination::Within(network) => match network.address() {
                Some(address) if is_own(&address) => vec![address],
                _ => {
                    let mut own: Vec<IpAddr> =
                        self.own.iter().copied().filter(|address| network.contains(*address)).collect();
                    own.sort_unstable();
                    *is_elsewhere = own.is_empty();
                    own
                }
            },
            Destination::Anything | Destination::ThisMachine => {
                let to = rule.address.map(Family::of);
                let families = rule.families.iter().copied();
                families
                    .filter(|family| to.is_none_or(|to| to == *family))
                    .filter(|family| rule.condition.family.is_none_or(|only| only == *family))
                    .map(|family| {
                        let loopback = family.loopback();
                        let excepted = rule.condition.except.iter().any(|network| network.contains(loopback));
                        let is_local = rule.hook == Hook::Output && !excepted;
                        if is_local { loopback } else { family.wildcard() }
                    })
                    .collect()
            }
        }
    }

    /// Adds a row, unless the port is out of scope or already has one. `local` is true if only programs on this machine
    /// can reach the port.
    fn add_one(&mut self, at: Endpoint, forwarding: Forwarding, local: bool) {
        let Endpoint { protocol, address, port, .. } = at;
        let family = Family::of(address);
        let wanted = self.scope.protocols.contains(&protocol)
            && self.scope.families.contains(&family)
            && self.scope.includes(port, State::Published);
        // A port that is published on every address needs no row for a single address.
        let wider = (protocol, family.wildcard(), port, false);
        if !wanted || self.seen.contains(&wider) || !self.seen.insert((protocol, address, port, local)) {
            return;
        }
        let attributes = SocketAttributes {
            netns: self.netns.cloned(),
            on_loopback: local.then_some(true),
            forwarding: Some(forwarding),
            ..SocketAttributes::default()
        };
        let socket = Socket {
            local: at,
            peer: None,
            state: State::Published,
            mptcp: false,
            attributes: Arc::new(attributes),
            inode: None,
            cookie: None,
            v6only: None,
            queues: None,
            owner: Owner::Kernel,
        };
        self.sockets.push(socket);
    }
}

fn endpoint(protocol: Protocol, address: IpAddr, port: u16, device: Option<&str>) -> Endpoint {
    Endpoint { protocol, address, port, device: device.map(Into::into) }
}

fn forwarding(to: SocketAddr, rule: &str) -> Forwarding {
    Forwarding { to: Peer { address: to.ip(), port: to.port() }, rule: rule.to_owned(), container: None }
}

/// Parses any bytes as rules and as virtual services, for fuzzing. Returns the number of results.
#[must_use]
pub fn parse(bytes: &[u8]) -> usize {
    let tables: Vec<_> = super::firewall::tables(bytes).iter().flat_map(filter::tables).collect();
    rules::publishing(&tables).rules.len() + ipvs::virtual_services(&String::from_utf8_lossy(bytes)).len()
}
