//! Finds the listeners to which relays, such as socat, HAProxy and docker-proxy, pass connections. These listeners are
//! on this machine or in its containers.

use std::collections::{BTreeSet, HashMap};

use super::program_identity::{IdentifiedProcess, Identities, program_name};
use super::published::{self, LocalListeners};
use crate::join::Entry;
use crate::model::{
    Endpoint, Peer, Pid, Process, RelayRestriction, RelayRoute, RestrictedBy, Snapshot, SocketCommand,
    file_name,
};
use crate::registry::command_line::CommandLine;
use crate::registry::relays::{self, RelayDestination, has_unknown_destination};

/// The maximum number of relays in a row between a client and the service.
pub const MOST_RELAYS: usize = 8;

/// A service that clients of a listener reach through a relay. The service is on this machine or in a container.
pub(super) struct RelayedService {
    /// The relay that accepts the connections of clients.
    pub(super) relay: Pid,
    pub(super) to: Peer,
    pub(super) service: Entry,
    /// The strongest restriction of the clients on the way, and the relay that demands it.
    pub(super) restriction: Option<(Pid, RelayRestriction)>,
}

/// Returns the ports to which the relays in a snapshot pass connections.
#[must_use]
pub fn relay_targets(snapshot: &Snapshot) -> BTreeSet<u16> {
    let processes: HashMap<Pid, &Process> = snapshot.processes.iter().map(|one| (one.pid, one)).collect();
    let listeners = snapshot.sockets.iter().filter(|socket| socket.state.accepts_traffic());
    let owners = listeners.flat_map(|socket| socket.owner.pids().iter().map(move |pid| (pid, &socket.local)));
    let targets = owners.flat_map(|(pid, local)| {
        let process = processes.get(pid);
        let command = process.and_then(|one| Some(CommandLine::new(program_name(one)?, &one.cmdline)));
        let found = process.map(|process| destinations(process, command.as_ref(), local));
        found.into_iter().flatten().map(|destination| destination.port)
    });
    targets.collect()
}

/// Returns the services behind each relay, by the index of the relay's entry. `behind` contains the listeners behind
/// published ports.
pub(super) fn services_behind_relays(
    entries: &[Entry],
    behind: &HashMap<published::Key, Entry>,
    snapshot: &Snapshot,
    identities: &mut Identities,
) -> HashMap<usize, Vec<RelayedService>> {
    let mut is_relay: HashMap<Pid, bool> = HashMap::new();
    let mut local = None;
    let mut found = HashMap::new();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.socket.state.accepts_traffic()) {
        let first = behind.get(&published::key(entry)).unwrap_or(entry);
        // One process may own thousands of sockets, so each process is looked up once.
        let has_relay = first.processes.iter().any(|process| {
            *is_relay.entry(process.pid).or_insert_with(|| {
                Peer::behind_docker_proxy(process).is_some()
                    || process.relay_routes.is_some()
                    || !process.socket_commands.is_empty()
                    || identities.identify(process).command_line().is_some_and(relays::is_relay)
            })
        });
        if !has_relay {
            continue;
        }
        let local = local.get_or_insert_with(|| LocalListeners::new(entries, snapshot));
        let services = follow(first, local, identities);
        if !services.is_empty() {
            found.insert(at, services);
        }
    }
    found
}

/// The maximum number of services behind one listener. The rest is not judged.
const MOST_SERVICES: usize = 64;

/// Follows the relays from `first` to the services that the connections reach on this machine.
fn follow(first: &Entry, local: &LocalListeners<'_>, identities: &mut Identities) -> Vec<RelayedService> {
    let mut services: Vec<RelayedService> = Vec::new();
    // The listeners that are still to be followed, each with the service that was found there and the number of relays
    // before it.
    let mut open = vec![(first, None::<RelayedService>, 0)];
    while let Some((at, found, depth)) = open.pop() {
        let destinations: Vec<_> = if depth < MOST_RELAYS {
            let mut processes = identities.processes(at);
            // A relay that already runs comes before systemd and inetd, because it names its destination itself.
            processes.sort_by_key(|process| !process.process.socket_commands.is_empty());
            let of_process = |process: &IdentifiedProcess<'_>| {
                let pid = process.process.pid;
                let found = destinations(process.process, process.command_line(), &at.socket.local);
                let is_replaceable = process.is_replaceable();
                found.into_iter().map(move |mut destination| {
                    let counts = |one: &RelayRestriction| {
                        // If a user can replace the program, its arguments prove no restriction. Behind another relay,
                        // a restriction to addresses does not count, because this relay sees only addresses of this
                        // machine.
                        !is_replaceable && (depth == 0 || one.by > RestrictedBy::Addresses)
                    };
                    destination.restriction = destination.restriction.filter(counts);
                    (pid, destination)
                })
            };
            processes.iter().flat_map(of_process).collect()
        } else {
            // The relays form a circle, or there are more than `MOST_RELAYS` in a row.
            continue;
        };
        if destinations.is_empty() {
            services.extend(found);
            continue;
        }
        for (pid, RelayDestination { addresses, port, protocol, restriction }) in destinations {
            let netns = at.socket.netns.as_ref();
            let mut peers = addresses.into_iter().map(|address| Peer { address, port });
            let Some((to, service)) = peers.find_map(|to| Some((to, local.receiving(protocol, netns, to)?)))
            else {
                continue;
            };
            let relay = found.as_ref().map_or(pid, |first| first.relay);
            let before = found.as_ref().and_then(|found| found.restriction.clone());
            let here = restriction.map(|restriction| (pid, restriction));
            // If both are equal, `max_by_key` returns the last one, which is the restriction of an earlier relay.
            let restriction = here.into_iter().chain(before).max_by_key(|(_, restriction)| restriction.by);
            let service_entry = service.clone();
            if open.len() + services.len() < MOST_SERVICES {
                open.push((
                    service,
                    Some(RelayedService { relay, to, service: service_entry, restriction }),
                    depth + 1,
                ));
            }
        }
    }
    services
}

/// Returns the destinations of the connections that a process accepts at `local`, from its command line or its
/// configuration.
fn destinations(
    process: &Process,
    command: Option<&CommandLine<'_>>,
    local: &Endpoint,
) -> Vec<RelayDestination> {
    if let Some(Peer { address, port }) = Peer::behind_docker_proxy(process) {
        let protocol = local.protocol;
        return vec![RelayDestination { addresses: vec![address], port, protocol, restriction: None }];
    }
    if let Some(destination) = command.and_then(|command| relays::destination(command, local.port)) {
        return vec![destination];
    }
    let started = process.socket_commands.iter().filter(|started| started.is_for(local));
    let destination = |command: CommandLine<'_>| relays::destination(&command, local.port);
    let of_started = started.filter_map(|started| started_command(started).and_then(destination));
    let routes = process.relay_routes.iter().flatten().filter(|route| route.is_for(local));
    let of_route = |route: &RelayRoute| {
        let (protocol, restriction) = (route.protocol, route.restriction.clone());
        let to = route.to.clone().into_iter();
        to.map(move |to| RelayDestination {
            addresses: vec![to.ip()],
            port: to.port(),
            protocol,
            restriction: restriction.clone(),
        })
    };
    of_started.chain(routes.flat_map(of_route)).collect()
}

fn started_command(started: &SocketCommand) -> Option<CommandLine<'_>> {
    Some(CommandLine::new(file_name(started.cmdline.first()?), &started.cmdline))
}

/// Returns whether systemd or inetd starts an unknown program for the connections of a listener. A program that was
/// already started and has the socket too is known.
pub(super) fn starts_unknown(process: &Process, entry: &Entry) -> bool {
    let is_unknown = |one: &SocketCommand| one.is_for(&entry.socket.local) && one.cmdline.is_empty();
    let is_started = || entry.processes.iter().any(|process| process.socket_commands.is_empty());
    process.socket_commands.iter().any(is_unknown) && !is_started()
}

/// Returns whether a relay passes the connections that it accepts at `local` to a destination that is not known.
pub(super) fn has_unknown(process: &Process, local: &Endpoint) -> bool {
    let mut started = process.socket_commands.iter().filter(|started| started.is_for(local));
    if started.any(|one| started_command(one).is_some_and(|one| has_unknown_destination(&one, local.port))) {
        return true;
    }
    match &process.relay_routes {
        Some(routes) => {
            let mut here = routes.iter().filter(|route| route.is_for(local)).peekable();
            let is_started = || process.socket_commands.iter().any(|started| started.is_for(local));
            (here.peek().is_none() && !is_started()) || here.any(|route| !route.is_complete)
        }
        None => {
            let command = program_name(process).map(|name| CommandLine::new(name, &process.cmdline));
            command.is_some_and(|command| has_unknown_destination(&command, local.port))
        }
    }
}
