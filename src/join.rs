//! Joins a socket with the processes that hold it, the registry's verdict on its port, and who can reach it.
//!
//! Nothing is dropped here: a socket whose owner is not known is a listener like any other. Nothing is
//! judged here either; that is the next room.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Direction, Exposure, Pid, Process, Protocol, Snapshot, Socket, Verdict, unmapped};
use crate::registry::Registry;

/// A socket and all that is known of it. There may be a hundred thousand: what they have in common they share.
#[derive(Clone, Debug)]
pub struct Listener<'o> {
    /// What the kernel said.
    pub socket: &'o Socket,
    /// The holders, in rising order of pid. A holder whose process could not be read is not among them;
    /// [`crate::model::Owner::pids`] names it all the same.
    pub processes: Arc<Vec<&'o Process>>,
    /// Who can reach it.
    pub exposure: Exposure,
    /// What the registry says of its port.
    pub verdict: Arc<Verdict>,
    /// Of a connection: who asked, as far as what listens here tells.
    pub direction: Option<Direction>,
    /// Of a listener: how many connections it has now; `None` where connections were not asked for.
    pub connections: Option<u32>,
}

impl Listener<'_> {
    /// Worst exposure first, then by port, protocol, address and device, so that a listing is the same
    /// for the same sockets however the kernel ordered them.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        order(self.socket, other.socket)
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
    Exposure::of(socket.local.address, socket.local.device.as_deref())
}

/// Joins every socket of an observation, in the order of listings, one at a time.
pub fn join<'o>(
    observation: &'o Snapshot,
    registry: &Registry,
) -> impl ExactSizeIterator<Item = Listener<'o>> {
    let mut sockets: Vec<&Socket> = observation.sockets.iter().collect();
    sockets.sort_unstable_by(|one, other| order(one, other));
    let mut takers = Takers::of(&sockets);
    let processes: HashMap<Pid, &Process> = observation.processes.iter().map(|p| (p.pid, p)).collect();
    let mut verdicts = Verdicts { registry: *registry, last: None, plain: Vec::new() };
    let mut holders: HashMap<&[Pid], Arc<Vec<&Process>>> = HashMap::new();
    sockets.into_iter().map(move |socket| {
        let pids = socket.owner.pids();
        let known = || Arc::new(pids.iter().filter_map(|pid| processes.get(pid).copied()).collect());
        Listener {
            socket,
            processes: Arc::clone(holders.entry(pids).or_insert_with(known)),
            exposure: exposure(socket),
            verdict: verdicts.of(socket),
            direction: takers.direction(socket),
            connections: takers.connections(socket),
        }
    })
}

/// Verdicts as they are asked for in the order of listings: the same port comes in a row, and ports of which nothing
/// is known share what is said of them.
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

/// Where a connection could have been taken: namespace, protocol and port.
type Place = (Option<u64>, Protocol, u16);

fn place(socket: &Socket) -> Place {
    (socket.netns.as_ref().map(|n| n.inode), socket.local.protocol, socket.local.port)
}

/// The listeners beside connections, and how many each of them has taken; nothing where there are no connections.
struct Takers<'o> {
    at: HashMap<Place, Vec<(&'o Socket, u32)>>,
}

impl<'o> Takers<'o> {
    fn of(sockets: &[&'o Socket]) -> Self {
        let mut takers = Takers { at: HashMap::new() };
        if sockets.iter().all(|socket| socket.peer.is_none()) {
            return takers;
        }
        for socket in sockets.iter().filter(|socket| socket.state.holds_port()) {
            takers.at.entry(place(socket)).or_default().push((socket, 0));
        }
        for socket in sockets.iter().filter(|socket| socket.peer.is_some()) {
            if let Some((_, count)) = takers.taker(socket) {
                *count += 1;
            }
        }
        takers
    }

    /// The listener that took a connection. Where several could have, the one that shares a holder with it has, else
    /// the most specific.
    fn taker(&mut self, socket: &Socket) -> Option<&mut (&'o Socket, u32)> {
        let could = |(listener, _): &&mut (&Socket, u32)| {
            let bound = listener.local.address;
            bound.is_unspecified() || unmapped(bound) == unmapped(socket.local.address)
        };
        let likely = |(listener, _): &&mut (&Socket, u32)| {
            let shared = listener.owner.pids().iter().any(|pid| socket.owner.pids().contains(pid));
            (shared, !listener.local.address.is_unspecified())
        };
        self.at.get_mut(&place(socket))?.iter_mut().filter(could).max_by_key(likely)
    }

    /// From which side a connection was made.
    fn direction(&mut self, socket: &Socket) -> Option<Direction> {
        socket.peer?;
        Some(if self.taker(socket).is_some() { Direction::In } else { Direction::Out })
    }

    /// How many connections a listener has.
    fn connections(&self, socket: &Socket) -> Option<u32> {
        let at = self.at.get(&place(socket)).filter(|_| socket.state.holds_port())?;
        at.iter().find(|(listener, _)| std::ptr::eq(*listener, socket)).map(|(_, count)| *count)
    }
}
