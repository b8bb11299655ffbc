//! Rules about the registration of a listener's port.

use super::program_identity::picked_from;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::registry::{DeadRegistration, Ephemeral, Orphaned, QuietRegistration, Unexplained};
use crate::join::Entry;
use crate::model::{EphemeralHere, PortRange, Protocol, RegistryRange, Snapshot, State, StatusBasis};

/// Returns the evidence of `orphaned`: every registration is dead, and the process is not a known server of the port. A
/// port that the kernel or the program picked from a range has no finding, because nobody chose it for its
/// registration.
pub(super) fn orphaned(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let verdict = &subject.listener.verdict;
    let is_in_kernel_range = subject.snapshot.ephemeral_range(&subject.listener.socket).is_some();
    if verdict.basis != StatusBasis::Ended
        || subject.is_on_own_port()
        || is_in_kernel_range
        || picked_from(subject.listener).is_some()
    {
        return None;
    }
    let rows = verdict.registrations().filter_map(|a| Some((a.service, a.curated.as_ref()?)));
    let registrations = rows.map(|(service, row)| DeadRegistration::new(service, row)).collect();
    // The port is not repurposed, so the known use is a rare use.
    Some(Orphaned { registrations, rarely_used_by: verdict.known_use.clone() }.into())
}

/// Returns the evidence of `unexplained`. Nothing explains the listener: no registration, no known program, no known
/// use, and no range from which the kernel or the program picks ports.
pub(super) fn unexplained(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let JudgedListener { listener, snapshot, .. } = subject;
    if subject.usual.is_some() || snapshot.ephemeral_range(&listener.socket).is_some() {
        return None;
    }
    let verdict = &listener.verdict;
    if verdict.assignments.is_empty() && !verdict.known_use.is_empty() {
        return None;
    }
    let unexplained = match verdict.basis {
        StatusBasis::Reserved => Unexplained::Reserved { remark: verdict.remark },
        StatusBasis::Unregistered => {
            other_protocol(subject).unwrap_or(Unexplained::Unassigned { remark: verdict.remark })
        }
        StatusBasis::Untouched | StatusBasis::Obscure | StatusBasis::OtherProtocol => Unexplained::Dormant {
            basis: verdict.basis,
            registrations: verdict.registrations().map(QuietRegistration::new).collect(),
        },
        _ => return None,
    };
    picked_from(listener).is_none().then(|| unexplained.into())
}

/// Returns `Unexplained` if the port is registered for the other protocol: UDP for a TCP listener, TCP for a UDP
/// listener.
fn other_protocol(subject: &JudgedListener<'_>) -> Option<Unexplained> {
    let local = &subject.listener.socket.local;
    let registered_for = match local.protocol.registered_as() {
        Protocol::Tcp => Protocol::Udp,
        Protocol::Udp => Protocol::Tcp,
        _ => return None,
    };
    if !subject.registry.protocols(local.port).contains(&registered_for) {
        return None;
    }
    let verdict = subject.registry.verdict(local.port, registered_for);
    let services: Vec<_> = verdict.assignments.iter().map(|assignment| assignment.service).collect();
    (!services.is_empty()).then_some(Unexplained::OtherProtocol { registered_for, services })
}

/// Returns the evidence of `ephemeral`: a TCP listener is on a port that the kernel gives to outgoing connections. If
/// the kernel's range is not known, IANA's dynamic range counts. Datagram and bound sockets in this range usually
/// belong to clients.
pub(super) fn ephemeral(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (socket, snapshot) = (&subject.listener.socket, subject.snapshot);
    let local = &socket.local;
    if socket.state == State::Bound || local.protocol.is_datagram() || subject.is_on_own_port() {
        return None;
    }
    let kernel_range = snapshot.ephemeral_range(socket);
    let iana_dynamic = RegistryRange::of(local.port) == RegistryRange::Dynamic;
    if kernel_range.is_none() && (!iana_dynamic || snapshot.knows_ephemeral_ports(socket)) {
        return None;
    }
    let is_odd = local.port % 2 == 1;
    let listeners_get_odd = kernel_range.and_then(|range| listeners_get_odd(snapshot, local.protocol, range));
    let evidence = Ephemeral {
        kernel_range,
        iana_dynamic,
        odd: listeners_get_odd.map(|_| is_odd),
        kernel_would_pick: listeners_get_odd.map(|odd| odd == is_odd),
    };
    Some(evidence.into())
}

/// Returns facts about a port in an ephemeral range of the observed machine; `None` if no ephemeral range contains the
/// port.
pub(super) fn ephemeral_here(
    snapshot: &Snapshot,
    port: u16,
    protocol: Protocol,
    listeners: &[&Entry],
) -> Option<EphemeralHere> {
    let ports = snapshot.ephemeral_ports(common_netns(listeners), protocol, None);
    let kernel_range = ports.range_of(port);
    let iana_dynamic = RegistryRange::of(port) == RegistryRange::Dynamic;
    if kernel_range.is_none() && !iana_dynamic {
        return None;
    }
    let is_reserved = ports.is_reserved(port);
    let listeners_get_odd =
        kernel_range.filter(|_| !is_reserved).and_then(|range| listeners_get_odd(snapshot, protocol, range));
    let kernel_would_pick = match (kernel_range, listeners_get_odd) {
        (None, _) => Some(false),
        (Some(_), _) if is_reserved => Some(false),
        (Some(_), Some(odd)) => Some(odd == (port % 2 == 1)),
        (Some(_), None) => gives_every_port(snapshot, protocol).then_some(true),
    };
    let own = |judged: &&Entry| judged.usual().is_some_and(|usual| !usual.any_port);
    let likely_chosen = match kernel_would_pick {
        _ if listeners.is_empty() => None,
        _ if listeners.iter().any(own) => Some(true),
        Some(false) => Some(true),
        Some(true) => listeners_get_odd.map(|_| false),
        None => None,
    };
    Some(EphemeralHere {
        kernel_range,
        source: ports.source.to_owned(),
        is_reserved,
        iana_dynamic,
        kernel_would_pick,
        likely_chosen,
        listeners_get_odd,
    })
}

/// Returns the network namespace of all these listeners. `None` for the namespace of portolan, or if the listeners are
/// in different namespaces.
fn common_netns(listeners: &[&Entry]) -> Option<u64> {
    let netns = |entry: &&Entry| Some(entry.socket.netns.as_ref()?.inode);
    let first = netns(listeners.first()?)?;
    listeners.iter().all(|entry| netns(entry) == Some(first)).then_some(first)
}

/// Returns whether a TCP listener that requests any free port of `range` usually gets an odd port. `None` if odd and
/// even ports are equally likely, or if this is not known.
///
/// For `bind` to port 0, Linux prefers odd ports if the range begins with an even port, and even ports otherwise
/// (`inet_csk_find_open_port`). Measured with the default range: 1,500 of 1,500 ports were odd. A short range gives no
/// answer, because its preferred ports may all be in use.
fn listeners_get_odd(snapshot: &Snapshot, protocol: Protocol, range: PortRange) -> Option<bool> {
    let has_preference =
        snapshot.host.os == "linux" && protocol == Protocol::Tcp && range.high - range.low >= 1024;
    has_preference.then_some(range.low.is_multiple_of(2))
}

/// Returns whether `bind` to port 0 can give every port of the range, odd or even. Linux starts at a random port for
/// UDP, UDP-Lite and SCTP (`udp_lib_get_port`, `sctp_get_port_local`).
fn gives_every_port(snapshot: &Snapshot, protocol: Protocol) -> bool {
    snapshot.host.os == "linux" && (protocol.is_datagram() || protocol == Protocol::Sctp)
}
