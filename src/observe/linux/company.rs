//! Which holders share a port with others: whether they belong together takes more than the program they run.
//!
//! It errs on the side of reading one too many; who shares a port with whom is judged elsewhere.

use std::collections::{HashMap, HashSet};

use super::sockets::Found;
use crate::model::{Pid, Socket, unmapped};

/// In a port with more sockets than this they are not compared with each other: all of their holders are read.
const CROWD: usize = 64;

/// The holders of sockets that have several, and those of sockets that share an address with another, or lie within
/// another's, whose holders are not the same.
pub(super) fn of(found: &[Found]) -> HashSet<Pid> {
    let mut company = HashSet::new();
    let mut ports: HashMap<_, Vec<&Socket>> = HashMap::new();
    for Found { socket, .. } in found {
        let pids = socket.owner.pids();
        if !socket.state.holds_port() || pids.is_empty() {
            continue;
        }
        if pids.len() > 1 {
            company.extend(pids);
        }
        ports.entry(socket.port_key()).or_default().push(socket);
    }
    for sockets in ports.into_values().filter(|sockets| sockets.len() > 1) {
        for (at, one) in sockets.iter().enumerate() {
            let others = || sockets.iter().skip(at + 1);
            let meets = |other: &Socket| {
                let place = |socket: &Socket| (unmapped(socket.local.address), socket.local.device.clone());
                one.owner != other.owner
                    && (place(one) == place(other) || one.narrows(other) || other.narrows(one))
            };
            if sockets.len() > CROWD {
                company.extend(one.owner.pids());
            } else {
                for other in others().filter(|other| meets(other)) {
                    company.extend(one.owner.pids().iter().chain(other.owner.pids()));
                }
            }
        }
    }
    company
}
