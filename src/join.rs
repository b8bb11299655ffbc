//! Joins a socket with the processes that hold it, the registry's verdict on its port, and who can reach it.
//!
//! Nothing is dropped here: a socket whose owner is not known is a listener like any other. Nothing is
//! judged here either; that is the next room.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::model::{Exposure, Observation, Pid, Process, Socket, Verdict};
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
        })
        .collect();
    listeners.sort_by(Listener::order);
    listeners
}
