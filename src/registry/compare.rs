//! The difference between a newer registry and the embedded registry.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Registry;
use super::row::{CuratedRow, RegistryRow};
use crate::model::{PortRange, Protocol};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Registration {
    /// The ports.
    pub ports: PortRange,
    /// The protocol.
    pub protocol: Protocol,
    /// The service.
    pub service: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The registrations that only the file has.
    pub added: Vec<Registration>,
    /// The registrations that only the embedded registry has.
    pub missing: Vec<Registration>,
    /// The registrations that the curated lists describe, but the file lacks. Their rows in the lists have no effect.
    pub without_effect: Vec<Registration>,
}

impl Registry {
    /// Compares this registry with the embedded registry; `None` if this is the embedded registry.
    #[must_use]
    pub fn compared(&self) -> Option<Comparison> {
        self.file?;
        let embedded = Registry::embedded();
        let (own, old) = (self.registrations(), embedded.registrations());
        let dead = self.dead.lines().filter_map(CuratedRow::dead);
        let curated = dead.chain(self.live.lines().filter_map(CuratedRow::live)).flat_map(|row| {
            row.protocols.split('+').filter_map(move |protocol| {
                let protocol = protocol.parse().ok()?;
                Some(Registration { ports: row.ports, protocol, service: row.service })
            })
        });
        Some(Comparison {
            added: own.difference(&old).copied().collect(),
            missing: old.difference(&own).copied().collect(),
            without_effect: curated.filter(|row| !own.contains(row)).collect(),
        })
    }

    fn registrations(&self) -> BTreeSet<Registration> {
        let rows = self.rows.lines().chain(self.ranges.lines()).filter_map(RegistryRow::parse);
        rows.flat_map(|row| {
            let service = row.service;
            row.protocols().filter_map(move |protocol| {
                Some(Registration { ports: row.ports, protocol, service: service? })
            })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_file_is_compared_with_the_embedded_registry() {
        assert_eq!(Registry::embedded().compared(), None);
        let csv = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration Date,\
            Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n\
            brand-new,4,tcp,Something,[X],[X],2031-01-02,,,,,\ncommandport,3416,tcp,,,,,,,,,\n";
        let newer = Registry::newer("r.csv", csv.as_bytes()).unwrap().compared().unwrap();
        let one =
            |port, protocol, service| Registration { ports: PortRange::single(port), protocol, service };
        assert_eq!(newer.added, [one(4, Protocol::Tcp, "brand-new")]);
        assert!(newer.missing.contains(&one(22, Protocol::Tcp, "ssh")));
        assert!(!newer.missing.contains(&one(3416, Protocol::Tcp, "commandport")));
        assert!(newer.missing.contains(&one(3416, Protocol::Udp, "commandport")));
        assert!(newer.without_effect.contains(&one(3416, Protocol::Udp, "commandport")));
        assert!(!newer.without_effect.contains(&one(3416, Protocol::Tcp, "commandport")));
    }
}
