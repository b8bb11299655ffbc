//! The names and numbers that the kernel uses for transport protocols.

use crate::model::{Family, Protocol};

/// A protocol, with the number and the names that the kernel uses for it.
pub(super) struct KernelProtocol {
    /// `IPPROTO_*` (linux/in.h).
    pub(super) number: u16,
    /// The protocol that listings show for these sockets.
    pub(super) protocol: Protocol,
    /// The names in `/proc/net/protocols`, for IPv4 and IPv6.
    pub(super) inventory: [&'static str; 2],
    /// The tables in `/proc/net`, for IPv4 and IPv6.
    pub(super) tables: Option<[&'static str; 2]>,
    /// The kernel module for requests about the protocol (net/ipv4/tcp_diag.c and similar files), which may not be
    /// loaded.
    pub(super) module: &'static str,
}

impl KernelProtocol {
    pub(super) fn label(&self, family: Family) -> &'static str {
        self.inventory[usize::from(family == Family::Ipv6)]
    }
}

pub(super) const IPPROTO_MPTCP: u16 = 262;

pub(super) static KERNEL_PROTOCOLS: [KernelProtocol; 6] = [
    KernelProtocol {
        number: 6,
        protocol: Protocol::Tcp,
        inventory: ["TCP", "TCPv6"],
        tables: Some(["tcp", "tcp6"]),
        module: "tcp_diag",
    },
    KernelProtocol {
        number: 17,
        protocol: Protocol::Udp,
        inventory: ["UDP", "UDPv6"],
        tables: Some(["udp", "udp6"]),
        module: "udp_diag",
    },
    KernelProtocol {
        number: 136,
        protocol: Protocol::Udplite,
        inventory: ["UDP-Lite", "UDPLITEv6"],
        tables: Some(["udplite", "udplite6"]),
        module: "udp_diag",
    },
    KernelProtocol {
        number: 132,
        protocol: Protocol::Sctp,
        inventory: ["SCTP", "SCTPv6"],
        tables: None,
        module: "sctp_diag",
    },
    KernelProtocol {
        number: 33,
        protocol: Protocol::Dccp,
        inventory: ["DCCP", "DCCPv6"],
        tables: None,
        module: "dccp_diag",
    },
    // MPTCP comes after TCP, because its list only adds a mark to TCP sockets that are already listed.
    KernelProtocol {
        number: IPPROTO_MPTCP,
        protocol: Protocol::Tcp,
        inventory: ["MPTCP", "MPTCPv6"],
        tables: None,
        module: "mptcp_diag",
    },
];

/// Returns whether listings show sockets of the protocol with this name in `/proc/net/protocols`: those with a port, raw
/// sockets and packet sockets.
pub(super) fn receives_data(name: &str) -> bool {
    ["RAW", "RAWv6", "PACKET"].contains(&name)
        || KERNEL_PROTOCOLS.iter().any(|kind| kind.inventory.contains(&name))
}
