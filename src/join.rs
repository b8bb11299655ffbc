//! Joins a socket with the processes that hold it, the registry's verdict on its port, and who can reach it.
//!
//! Nothing is dropped here: a socket whose owner is not known is a listener like any other. Nothing is
//! judged here either; that is the next room.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::model::unmapped;
use crate::model::{Direction, Exposure, Observation, Pid, Process, Socket, Verdict};
use crate::registry::Registry;

/// A socket and all that is known of it.
#[derive(Clone, Debug)]
pub struct Listener<'o> {
    /// What the kernel said.
    pub socket: &'o Socket,
    /// The holders, in rising order of pid. A holder whose process could not be read is not among them;
    /// [`crate::model::Owner::pids`] names it all the same.
    pub processes: Vec<&'o Process>,
    /// Who can reach it.
    pub exposure: Exposure,
    /// What the registry says of its port.
    pub verdict: Verdict,
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
        let key = |l: &Self| {
            let local = &l.socket.local;
            (l.exposure, local.port, local.protocol, local.address)
        };
        key(self).cmp(&key(other)).then_with(|| {
            let rest = |l: &Self| {
                (l.socket.local.device.clone(), l.socket.netns.clone(), l.socket.peer, l.socket.inode)
            };
            rest(self).cmp(&rest(other))
        })
    }
}

/// Joins every socket of an observation, in the order of listings.
#[must_use]
pub fn join<'o>(observation: &'o Observation, registry: &Registry) -> Vec<Listener<'o>> {
    let processes: HashMap<Pid, &Process> = observation.processes.iter().map(|p| (p.pid, p)).collect();
    let mut listeners: Vec<Listener<'o>> = observation
        .sockets
        .iter()
        .map(|socket| Listener {
            socket,
            processes: socket.owner.pids().iter().filter_map(|pid| processes.get(pid).copied()).collect(),
            exposure: Exposure::of(socket.local.address, socket.local.device.as_deref()),
            verdict: registry.verdict(socket.local.port, socket.local.protocol),
            direction: None,
            connections: None,
        })
        .collect();
    listeners.sort_by(Listener::order);
    connect(&mut listeners);
    listeners
}

/// Tells every connection from which side it was made, and every listener how many it has. Where several
/// listeners could have taken a connection, the one that shares a holder with it has, else the most specific.
fn connect(listeners: &mut [Listener<'_>]) {
    if listeners.iter().all(|listener| listener.socket.peer.is_none()) {
        return;
    }
    let place =
        |socket: &Socket| (socket.netns.as_ref().map(|n| n.inode), socket.local.protocol, socket.local.port);
    let mut at: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, listener) in listeners.iter_mut().enumerate() {
        if listener.socket.state.holds_port() {
            listener.connections = Some(0);
            at.entry(place(listener.socket)).or_default().push(index);
        }
    }
    for index in 0..listeners.len() {
        let socket = listeners[index].socket;
        if socket.peer.is_none() {
            continue;
        }
        let could = |candidate: &&usize| {
            let bound = listeners[**candidate].socket.local.address;
            bound.is_unspecified() || unmapped(bound) == unmapped(socket.local.address)
        };
        let likely = |candidate: &&usize| {
            let listener = listeners[**candidate].socket;
            let shared = listener.owner.pids().iter().any(|pid| socket.owner.pids().contains(pid));
            (shared, !listener.local.address.is_unspecified())
        };
        let taker = at.get(&place(socket)).into_iter().flatten().filter(could).max_by_key(likely).copied();
        listeners[index].direction = Some(if taker.is_some() { Direction::In } else { Direction::Out });
        if let Some(taker) = taker
            && let Some(count) = &mut listeners[taker].connections
        {
            *count += 1;
        }
    }
}
