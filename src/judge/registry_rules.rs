//! Rules about what the registry says of a listener's port.

use super::rules::Subject;
use crate::findings::Evidence;
use crate::findings::registry::{
    DeadRegistration, Dormant, Ephemeral, Orphaned, OtherProtocol, QuietRegistration, Reserved, Unassigned,
};
use crate::join::Entry;
use crate::model::{Basis, EphemeralHere, PortRange, Protocol, RegistryRange, Snapshot, Socket, State};

/// The flags that are the registry's status itself: a port has one status, so at most one of them.
pub(super) fn status(subject: &Subject<'_>) -> Option<Evidence> {
    let verdict = &subject.listener.verdict;
    // A program on its usual port makes it unremarkable that nothing living is registered there.
    let unusual = subject.usual.is_none();
    match verdict.basis {
        Basis::Ended => {
            let rows = verdict.assignments.iter().filter_map(|a| Some((a.service, a.curated.as_ref()?)));
            let registrations = rows.map(|(service, row)| DeadRegistration::new(service, row)).collect();
            Some(Orphaned { registrations }.into())
        }
        Basis::Reserved if unusual => Some(Reserved { remark: verdict.remark }.into()),
        Basis::Unregistered if unusual => Some(Unassigned { remark: verdict.remark }.into()),
        Basis::Untouched | Basis::Obscure | Basis::OtherProtocol if unusual => {
            let registrations = verdict.assignments.iter().map(QuietRegistration::new).collect();
            Some(Dormant { basis: verdict.basis, registrations }.into())
        }
        _ => None,
    }
}

/// A listener where outgoing connections get their ports, by this kernel's own range or IANA's.
pub(super) fn ephemeral(subject: &Subject<'_>) -> Option<Evidence> {
    let (socket, observation) = (&subject.listener.socket, subject.snapshot);
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
    let evidence = Ephemeral {
        kernel_range,
        iana_dynamic,
        odd: odd.filter(|_| kernel_range.is_some_and(parity_tells)),
        kernel_would_pick: kernel_range
            .filter(|range| odd.is_some() && parity_tells(*range))
            .map(|range| local.port % 2 != range.low % 2),
        may_be_client: local.protocol.is_datagram(),
    };
    Some(evidence.into())
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

/// Returns the network namespace of all these listeners; `None` for the observer's own, or if they differ.
fn common_netns(listeners: &[&Entry]) -> Option<u64> {
    let netns = |entry: &&Entry| Some(entry.socket.netns.as_ref()?.inode);
    let first = netns(listeners.first()?)?;
    listeners.iter().all(|entry| netns(entry) == Some(first)).then_some(first)
}

/// Whether a port's being odd or even says who chose it. Linux gives listeners that ask for any port those whose
/// parity differs from the range's first (`inet_csk_find_open_port`; measured: odd 1,500 times in 1,500 with the
/// default range) until they run out, which in a short range they do.
fn parity_tells(range: PortRange) -> bool {
    range.high - range.low >= 1024
}

/// Registered for TCP and not UDP, or the reverse, and nothing known to be met here says otherwise.
pub(super) fn other_protocol(subject: &Subject<'_>) -> Option<Evidence> {
    let (listener, registry) = (subject.listener, subject.registry);
    let verdict = &listener.verdict;
    if subject.usual.is_some() || !verdict.assignments.is_empty() || !verdict.known_use.is_empty() {
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
    (!services.is_empty()).then(|| OtherProtocol { registered_for, services }.into())
}
