//! Turns a snapshot into entries: each socket with its processes, its exposure and the registry's verdict on its port.
//!
//! Every list, format, filter and rule reads entries. The module `judge` adds the findings to them.

mod connections;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use self::connections::Connections;
use crate::findings::Finding;
use crate::model::{
    Container, Direction, Endpoint, Exposure, ForwardTarget, InferredOwner, ListenerService, Owner,
    OwnerEvidence, Peer, Pid, PortVerdict, Process, Protocol, Reach, ReachKind, ServiceBy, Severity,
    Snapshot, Socket, StatusBasis, UsualProgram,
};
use crate::registry::Registry;

/// A socket and everything known about it. Large fields are shared or boxed, because a listing may contain 100,000
/// entries.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The socket as the kernel reported it.
    pub socket: Socket,
    /// The processes of the socket that could be read, in ascending order of pid. [`crate::model::Owner::pids`] also
    /// has the processes that could not be read.
    pub processes: Arc<Vec<Arc<Process>>>,
    /// The clients that can reach the socket.
    pub exposure: Exposure,
    /// The registry's verdict on the port.
    pub verdict: Arc<PortVerdict>,
    /// The side that opened a connection. `None` if this is not certain, or if the entry is not a connection.
    pub direction: Option<Direction>,
    /// The number of established connections of a listener. `None` if connections were not requested.
    pub connections: Option<u32>,
    judgement: Option<Arc<Judgement>>,
}

/// A user by number and name, if known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningUser<'e> {
    /// The user ID (Unix).
    pub uid: Option<u32>,
    /// The name.
    pub name: Option<&'e str>,
}

impl RunningUser<'_> {
    /// Returns the name, or the number if the user has no known name.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.name.map(str::to_owned).or_else(|| self.uid.map(|uid| uid.to_string()))
    }
}

/// The data that `judge` adds to an entry. Entries with equal data share one copy, to save memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Judgement {
    findings: Vec<Finding>,
    usual: Option<UsualProgram>,
    service: Option<ListenerService>,
    forwards_to: Option<Box<ForwardTarget>>,
    published_as: Vec<Endpoint>,
    other_address: Option<IpAddr>,
    reach: Option<Arc<Reach>>,
    inferred_owner: Option<Arc<InferredOwner>>,
}

impl Entry {
    /// Compares two entries by the order of listings: exposure (most exposed first), then port, protocol, address and
    /// device.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        order(&self.socket, &other.socket)
    }

    /// Returns the registry's verdict on the port; `None` for a socket without a port.
    #[must_use]
    pub fn port_verdict(&self) -> Option<&PortVerdict> {
        self.socket.port().map(|_| &*self.verdict)
    }

    /// Returns the findings, most severe first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.judgement.as_ref().map_or(&[], |judgement| &judgement.findings)
    }

    /// Returns the usual program of the port, if the listener runs this program.
    #[must_use]
    pub fn usual(&self) -> Option<&UsualProgram> {
        self.judgement.as_ref()?.usual.as_ref()
    }

    /// Returns the service of the running program. If the program is not known, returns the common use of the port. A
    /// service that is only registered is never returned.
    #[must_use]
    pub fn service(&self) -> Option<ListenerService> {
        if let Some(service) = self.judgement.as_ref().and_then(|judgement| judgement.service) {
            return Some(service);
        }
        if !self.socket.state.holds_port() {
            return None;
        }
        let PortVerdict { basis, assignments, known_use, is_shared, .. } = &*self.verdict;
        let name = assignments.iter().find(|assignment| !assignment.named_by.is_empty()).map(|a| a.service);
        if *basis == StatusBasis::Evidence {
            let product = known_use.first().copied().filter(|_| *is_shared);
            return Some(ListenerService { name, product, by: ServiceBy::Port });
        }
        let product = self.verdict.use_instead()?;
        Some(ListenerService { name: None, product: Some(product), by: ServiceBy::Port })
    }

    /// Returns the destination of a port that a program forwards, such as a published port of a container.
    #[must_use]
    pub fn forwards_to(&self) -> Option<Peer> {
        let to = self.forward_target()?;
        Some(Peer { address: to.address, port: to.port })
    }

    /// Returns the destination of a forwarded port, with its known containers and processes.
    #[must_use]
    pub fn forward_target(&self) -> Option<&ForwardTarget> {
        self.judgement.as_ref()?.forwards_to.as_deref()
    }

    /// Returns the clients that the packet filter lets in. `None` if the packet filter was not read, or if other
    /// machines cannot reach the address.
    #[must_use]
    pub fn reach(&self) -> Option<&Reach> {
        self.judgement.as_ref()?.reach.as_deref()
    }

    /// Returns whether other machines can send packets to the socket. The address, the state and the packet filter
    /// decide. `None` if rules could not be read or evaluated.
    #[must_use]
    pub fn is_reachable(&self) -> Option<bool> {
        if !self.socket.state.accepts_traffic() {
            return Some(false);
        }
        if !self.exposure.is_reachable_from_outside() {
            return if self.is_forwarded_unseen() { None } else { Some(false) };
        }
        match self.reach().map(|reach| reach.kind) {
            None => Some(true),
            Some(ReachKind::Unknown) => None,
            Some(kind) => Some(kind.lets_in_other_machines()),
        }
    }

    /// Returns whether an unread rule probably forwards a port on an IPv4 loopback address. The rule may also apply to
    /// packets of other machines.
    pub(crate) fn is_forwarded_unseen(&self) -> bool {
        let owner = self.inferred_owner().map(|owner| owner.evidence);
        self.exposure == Exposure::Loopback
            && self.socket.local.address.is_ipv4()
            && matches!(owner, Some(OwnerEvidence::Forwards(_)))
    }

    /// Returns the probable owner of a hidden socket. No rule uses this owner, because it is added after the rules have
    /// judged the entry.
    pub(crate) fn inferred_owner(&self) -> Option<&InferredOwner> {
        self.judgement.as_ref()?.inferred_owner.as_deref()
    }

    pub(crate) fn set_inferred_owner(&mut self, owner: Arc<InferredOwner>) {
        self.judgement_mut().inferred_owner = Some(owner);
    }

    pub(crate) fn set_reach(&mut self, reach: Arc<Reach>) {
        self.judgement_mut().reach = Some(reach);
    }

    /// Returns the users of the listener, each once. These are the effective users of its processes or, if none is
    /// known, the creator of the socket.
    #[must_use]
    pub fn users(&self) -> Vec<RunningUser<'_>> {
        let of_processes = self
            .processes
            .iter()
            .map(|process| RunningUser { uid: process.uid, name: process.user.as_deref() })
            .filter(|user| *user != RunningUser::default());
        let mut users: Vec<RunningUser<'_>> = Vec::new();
        for user in of_processes {
            if !users.contains(&user) {
                users.push(user);
            }
        }
        if users.is_empty() {
            users.extend(self.creator());
        }
        users
    }

    /// Returns the user who created the socket. A server often creates its socket as root and then changes its user.
    #[must_use]
    pub fn creator(&self) -> Option<RunningUser<'_>> {
        let creator = RunningUser { uid: self.socket.uid, name: self.socket.user.as_deref() };
        (creator != RunningUser::default()).then_some(creator)
    }

    /// Returns the name of the container of the socket, or its ID if the name is not known.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        let group = self.socket.container.as_deref()?;
        let id = group.rsplit('/').next().unwrap_or(group);
        let details = self.container_details().filter(|details| details.id == id);
        Some(details.and_then(|details| details.name.as_deref()).unwrap_or(group))
    }

    /// Returns the data from the files of the container's manager, if a process of the entry has this data.
    #[must_use]
    pub fn container_details(&self) -> Option<&Container> {
        self.processes.iter().find_map(|process| process.container_details.as_deref())
    }

    /// Returns the second address of a row that merges an IPv4 and an IPv6 socket; `None` for any other entry.
    #[must_use]
    pub fn other_address(&self) -> Option<IpAddr> {
        self.judgement.as_ref()?.other_address
    }

    pub(crate) fn set_other_address(&mut self, address: IpAddr) {
        self.judgement_mut().other_address = Some(address);
    }

    /// Returns the highest severity of the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings().iter().map(|finding| finding.severity).max()
    }

    pub(crate) fn add_findings(&mut self, findings: impl IntoIterator<Item = Finding>) {
        let mut findings = findings.into_iter().peekable();
        if findings.peek().is_none() {
            return;
        }
        let all = &mut self.judgement_mut().findings;
        all.extend(findings);
        all.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.flag().cmp(&b.flag())));
        all.shrink_to_fit();
    }

    fn judgement_mut(&mut self) -> &mut Judgement {
        Arc::make_mut(self.judgement.get_or_insert_default())
    }

    /// Shares the findings and services of `other` if they are equal. This saves memory.
    pub(crate) fn share_judgement(&mut self, other: &Self) {
        if self.judgement == other.judgement {
            self.judgement.clone_from(&other.judgement);
        }
    }

    pub(crate) fn remove_command_lines(&mut self) {
        if self.judgement.is_some() {
            self.judgement_mut().findings.iter_mut().for_each(Finding::remove_command_line);
        }
    }

    pub(crate) fn set_usual(&mut self, usual: UsualProgram) {
        self.judgement_mut().usual = Some(usual);
    }

    pub(crate) fn set_service(&mut self, service: ListenerService) {
        self.judgement_mut().service = Some(service);
    }

    /// Returns the published ports that lead to the socket from another network namespace.
    #[must_use]
    pub fn published_as(&self) -> &[Endpoint] {
        self.judgement.as_ref().map(|judgement| &*judgement.published_as).unwrap_or_default()
    }

    pub(crate) fn set_published_as(&mut self, ports: Vec<Endpoint>) {
        self.judgement_mut().published_as = ports;
    }

    pub(crate) fn set_forwards_to(&mut self, to: ForwardTarget) {
        self.judgement_mut().forwards_to = Some(Box::new(to));
    }
}

fn order(one: &Socket, other: &Socket) -> Ordering {
    // Exposure, port and protocol decide most comparisons. They are packed into one number to save time.
    let key = |s: &Socket| {
        u32::from(s.exposure() as u8) << 24 | u32::from(s.local.port) << 8 | u32::from(s.local.protocol as u8)
    };
    fn rest(s: &Socket) -> impl Ord {
        (s.local.address, &s.local.device, &s.netns, s.peer, s.inode, s.cookie)
    }
    key(one).cmp(&key(other)).then_with(|| rest(one).cmp(&rest(other)))
}

/// Joins the sockets and processes of a snapshot, in the order of listings. The vector of sockets shrinks while the
/// sockets move into the entries. Otherwise a long listing would be in memory twice.
#[must_use]
pub fn join(
    mut sockets: Vec<Socket>,
    processes: Vec<Process>,
    snapshot: &Snapshot,
    registry: &Registry,
) -> Vec<Entry> {
    // The sockets are sorted in reverse, so that they can be taken from the end of the vector. This moves no other
    // socket.
    sockets.sort_unstable_by(|one, other| order(other, one));
    let mut connections = Connections::of(&sockets, snapshot);
    let processes: HashMap<Pid, Arc<Process>> =
        processes.into_iter().map(|process| (process.pid, Arc::new(process))).collect();
    let mut verdicts = Verdicts { registry: *registry, last: None, plain: Vec::new() };
    let mut owners = Owners { processes, lists: HashMap::new(), none: Arc::default() };
    let mut entries = Vec::with_capacity(sockets.len());
    while let Some(socket) = sockets.pop() {
        let at = sockets.len();
        entries.push(Entry {
            processes: owners.of(&socket),
            exposure: socket.exposure(),
            verdict: verdicts.of(&socket),
            direction: connections.directions.remove(&at),
            connections: connections.counts.remove(&at),
            socket,
            judgement: None,
        });
        if at.is_multiple_of(SHRINK_EVERY) {
            sockets.shrink_to_fit();
        }
    }
    entries
}

/// The vector is shrunk each time this many sockets have moved. A lower number costs time, and a higher number costs
/// memory.
const SHRINK_EVERY: usize = 4096;

/// Finds the processes of each socket. Sockets with equal lists of processes share one list.
struct Owners {
    processes: HashMap<Pid, Arc<Process>>,
    lists: HashMap<Arc<Vec<Pid>>, Arc<Vec<Arc<Process>>>>,
    none: Arc<Vec<Arc<Process>>>,
}

impl Owners {
    fn of(&mut self, socket: &Socket) -> Arc<Vec<Arc<Process>>> {
        let Owner::Held(pids) = &socket.owner else { return Arc::clone(&self.none) };
        let known = || Arc::new(pids.iter().filter_map(|pid| self.processes.get(pid).cloned()).collect());
        Arc::clone(self.lists.entry(Arc::clone(pids)).or_insert_with(known))
    }
}

/// The verdict of the last entry is stored, because entries on the same port follow each other. Ports without data
/// share one verdict.
struct Verdicts {
    registry: Registry,
    last: Option<(u16, Protocol, Arc<PortVerdict>)>,
    plain: Vec<Arc<PortVerdict>>,
}

impl Verdicts {
    fn of(&mut self, socket: &Socket) -> Arc<PortVerdict> {
        let (port, protocol) = (socket.local.port, socket.local.protocol.registered_as());
        if let Some((_, _, verdict)) = self.last.as_ref().filter(|(p, q, _)| (*p, *q) == (port, protocol)) {
            return Arc::clone(verdict);
        }
        let verdict = self.registry.verdict(port, protocol);
        let verdict = match self.plain.iter().find(|plain| ***plain == verdict) {
            Some(plain) => Arc::clone(plain),
            None => {
                let one = Arc::new(verdict);
                if one.assignments.is_empty() && one.known_use.is_empty() && one.remark.is_none() {
                    self.plain.push(Arc::clone(&one));
                }
                one
            }
        };
        self.last = Some((port, protocol, Arc::clone(&verdict)));
        verdict
    }
}

/// The subject of a condition or of a finding.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'r> {
    /// An entry.
    Entry(&'r Entry),
    /// An address without a visible listener. `None` in a field stands for any value.
    NoListener {
        /// Transport protocol.
        protocol: Option<Protocol>,
        /// Address.
        address: Option<IpAddr>,
        /// Port in host order.
        port: Option<u16>,
    },
}

impl Subject<'_> {
    /// Returns the protocol; `None` if the subject stands for any protocol.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Subject::Entry(judged) => Some(judged.socket.local.protocol),
            Subject::NoListener { protocol, .. } => *protocol,
        }
    }

    /// Returns the address; `None` if the subject stands for any address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Subject::Entry(judged) => Some(judged.socket.local.address),
            Subject::NoListener { address, .. } => *address,
        }
    }

    /// Returns the port; `None` if the subject stands for any port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Subject::Entry(judged) => Some(judged.socket.local.port),
            Subject::NoListener { port, .. } => *port,
        }
    }
}
