//! Finds the listeners to which relays, such as socat and docker-proxy, pass connections. These listeners are on this
//! machine or in its containers.

use std::collections::{BTreeSet, HashMap};

use super::program_identity::{IdentifiedProcess, Identities, program_name};
use super::published::{self, LocalListeners};
use crate::join::Entry;
use crate::model::{Endpoint, Peer, Pid, Process, Snapshot};
use crate::registry::command_line::CommandLine;
use crate::registry::relays::{self, RelayDestination};

/// The maximum number of relays in a row between a client and the service.
pub const MOST_RELAYS: usize = 8;

/// A service that clients of a listener reach through a relay. The service is on this machine or in a container.
pub(super) struct RelayedService {
    /// The relay that accepts the connections of clients.
    pub(super) relay: Pid,
    pub(super) to: Peer,
    pub(super) service: Entry,
    /// Whether the command line of a relay on the way restricts the clients.
    pub(super) is_restricted: bool,
}

/// Returns the ports to which the relays in a snapshot pass connections.
#[must_use]
pub fn relay_targets(snapshot: &Snapshot) -> BTreeSet<u16> {
    let processes: HashMap<Pid, &Process> = snapshot.processes.iter().map(|one| (one.pid, one)).collect();
    let listeners = snapshot.sockets.iter().filter(|socket| socket.state.accepts_traffic());
    let owners =
        listeners.flat_map(|socket| socket.owner.pids().iter().map(move |pid| (pid, socket.local.port)));
    let targets = owners.filter_map(|(pid, port)| {
        let process = processes.get(pid)?;
        let command = CommandLine::new(program_name(process)?, &process.cmdline);
        Some(relays::destination(&command, port)?.port)
    });
    targets.collect()
}

/// Returns the service behind each relay, by the index of the relay's entry. `behind` contains the listeners behind
/// published ports.
pub(super) fn services_behind_relays(
    entries: &[Entry],
    behind: &HashMap<published::Key, Entry>,
    snapshot: &Snapshot,
    identities: &mut Identities,
) -> HashMap<usize, RelayedService> {
    let mut is_relay: HashMap<Pid, bool> = HashMap::new();
    let mut local = None;
    let mut found = HashMap::new();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.socket.state.accepts_traffic()) {
        let first = behind.get(&published::key(entry)).unwrap_or(entry);
        // One process may own thousands of sockets, so each process is looked up once.
        let has_relay = first.processes.iter().any(|process| {
            *is_relay.entry(process.pid).or_insert_with(|| {
                Peer::behind_docker_proxy(process).is_some()
                    || identities.identify(process).command_line().is_some_and(relays::is_relay)
            })
        });
        if !has_relay {
            continue;
        }
        let local = local.get_or_insert_with(|| LocalListeners::new(entries, snapshot));
        if let Some(service) = follow(first, local, identities) {
            found.insert(at, service);
        }
    }
    found
}

/// Follows the relays from `first` to the service. `None` if the connections leave this machine, or if nothing listens
/// at the destination.
fn follow(first: &Entry, local: &LocalListeners<'_>, identities: &mut Identities) -> Option<RelayedService> {
    let mut at = first;
    let mut found: Option<RelayedService> = None;
    for _ in 0..MOST_RELAYS {
        let Some((pid, destination)) = destination(&identities.processes(at), &at.socket.local) else {
            return found;
        };
        let netns = at.socket.netns.as_ref();
        let RelayDestination { addresses, port, protocol, is_restricted } = destination;
        let mut peers = addresses.into_iter().map(|address| Peer { address, port });
        let (to, service) = peers.find_map(|to| Some((to, local.receiving(protocol, netns, to)?)))?;
        found = Some(RelayedService {
            relay: found.as_ref().map_or(pid, |first| first.relay),
            to,
            service: service.clone(),
            is_restricted: is_restricted || found.as_ref().is_some_and(|first| first.is_restricted),
        });
        at = service;
    }
    // The relays form a circle, or there are too many relays.
    None
}

fn destination(processes: &[IdentifiedProcess<'_>], local: &Endpoint) -> Option<(Pid, RelayDestination)> {
    let of_process = |process: &IdentifiedProcess<'_>| match Peer::behind_docker_proxy(process.process) {
        Some(Peer { address, port }) => Some(RelayDestination {
            addresses: vec![address],
            port,
            protocol: local.protocol,
            is_restricted: false,
        }),
        None => relays::destination(process.command_line()?, local.port),
    };
    processes.iter().find_map(|process| Some((process.process.pid, of_process(process)?)))
}
