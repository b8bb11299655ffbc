//! The data of the two maps of all ports: the regions, and the ports that the kernel gives to outgoing connections.

use crate::model::{PortRange, Protocol, Snapshot};

pub(super) const PORTS: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// The name of the region with its first letter in upper case.
    pub(super) name: &'static str,
    pub(super) ports: PortRange,
}

/// The regions. No port is in two regions.
pub(super) const REGIONS: [Region; 3] = [
    Region { name: "System", ports: PortRange { low: 0, high: 1023 } },
    Region { name: "Registered", ports: PortRange { low: 1024, high: 49151 } },
    Region { name: "Dynamic", ports: PortRange { low: 49152, high: 65535 } },
];

/// Returns the ports that the kernel of this host gives to outgoing TCP connections.
pub(super) fn kernel_ranges(snapshot: &Snapshot) -> Vec<PortRange> {
    snapshot.ephemeral_ports(None, Protocol::Tcp, None).ranges
}

pub(super) fn text(ranges: &[PortRange]) -> String {
    let range = |range: &PortRange| format!("{} to {}", range.low, range.high);
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RegistryRange;

    #[test]
    fn the_regions_are_those_of_the_registry() {
        for port in 0..=u16::MAX {
            let mut regions = REGIONS.iter().filter(|region| region.ports.contains(port));
            let name = regions.next().map(|region| region.name.to_lowercase());
            assert_eq!(name.as_deref(), Some(RegistryRange::of(port).name()), "{port}");
            assert!(regions.next().is_none());
        }
    }
}
