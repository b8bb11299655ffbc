//! What the kernel said of one socket, and whether anybody holds it.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Endpoint, Exposure, Pid, Protocol, named, unmapped};

named! {
    /// The state of a socket. Only TCP has the connection states.
    pub enum State {
        /// Accepting connections.
        Listen = "listen",
        /// A datagram socket without a peer: it takes what anybody sends.
        Unconnected = "unconnected",
        /// Bound to a port and not listening on it; the port is held all the same.
        Bound = "bound",
        /// TCP: both sides have agreed. A datagram socket with a peer shows so too, as in the kernel.
        Established = "established",
        /// TCP: a request was sent.
        SynSent = "syn-sent",
        /// TCP: a request was received.
        SynRecv = "syn-recv",
        /// TCP: closed on this side, not yet acknowledged.
        FinWait1 = "fin-wait1",
        /// TCP: closed on this side, acknowledged.
        FinWait2 = "fin-wait2",
        /// TCP: waiting for stray segments to die.
        TimeWait = "time-wait",
        /// TCP: closed by the peer.
        CloseWait = "close-wait",
        /// TCP: closed by the peer and then by this side, not yet acknowledged.
        LastAck = "last-ack",
        /// TCP: closed on both sides at once.
        Closing = "closing",
        /// TCP: not in use.
        Close = "close",
    }
}

impl State {
    /// Returns whether it accepts traffic from anyone: a listening socket, or a datagram socket without a peer.
    #[must_use]
    pub const fn accepts_traffic(self) -> bool {
        matches!(self, State::Listen | State::Unconnected)
    }

    /// Returns whether it occupies its port without a connection: it accepts traffic, or is bound and idle.
    #[must_use]
    pub const fn holds_port(self) -> bool {
        self.accepts_traffic() || matches!(self, State::Bound)
    }
}

named! {
    /// Which side of a connection was asked: a guess from what listens here.
    pub enum Direction {
        /// Something listens here on its local end: the other side asked.
        In = "in",
        /// Nothing here listens on its local end: this side asked.
        Out = "out",
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its port in host order.
    pub port: u16,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Netns {
    /// Its inode on nsfs: its identity while it lives.
    pub inode: u64,
    /// Its name under `/run/netns`, where it has one.
    pub name: Option<String>,
}

/// Queue lengths as the kernel reports them: bytes, but for a TCP listener connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queues {
    /// Bytes not yet read; of a TCP listener, connections waiting for `accept`.
    pub receive: u32,
    /// Bytes not yet acknowledged; of a TCP listener, the limit of its backlog.
    pub send: u32,
}

/// Who holds a socket. The five are different facts: none renders or compares like another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// These processes, in rising order, at least one; sockets of the same holders share the list.
    Held(#[serde(deserialize_with = "rising")] Arc<Vec<Pid>>),
    /// Some process may hold it, but not every process could be read.
    Hidden,
    /// A kernel service owns it: no process holds it, and such a service is seen to run.
    Kernel,
    /// Every process was read and none holds it, and no kernel service explains it.
    Unaccounted,
    /// It was gone, with whoever held it, before its holder could be found.
    Vanished,
    /// This system, or this source, does not say.
    Unknown,
}

/// Holders as a saved observation must have them.
fn rising<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Vec<Pid>>, D::Error> {
    let pids = Vec::<Pid>::deserialize(deserializer)?;
    if pids.is_empty() || !pids.is_sorted_by(|a, b| a < b) {
        return Err(serde::de::Error::custom("holders must be in rising order, at least one"));
    }
    Ok(Arc::new(pids))
}

impl Owner {
    /// The name in lower case, as in every output.
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

    /// The holders, in rising order; empty unless it is [`Owner::Held`].
    #[must_use]
    pub fn pids(&self) -> &[Pid] {
        match self {
            Owner::Held(pids) => pids,
            _ => &[],
        }
    }
}

/// Where a socket lives and under whom: what many sockets have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    /// The user id it was made under, where the system tells.
    pub uid: Option<u32>,
    /// The name of that user, where the system knows one.
    pub user: Option<String>,
    /// Its network namespace; `None` where it is the observer's own.
    pub netns: Option<Netns>,
    /// Path of its control group below the hierarchy's root (Linux).
    pub cgroup: Option<String>,
    /// Whether the device it is bound to is a loopback device, by the device's flags; `None` where it is bound to none,
    /// or the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_loopback: Option<bool>,
    /// The systemd unit that control group belongs to.
    pub unit: Option<String>,
    /// The container that control group belongs to.
    pub container: Option<String>,
}

/// One socket as the kernel told it. There may be a hundred thousand, so what they share they share, and the fields of
/// their [`Home`] read like their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// The local end.
    pub local: Endpoint,
    /// The other end; `None` for a socket without one.
    pub peer: Option<Peer>,
    /// Its state.
    pub state: State,
    /// Whether it speaks Multipath TCP (RFC 8684).
    pub mptcp: bool,
    /// Where it lives and under whom.
    #[serde(flatten)]
    pub home: Arc<Home>,
    /// Its inode; `None` where it has none (or the system none to give).
    pub inode: Option<NonZeroU64>,
    /// The kernel's cookie, unique while the machine runs (Linux).
    pub cookie: Option<NonZeroU64>,
    /// Whether an IPv6 socket leaves IPv4 alone; `None` where it is none or the system does not say.
    pub v6only: Option<bool>,
    /// Queue lengths, where the system tells.
    pub queues: Option<Queues>,
    /// Who holds it.
    pub owner: Owner,
}

impl Deref for Socket {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl Socket {
    /// Whether it takes what would come to `wider`, another socket of its port and protocol, if it were not there:
    /// the kernel hands what arrives to the socket that says most of where it listens. That goes by address and device
    /// alone, and only where one of the two lies within the other. What is sent to many at once is handed to all.
    #[must_use]
    pub fn narrows(&self, wider: &Socket) -> bool {
        if !self.state.accepts_traffic() || !wider.state.accepts_traffic() || !self.same_port(wider) {
            return false;
        }
        let (own, other) = (unmapped(self.local.address), unmapped(wider.local.address));
        if own.is_multicast() || own == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return false;
        }
        let within = match (own, other) {
            (IpAddr::V4(_), IpAddr::V4(other)) => other.is_unspecified(),
            (IpAddr::V6(_), IpAddr::V6(other)) => other.is_unspecified(),
            // Where it is not known whether an IPv6 socket leaves IPv4 alone, it is not said that it does not.
            (IpAddr::V4(_), IpAddr::V6(other)) => other.is_unspecified() && wider.v6only == Some(false),
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        let (device, others) = (&self.local.device, &wider.local.device);
        (own == other || within)
            && (device == others || others.is_none())
            && (own != other || device != others)
    }

    /// Who can reach it, by its address and device.
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        match self.on_loopback {
            Some(true) => Exposure::Loopback,
            Some(false) => Exposure::of(self.local.address, None),
            None => Exposure::of(self.local.address, self.local.device.as_deref()),
        }
    }

    /// Whether both are on one port of one protocol in one network namespace.
    #[must_use]
    pub fn same_port(&self, other: &Socket) -> bool {
        self.port_key() == other.port_key()
    }

    /// What sockets on one port of one protocol in one network namespace have in common.
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
            home: Home::default().into(),
            inode: 1.try_into().ok(),
            cookie: None,
            v6only,
            queues: None,
            owner: Owner::Unknown,
        }
    }

    #[test]
    fn the_narrower_takes() {
        let (both, own, unsure) = (Some(false), Some(true), None);
        for (name, narrow, wide, v6only, takes) in [
            ("an address and its wildcard", "tcp/127.0.0.1:80", "tcp/0.0.0.0:80", unsure, true),
            ("of IPv6", "tcp/[::1]:80", "tcp/[::]:80", own, true),
            ("IPv4 beside both", "tcp/127.0.0.1:80", "tcp/[::]:80", both, true),
            ("any IPv4 beside both", "tcp/0.0.0.0:80", "tcp/[::]:80", both, true),
            ("IPv4 beside IPv6 alone", "tcp/127.0.0.1:80", "tcp/[::]:80", own, false),
            ("IPv4 beside who knows", "tcp/127.0.0.1:80", "tcp/[::]:80", unsure, false),
            ("IPv6 beside IPv4", "tcp/[::1]:80", "tcp/0.0.0.0:80", unsure, false),
            ("mapped", "udp/[::ffff:127.0.0.1]:80", "udp/0.0.0.0:80", unsure, true),
            ("mapped beside both", "udp/[::ffff:127.0.0.1]:80", "udp/[::]:80", both, true),
            ("the same address", "udp/127.0.0.1:80", "udp/127.0.0.1:80", unsure, false),
            ("the same wildcard", "udp/0.0.0.0:80", "udp/0.0.0.0:80", unsure, false),
            ("two addresses", "udp/127.0.0.1:80", "udp/127.0.0.2:80", unsure, false),
            ("a device", "udp/0.0.0.0%eth0:80", "udp/0.0.0.0:80", unsure, true),
            ("two devices", "udp/0.0.0.0%eth0:80", "udp/0.0.0.0%eth1:80", unsure, false),
            ("an address on a device", "udp/10.0.0.1%eth0:80", "udp/0.0.0.0%eth0:80", unsure, true),
            ("an address and a device that cross", "udp/10.0.0.1:80", "udp/0.0.0.0%eth0:80", unsure, false),
            ("a group", "udp/224.0.0.251:80", "udp/0.0.0.0:80", unsure, false),
            ("a group of IPv6", "udp/[ff02::fb]:80", "udp/[::]:80", unsure, false),
            ("the broadcast address", "udp/255.255.255.255:80", "udp/0.0.0.0:80", unsure, false),
            ("two ports", "udp/127.0.0.1:80", "udp/0.0.0.0:81", unsure, false),
            ("two protocols", "udp/127.0.0.1:80", "tcp/0.0.0.0:80", unsure, false),
        ] {
            let (narrow, wide) = (socket(narrow, Some(false)), socket(wide, v6only));
            assert_eq!(narrow.narrows(&wide), takes, "{name}");
            assert!(!takes || !wide.narrows(&narrow), "{name}: one of the two takes");
        }
        let (narrow, wide) = (socket("tcp/127.0.0.1:80", None), socket("tcp/0.0.0.0:80", None));
        let bound = Socket { state: State::Bound, ..narrow.clone() };
        assert!(!bound.narrows(&wide), "who does not listen takes nothing");
        let elsewhere = Socket {
            home: Home { netns: Some(Netns { inode: 7, name: None }), ..Home::default() }.into(),
            ..narrow
        };
        assert!(!elsewhere.narrows(&wide), "another network namespace is another network");
    }
}
