//! Finds listeners on one port that are *shared* or *shadowed*. Only processes with a readable user and file are
//! compared. Other processes have no finding.
//!
//! **Shared**: several processes own the sockets on one address. They use one socket, or several sockets with
//! `SO_REUSEPORT`. They differ in user, in file, or in the script of an interpreter.
//!
//! These processes belong together, so they have no finding:
//! - a program that opens sockets for other programs (systemd, inetd), and these programs
//! - a process and its descendants that run the same file, even as another user: a server may drop its privileges
//! - a process and its descendants from one software suite. Their files are in one directory that is not a common
//!   directory (`/usr/lib/postfix/sbin`), or the file of the descendant is below a directory with the name of the
//!   ancestor (`/usr/lib/dovecot/imap-login`)
//! - a process and its descendants, if both are known servers of this port
//! - datagram sockets on the ports of certain protocols, such as mDNS, for which each program has its own socket
//!
//! **Shadowed**: one socket receives part of the traffic of another ([`Socket::takes_traffic_from`]), and the processes
//! of the two sockets are unrelated. Processes are unrelated if no process owns both sockets, and if no two of them
//! belong together in one of the ways above. Two instances of one program and user are also related if their parent is
//! the same process and has their name. Both sockets have the finding.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::program_identity::{IdentifiedProcess, Identities, RunAs, is_worker_of, opens_sockets_for_others};
use crate::findings::socket::{Shadowed, Shared};
use crate::findings::{Difference, Evidence, OtherSocket, ProcessGroup, Processes};
use crate::join::Entry;
use crate::model::{Parent, Pid, Process, RunTarget, Socket, unmapped};

/// The maximum number of groups of processes, and of listeners, in the evidence. The others are only counted.
const FEW: usize = 8;

/// Datagram ports on which every program has its own socket and gets a copy of the multicast traffic. These are SLP
/// (RFC 2608), SSDP (UPnP device architecture 1.1), WS-Discovery 1.1, mDNS (RFC 6762, section 15.1) and LLMNR (RFC
/// 4795).
const DISCOVERY_PORTS: [u16; 5] = [427, 1900, 3702, 5353, 5355];

/// The sockets on one port that are bound to the same address and device. The comments below call this a place.
struct AddressGroup<'l> {
    sockets: Vec<(usize, &'l Entry)>,
    /// The socket that represents the place. A socket that accepts traffic is preferred. Among several, a socket that
    /// also accepts IPv4 traffic is preferred.
    socket: &'l Socket,
    pids: HashSet<Pid>,
    /// The ancestors of the processes.
    above: HashSet<Pid>,
    /// The processes that can be compared, each once. Processes that open sockets for other programs are left out.
    compared: Vec<IdentifiedProcess<'l>>,
    /// The programs of the compared processes. This field and the fields below are computed on first use.
    programs: OnceCell<HashSet<RunAs<'l>>>,
    masters: OnceCell<HashSet<&'l Parent>>,
    side: OnceCell<OtherSocket>,
}

fn is_discovery(socket: &Socket) -> bool {
    socket.local.protocol.is_datagram() && DISCOVERY_PORTS.contains(&socket.local.port)
}

/// Returns the evidence for each listener, by its index. `known` stores the identified programs.
pub(super) fn evidence<'l>(
    listeners: impl Iterator<Item = &'l Entry>,
    known: &mut Identities,
) -> HashMap<usize, Vec<Evidence>> {
    let mut found = HashMap::new();
    let has_owner = |entry: &Entry| entry.socket.state.holds_port() && !entry.socket.owner.pids().is_empty();
    let mut by_port: Vec<(usize, &Entry)> =
        listeners.enumerate().filter(|(_, listener)| has_owner(listener)).collect();
    let port = |(_, listener): &(usize, &Entry)| listener.socket.port_key();
    by_port.sort_by_key(port);
    for group in by_port.chunk_by(|one, other| port(one) == port(other)) {
        if let [(_, alone)] = group
            && alone.socket.owner.pids().len() == 1
        {
            continue;
        }
        let places = places(group, known);
        for place in &places {
            shared(place, known, &mut found);
        }
        if places.len() > 1 && !is_discovery(places[0].socket) {
            shadowed(&places, &mut found);
        }
    }
    found
}

fn places<'l>(group: &[(usize, &'l Entry)], known: &mut Identities) -> Vec<AddressGroup<'l>> {
    let mut at_place: HashMap<_, usize> = HashMap::new();
    let mut lots: Vec<Vec<(usize, &'l Entry)>> = Vec::new();
    for &(at, listener) in group {
        let lot = *at_place.entry(bound_to(&listener.socket)).or_insert_with(|| {
            lots.push(Vec::new());
            lots.len() - 1
        });
        lots[lot].push((at, listener));
    }
    lots.into_iter().filter_map(|lot| AddressGroup::new(lot, known)).collect()
}

fn bound_to(socket: &Socket) -> (IpAddr, Option<&str>) {
    (unmapped(socket.local.address), socket.local.device.as_deref())
}

impl<'l> AddressGroup<'l> {
    /// Returns the place of these sockets; `None` if there is no socket.
    fn new(sockets: Vec<(usize, &'l Entry)>, known: &mut Identities) -> Option<Self> {
        let takes = |socket: &&Socket| (socket.state.accepts_traffic(), socket.v6only == Some(false));
        let socket = sockets.iter().map(|(_, listener)| &listener.socket).max_by_key(takes)?;
        let pids: HashSet<Pid> = sockets.iter().flat_map(|(_, l)| l.socket.owner.pids()).copied().collect();
        let mut place = AddressGroup {
            sockets,
            socket,
            pids,
            above: HashSet::new(),
            compared: Vec::new(),
            programs: OnceCell::new(),
            masters: OnceCell::new(),
            side: OnceCell::new(),
        };
        let processes = place.processes();
        place.above.extend(processes.iter().flat_map(|process| &process.parents).map(|parent| parent.pid));
        let comparable = processes.iter().filter(|process| process.exe.is_some() && process.uid.is_some());
        let compared = comparable.map(|process| known.identify(process));
        place.compared = compared.filter(|process| !opens_sockets_for_others(process, &processes)).collect();
        Some(place)
    }

    /// Returns the processes that could be read, each once, in ascending order of pid.
    fn processes(&self) -> Vec<&'l Process> {
        let mut processes: Vec<&Process> = self
            .sockets
            .iter()
            .flat_map(|(_, listener)| listener.processes.iter().map(|process| &**process))
            .collect();
        processes.sort_by_key(|process| process.pid);
        processes.dedup_by_key(|process| process.pid);
        processes
    }

    fn process_groups(&self) -> Processes {
        let processes = self.processes();
        let mut known: Vec<ProcessGroup> = Vec::new();
        let mut kinds = HashMap::new();
        for process in &processes {
            let exe = process.exe.as_ref().map(|exe| exe.path.as_str());
            let kind = (process.name.as_deref(), process.uid, exe);
            if let Some(&at) = kinds.get(&kind) {
                let group: &mut ProcessGroup = &mut known[at];
                group.count += 1;
                continue;
            }
            kinds.insert(kind, known.len());
            known.push(ProcessGroup {
                pid: process.pid,
                count: 1,
                name: process.name.clone(),
                uid: process.uid,
                user: process.user.clone(),
                exe: exe.map(str::to_owned),
            });
        }
        let more = known.len().saturating_sub(FEW);
        known.truncate(FEW);
        Processes { known, more, unread: self.pids.len().saturating_sub(processes.len()) }
    }

    /// Returns each parent of a compared process that has the same name as this process. Pid 1 is left out.
    fn masters(&self) -> &HashSet<&'l Parent> {
        self.masters.get_or_init(|| {
            let masters = self.compared.iter().filter_map(|compared| {
                let process = compared.process;
                let parent = process.parents.first().filter(|parent| parent.pid != 1)?;
                (Some(parent.name.as_str()) == process.name.as_deref()).then_some(parent)
            });
            masters.collect()
        })
    }

    fn programs(&self) -> &HashSet<RunAs<'l>> {
        self.programs.get_or_init(|| self.compared.iter().map(IdentifiedProcess::program).collect())
    }

    fn side(&self) -> &OtherSocket {
        let local = &self.socket.local;
        self.side.get_or_init(|| OtherSocket {
            address: local.address,
            device: local.device.clone(),
            processes: self.process_groups(),
        })
    }
}

fn shared<'l>(place: &AddressGroup<'l>, known: &mut Identities, found: &mut HashMap<usize, Vec<Evidence>>) {
    let local = &place.socket.local;
    if place.sockets.len() > 1 && is_discovery(place.socket) {
        for alone in &place.sockets {
            if let Some(place) = AddressGroup::new(vec![*alone], known) {
                shared(&place, known, found);
            }
        }
        return;
    }
    if place.compared.len() < 2 {
        return;
    }
    let by_pid: HashMap<Pid, &IdentifiedProcess<'l>> =
        place.compared.iter().map(|process| (process.process.pid, process)).collect();
    let is_anothers = |process: &&IdentifiedProcess<'l>| {
        let mut above = process.process.parents.iter().filter_map(|parent| by_pid.get(&parent.pid));
        above.any(|ancestor| is_worker_of(ancestor, process, local.port, local.protocol))
    };
    let heads =
        || place.compared.iter().filter(|process| !is_anothers(process)).map(|process| process.process);
    let users: HashSet<_> = heads().map(|process| process.uid).collect();
    let files: HashSet<_> = heads().map(|p| p.exe.as_ref().map(|exe| exe.path.as_str())).collect();
    // The script of an interpreter counts as its file.
    let runs: HashSet<RunTarget> =
        heads().map(RunTarget::of).filter(|run| *run != RunTarget::Unknown).collect();
    let mut differ_in = Vec::new();
    if users.len() > 1 {
        differ_in.push(Difference::User);
    }
    if files.len() > 1 || runs.len() > 1 {
        differ_in.push(Difference::Executable);
    }
    if differ_in.is_empty() {
        return;
    }
    let evidence = Shared { differ_in, processes: place.process_groups(), sockets: place.sockets.len() };
    for (at, _) in &place.sockets {
        found.entry(*at).or_default().push(evidence.clone().into());
    }
}

/// Three parts: the listeners from which a place takes traffic, the listeners to which it loses traffic, and the number
/// of listeners that are not named.
type OtherSockets = (Vec<OtherSocket>, Vec<OtherSocket>, usize);

fn shadowed(places: &[AddressGroup<'_>], found: &mut HashMap<usize, Vec<Evidence>>) {
    let by_spot: HashMap<_, usize> =
        places.iter().enumerate().map(|(at, place)| (bound_to(place.socket), at)).collect();
    let mut sides: HashMap<usize, OtherSockets> = HashMap::new();
    for (at, place) in places.iter().enumerate() {
        let (address, device) = bound_to(place.socket);
        // A socket takes traffic only from sockets with a less specific address or device.
        let (v4, v6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
        let less: HashSet<_> =
            [(address, None), (v4, device), (v4, None), (v6, device), (v6, None)].into_iter().collect();
        let mut wider: Vec<usize> =
            less.iter().filter_map(|bound_to| by_spot.get(bound_to)).copied().collect();
        wider.sort_unstable();
        for wide_at in wider {
            let wide = &places[wide_at];
            if !place.socket.takes_traffic_from(wide.socket) || !are_unrelated(place, wide) {
                continue;
            }
            add(sides.entry(at).or_default(), |sides| &mut sides.0, wide);
            add(sides.entry(wide_at).or_default(), |sides| &mut sides.1, place);
        }
    }
    for (at, (takes_from, loses_to, more)) in sides {
        let device = places[at].socket.local.device.clone();
        let evidence = Shadowed { device, takes_from, loses_to, more };
        for (number, _) in &places[at].sockets {
            found.entry(*number).or_default().push(evidence.clone().into());
        }
    }
}

fn add(
    sides: &mut OtherSockets,
    list: impl Fn(&mut OtherSockets) -> &mut Vec<OtherSocket>,
    place: &AddressGroup<'_>,
) {
    if list(sides).len() < FEW {
        list(sides).push(place.side().clone());
    } else {
        sides.2 += 1;
    }
}

/// Returns whether the processes of the two places are known and unrelated.
fn are_unrelated<'l>(place: &AddressGroup<'l>, other: &AddressGroup<'l>) -> bool {
    if place.compared.is_empty() || other.compared.is_empty() || !place.pids.is_disjoint(&other.pids) {
        return false;
    }
    if !place.programs().is_disjoint(other.programs())
        && (bound_to(place.socket).0 == bound_to(other.socket).0
            || !place.masters().is_disjoint(other.masters()))
    {
        return false;
    }
    let local = &place.socket.local;
    let is_above = |a: &AddressGroup<'l>, b: &AddressGroup<'l>| {
        !b.above.is_disjoint(&a.pids)
            && b.compared.iter().any(|child| {
                let parents = || child.process.parents.iter().map(|parent| parent.pid);
                let above =
                    a.compared.iter().filter(|process| parents().any(|pid| pid == process.process.pid));
                above.into_iter().any(|process| is_worker_of(process, child, local.port, local.protocol))
            })
    };
    !is_above(place, other) && !is_above(other, place)
}

#[cfg(test)]
mod tests;
