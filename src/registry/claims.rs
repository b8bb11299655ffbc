//! Finds the ports that the registry or a table names. `explain --free` does not propose these ports.
//!
//! Every protocol and every table counts, even a table of ports that only malware uses.

use super::Registry;
use super::row::{Evidence, KnownUse, RESERVED, RegistryRow};
use super::{dangers, programs, services, tools};
use crate::model::{PortRange, Unsuitable};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The kind of the claim: registered, reserved or commonly used.
    pub kind: Unsuitable,
    /// The service, the product, or IANA's remark.
    pub by: &'static str,
}

impl Registry {
    /// Returns for each port of the range, in ascending order, the reason why a new service should not use the port.
    /// `None` if nothing names the port.
    #[must_use]
    pub fn claims(&self, asked: PortRange) -> Vec<Option<Claim>> {
        let mut claims = vec![None; usize::from(asked.high - asked.low) + 1];
        let mut claim = |ports: PortRange, kind: Unsuitable, by: &'static str| {
            for port in ports.low.max(asked.low)..=ports.high.min(asked.high) {
                let place: &mut Option<Claim> = &mut claims[usize::from(port - asked.low)];
                // Keeps one claim for each port: the first claim of the most important kind.
                if place.is_none_or(|known| kind < known.kind) {
                    *place = Some(Claim { kind, by });
                }
            }
        };
        for row in self.rows.lines().chain(self.ranges.lines()).filter_map(RegistryRow::parse) {
            match (row.service, row.notes) {
                (Some(service), _) => claim(row.ports, Unsuitable::Registered, service),
                (None, Some(remark)) => claim(row.ports, Unsuitable::Reserved, remark),
                (None, None) if row.description == Some(RESERVED) => {
                    claim(row.ports, Unsuitable::Reserved, "reserved by IANA");
                }
                (None, None) => {}
            }
        }
        let mut common = |ports, by| claim(ports, Unsuitable::Common, by);
        services::all().for_each(|(ports, name)| common(ports, name));
        for known in self.known_uses.lines().filter_map(KnownUse::parse) {
            let by = known.text.or(known.abused_by).unwrap_or("known software");
            common(PortRange::single(known.port), by);
        }
        for program in programs::programs() {
            program.ports().for_each(|(ports, _)| common(ports, program.product));
        }
        programs::all_guarded().for_each(|(ports, service)| common(ports, service));
        programs::all_socket_units().for_each(|(ports, unit)| common(ports, unit));
        dangers::all().for_each(|(ports, title)| common(ports, title));
        tools::all_dual_use().for_each(|(ports, what)| common(ports, what));
        for evidence in self.evidence.lines().filter_map(Evidence::parse) {
            common(evidence.ports, "a service in packaged lists");
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    #[test]
    fn a_claim_has_the_name_that_matters_most() {
        let registry = Registry::embedded();
        let claim = |port| registry.claims(PortRange::single(port))[0];
        for (port, kind, by) in [
            (22, Unsuitable::Registered, "ssh"),
            (6030, Unsuitable::Registered, "x11"),
            (8384, Unsuitable::Registered, "marathontp"),
            (6335, Unsuitable::Common, "Qdrant"),
            (57, Unsuitable::Reserved, "any private terminal access"),
            (1023, Unsuitable::Reserved, "reserved by IANA"),
            (30001, Unsuitable::Registered, "pago-services1"),
            (30500, Unsuitable::Common, "Kubernetes NodePort"),
        ] {
            let found = claim(port).unwrap();
            assert!(found.kind == kind && found.by == by, "{port}: {found:?}");
        }
        assert_eq!(claim(27861), None);
    }

    #[test]
    fn a_port_without_a_claim_is_named_nowhere() {
        let registry = Registry::embedded();
        let all = PortRange { low: 0, high: u16::MAX };
        let claims = registry.claims(all);
        assert_eq!(claims.len(), 65536);
        let mut free = 0;
        for (port, claim) in (0..=u16::MAX).zip(claims) {
            if claim.is_some() {
                continue;
            }
            free += 1;
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Dccp] {
                let verdict = registry.verdict(port, protocol);
                assert!(verdict.assignments.is_empty() && verdict.known_use.is_empty(), "{port}");
                assert!(verdict.named_otherwise_by.is_empty() && verdict.remark.is_none(), "{port}");
                assert!(verdict.basis != crate::model::StatusBasis::Reserved, "{port}");
                // The context is slow to compute, so the test checks it for some ports only.
                if port % 509 == 0 {
                    let context = registry.context(port, protocol, &verdict);
                    assert!(context.services.is_empty() && context.programs.is_empty(), "{port}");
                    assert!(context.guarded.is_none() && context.answer.is_none(), "{port}");
                }
            }
        }
        assert!(free > 20_000, "{free}");
    }
}
