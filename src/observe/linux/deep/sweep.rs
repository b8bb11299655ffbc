//! Finds ports that are in use without a visible socket, by trying to bind each port.
//!
//! Each port that no table shows as in use is bound on the wildcard address and released at once. `SO_REUSEADDR`,
//! `SO_REUSEPORT` and `listen` are not used. Therefore no traffic is taken from another socket, no connection is
//! accepted, and no packet is sent. If a service binds the port in these microseconds, the service gets the error
//! `EADDRINUSE`.
//!
//! A port is reported only if every attempt failed, and no reading of the tables showed a socket on it. A single failed
//! attempt is not evidence, because sockets come and go.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::model::{Family, Protocol};

pub const PORTS: RangeInclusive<u16> = 1..=65535;
/// The number of rounds in which the ports that seem to be in use are tried again.
const ROUNDS: u32 = 5;
/// The number of attempts per port in each round, between two readings of the tables.
const BURST: u32 = 16;
/// The pause before each round, in which short-lived sockets can disappear.
const PAUSE: Duration = Duration::from_millis(10);

const KINDS: [(Protocol, Family); 4] = [
    (Protocol::Tcp, Family::Ipv4),
    (Protocol::Tcp, Family::Ipv6),
    (Protocol::Udp, Family::Ipv4),
    (Protocol::Udp, Family::Ipv6),
];

/// The ports that the tables show as in use. In the family of an entry, `bind` to the wildcard address would fail. A
/// single IPv6 socket can make two entries, because it can also take the port in IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedPorts(HashSet<(Protocol, Family, u16)>);

impl ListedPorts {
    /// Adds a socket. An IPv6 socket also takes the port in IPv4, unless `v6only` is true. The kernel also sets
    /// `v6only` for a socket that was bound to an address other than the wildcard. It does not set it for a socket that
    /// only connects. A socket on a v4-mapped address takes only IPv4 (`inet_rcv_saddr_equal`,
    /// net/ipv4/inet_connection_sock.c).
    pub fn add(&mut self, protocol: Protocol, address: IpAddr, port: u16, v6only: Option<bool>) {
        let (four, six) = match address {
            IpAddr::V4(_) => (true, false),
            IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => (true, false),
            IpAddr::V6(_) => (v6only != Some(true), true),
        };
        for (family, takes) in [(Family::Ipv4, four), (Family::Ipv6, six)] {
            if takes {
                self.0.insert((protocol, family, port));
            }
        }
    }

    /// Removes a port.
    pub fn forget(&mut self, protocol: Protocol, family: Family, port: u16) {
        self.0.remove(&(protocol, family, port));
    }

    fn has(&self, port: Port) -> bool {
        self.0.contains(&port)
    }
}

/// A port, and the protocol and family in which it is tried.
pub type Port = (Protocol, Family, u16);

/// The result of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepResult {
    /// The number of ports that were tried.
    pub tried: u64,
    /// The ports in use without a visible socket, each with its number of failed attempts.
    pub taken: Vec<(Port, u32)>,
    /// The number of ports that could not be tried, by error number.
    pub refused: BTreeMap<i32, u64>,
    /// The number of ports that could not be judged, because the tables could not be read.
    pub unsure: u64,
}

enum BindResult {
    Free,
    Taken,
    Refused(Errno),
}

/// Tries `ports`. `shown` reads the tables, and returns `None` if they cannot be read completely.
pub fn sweep(ports: RangeInclusive<u16>, shown: &mut dyn FnMut() -> Option<ListedPorts>) -> SweepResult {
    let mut result = SweepResult::default();
    let mut taken_ports: Vec<Port> = Vec::new();
    for (protocol, family) in KINDS {
        if !exists(protocol, family) {
            continue;
        }
        // The tables are read again for each protocol and family, because a reading is soon outdated. With an old
        // reading, the ports of new sockets would seem to have no socket, and each of them would be tried many times.
        let Some(explained) = shown() else {
            result.unsure += u64::try_from(ports.len()).unwrap_or(u64::MAX);
            continue;
        };
        for port in ports.clone() {
            let port = (protocol, family, port);
            if explained.has(port) {
                continue;
            }
            result.tried += 1;
            match attempt(port) {
                BindResult::Free => {}
                BindResult::Taken => taken_ports.push(port),
                BindResult::Refused(errno) => *result.refused.entry(errno.raw_os_error()).or_default() += 1,
            }
        }
    }
    let mut tries = 1;
    for _ in 0..ROUNDS {
        if taken_ports.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        let Some(before) = shown() else { return unsure(result, &taken_ports) };
        taken_ports.retain(|port| !before.has(*port) && taken_throughout(*port));
        tries += BURST;
        if taken_ports.is_empty() {
            break;
        }
        let Some(after) = shown() else { return unsure(result, &taken_ports) };
        taken_ports.retain(|port| !after.has(*port));
    }
    result.taken = taken_ports.into_iter().map(|port| (port, tries)).collect();
    result
}

fn unsure(mut result: SweepResult, taken_ports: &[Port]) -> SweepResult {
    result.unsure += u64::try_from(taken_ports.len()).unwrap_or(u64::MAX);
    result
}

fn taken_throughout(port: Port) -> bool {
    (0..BURST).all(|_| matches!(attempt(port), BindResult::Taken))
}

const fn domain(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::INET,
        Family::Ipv6 => AddressFamily::INET6,
    }
}

const fn kind(protocol: Protocol) -> SocketType {
    match protocol {
        Protocol::Udp | Protocol::Udplite => SocketType::DGRAM,
        Protocol::Tcp | Protocol::Sctp | Protocol::Dccp => SocketType::STREAM,
        Protocol::Raw | Protocol::Packet => SocketType::RAW,
    }
}

pub(super) fn exists(protocol: Protocol, family: Family) -> bool {
    let made = socket_with(domain(family), kind(protocol), SocketFlags::CLOEXEC, None);
    !matches!(made, Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT))
}

/// Binds a port and releases it.
fn attempt((protocol, family, port): Port) -> BindResult {
    let made = socket_with(domain(family), kind(protocol), SocketFlags::CLOEXEC, None).and_then(|socket| {
        if family == Family::Ipv6 {
            // Without this option, the socket would also take the port in IPv4, which is tried separately.
            set_ipv6_v6only(&socket, true)?;
        }
        Ok(socket)
    });
    let socket = match made {
        Ok(socket) => socket,
        Err(errno) => return BindResult::Refused(errno),
    };
    let bound = bind(&socket, &SocketAddr::new(family.wildcard(), port));
    drop(socket);
    match bound {
        Ok(()) => BindResult::Free,
        Err(Errno::ADDRINUSE) => BindResult::Taken,
        Err(errno) => BindResult::Refused(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_in_which_a_socket_takes_its_port() {
        for (address, v6only, four, six) in [
            ("0.0.0.0", None, true, false),
            ("127.0.0.1", None, true, false),
            ("::", Some(false), true, true),
            ("::", None, true, true),
            ("::", Some(true), false, true),
            ("::1", Some(true), false, true),
            ("::1", Some(false), true, true),
            ("::ffff:127.0.0.1", Some(false), true, false),
            ("fe80::1", None, true, true),
        ] {
            let mut shown = ListedPorts::default();
            shown.add(Protocol::Tcp, address.parse().unwrap(), 80, v6only);
            assert_eq!(shown.has((Protocol::Tcp, Family::Ipv4, 80)), four, "{address} in IPv4");
            assert_eq!(shown.has((Protocol::Tcp, Family::Ipv6, 80)), six, "{address} in IPv6");
            assert!(
                !shown.has((Protocol::Udp, Family::Ipv4, 80))
                    && !shown.has((Protocol::Tcp, Family::Ipv4, 81))
            );
            shown.forget(Protocol::Tcp, Family::Ipv4, 80);
            assert!(!shown.has((Protocol::Tcp, Family::Ipv4, 80)));
        }
    }

    #[test]
    fn unreadable_tables_cause_no_finding() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let result = sweep(port..=port, &mut || None);
        assert_eq!((result.taken.len(), result.tried), (0, 0));
        assert!(result.unsure >= 2, "{result:?}");
        // The tables could be read at first, but not later.
        let mut readings = 0;
        let result = sweep(port..=port, &mut || {
            readings += 1;
            (readings <= 4).then(ListedPorts::default)
        });
        assert_eq!(result.taken, []);
        assert_eq!(result.unsure, 1, "{result:?}");
    }
}
