//! Selects the processes that share a port with other processes. These processes are read in full.
//!
//! The selection may include too many processes, but never misses one.

use std::collections::{HashMap, HashSet};

use super::sockets::FoundSocket;
use crate::model::{Pid, Socket, unmapped};

/// If a port has more sockets than this, the processes of all its sockets are selected without a comparison.
const CROWD: usize = 64;

/// Returns the processes that share a socket with another process. Also returns the processes of different sockets on
/// one port, if the addresses of the sockets are equal or overlap.
pub(super) fn processes_sharing_ports(found: &[FoundSocket]) -> HashSet<Pid> {
    let mut sharing = HashSet::new();
    let mut ports: HashMap<_, Vec<&Socket>> = HashMap::new();
    for FoundSocket { socket, .. } in found {
        let pids = socket.owner.pids();
        if !socket.state.holds_port() || pids.is_empty() {
            continue;
        }
        if pids.len() > 1 {
            sharing.extend(pids);
        }
        ports.entry(socket.port_key()).or_default().push(socket);
    }
    for sockets in ports.into_values().filter(|sockets| sockets.len() > 1) {
        for (at, one) in sockets.iter().enumerate() {
            let others = || sockets.iter().skip(at + 1);
            let meets = |other: &Socket| {
                let place = |socket: &Socket| (unmapped(socket.local.address), socket.local.device.clone());
                one.owner != other.owner
                    && (place(one) == place(other)
                        || one.takes_traffic_from(other)
                        || other.takes_traffic_from(one))
            };
            if sockets.len() > CROWD {
                sharing.extend(one.owner.pids());
            } else {
                for other in others().filter(|other| meets(other)) {
                    sharing.extend(one.owner.pids().iter().chain(other.owner.pids()));
                }
            }
        }
    }
    sharing
}
