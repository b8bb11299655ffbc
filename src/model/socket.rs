//! The kernel's data about one socket, and the processes that own it.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Container, Endpoint, Exposure, Pid, Protocol, ReceivedPackets, named, unmapped};

named! {
    /// The state of a socket. Only TCP has the connection states.
    pub enum State {
        /// The socket accepts connections.
        Listen = "listen",
        /// A datagram socket without a peer, which accepts datagrams from any sender.
        Unconnected = "unconnected",
        /// Bound to a port without listening. The port is still occupied.
        Bound = "bound",
        /// A rule of the kernel that forwards traffic for the port to another address or port.
        Published = "published",
        /// A raw or packet socket, which receives packets without a port.
        Raw = "raw",
        /// TCP: both sides have confirmed the connection. A datagram socket with a peer has this state too.
        Established = "established",
        /// TCP: a request to connect was sent.
        SynSent = "syn-sent",
        /// TCP: a request to connect was received.
        SynRecv = "syn-recv",
        /// TCP: this side has closed the connection, but the peer has not acknowledged this.
        FinWait1 = "fin-wait1",
        /// TCP: this side has closed the connection, and the peer has acknowledged this.
        FinWait2 = "fin-wait2",
        /// TCP: the connection has ended, and the kernel waits for old segments.
        TimeWait = "time-wait",
        /// TCP: the peer has closed the connection.
        CloseWait = "close-wait",
        /// TCP: this side has closed the connection after the peer, but the peer has not acknowledged this.
        LastAck = "last-ack",
        /// TCP: both sides have closed the connection at the same time.
        Closing = "closing",
        /// TCP: the socket is not in use.
        Close = "close",
    }
}

impl State {
    /// Returns whether a socket in this state accepts traffic from any client.
    #[must_use]
    pub const fn accepts_traffic(self) -> bool {
        matches!(self, State::Listen | State::Unconnected | State::Published)
    }

    /// Returns whether rules judge a socket in this state. Rules judge every socket except a connection.
    #[must_use]
    pub const fn is_judged(self) -> bool {
        self.holds_port() || matches!(self, State::Raw)
    }

    /// Returns every state of a socket that has a port.
    #[must_use]
    pub fn with_ports() -> Vec<State> {
        State::ALL.into_iter().filter(|state| *state != State::Raw).collect()
    }

    /// Returns whether a socket in this state accepts traffic or is only bound.
    #[must_use]
    pub const fn holds_port(self) -> bool {
        self.accepts_traffic() || matches!(self, State::Bound)
    }
}

named! {
    /// The side that opened a connection, inferred from the listeners on this machine.
    pub enum Direction {
        /// The other side opened the connection: a listener on this machine has the local port of the connection.
        In = "in",
        /// This side opened the connection: the kernel chose its local port, or its peer is a listener on this
        /// machine.
        Out = "out",
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// The port in host order.
    pub port: u16,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Netns {
    /// The inode of the namespace, unique while the namespace exists.
    pub inode: u64,
    /// The name under `/run/netns`, if the namespace has a name.
    pub name: Option<String>,
}

/// The destination to which the kernel forwards the traffic of a published port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forwarding {
    /// The address and port of the destination. The wildcard address means the address at which the traffic arrived.
    pub to: Peer,
    /// The rule that forwards the traffic, as its own tool (such as iptables or ipvsadm) prints it.
    pub rule: String,
    /// The container with this address, if a file of its manager names the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
}

/// Queue lengths in bytes, or in connections for a TCP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queues {
    /// The number of bytes that were not read yet. For a TCP listener, the number of connections that wait for
    /// `accept`.
    pub receive: u32,
    /// The number of bytes that were not acknowledged yet. For a TCP listener, the limit of its backlog.
    pub send: u32,
}

/// The owner of a socket, as far as it is known. Outputs show a different text for each variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// These processes own the socket. There is at least one, and their order is ascending. Sockets with equal lists
    /// share one list.
    Held(#[serde(deserialize_with = "rising")] Arc<Vec<Pid>>),
    /// A process may own the socket, but not every process could be read.
    Hidden,
    /// A kernel service owns the socket. No process owns it, and there is evidence that the kernel service runs.
    Kernel,
    /// Every process was read, and no process owns the socket. No kernel service explains the socket.
    Unaccounted,
    /// The socket and its processes were gone before the processes could be found.
    Vanished,
    /// The owner is unknown, because the system, or the source of the socket, does not name it.
    Unknown,
}

/// Reads process IDs. Returns an error if the list is empty or not ascending.
fn rising<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Vec<Pid>>, D::Error> {
    let pids = Vec::<Pid>::deserialize(deserializer)?;
    if pids.is_empty() || !pids.is_sorted_by(|a, b| a < b) {
        return Err(serde::de::Error::custom(
            "pids must be in ascending order, and there must be at least one",
        ));
    }
    Ok(Arc::new(pids))
}

impl Owner {
    /// Returns the name in lower case, as in every output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Owner::Held(_) => "held",
            Owner::Hidden => "hidden",
            Owner::Kernel => "kernel",
            Owner::Unaccounted => "unaccounted",
            Owner::Vanished => "vanished",
            Owner::Unknown => "unknown",
        }
    }

    /// Returns the processes that own the socket, in ascending order; empty unless the owner is [`Owner::Held`].
    #[must_use]
    pub fn pids(&self) -> &[Pid] {
        match self {
            Owner::Held(pids) => pids,
            _ => &[],
        }
    }
}

/// The user, namespaces and control group of a socket, which many sockets share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SocketAttributes {
    /// The ID of the user who created the socket, if the system gives it.
    pub uid: Option<u32>,
    /// The name of the user, if known.
    pub user: Option<String>,
    /// The network namespace; `None` for the namespace in which portolan runs.
    pub netns: Option<Netns>,
    /// The path of the control group below the root of the hierarchy (Linux).
    pub cgroup: Option<String>,
    /// Whether the socket is bound to a loopback device. `None` if it is bound to no device, or if the flags of the
    /// device are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_loopback: Option<bool>,
    /// Whether the socket accepts traffic for addresses of other machines (`IP_TRANSPARENT`).
    #[serde(skip_serializing_if = "is_false")]
    pub transparent: bool,
    /// Whether the socket is bound to an address or a device that this machine does not have.
    #[serde(skip_serializing_if = "is_false")]
    pub absent: bool,
    /// The systemd unit of the control group.
    pub unit: Option<String>,
    /// The container of the control group.
    pub container: Option<String>,
    /// The destination to which the kernel forwards the traffic, for a published port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
    /// The packets that a raw or packet socket receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receives: Option<ReceivedPackets>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// One socket as the kernel reports it. Fields that many sockets share are in [`SocketAttributes`], because a listing
/// can have a hundred thousand sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedSocket")]
pub struct Socket {
    /// The local end.
    pub local: Endpoint,
    /// The other end; `None` for a socket without a peer.
    pub peer: Option<Peer>,
    /// The state.
    pub state: State,
    /// Whether the socket uses Multipath TCP (RFC 8684).
    pub mptcp: bool,
    /// The user, namespaces and control group.
    #[serde(flatten)]
    pub attributes: Arc<SocketAttributes>,
    /// The inode; `None` if the socket or the system has none.
    pub inode: Option<NonZeroU64>,
    /// The kernel's cookie, unique until the machine restarts (Linux).
    pub cookie: Option<NonZeroU64>,
    /// Whether an IPv6 socket refuses IPv4 traffic; `None` for other sockets, or if the system does not give this
    /// option.
    pub v6only: Option<bool>,
    /// The queue lengths, if the system gives them.
    pub queues: Option<Queues>,
    /// The owner, or the reason why it is not known.
    pub owner: Owner,
}

/// The saved form of a socket, without a flattened field. To read a flattened [`SocketAttributes`], serde would build a
/// tree of the whole object, and a hostile file could make this tree large.
#[derive(Deserialize)]
struct SavedSocket {
    local: Endpoint,
    peer: Option<Peer>,
    state: State,
    mptcp: bool,
    uid: Option<u32>,
    user: Option<String>,
    netns: Option<Netns>,
    cgroup: Option<String>,
    #[serde(default)]
    on_loopback: Option<bool>,
    #[serde(default)]
    transparent: bool,
    #[serde(default)]
    absent: bool,
    unit: Option<String>,
    container: Option<String>,
    inode: Option<NonZeroU64>,
    cookie: Option<NonZeroU64>,
    v6only: Option<bool>,
    queues: Option<Queues>,
    #[serde(default)]
    forwarding: Option<Forwarding>,
    #[serde(default)]
    receives: Option<ReceivedPackets>,
    owner: Owner,
}

impl From<SavedSocket> for Socket {
    fn from(saved: SavedSocket) -> Self {
        let SavedSocket { local, peer, state, mptcp, inode, cookie, v6only, queues, owner, .. } = saved;
        let SavedSocket { uid, user, netns, cgroup, on_loopback, transparent, unit, .. } = saved;
        let SavedSocket { container, forwarding, receives, absent, .. } = saved;
        let attributes = Arc::new(SocketAttributes {
            uid,
            user,
            netns,
            cgroup,
            on_loopback,
            transparent,
            absent,
            unit,
            container,
            forwarding,
            receives,
        });
        Socket { local, peer, state, mptcp, attributes, inode, cookie, v6only, queues, owner }
    }
}

impl Deref for Socket {
    type Target = SocketAttributes;

    fn deref(&self) -> &SocketAttributes {
        &self.attributes
    }
}

impl Socket {
    /// Returns whether a socket on `[::]` accepts only IPv6 clients; `None` for other addresses, or if this is not
    /// known.
    #[must_use]
    pub fn takes_only_ipv6(&self) -> Option<bool> {
        self.v6only.filter(|_| self.local.address.is_ipv6() && self.local.address.is_unspecified())
    }

    /// Returns whether this socket takes traffic from `wider`, another socket on the same port. The kernel delivers
    /// traffic to the socket with the most specific address and device. Multicast and broadcast packets do not count,
    /// because all sockets receive them.
    #[must_use]
    pub fn takes_traffic_from(&self, wider: &Socket) -> bool {
        let is_socket = |one: &Socket| one.state.accepts_traffic() && one.state != State::Published;
        if !is_socket(self) || !is_socket(wider) || !self.same_port(wider) {
            return false;
        }
        let (own, other) = (unmapped(self.local.address), unmapped(wider.local.address));
        if own.is_multicast() || own == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return false;
        }
        let within = match (own, other) {
            (IpAddr::V4(_), IpAddr::V4(other)) => other.is_unspecified(),
            (IpAddr::V6(_), IpAddr::V6(other)) => other.is_unspecified(),
            // If it is not known whether an IPv6 socket accepts IPv4 traffic, assume that it does not.
            (IpAddr::V4(_), IpAddr::V6(other)) => other.is_unspecified() && wider.v6only == Some(false),
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        let (device, others) = (&self.local.device, &wider.local.device);
        (own == other || within)
            && (device == others || others.is_none())
            && (own != other || device != others)
    }

    /// Returns the clients that can reach the socket, by its address and device. A transparent socket counts as `Any`,
    /// because a rule can send traffic for any address to it (TPROXY).
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        match self.on_loopback {
            _ if self.transparent => Exposure::Any,
            _ if self.absent => Exposure::None,
            Some(true) => Exposure::Loopback,
            Some(false) => Exposure::of(self.local.address, None),
            None => Exposure::of(self.local.address, self.local.device.as_deref()),
        }
    }

    /// Returns the local port; `None` if the protocol has no ports.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.local.protocol.has_ports().then_some(self.local.port)
    }

    /// Returns the local address; `None` for a packet socket, which receives packets of any address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        (self.local.protocol != Protocol::Packet).then_some(self.local.address)
    }

    /// Returns whether both sockets are on one port of one protocol in one network namespace.
    #[must_use]
    pub fn same_port(&self, other: &Socket) -> bool {
        self.port_key() == other.port_key()
    }

    /// Returns the common key of all sockets on one port of one protocol in one network namespace.
    #[must_use]
    pub fn port_key(&self) -> (Option<u64>, Protocol, u16) {
        (self.netns.as_ref().map(|netns| netns.inode), self.local.protocol, self.local.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: &str, v6only: Option<bool>) -> Socket {
        let local: Endpoint = local.parse().unwrap();
        Socket {
            state: if local.protocol == Protocol::Tcp { State::Listen } else { State::Unconnected },
            local,
            peer: None,
            mptcp: false,
            attributes: SocketAttributes::default().into(),
            inode: 1.try_into().ok(),
            cookie: None,
            v6only,
            queues: None,
            owner: Owner::Unknown,
        }
    }

    #[test]
    fn the_more_specific_socket_takes_the_traffic() {
        let (both, own, unsure) = (Some(false), Some(true), None);
        for (name, narrow, wide, v6only, takes) in [
            ("an address and its wildcard", "tcp/127.0.0.1:80", "tcp/0.0.0.0:80", unsure, true),
            ("of IPv6", "tcp/[::1]:80", "tcp/[::]:80", own, true),
            ("IPv4 and both", "tcp/127.0.0.1:80", "tcp/[::]:80", both, true),
            ("any IPv4 and both", "tcp/0.0.0.0:80", "tcp/[::]:80", both, true),
            ("IPv4 and IPv6 alone", "tcp/127.0.0.1:80", "tcp/[::]:80", own, false),
            ("IPv4 and unknown", "tcp/127.0.0.1:80", "tcp/[::]:80", unsure, false),
            ("IPv6 and IPv4", "tcp/[::1]:80", "tcp/0.0.0.0:80", unsure, false),
            ("mapped", "udp/[::ffff:127.0.0.1]:80", "udp/0.0.0.0:80", unsure, true),
            ("mapped and both", "udp/[::ffff:127.0.0.1]:80", "udp/[::]:80", both, true),
            ("the same address", "udp/127.0.0.1:80", "udp/127.0.0.1:80", unsure, false),
            ("the same wildcard", "udp/0.0.0.0:80", "udp/0.0.0.0:80", unsure, false),
            ("two addresses", "udp/127.0.0.1:80", "udp/127.0.0.2:80", unsure, false),
            ("a device", "udp/0.0.0.0%eth0:80", "udp/0.0.0.0:80", unsure, true),
            ("two devices", "udp/0.0.0.0%eth0:80", "udp/0.0.0.0%eth1:80", unsure, false),
            ("an address on a device", "udp/10.0.0.1%eth0:80", "udp/0.0.0.0%eth0:80", unsure, true),
            (
                "an address, and a device that may have it",
                "udp/10.0.0.1:80",
                "udp/0.0.0.0%eth0:80",
                unsure,
                false,
            ),
            ("a group", "udp/224.0.0.251:80", "udp/0.0.0.0:80", unsure, false),
            ("a group of IPv6", "udp/[ff02::fb]:80", "udp/[::]:80", unsure, false),
            ("the broadcast address", "udp/255.255.255.255:80", "udp/0.0.0.0:80", unsure, false),
            ("two ports", "udp/127.0.0.1:80", "udp/0.0.0.0:81", unsure, false),
            ("two protocols", "udp/127.0.0.1:80", "tcp/0.0.0.0:80", unsure, false),
        ] {
            let (narrow, wide) = (socket(narrow, Some(false)), socket(wide, v6only));
            assert_eq!(narrow.takes_traffic_from(&wide), takes, "{name}");
            assert!(!takes || !wide.takes_traffic_from(&narrow), "{name}: one of the two takes");
        }
        let (narrow, wide) = (socket("tcp/127.0.0.1:80", None), socket("tcp/0.0.0.0:80", None));
        let bound = Socket { state: State::Bound, ..narrow.clone() };
        assert!(!bound.takes_traffic_from(&wide), "who does not listen takes nothing");
        let elsewhere = Socket {
            attributes: SocketAttributes {
                netns: Some(Netns { inode: 7, name: None }),
                ..SocketAttributes::default()
            }
            .into(),
            ..narrow
        };
        assert!(!elsewhere.takes_traffic_from(&wide), "another network namespace is another network");
    }
}
