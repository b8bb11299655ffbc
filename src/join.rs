//! Joins each socket with its processes, the registry's verdict on its port, and who can reach it.
//!
//! An [`Entry`] is the one row type of the program: every list, format, filter and rule reads it. Joining drops no
//! socket: one whose owner is not known is an entry like any other. Joining judges nothing; `judge` adds the findings.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::findings::Finding;
use crate::model::{
    Direction, Exposure, Owner, Pid, Process, Protocol, Severity, Socket, Usual, Verdict, unmapped,
};
use crate::registry::Registry;

/// A socket and everything known about it. A listing may hold 100,000, so large fields are shared or boxed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The socket as the kernel reported it.
    pub socket: Socket,
    /// Its processes, in rising order of pid. A process that could not be read is missing here;
    /// [`crate::model::Owner::pids`] has its pid.
    pub processes: Arc<Vec<Arc<Process>>>,
    /// Who can reach it.
    pub exposure: Exposure,
    /// The registry's verdict on its port.
    pub verdict: Arc<Verdict>,
    /// For a connection: which side opened it, judged by what listens here.
    pub direction: Option<Direction>,
    /// For a listener: how many connections it has now; `None` if connections were not asked for.
    pub connections: Option<u32>,
    judgement: Option<Box<Judgement>>,
}

/// The part that `judge` adds to an entry. Most entries of a long listing are connections, which have no judgement.
#[derive(Clone, Debug, Default)]
struct Judgement {
    findings: Vec<Finding>,
    usual: Option<Usual>,
}

impl Entry {
    /// Compares two entries by the order of listings: most exposed first, then by port, protocol, address and device.
    /// The order of the kernel's report does not matter.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        order(&self.socket, &other.socket)
    }

    /// Returns the findings, most severe first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.judgement.as_ref().map_or(&[], |judgement| &judgement.findings)
    }

    /// Returns the program that belongs on the port, if that program runs there.
    #[must_use]
    pub fn usual(&self) -> Option<&Usual> {
        self.judgement.as_ref()?.usual.as_ref()
    }

    /// Returns the highest severity of the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings().iter().map(|finding| finding.severity).max()
    }

    /// Adds findings and sorts them.
    pub(crate) fn add_findings(&mut self, findings: impl IntoIterator<Item = Finding>) {
        let mut findings = findings.into_iter().peekable();
        if findings.peek().is_none() {
            return;
        }
        let all = &mut self.judgement.get_or_insert_default().findings;
        all.extend(findings);
        all.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.flag().cmp(&b.flag())));
        all.shrink_to_fit();
    }

    pub(crate) fn set_usual(&mut self, usual: Usual) {
        self.judgement.get_or_insert_default().usual = Some(usual);
    }
}

fn order(one: &Socket, other: &Socket) -> Ordering {
    let key = |s: &Socket| (exposure(s), s.local.port, s.local.protocol, s.local.address);
    fn rest(s: &Socket) -> impl Ord {
        (&s.local.device, &s.netns, s.peer, s.inode, s.cookie)
    }
    key(one).cmp(&key(other)).then_with(|| rest(one).cmp(&rest(other)))
}

fn exposure(socket: &Socket) -> Exposure {
    socket.exposure()
}

/// Joins sockets and processes, in the order of listings. The sockets move into the entries and the vector of sockets
/// shrinks on the way, so that memory never holds a long listing twice.
#[must_use]
pub fn join(mut sockets: Vec<Socket>, processes: Vec<Process>, registry: &Registry) -> Vec<Entry> {
    // The sockets are sorted backwards, because a vector gives up its last element without moving the others.
    sockets.sort_unstable_by(|one, other| order(other, one));
    let mut listeners = ListenerIndex::of(&sockets);
    let processes: HashMap<Pid, Arc<Process>> =
        processes.into_iter().map(|process| (process.pid, Arc::new(process))).collect();
    let mut verdicts = Verdicts { registry: *registry, last: None, plain: Vec::new() };
    let mut owners = Owners { processes, lists: HashMap::new(), none: Arc::default() };
    let mut entries = Vec::with_capacity(sockets.len());
    while let Some(socket) = sockets.pop() {
        let at = sockets.len();
        entries.push(Entry {
            processes: owners.of(&socket),
            exposure: exposure(&socket),
            verdict: verdicts.of(&socket),
            direction: listeners.direction(&socket),
            connections: listeners.connections(&socket, at),
            socket,
            judgement: None,
        });
        if at.is_multiple_of(SHRINK_EVERY) {
            sockets.shrink_to_fit();
        }
    }
    entries
}

/// The vector of sockets shrinks each time this many have moved: often enough to save memory, and rarely enough to cost
/// no time.
const SHRINK_EVERY: usize = 4096;

/// Finds the processes of each socket. Sockets of the same processes share the list.
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

/// Asks the registry once per port: entries of one port follow each other, and ports without any data share a verdict.
struct Verdicts {
    registry: Registry,
    last: Option<(u16, Protocol, Arc<Verdict>)>,
    plain: Vec<Arc<Verdict>>,
}

impl Verdicts {
    fn of(&mut self, socket: &Socket) -> Arc<Verdict> {
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

/// The place at which a connection can have been accepted: namespace, protocol and port.
type Place = (Option<u64>, Protocol, u16);

/// A listener that can have accepted connections.
struct Listener {
    /// Its index in the list of sockets.
    at: usize,
    address: IpAddr,
    owner: Owner,
    connections: u32,
}

/// Finds the listener that accepted each connection. It is empty if there are no connections.
#[derive(Default)]
struct ListenerIndex {
    at: HashMap<Place, Vec<Listener>>,
}

impl ListenerIndex {
    fn of(sockets: &[Socket]) -> Self {
        let mut index = ListenerIndex::default();
        if sockets.iter().all(|socket| socket.peer.is_none()) {
            return index;
        }
        // The sockets are sorted backwards, so that `rev` gives the order of listings.
        for (at, socket) in sockets.iter().enumerate().rev().filter(|(_, socket)| socket.state.holds_port()) {
            index.at.entry(socket.port_key()).or_default().push(Listener {
                at,
                address: socket.local.address,
                owner: socket.owner.clone(),
                connections: 0,
            });
        }
        for socket in sockets.iter().filter(|socket| socket.peer.is_some()) {
            if let Some(listener) = index.listener(socket) {
                listener.connections += 1;
            }
        }
        index
    }

    /// Returns the listener that accepted a connection. If several listeners match, it is the one that shares a process
    /// with the connection, else the one with the most specific address.
    fn listener(&mut self, connection: &Socket) -> Option<&mut Listener> {
        self.at
            .get_mut(&connection.port_key())?
            .iter_mut()
            .filter(|listener| {
                listener.address.is_unspecified()
                    || unmapped(listener.address) == unmapped(connection.local.address)
            })
            .max_by_key(|listener| {
                let pids = connection.owner.pids();
                let shared = listener.owner.pids().iter().any(|pid| pids.contains(pid));
                (shared, !listener.address.is_unspecified())
            })
    }

    /// Returns which side opened a connection; `None` for a socket without a peer.
    fn direction(&mut self, socket: &Socket) -> Option<Direction> {
        socket.peer?;
        Some(if self.listener(socket).is_some() { Direction::In } else { Direction::Out })
    }

    /// Returns how many connections the listener at this index has.
    fn connections(&self, socket: &Socket, at: usize) -> Option<u32> {
        let listeners = self.at.get(&socket.port_key()).filter(|_| socket.state.holds_port())?;
        listeners.iter().find(|listener| listener.at == at).map(|listener| listener.connections)
    }
}
