//! One function a flag: what a listener must be to earn it, and the evidence that goes with it.

use super::held;
use crate::join::Entry;
use crate::model::{
    Assignment, DeadRegistration, EphemeralHere, Evidence, Finding, PortRange, Protocol, QuietRegistration,
    RegistryRange, Snapshot, Socket, State, Status,
};
use crate::registry::Registry;

/// Every finding on one listener. A connection earns none: its port was not chosen to be found.
pub(super) fn findings(listener: &Entry, observation: &Snapshot, registry: &Registry) -> Vec<Finding> {
    if !listener.socket.state.holds_port() {
        return Vec::new();
    }
    let protocol = listener.socket.local.protocol;
    [
        from_status(listener),
        ephemeral(&listener.socket, observation),
        other_protocol(listener, registry),
        exposed(listener),
    ]
    .into_iter()
    .flatten()
    .chain(held::evidence(listener, observation))
    .map(|evidence| Finding::new(evidence, protocol, listener.exposure))
    .collect()
}

/// The flags that are the registry's status itself: a port has one status, so at most one of them.
fn from_status(listener: &Entry) -> Option<Evidence> {
    let verdict = &listener.verdict;
    match verdict.status {
        Status::Orphaned => Some(Evidence::Orphaned {
            registrations: verdict
                .assignments
                .iter()
                .filter_map(|a| a.curated.as_ref().map(|row| DeadRegistration::new(a.service, row)))
                .collect(),
        }),
        Status::Reserved => Some(Evidence::Reserved { remark: verdict.remark }),
        Status::Unassigned => Some(Evidence::Unassigned { remark: verdict.remark }),
        Status::Dormant | Status::Obscure => Some(Evidence::Dormant {
            status: verdict.status,
            registrations: verdict.assignments.iter().map(quiet).collect(),
        }),
        Status::Dynamic | Status::Repurposed | Status::Active | Status::Standard | Status::Legacy => None,
    }
}

fn quiet(assignment: &Assignment) -> QuietRegistration {
    QuietRegistration {
        service: assignment.service,
        assignee: assignment.assignee,
        registered: assignment.registered,
        modified: assignment.modified,
    }
}

/// A listener where outgoing connections get their ports, by this kernel's own range or IANA's.
fn ephemeral(socket: &Socket, observation: &Snapshot) -> Option<Evidence> {
    let Socket { local, state, .. } = socket;
    if matches!(state, State::Bound) {
        return None; // a client may bind before it connects; there is no listener to speak of
    }
    let kernel_range = observation.ephemeral_range(socket);
    let iana_dynamic = RegistryRange::of(local.port) == RegistryRange::Dynamic;
    if kernel_range.is_none() && !iana_dynamic {
        return None;
    }
    let odd =
        (observation.host.os == "linux" && local.protocol == Protocol::Tcp).then_some(local.port % 2 == 1);
    Some(Evidence::Ephemeral {
        kernel_range,
        iana_dynamic,
        odd: odd.filter(|_| kernel_range.is_some_and(parity_tells)),
        kernel_would_pick: kernel_range
            .filter(|range| odd.is_some() && parity_tells(*range))
            .map(|range| local.port % 2 != range.low % 2),
        may_be_client: local.protocol.is_datagram(),
    })
}

/// What a port's lying in an ephemeral range means on the observed host; `None` where it lies in none. Of who listens
/// there, one whose port the kernel would not have picked chose it, and so did a program on its own port.
pub(super) fn ephemeral_here(
    observation: &Snapshot,
    port: u16,
    protocol: Protocol,
    listeners: &[&Entry],
) -> Option<EphemeralHere> {
    let ports = observation.ephemeral_ports(common_netns(listeners), protocol, None);
    let kernel_range = ports.range_of(port);
    let iana_dynamic = RegistryRange::of(port) == RegistryRange::Dynamic;
    if kernel_range.is_none() && !iana_dynamic {
        return None;
    }
    let kept_back = ports.is_reserved(port);
    let parity = observation.host.os == "linux" && protocol == Protocol::Tcp;
    let kernel_would_pick = match kernel_range {
        Some(_) if kept_back => Some(false),
        Some(range) => (parity && parity_tells(range)).then_some(port % 2 != range.low % 2),
        None => Some(false),
    };
    let own = |judged: &&Entry| judged.usual().is_some_and(|usual| !usual.any_port);
    let likely_chosen = match kernel_would_pick {
        _ if listeners.is_empty() => None,
        _ if listeners.iter().any(own) => Some(true),
        Some(picks) => Some(!picks),
        None => None,
    };
    Some(EphemeralHere {
        kernel_range,
        source: ports.source.to_owned(),
        kept_back,
        iana_dynamic,
        kernel_would_pick,
        likely_chosen,
    })
}

/// The network namespace that all of these listeners live in; `None` for the observer's own, or where they differ.
fn common_netns(listeners: &[&Entry]) -> Option<u64> {
    let netns = |entry: &&Entry| Some(entry.socket.netns.as_ref()?.inode);
    let first = netns(listeners.first()?)?;
    listeners.iter().all(|judged| netns(judged) == Some(first)).then_some(first)
}

/// Whether a port's being odd or even says who chose it. Linux gives listeners that ask for any port those whose
/// parity differs from the range's first (`inet_csk_find_open_port`; measured: odd 1,500 times in 1,500 with the
/// default range) until they run out, which in a short range they do.
fn parity_tells(range: PortRange) -> bool {
    range.high - range.low >= 1024
}

/// Registered for TCP and not UDP, or the reverse, and nothing known to be met here says otherwise.
fn other_protocol(listener: &Entry, registry: &Registry) -> Option<Evidence> {
    let verdict = &listener.verdict;
    if !verdict.assignments.is_empty() || !verdict.known_use.is_empty() {
        return None;
    }
    let local = &listener.socket.local;
    let registered_for = match local.protocol.registered_as() {
        Protocol::Tcp => Protocol::Udp,
        Protocol::Udp => Protocol::Tcp,
        _ => return None,
    };
    if !registry.protocols(local.port).contains(&registered_for) {
        return None;
    }
    let services: Vec<_> =
        registry.verdict(local.port, registered_for).assignments.iter().map(|a| a.service).collect();
    (!services.is_empty()).then_some(Evidence::OtherProtocol { registered_for, services })
}

/// Reachable from beyond this machine, as far as address and device tell.
fn exposed(listener: &Entry) -> Option<Evidence> {
    listener.exposure.beyond().then(|| Evidence::Exposed {
        exposure: listener.exposure,
        address: listener.socket.local.address,
        device: listener.socket.local.device.clone(),
    })
}
