//! The names and numbers that the kernel uses for transport protocols and the states of their sockets.

use crate::model::{Family, Protocol, State};

pub(super) struct KernelProtocol {
    /// `IPPROTO_*` (linux/in.h).
    pub(super) number: u16,
    /// The protocol that portolan shows for these sockets.
    pub(super) protocol: Protocol,
    /// The names in `/proc/net/protocols`, for IPv4 and IPv6.
    pub(super) inventory: [&'static str; 2],
    /// The tables in `/proc/net`, for IPv4 and IPv6.
    pub(super) tables: Option<[&'static str; 2]>,
    /// The kernel module that answers requests about the protocol (net/ipv4/tcp_diag.c and similar files). Not every
    /// kernel has the module.
    pub(super) module: &'static str,
}

impl KernelProtocol {
    pub(super) fn label(&self, family: Family) -> &'static str {
        self.inventory[usize::from(family == Family::Ipv6)]
    }
}

pub(super) const IPPROTO_TCP: u16 = 6;
pub(super) const IPPROTO_UDP: u16 = 17;
pub(super) const IPPROTO_MPTCP: u16 = 262;

pub(super) static KERNEL_PROTOCOLS: [KernelProtocol; 6] = [
    KernelProtocol {
        number: IPPROTO_TCP,
        protocol: Protocol::Tcp,
        inventory: ["TCP", "TCPv6"],
        tables: Some(["tcp", "tcp6"]),
        module: "tcp_diag",
    },
    KernelProtocol {
        number: IPPROTO_UDP,
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
    // MPTCP must come after TCP, because the request for MPTCP only marks sockets that are already listed as TCP
    // sockets.
    KernelProtocol {
        number: IPPROTO_MPTCP,
        protocol: Protocol::Tcp,
        inventory: ["MPTCP", "MPTCPv6"],
        tables: None,
        module: "mptcp_diag",
    },
];

/// States and their numbers in net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
pub(super) const LISTEN: u8 = 10;
/// A state that exists only in requests (Linux 6.8). It selects bound sockets that neither listen nor are connected.
pub(super) const BOUND_INACTIVE: u8 = 13;

/// Returns the states to request from the kernel, one bit for each. TCP sockets that are bound but do not listen are
/// left out, because they are requested separately.
pub(super) fn states(protocol: Protocol, wanted: &[State]) -> u32 {
    let datagram = protocol.is_datagram();
    let is_wanted = |number: &u8| match *number {
        // An SCTP endpoint can accept associations without listening. Its state is then "close".
        CLOSE if !datagram => {
            wanted.contains(&State::Close) || protocol == Protocol::Sctp && wanted.contains(&State::Bound)
        }
        number => {
            (!datagram || matches!(number, ESTABLISHED | CLOSE))
                && state(number, protocol, 0).is_some_and(|state| wanted.contains(&state))
        }
    };
    (ESTABLISHED..BOUND_INACTIVE).filter(is_wanted).fold(0, |mask, number| mask | 1 << number)
}

/// Returns the state with this number of the kernel, for a socket on `port`. `None` if portolan does not show this
/// state.
pub(super) fn state(number: u8, protocol: Protocol, port: u16) -> Option<State> {
    let datagram = protocol.is_datagram();
    Some(match number {
        ESTABLISHED => State::Established,
        2 => State::SynSent,
        3 | 12 => State::SynRecv,
        4 => State::FinWait1,
        5 => State::FinWait2,
        6 => State::TimeWait,
        CLOSE if datagram => State::Unconnected,
        CLOSE | BOUND_INACTIVE if port != 0 => State::Bound,
        CLOSE => State::Close,
        8 => State::CloseWait,
        9 => State::LastAck,
        LISTEN => State::Listen,
        11 => State::Closing,
        _ => return None,
    })
}

/// Returns whether portolan lists the sockets of a protocol. `name` is the name of the protocol in
/// `/proc/net/protocols`.
pub(super) fn receives_data(name: &str) -> bool {
    ["RAW", "RAWv6", "PACKET"].contains(&name)
        || KERNEL_PROTOCOLS.iter().any(|kind| kind.inventory.contains(&name))
}
