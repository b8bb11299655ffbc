//! Finds the sockets that prevent a program from binding a port.
//!
//! The rules are those of Linux for a plain `bind(2)` (`inet_rcv_saddr_equal`, net/ipv4/inet_connection_sock.c). A
//! server that sets `SO_REUSEADDR` can sometimes bind a port that counts as taken here. This depends on an option of
//! the other socket, but the kernel does not show this option.

use std::net::{IpAddr, Ipv6Addr};

use super::Target;
use super::target::TargetKind;
use super::target_text::TypedAddress;
use crate::model::{Family, Network, Owner, PortRange, Socket, State, unmapped};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BindAddress {
    /// Every address of both families: `[::]`.
    Any,
    /// Every IPv6 address, but no IPv4 address: `[::]` with `IPV6_V6ONLY`.
    AnyIpv6,
    /// One address. `0.0.0.0` stands for every IPv4 address.
    Address(IpAddr),
}

impl Target {
    /// Returns whether a socket prevents a program from binding the target. If `family` is given, only addresses of
    /// this family count.
    pub(crate) fn is_taken_by(&self, socket: &Socket, family: Option<Family>) -> bool {
        let local = &socket.local;
        if socket.state == State::Published {
            return false; // not a socket: a program can bind the port, but does not receive the forwarded traffic
        }
        if socket.state == State::Bound && socket.owner == Owner::Vanished {
            return false; // `watch` reports such a socket after it was closed
        }
        if self.protocol.is_some_and(|protocol| protocol != local.protocol) {
            return false;
        }
        let every = match family {
            None => BindAddress::Any,
            Some(Family::Ipv4) => BindAddress::Address(std::net::Ipv4Addr::UNSPECIFIED.into()),
            Some(Family::Ipv6) => BindAddress::AnyIpv6,
        };
        match &self.kind {
            TargetKind::Ports(ports) => contains(ports, local.port) && overlaps(socket, every),
            TargetKind::Address(TypedAddress { networks, ports, .. }) => {
                let of_family =
                    |network: &&Network| family.is_none_or(|f| network.is_ipv4() == (f == Family::Ipv4));
                contains(ports, local.port)
                    && networks.iter().filter(of_family).any(|network| overlaps_network(socket, *network))
            }
            TargetKind::Name(name) => {
                let mut service = name.service.iter();
                service.any(|(ports, p)| *p == local.protocol.registered_as() && ports.contains(local.port))
                    && overlaps(socket, every)
            }
        }
    }
}

fn contains(ports: &[PortRange], port: u16) -> bool {
    ports.iter().any(|range| range.contains(port))
}

/// Returns whether a socket prevents a program from binding an address of the network.
fn overlaps_network(socket: &Socket, network: Network) -> bool {
    match network.address() {
        Some(address) if address == IpAddr::from(Ipv6Addr::UNSPECIFIED) => overlaps(socket, BindAddress::Any),
        Some(address) => overlaps(socket, BindAddress::Address(address)),
        None => {
            let own = unmapped(socket.local.address);
            let is_wide = own.is_unspecified() && (own.is_ipv4() || socket.v6only != Some(true));
            network.contains(own) || (own.is_unspecified() && own.is_ipv4() == network.is_ipv4()) || is_wide
        }
    }
}

/// Returns whether a socket prevents a program from binding the wanted address. If it is not known whether an IPv6
/// socket accepts IPv4 traffic, the socket counts as accepting it.
fn overlaps(socket: &Socket, wanted: BindAddress) -> bool {
    let own = socket.local.address;
    let is_mapped = |address: IpAddr| address.is_ipv6() && unmapped(address).is_ipv4();
    let serves_ipv4 = socket.v6only != Some(true);
    let wanted = match wanted {
        BindAddress::Any => return true,
        BindAddress::AnyIpv6 => return own.is_ipv6() && !is_mapped(own),
        BindAddress::Address(address) => address,
    };
    match (unmapped(wanted), own) {
        (IpAddr::V4(wanted), _) if own.is_ipv4() || is_mapped(own) => {
            let own = unmapped(own);
            IpAddr::V4(wanted) == own || wanted.is_unspecified() || own.is_unspecified()
        }
        // If an IPv6 socket on the port also accepts IPv4, the kernel refuses to bind 0.0.0.0. The address of the IPv6
        // socket does not matter.
        (IpAddr::V4(wanted), _) => serves_ipv4 && (own.is_unspecified() || wanted.is_unspecified()),
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
        (wanted, own) => own == wanted || own.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, SocketAttributes};
    use crate::registry::Registry;

    fn socket(local: &str, state: State, v6only: Option<bool>) -> Socket {
        Socket {
            local: local.parse::<Endpoint>().unwrap(),
            peer: None,
            state,
            mptcp: false,
            attributes: SocketAttributes::default().into(),
            inode: None,
            cookie: None,
            v6only,
            queues: None,
            owner: Owner::Unknown,
        }
    }

    #[test]
    fn sockets_that_keep_a_port_from_being_bound() {
        let (both, six, unsure) = (Some(false), Some(true), None);
        let (v4, v6) = (Some(Family::Ipv4), Some(Family::Ipv6));
        for (name, target, family, local, v6only, taken) in [
            ("any address", "80", None, "tcp/127.0.0.1:80", unsure, true),
            ("any protocol", "80", None, "udp/127.0.0.1:80", unsure, true),
            ("another protocol", "tcp/80", None, "udp/127.0.0.1:80", unsure, false),
            ("another port", "80", None, "tcp/127.0.0.1:81", unsure, false),
            ("an IPv6 socket and all of IPv4", "80", v4, "tcp/[::]:80", both, true),
            ("an IPv6-only socket and all of IPv4", "80", v4, "tcp/[::]:80", six, false),
            ("an IPv6 address and all of IPv4", "80", v4, "tcp/[::1]:80", both, true),
            ("an IPv4 socket and all of IPv6", "80", v6, "tcp/0.0.0.0:80", unsure, false),
            ("a mapped socket and all of IPv6", "80", v6, "tcp/[::ffff:127.0.0.1]:80", both, false),
            ("the wildcard covers an address", "127.0.0.1:80", None, "tcp/0.0.0.0:80", unsure, true),
            ("the dual-stack wildcard", "127.0.0.1:80", None, "tcp/[::]:80", both, true),
            ("the IPv6-only wildcard", "127.0.0.1:80", None, "tcp/[::]:80", six, false),
            ("an unknown wildcard", "127.0.0.1:80", None, "tcp/[::]:80", unsure, true),
            ("the same address, mapped", "127.0.0.1:80", None, "tcp/[::ffff:127.0.0.1]:80", unsure, true),
            ("another address", "127.0.0.1:80", None, "tcp/127.0.0.2:80", unsure, false),
            ("another IPv6 address", "127.0.0.1:80", None, "tcp/[::1]:80", both, false),
            ("0.0.0.0 next to an address", "0.0.0.0:80", None, "tcp/127.0.0.1:80", unsure, true),
            ("[::] is every address", "[::]:80", None, "tcp/127.0.0.1:80", unsure, true),
            ("an IPv6 address next to 0.0.0.0", "[::1]:80", None, "tcp/0.0.0.0:80", unsure, false),
            ("an IPv6 address next to [::]", "[::1]:80", None, "tcp/[::]:80", six, true),
            ("localhost by IPv6", "localhost:80", None, "tcp/[::1]:80", six, true),
            ("localhost by IPv4 alone", "localhost:80", v4, "tcp/[::1]:80", both, false),
            ("a block", "10.0.0.0/8", None, "tcp/10.1.1.1:80", unsure, false),
            ("a device does not matter", "127.0.0.1:80", None, "udp/0.0.0.0%eth0:80", unsure, true),
            ("a service", "http", None, "tcp/127.0.0.1:80", unsure, true),
            ("another service", "ssh", None, "tcp/127.0.0.1:80", unsure, false),
        ] {
            let target = Target::parse(target, &Registry::embedded()).unwrap();
            for state in [State::Listen, State::Bound, State::CloseWait, State::TimeWait, State::Established]
            {
                let socket = socket(local, state, v6only);
                assert_eq!(target.is_taken_by(&socket, family), taken, "{name}: {state:?}");
            }
        }
    }
}
