//! Chooses free ports for a new service. A free port is in no table, the kernel does not reserve it, and no socket uses
//! it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Report;
use crate::join::Entry;
use crate::model::{Gap, PortRange, RegistryRange, Stage, Unsuitable, lists_bound_sockets};

const PROPOSALS: usize = 5;
/// Proposed ports should be at least this far from unsuitable ports, because a second instance of a program often takes
/// the next port.
const FAR: u16 = 10;

/// A port that is suitable for a new service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FreePort {
    /// The port.
    pub port: u16,
    /// The nearest unsuitable port below this port, if there is one in the range.
    pub below: Option<RefusedPort>,
    /// The nearest unsuitable port above this port, if there is one in the range.
    pub above: Option<RefusedPort>,
}

/// A port that is not suitable for a new service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedPort {
    /// The port.
    pub port: u16,
    /// The reason.
    pub reason: Unsuitable,
    /// The program or socket that uses the port, or the service or software to which the port belongs. `None` for other
    /// reasons.
    pub by: Option<String>,
}

/// The ports of a range that are suitable for a new service, and the reasons why the other ports are not.
#[derive(Clone, Debug)]
pub struct FreePorts {
    /// The range in question.
    pub asked: PortRange,
    /// The best ports, in ascending order.
    pub proposals: Vec<FreePort>,
    /// The number of suitable ports.
    pub suitable: usize,
    /// Every unsuitable port, in ascending order.
    pub refused: Vec<RefusedPort>,
    /// The ranges that this kernel gives to outgoing connections. Empty if these ranges are not known.
    pub kernel_ranges: Vec<PortRange>,
    /// The parts of the machine that were not visible. A proposed port may be in use there.
    pub unseen: Vec<String>,
}

/// Returns the best free ports of a range. The snapshot must contain all sockets on these ports, in every state.
#[must_use]
pub fn free_ports(report: &Report, asked: PortRange) -> FreePorts {
    let host = &report.snapshot.host;
    let mut kernel_ranges = host.ephemeral.clone();
    kernel_ranges.extend(host.ephemeral_of.iter().map(|of| of.ports));
    kernel_ranges.sort_unstable();
    kernel_ranges.dedup();
    let mut taken: BTreeMap<u16, &Entry> = BTreeMap::new();
    for entry in &report.entries {
        // Of several sockets on a port, a listener explains best why the port is in use.
        let is_first = |known: &Entry| entry.socket.state.holds_port() && !known.socket.state.holds_port();
        if let Some(port) = entry.socket.port().filter(|port| asked.contains(*port)) {
            let known = taken.entry(port).or_insert(entry);
            if is_first(known) {
                *known = entry;
            }
        }
    }
    let claims = report.registry.claims(asked);
    let mut suitable = Vec::new();
    let mut refused = Vec::new();
    for (port, claim) in (asked.low..=asked.high).zip(claims) {
        let contains = |ranges: &[PortRange]| ranges.iter().any(|range| range.contains(port));
        let (reason, by) = match (taken.get(&port), RegistryRange::of(port)) {
            (Some(entry), _) => (Unsuitable::Taken, Some(user(entry))),
            _ if contains(&host.reserved) => (Unsuitable::KernelReserved, None),
            _ if contains(&kernel_ranges) => (Unsuitable::KernelRange, None),
            (None, RegistryRange::System) => (Unsuitable::System, None),
            (None, RegistryRange::Dynamic) => (Unsuitable::Dynamic, None),
            (None, RegistryRange::Registered) => match claim {
                Some(claim) => (claim.kind, Some(claim.by.to_owned())),
                None => {
                    suitable.push(port);
                    continue;
                }
            },
        };
        refused.push(RefusedPort { port, reason, by });
    }
    let proposals = best(&suitable, &refused);
    FreePorts { asked, proposals, suitable: suitable.len(), refused, kernel_ranges, unseen: unseen(report) }
}

/// Returns the program that uses a port, or the state of the socket if the program is not known.
fn user(entry: &Entry) -> String {
    match entry.processes.first() {
        Some(process) => process.name.clone().unwrap_or_else(|| format!("pid {}", process.pid)),
        None => format!("a socket ({})", entry.socket.state.name()),
    }
}

/// Returns up to [`PROPOSALS`] ports that are far from unsuitable ports. Of two equally far ports, the lower port is
/// preferred.
fn best(suitable: &[u16], refused: &[RefusedPort]) -> Vec<FreePort> {
    let near = |port: u16| {
        let above = refused.partition_point(|other| other.port < port);
        (above.checked_sub(1).and_then(|below| refused.get(below)), refused.get(above))
    };
    let distance = |port: u16| {
        let (below, above) = near(port);
        let ports = below.into_iter().chain(above).map(|other| other.port.abs_diff(port));
        ports.min().unwrap_or(FAR).min(FAR)
    };
    let mut ordered: Vec<u16> = suitable.to_vec();
    ordered.sort_by_key(|port| (FAR - distance(*port), *port));
    // First choose ports that are far from each other. If these are too few, add other suitable ports.
    let mut ports: Vec<u16> = Vec::new();
    for apart in [FAR, 1] {
        for port in &ordered {
            if ports.len() < PROPOSALS && ports.iter().all(|other| other.abs_diff(*port) >= apart) {
                ports.push(*port);
            }
        }
    }
    ports.sort_unstable();
    ports
        .into_iter()
        .map(|port| {
            let (below, above) = near(port);
            FreePort { port, below: below.cloned(), above: above.cloned() }
        })
        .collect()
}

/// Returns the parts of this machine that were not visible. A port may be in use or reserved there.
fn unseen(report: &Report) -> Vec<String> {
    let snapshot = &report.snapshot;
    let hides = |gap: &&Gap| gap.hides_listeners() || gap.stage == Stage::Host;
    let mut unseen: Vec<String> =
        snapshot.gaps.iter().filter(hides).map(|gap| format!("{}: {}", gap.what, gap.why)).collect();
    if snapshot.host.ephemeral.is_empty() && snapshot.host.ephemeral_of.is_empty() {
        unseen.push("the range that this kernel gives to outgoing connections is not known".to_owned());
    }
    let kernel = snapshot.host.kernel.as_deref().filter(|_| snapshot.host.os == "linux");
    if kernel.is_some_and(|version| !lists_bound_sockets(version)) {
        unseen.push(
            "this kernel does not list TCP sockets that are bound but do not listen (Linux 6.8 and later list them)"
                .to_owned(),
        );
    }
    unseen
}

#[cfg(test)]
mod tests {
    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::judge::judge;
    use crate::model::{Owner, Protocol, StatusBasis};
    use crate::registry::Registry;

    fn report(sockets: &[&str]) -> Report {
        let owner = || Owner::Held(std::sync::Arc::new(vec![7]));
        let sockets = sockets.iter().map(|local| socket(local, owner())).collect();
        let mut snapshot = seen(sockets, vec![program_process(7, "app", "/usr/bin/app", "app")]);
        snapshot.host.reserved = vec![PortRange { low: 27800, high: 27900 }];
        judge(snapshot, Registry::embedded())
    }

    fn range(low: u16, high: u16) -> PortRange {
        PortRange { low, high }
    }

    #[test]
    fn each_reason_is_given() {
        let report = report(&["tcp/127.0.0.1:27940", "udp/[::]:27941"]);
        for (port, reason, by) in [
            (27940, Unsuitable::Taken, Some("app")),
            (27941, Unsuitable::Taken, Some("app")),
            (27861, Unsuitable::KernelReserved, None),
            (40001, Unsuitable::KernelRange, None),
            (57, Unsuitable::System, None),
            (61002, Unsuitable::Dynamic, None),
            (3306, Unsuitable::Registered, Some("mysql")),
            (6335, Unsuitable::Common, Some("Qdrant")),
        ] {
            let free = free_ports(&report, PortRange::single(port));
            assert_eq!((free.proposals.len(), free.suitable), (0, 0), "{port}");
            assert_eq!(free.refused, [RefusedPort { port, reason, by: by.map(str::to_owned) }]);
        }
        let free = free_ports(&report, PortRange::single(27942));
        assert_eq!((free.proposals.len(), free.suitable, free.refused.len()), (1, 1, 0));
        assert_eq!(free.unseen, [""; 0]);
    }

    /// For every range, each proposal must be absent from the registry and the curated tables, and unused on this
    /// machine.
    #[test]
    fn a_proposal_has_nothing_against_it() {
        let taken = ["tcp/127.0.0.1:8361", "udp/0.0.0.0:8541", "tcp/[::1]:23456", "tcp/0.0.0.0:31000"];
        let report = report(&taken);
        let mut proposed = 0;
        let (mut low, mut width) = (0_u16, 1_u16);
        while let Some(high) = low.checked_add(width) {
            let free = free_ports(&report, range(low, high));
            assert_eq!(free.suitable + free.refused.len(), usize::from(width) + 1, "{low}-{high}");
            assert_eq!(free.proposals.len(), free.suitable.min(PROPOSALS), "{low}-{high}");
            assert!(free.proposals.is_sorted_by(|a, b| a.port < b.port), "{low}-{high}");
            for FreePort { port, .. } in free.proposals {
                proposed += 1;
                assert!((low..=high).contains(&port) && (1024..32768).contains(&port), "{port}");
                assert!(!(27800..=27900).contains(&port), "{port} is reserved in the kernel");
                assert!(taken.iter().all(|local| !local.ends_with(&format!(":{port}"))), "{port}");
                for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Dccp] {
                    let verdict = report.registry.verdict(port, protocol);
                    assert_eq!(verdict.basis, StatusBasis::Unregistered, "{port}/{protocol}");
                    assert!(verdict.named_otherwise_by.is_empty(), "{port}/{protocol}");
                }
            }
            // Each range begins at another port and has another width.
            (low, width) = (low + 331, width * 3 % 1009 + 1);
        }
        assert!(proposed > 100, "{proposed}");
    }

    #[test]
    fn what_was_not_seen_is_said() {
        let mut report = report(&[]);
        let gap = |stage| Gap::new(stage, "a part", "refused");
        for (stage, hides) in
            [(Stage::Sockets, true), (Stage::Rules, true), (Stage::Host, true), (Stage::Owners, false)]
        {
            report.snapshot.gaps = vec![gap(stage)];
            let free = free_ports(&report, range(8000, 9000));
            assert_eq!(!free.unseen.is_empty(), hides, "{stage:?}");
            assert_eq!(free.proposals.len(), PROPOSALS);
        }
        report.snapshot.gaps = Vec::new();
        for (kernel, hides) in [(Some("6.1.0"), true), (Some("6.8.0"), false), (None, false)] {
            report.snapshot.host.kernel = kernel.map(str::to_owned);
            assert_eq!(!free_ports(&report, range(8000, 9000)).unseen.is_empty(), hides, "{kernel:?}");
        }
        report.snapshot.host.ephemeral = Vec::new();
        assert_eq!(free_ports(&report, range(8000, 9000)).unseen.len(), 1);
    }

    #[test]
    fn proposals_are_far_from_used_ports_and_from_each_other() {
        let refused = |port| RefusedPort { port, reason: Unsuitable::Taken, by: None };
        let suitable: Vec<u16> = (100..=200).filter(|port| *port != 130).collect();
        let found: Vec<u16> = best(&suitable, &[refused(130)]).iter().map(|one| one.port).collect();
        assert_eq!(found, [100, 110, 120, 140, 150]);
        let found = best(&[7, 8], &[refused(6), refused(9)]);
        assert_eq!(found[0], FreePort { port: 7, below: Some(refused(6)), above: Some(refused(9)) });
        assert_eq!(found.len(), 2);
        assert_eq!(best(&[], &[refused(6)]), []);
    }
}
