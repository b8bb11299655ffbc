//! The place of a socket: protocol, address, port and device.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::named;

named! {
    /// A transport protocol, as named by the registry and the kernel.
    pub enum Protocol {
        /// TCP (RFC 9293). An MPTCP socket is a TCP socket with `mptcp` set.
        Tcp = "tcp",
        /// UDP (RFC 768).
        Udp = "udp",
        /// UDP-Lite (RFC 3828). UDP-Lite shares the port registrations of UDP (section 6 of the RFC).
        Udplite = "udplite",
        /// SCTP (RFC 9260).
        Sctp = "sctp",
        /// DCCP (RFC 4340).
        Dccp = "dccp",
        /// A raw socket, which receives the packets of one IP protocol and has no port.
        Raw = "raw",
        /// A packet socket, which receives the packets of network devices, below IP.
        Packet = "packet",
    }
}

impl Protocol {
    /// The protocols whose sockets have a port.
    pub const WITH_PORTS: [Protocol; 5] =
        [Protocol::Tcp, Protocol::Udp, Protocol::Udplite, Protocol::Sctp, Protocol::Dccp];

    /// Returns whether sockets of the protocol have a port.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        !matches!(self, Protocol::Raw | Protocol::Packet)
    }

    /// Returns whether the protocol is UDP or UDP-Lite.
    #[must_use]
    pub const fn is_datagram(self) -> bool {
        matches!(self, Protocol::Udp | Protocol::Udplite)
    }

    /// Returns the protocol under which IANA registers the ports: UDP for UDP-Lite, otherwise the protocol itself.
    #[must_use]
    pub const fn registered_as(self) -> Protocol {
        match self {
            Protocol::Udplite => Protocol::Udp,
            other => other,
        }
    }

    /// Returns the protocol number in the IP header (IANA). `None` for raw and packet sockets, which have no fixed
    /// protocol.
    #[must_use]
    pub const fn number(self) -> Option<u8> {
        Some(match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Udplite => 136,
            Protocol::Sctp => 132,
            Protocol::Dccp => 33,
            Protocol::Raw | Protocol::Packet => return None,
        })
    }

    /// Returns the protocol with this number, if it has ports.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Protocol::WITH_PORTS.into_iter().find(|protocol| protocol.number() == Some(number))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses the name of a protocol that has ports.
impl FromStr for Protocol {
    type Err = BadEndpoint;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        named_protocol(s).filter(|protocol| protocol.has_ports()).ok_or(BadEndpoint("unknown protocol"))
    }
}

fn named_protocol(name: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
}

named! {
    /// The address family of a socket.
    pub enum Family {
        /// `AF_INET`.
        Ipv4 = "ipv4",
        /// `AF_INET6`, v4-mapped addresses included.
        Ipv6 = "ipv6",
    }
}

impl Family {
    /// Returns the family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// Returns the unspecified address, which stands for every address.
    #[must_use]
    pub const fn wildcard(self) -> IpAddr {
        match self {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Returns the loopback address.
    #[must_use]
    pub const fn loopback(self) -> IpAddr {
        match self {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }
}

/// An inclusive range of ports; `low` is never above `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawRange")]
pub struct PortRange {
    /// The first port.
    pub low: u16,
    /// The last port.
    pub high: u16,
}

#[derive(Deserialize)]
struct RawRange {
    low: u16,
    high: u16,
}

impl TryFrom<RawRange> for PortRange {
    type Error = &'static str;

    fn try_from(raw: RawRange) -> Result<Self, Self::Error> {
        PortRange::new(raw.low, raw.high).ok_or("a port range ends before it begins")
    }
}

impl PortRange {
    /// Makes a range; returns `None` if `low` is above `high`.
    #[must_use]
    pub const fn new(low: u16, high: u16) -> Option<Self> {
        if low <= high { Some(PortRange { low, high }) } else { None }
    }

    /// Returns the range of one port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        PortRange { low: port, high: port }
    }

    /// Returns whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

/// The name of a device. Sockets share one copy of the name, to save memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Device(Arc<Box<str>>);

impl From<String> for Device {
    fn from(name: String) -> Self {
        Device(Arc::new(name.into()))
    }
}

impl From<&str> for Device {
    fn from(name: &str) -> Self {
        Device(Arc::new(name.into()))
    }
}

impl Deref for Device {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The local end of a socket. `FromStr` reads what `Display` writes: `tcp/127.0.0.1:5432`, `udp/[fe80::1%eth0]:546`,
/// `udp/0.0.0.0%lo:53`, `raw/0.0.0.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The local address. A v4-mapped address stays an IPv6 address. A packet socket has the wildcard address.
    pub address: IpAddr,
    /// Local port in host order; 0 if the protocol has no ports.
    pub port: u16,
    /// The name of the device that the socket is bound to; `#N` if the device with index N has no name in this
    /// namespace.
    pub device: Option<Device>,
}

impl Endpoint {
    /// Returns the family of the socket.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, host(self.address, self.device.as_deref()))?;
        if self.protocol.has_ports() { write!(f, ":{}", self.port) } else { Ok(()) }
    }
}

/// Returns an address and its device in the form that precedes a port: `0.0.0.0%lo`, `[fe80::1%eth0]`.
#[must_use]
pub fn host(address: IpAddr, device: Option<&str>) -> String {
    let device = device.map(|device| format!("%{device}")).unwrap_or_default();
    match address {
        IpAddr::V4(address) => format!("{address}{device}"),
        IpAddr::V6(address) => format!("[{address}{device}]"),
    }
}

/// The reason why a text is not an endpoint or a part of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEndpoint(
    /// The reason, in lower case. It does not repeat the rejected text.
    pub &'static str,
);

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadEndpoint {}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (protocol, rest) = s.split_once('/').ok_or(BadEndpoint("no protocol"))?;
        let protocol = named_protocol(protocol).ok_or(BadEndpoint("unknown protocol"))?;
        let (host, port) = if protocol.has_ports() {
            // The port follows the last colon: a device name cannot contain a colon (dev_valid_name, net/core/dev.c).
            let (host, port) = rest.rsplit_once(':').ok_or(BadEndpoint("no port"))?;
            (host, port.parse().map_err(|_| BadEndpoint("port is not 0 to 65535"))?)
        } else {
            (rest, 0)
        };
        let (host, six) = match host.strip_prefix('[').map(|h| h.strip_suffix(']')) {
            Some(Some(inner)) => (inner, true),
            Some(None) => return Err(BadEndpoint("the closing bracket is missing")),
            None => (host, false),
        };
        let (address, device) = match host.split_once('%') {
            Some((_, "")) => return Err(BadEndpoint("empty device")),
            Some((a, d)) => (a, Some(Device::from(d))),
            None => (host, None),
        };
        let address = if six {
            IpAddr::V6(address.parse().map_err(|_| BadEndpoint("not an IPv6 address"))?)
        } else {
            IpAddr::V4(address.parse().map_err(|_| BadEndpoint("not an IPv4 address"))?)
        };
        Ok(Endpoint { protocol, address, port, device })
    }
}

/// Returns the IPv4 address inside a v4-mapped IPv6 address; any other address unchanged.
#[must_use]
pub fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_round_trip() {
        for text in [
            "tcp/127.0.0.1:5432",
            "udp/0.0.0.0%lo:53",
            "udp/[fe80::1%eth0]:546",
            "tcp/[::]:0",
            "sctp/[::ffff:10.0.0.1]:65535",
            "udplite/224.0.0.251:5353",
            "raw/[::]",
            "packet/0.0.0.0%eth0",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn bad_endpoints_are_refused() {
        for text in [
            "",
            "tcp",
            "tcp/",
            "tcp/1.2.3.4",
            "tcp/1.2.3.4:65536",
            "tcp/::1:22",
            "icmp/1.2.3.4:1",
            "tcp/[::1:22",
            "raw/0.0.0.0:1",
            "tcp/1.2.3.4%:22",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?} parsed");
        }
    }
}
