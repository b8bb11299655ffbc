//! Resolves the users, units and containers of sockets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::sockets::FoundSocket;
use super::{cgroup, users};
use crate::model::{Pid, Process, SocketAttributes};

/// Looks up the user names of sockets, and the paths, units and containers of their control groups.
pub(super) fn resolve_users_and_cgroups(found: &mut [FoundSocket], users: &mut users::Users) {
    let wanted: HashSet<u64> = found.iter().filter_map(|f| f.cgroup).map(u64::from).collect();
    let paths = if wanted.is_empty() { HashMap::new() } else { cgroup::paths(&wanted) };
    let mut named = HashMap::new();
    for FoundSocket { socket, cgroup } in found {
        let attributes = named.entry((Arc::clone(&socket.attributes), *cgroup)).or_insert_with(|| {
            let path = cgroup.and_then(|id| paths.get(&id.get()));
            Arc::new(SocketAttributes {
                user: socket.uid.and_then(|uid| users.name(uid)),
                unit: path.and_then(|path| cgroup::unit(path)),
                container: path.and_then(|path| cgroup::container(path)),
                cgroup: path.cloned(),
                ..(*socket.attributes).clone()
            })
        });
        socket.attributes = Arc::clone(attributes);
    }
}

/// If the control group of a socket is not known (cgroup v1), adds the unit and the container of a process that owns
/// the socket. Process 1 is left out, because it opens sockets for other services.
pub(super) fn resolve_missing_users_and_cgroups(found: &mut [FoundSocket], processes: &[Process]) {
    let by_pid: HashMap<Pid, &Process> = processes.iter().map(|p| (p.pid, p)).collect();
    let mut shared: HashSet<Arc<SocketAttributes>> = HashSet::new();
    for f in found.iter_mut().filter(|f| f.socket.cgroup.is_none()) {
        let owners: Vec<&&Process> = {
            let others = f.socket.owner.pids().iter().filter(|pid| **pid != 1);
            others.filter_map(|pid| by_pid.get(pid)).collect()
        };
        let unit = owners.iter().find_map(|owner| owner.unit.clone());
        let container = owners.iter().find_map(|owner| owner.container.clone());
        if unit.is_some() || container.is_some() {
            let attributes = SocketAttributes { unit, container, ..(*f.socket.attributes).clone() };
            let attributes = shared.get(&attributes).cloned().unwrap_or_else(|| Arc::new(attributes));
            shared.insert(Arc::clone(&attributes));
            f.socket.attributes = attributes;
        }
    }
}
