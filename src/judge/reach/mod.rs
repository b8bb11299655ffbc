//! Finds the clients that can reach a port through the packet filter. Only the first three packets of a connection are
//! followed: the packet that opens the connection, the answer, and the client's next packet.

mod clients;
mod conditions;
mod constants;
mod destinations;
mod index;
mod packet;
mod path;
mod sent;
#[cfg(test)]
mod tests;
mod text;
mod uplink;
mod walk;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use self::constants::Constants;
use self::destinations::{Class, Classes};
use self::index::IndexedTable;
use self::packet::{Delivery, InterfaceName, Packet, Tracking};
use self::path::{Base, Outcome, Path, Target};
use self::text::ClassResult;
use crate::model::address_set::AddressSet;
use crate::model::firewall::Interface;
use crate::model::{Endpoint, Exposure, Family, Firewall, Gap, Peer, Reach, ReachKind, Socket, Stage, State};

/// The maximum number of rules that are visited for all ports of a namespace together.
const MOST_STEPS: usize = 10_000_000;

/// The reason for an uncertain result if it is not known whether this machine accepts packets for an address.
const UNCERTAIN_ROUTE: &str =
    "a route may make further addresses local to this machine (see ip route show table all type local)";

pub(super) struct Firewalls<'f> {
    views: HashMap<Option<u64>, View<'f>>,
    /// The destinations to which the kernel forwards published ports, each with the text of its rule.
    forwarded: HashMap<Peer, String>,
    /// Every different answer. An answer is stored once, because many sockets share it.
    answers: HashSet<Arc<Reach>>,
    /// The namespaces with an interface that leads to another namespace. The key has the index of the interface and the
    /// index of its other end.
    parents: HashMap<(u32, u32), Vec<uplink::Parent>>,
}

/// The firewall of one namespace, prepared for evaluation.
struct View<'f> {
    firewall: &'f Firewall,
    tables: Vec<IndexedTable<'f>>,
    chains: Vec<Base<'f>>,
    constants: Constants<'f>,
    classes: Classes,
    steps: usize,
    known: HashMap<Key, Rc<Outcome<'f>>>,
    /// The answer for each combination of classes and outcomes. The pointers identify outcomes in `known`.
    summaries: HashMap<Vec<(Class, *const Outcome<'f>)>, Reach>,
}

/// The destination of packets, and how they reach it.
struct Way<'w> {
    /// The number of the transport protocol (IANA).
    protocol: u8,
    port: u16,
    /// Whether packets arrive if their destination does not change.
    has_socket: bool,
    forwarded_to: Option<Peer>,
    /// The interface on which the packets leave; `None` if this namespace receives them.
    leaves_on: Option<&'w str>,
}

/// Packets with the same key have the same outcome.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    protocol: u8,
    interface: usize,
    family: Family,
    delivery: Delivery,
    address: usize,
    port: usize,
    has_socket: bool,
    forwarded_to: Option<Peer>,
    is_uncertain: bool,
    is_loopback: bool,
    leaves_on: Option<String>,
}

impl<'f> Firewalls<'f> {
    pub(super) fn new(firewalls: &'f [Firewall], forwarded: HashMap<Peer, String>) -> Self {
        let views = firewalls.iter().map(|firewall| (firewall.netns, View::new(firewall)));
        Firewalls {
            views: views.collect(),
            forwarded,
            answers: HashSet::new(),
            parents: uplink::parents(firewalls),
        }
    }

    /// Returns the clients that can reach a socket. `None` if the firewall was not read, or if other machines cannot
    /// reach the address of the socket. `forwarded_to` is the destination of a published port.
    pub(super) fn reach(&mut self, socket: &Socket, forwarded_to: Option<Peer>) -> Option<Arc<Reach>> {
        let exposure = socket.exposure();
        if !socket.state.accepts_traffic() || exposure == Exposure::None {
            return None;
        }
        let reach = if exposure.is_reachable_from_outside() {
            Some(self.reach_of_address(socket, forwarded_to)?)
        } else {
            None
        };
        let lets_in_all = reach.as_ref().is_some_and(|reach| reach.kind == ReachKind::Open);
        let reach = match self.steering(socket) {
            Some(why) if !lets_in_all => Reach::unknown(why),
            _ => reach?,
        };
        Some(self.shared(reach))
    }

    /// Returns the reason why packets for any address and port can reach a socket, even without a rule. `None` if this
    /// cannot happen.
    fn steering(&self, socket: &Socket) -> Option<&str> {
        let netns = socket.netns.as_ref().map(|netns| netns.inode);
        let steering = self.views.get(&netns)?.firewall.steering.as_deref();
        steering.filter(|_| socket.state != State::Published)
    }

    /// Returns the clients that can reach the address and port of a socket; `None` if the firewall was not read.
    fn reach_of_address(&mut self, socket: &Socket, forwarded_to: Option<Peer>) -> Option<Reach> {
        let netns = socket.netns.as_ref().map(|netns| netns.inode);
        let mut reach = self.views.get_mut(&netns)?.reach(socket, forwarded_to);
        if reach.kind == ReachKind::Filtered
            && socket.state != State::Published
            && let Some(rule) = self.rule_to(socket)
        {
            reach = Reach::unknown(rule);
        }
        if reach.kind != ReachKind::Filtered
            && netns.is_some()
            && let Firewall { is_internal, tun, .. } = self.views.get(&netns)?.firewall
            && (*is_internal || tun.is_some())
        {
            let way = self.way_to(socket);
            let hides_clients = reach.hides_clients || way.hides_clients;
            reach = match (way.kind, reach.kind) {
                (ReachKind::Filtered | ReachKind::Machine, _) => {
                    tun.as_deref().map_or_else(Reach::machine, Reach::through_process)
                }
                (ReachKind::Unknown, _) | (ReachKind::Limited, ReachKind::Open) => way,
                _ => reach,
            };
            reach.hides_clients = hides_clients;
        }
        Some(reach)
    }

    /// Returns whether packets that other machines send to an IPv4 loopback address can reach a socket. `is_published`
    /// is true if a rule forwards the port of the socket. Returns false if only root may read the rules.
    pub(super) fn opens_loopback(&self, socket: &Socket, is_published: bool) -> bool {
        let Some(view) = self.views.get(&socket.netns.as_ref().map(|netns| netns.inode)) else {
            return false;
        };
        let firewall = view.firewall;
        // Packets of other machines do not arrive on a bridge for containers.
        let outer = |one: &&Interface| one.is_up && !one.is_loopback && !one.is_local_only && !one.is_port;
        let mut outer = firewall.interfaces.iter().filter(outer).peekable();
        let has_outer = outer.peek().is_some();
        let is_routed = outer.any(|interface| interface.routes_localnet);
        let is_forwarded = is_published && has_outer && !view.chains.is_empty();
        let is_inside = socket.netns.is_some() && firewall.is_internal;
        !firewall.is_refused && !is_inside && (is_routed || is_forwarded)
    }

    /// Returns the clients on other machines that can reach a socket on an IPv4 loopback address; `None` if none can.
    pub(super) fn reach_of_loopback(
        &mut self,
        socket: &Socket,
        forwarded_to: Option<Peer>,
    ) -> Option<Arc<Reach>> {
        let view = self.views.get_mut(&socket.netns.as_ref().map(|netns| netns.inode))?;
        let (reach, _) = view.reach_by_rules(socket, forwarded_to);
        reach.kind.lets_in_other_machines().then(|| self.shared(reach))
    }

    fn shared(&mut self, reach: Reach) -> Arc<Reach> {
        if let Some(answer) = self.answers.get(&reach) {
            return Arc::clone(answer);
        }
        let answer = Arc::new(reach);
        self.answers.insert(Arc::clone(&answer));
        answer
    }

    /// Returns a rule of address translation or IPVS that forwards another port to a socket. More clients may reach the
    /// socket through the other port.
    fn rule_to(&self, socket: &Socket) -> Option<&str> {
        let Endpoint { address, port, .. } = socket.local;
        let view = self.views.get(&socket.netns.as_ref().map(|netns| netns.inode))?;
        let is_own = |to: IpAddr| to.is_unspecified() || view.is_own(to);
        let leads_here = |to: &Peer| {
            to.port == port && (to.address == address || address.is_unspecified() && is_own(to.address))
        };
        self.forwarded.iter().find(|(to, _)| leads_here(to)).map(|(_, rule)| &**rule)
    }

    /// Returns the gap if there were too many rules to evaluate.
    pub(super) fn gap(&self) -> Option<Gap> {
        let what = "who can reach ports through the firewall";
        let is_incomplete = self.views.values().any(|view| view.steps == 0);
        is_incomplete.then(|| Gap::new(Stage::Sockets, what, "the firewall has too many rules"))
    }
}

impl<'f> View<'f> {
    fn new(firewall: &'f Firewall) -> Self {
        let tables: Vec<_> = firewall.tables.iter().map(IndexedTable::new).collect();
        let mut chains: Vec<Base<'f>> = Vec::new();
        for (at, table) in firewall.tables.iter().enumerate() {
            chains.extend(table.chains.iter().filter(|chain| chain.base.is_some()).map(|chain| (at, chain)));
        }
        chains.sort_by_key(|(_, chain)| chain.base.as_ref().map(|base| (base.hook, base.priority)));
        let constants = Constants::of(firewall);
        let classes = Classes::of(firewall, &constants);
        View {
            firewall,
            tables,
            chains,
            constants,
            classes,
            steps: MOST_STEPS,
            known: HashMap::new(),
            summaries: HashMap::new(),
        }
    }

    fn reach(&mut self, socket: &Socket, forwarded_to: Option<Peer>) -> Reach {
        let (reach, is_known_rule) = self.reach_by_rules(socket, forwarded_to);
        if reach.kind != ReachKind::Filtered {
            return reach;
        }
        match self.other_way(socket) {
            Some(why) => Reach::unknown(why),
            None if socket.state == State::Published && !is_known_rule => {
                Reach::unknown("portolan does not evaluate the rule that forwards the port")
            }
            None => reach,
        }
    }

    /// Returns the clients that can reach a socket on its own port. Also returns whether an evaluated rule forwards the
    /// port.
    fn reach_by_rules(&mut self, socket: &Socket, forwarded_to: Option<Peer>) -> (Reach, bool) {
        if self.firewall.is_refused {
            return (Reach { kind: ReachKind::Unknown, ..Reach::open() }, false);
        }
        if let Some(why) = &self.firewall.unread {
            return (Reach::unknown(why), false);
        }
        if self.chains.is_empty() && self.firewall.interfaces.iter().all(|one| one.uncertain.is_none()) {
            return (Reach::open(), false);
        }
        let Some(classes) = self.classes.of_socket(socket, self.firewall) else {
            return (Reach::unknown("this machine has too many interfaces and addresses"), false);
        };
        let Some(protocol) = socket.local.protocol.number() else {
            return (Reach::unknown("portolan does not evaluate rules for this protocol"), false);
        };
        let has_socket = socket.state != State::Published;
        let way = Way { protocol, port: socket.local.port, has_socket, forwarded_to, leaves_on: None };
        let results = self.results(classes, &way);
        let reach = self.summary(&results);
        (reach, results.iter().any(|result| result.outcome.is_forwarded))
    }

    fn results(&mut self, classes: Vec<Class>, way: &Way<'_>) -> Vec<ClassResult<'f>> {
        let of_class = |class: Class| ClassResult { outcome: self.outcome(&class, way), class };
        classes.into_iter().map(of_class).collect()
    }

    fn summary(&mut self, results: &[ClassResult<'f>]) -> Reach {
        let same = results.iter().map(|result| (result.class.clone(), Rc::as_ptr(&result.outcome)));
        let summary = self.summaries.entry(same.collect());
        let find = || Reach {
            hides_clients: text::hides_clients(results, self.firewall),
            ..text::summary(results, &self.classes, self.firewall)
        };
        summary.or_insert_with(find).clone()
    }

    /// Returns the reason why packets for another port can reach a socket, such as the text of a rule. `None` if this
    /// cannot happen.
    fn other_way(&self, socket: &Socket) -> Option<&str> {
        if socket.state == State::Published {
            return None;
        }
        if socket.transparent {
            return Some("a rule can redirect any traffic to a transparent socket");
        }
        let leads_here = |(address, port, _): &&(Option<IpAddr>, Option<u16>, &str)| {
            let is_port = port.is_none_or(|port| port == socket.local.port);
            is_port && address.is_none_or(|address| self.is_own(address) || address.is_unspecified())
        };
        self.constants.translations.iter().find(leads_here).map(|(.., text)| *text)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let mut all = self.firewall.interfaces.iter().flat_map(|interface| &interface.addresses);
        let mut routes = self.firewall.local_routes.iter().filter(|route| !route.uncertain);
        address.is_loopback()
            || all.any(|(own, _)| *own == address)
            || routes.any(|route| route.contains(address))
    }

    /// Returns the outcome for the packets of one class. It covers every client.
    fn outcome(&mut self, class: &Class, way: &Way<'_>) -> Rc<Outcome<'f>> {
        let &Way { protocol, port, has_socket, forwarded_to, leaves_on } = way;
        let key = Key {
            protocol,
            interface: class.interface,
            family: Family::of(class.address),
            delivery: class.delivery,
            address: self.constants.address_class(class.address),
            port: self.constants.port_class(port),
            has_socket,
            forwarded_to,
            is_uncertain: class.is_uncertain,
            is_loopback: class.address.is_loopback(),
            leaves_on: leaves_on.map(str::to_owned),
        };
        if let Some(outcome) = self.known.get(&key) {
            return Rc::clone(outcome);
        }
        let family = Family::of(class.address);
        let firewall = self.firewall;
        let interface = self.classes.interface(class, firewall);
        let leads_away = forwarded_to.filter(|to| !to.address.is_unspecified() && !self.is_own(to.address));
        let doubt = match (interface.and_then(|interface| interface.uncertain.as_deref()), leads_away) {
            (Some(why), _) => Some(why),
            (None, Some(_)) if !firewall.forwards[usize::from(family == Family::Ipv6)] && !has_socket => {
                Some("this machine does not forward packets (sysctl ip_forward)")
            }
            _ => None,
        };
        let outcome = if let Some(why) = doubt {
            let all = AddressSet::all(family);
            let doubts = vec![(why, all.clone())];
            Outcome { arrived: all.clone(), lost: all, doubts, ..Outcome::default() }
        } else {
            let packet = Packet {
                family,
                protocol,
                address: class.address,
                delivery: class.delivery,
                is_own: leaves_on.is_none(),
                port,
                arrives_on: interface
                    .map_or(InterfaceName::Unknown, |one| InterfaceName::Known(one.name.clone())),
                leaves_on: InterfaceName::None,
                is_answer: false,
                is_later: false,
                tracking: Tracking::New,
                is_translated: false,
                is_marked: false,
            };
            let target = Target {
                has_socket,
                forwarded_to,
                leaves_on: match (leaves_on, leads_away) {
                    (Some(name), _) => InterfaceName::Known(name.to_owned()),
                    (None, Some(to)) => self.classes.way_to(to.address, firewall),
                    (None, None) => InterfaceName::None,
                },
                is_own: &|address| self.is_own(address),
                accepts_loopback: interface.is_none_or(|interface| interface.routes_localnet),
            };
            let mut path = Path { tables: &self.tables, chains: &self.chains, steps: self.steps };
            let mut outcome = path.send(&packet, &target);
            self.steps = path.steps;
            if class.is_uncertain && !outcome.arrived.is_empty() {
                outcome.lost.add(&outcome.arrived);
                outcome.doubts.insert(0, (UNCERTAIN_ROUTE, outcome.arrived.clone()));
            }
            outcome
        };
        let outcome = Rc::new(outcome);
        self.known.insert(key, Rc::clone(&outcome));
        outcome
    }
}
