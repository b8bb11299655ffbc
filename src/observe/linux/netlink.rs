//! Requests lists of sockets ("dumps") from the kernel through `NETLINK_SOCK_DIAG`.
//!
//! A dump does not show all sockets at one moment. If a socket appears or vanishes between two datagrams, another
//! socket can be missing. The kernel does not report this. So a dump of more than one datagram is repeated until two
//! dumps agree. The sockets of all dumps are reported.
//!
//! The kernel makes the first datagram only as large as the largest read so far. Therefore the first read has a large
//! buffer.

use std::fmt;

use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;

use super::diag::{self, DumpError, Progress, Reading, SocketRecord};
use super::kernel_ids::KernelIds;
use super::netlink_dump::{Connection, DUMP};
use crate::model::{Family, PortRange};

/// The maximum number of dumps if no two of them agree.
const ATTEMPTS: usize = 6;
impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::Kernel(error) => {
                write!(f, "the kernel stopped its answer with an error: {}", Errno::from_raw_os_error(*error))
            }
            DumpError::Interrupted => f.write_str("the tables changed during every attempt"),
            DumpError::NotCompared => {
                f.write_str("the tables changed all the time, and no two answers agreed")
            }
            DumpError::Truncated => f.write_str("the kernel lost messages"),
            DumpError::Malformed => f.write_str("the answer of the kernel could not be parsed"),
        }
    }
}

pub(super) struct Netlink {
    connection: Connection,
    primed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct DumpRequest {
    /// `None` requests both families in one pass. Only TCP supports this.
    pub family: Option<Family>,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// The states, one bit for each.
    pub states: u32,
    /// The kernel skips sockets with a local port outside this range. This saves time if there are many connections.
    pub ports: Option<PortRange>,
}

impl Netlink {
    /// Connects in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Errno> {
        Ok(Netlink { connection: Connection::open(Some(SOCK_DIAG))?, primed: false })
    }

    /// Passes each socket of the answer to `each` once. Returns the reason if the answer may be incomplete. Returns an
    /// error if the kernel refuses the request; no socket was passed to `each` in this case.
    pub(super) fn dump(
        &mut self,
        request: DumpRequest,
        each: &mut dyn FnMut(&SocketRecord),
    ) -> Result<Option<DumpError>, Errno> {
        if !self.primed {
            self.primed = true;
            // This request selects no state, so its answer is empty. Its only purpose is a read with a large buffer.
            let _ = self.ask(DumpRequest { states: 0, ..request }, &mut |_| {});
        }
        let mut seen = KernelIds::default();
        let mut trouble = None;
        for attempt in 0..ATTEMPTS {
            let (before, mut listed) = (seen.len(), 0);
            let outcome = self.ask(request, &mut |record| {
                listed += 1;
                // A socket that moves within the tables during the dump can appear twice.
                if seen.insert(record.cookie) {
                    each(record);
                }
            });
            trouble = match outcome {
                Ok(_) => None,
                Err(DumpError::Kernel(error)) if seen.is_empty() => {
                    return Err(Errno::from_raw_os_error(error));
                }
                Err(trouble) => Some(trouble),
            };
            let agreed = attempt > 0 && seen.len() == before && listed >= before;
            if trouble.is_none() && (agreed || (attempt == 0 && outcome == Ok(true))) {
                return Ok(None);
            }
        }
        Ok(trouble.or(Some(DumpError::NotCompared)))
    }

    /// Sends one request and passes each socket of the answer to `each`. Returns whether all sockets were in one
    /// datagram.
    fn ask(&mut self, request: DumpRequest, each: &mut dyn FnMut(&SocketRecord)) -> Result<bool, DumpError> {
        let outcome = self.read(request, each);
        if !matches!(outcome, Ok(_) | Err(DumpError::Interrupted)) {
            // The kernel may still be answering the previous request, and refuses the next request until it has
            // finished. So a new connection is opened.
            if let Ok(connection) = Connection::open(Some(SOCK_DIAG)) {
                self.connection = connection;
            }
        }
        outcome
    }

    fn read(&mut self, request: DumpRequest, each: &mut dyn FnMut(&SocketRecord)) -> Result<bool, DumpError> {
        let kernel = |e: Errno| DumpError::Kernel(e.raw_os_error());
        let DumpRequest { family, protocol, states, ports } = request;
        let (kind, body) = match family {
            Some(family) => diag::request(family, protocol, states, ports),
            None => diag::tcp_request(states, ports),
        };
        let sequence = self.connection.send(kind, DUMP, &body).map_err(kernel)?;
        let mut carriers = 0;
        let mut reading = Reading::default();
        loop {
            let bytes = match self.connection.receive() {
                Err(Errno::NOBUFS | Errno::MSGSIZE) => return Err(DumpError::Truncated),
                received => received.map_err(kernel)?,
            };
            let progress = reading.datagram(bytes, sequence);
            carriers += usize::from(!reading.records.is_empty());
            // The records are used even if an error follows them.
            reading.records.drain(..).for_each(|record| each(&record));
            if progress? == Progress::Done {
                return Ok(carriers <= 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    /// The states "close" and "listen".
    const STATES: u32 = 1 << 7 | 1 << 10;

    #[test]
    fn the_kernel_filters_by_port() {
        let tcp = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"].map(|at| TcpListener::bind(at).unwrap());
        let udp = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"].map(|at| UdpSocket::bind(at).unwrap());
        let tcp = (6, tcp.each_ref().map(|socket| socket.local_addr().unwrap()));
        let udp = (17, udp.each_ref().map(|socket| socket.local_addr().unwrap()));
        let mut netlink = Netlink::open().unwrap();
        for (protocol, places) in [tcp, udp] {
            for place in places {
                let family = if place.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
                let families = [Some(family), None];
                for family in families.into_iter().filter(|family| protocol == 6 || family.is_some()) {
                    let port = place.port();
                    let mut ports_in = |low: u16, high: u16| {
                        let ports = PortRange::new(low, high);
                        let (mut found, mut others) = (false, false);
                        let request = DumpRequest { family, protocol, states: STATES, ports };
                        let trouble = netlink.dump(request, &mut |record| {
                            found |= record.local == (place.ip(), port);
                            others |= !(low..=high).contains(&record.local.1);
                        });
                        assert!(matches!(trouble, Ok(None)), "{trouble:?}");
                        (found, others)
                    };
                    for (low, high) in [(port, port), (0, port), (port, u16::MAX), (0, u16::MAX)] {
                        assert_eq!(
                            ports_in(low, high),
                            (true, false),
                            "{place} in {low}-{high} by {family:?}"
                        );
                    }
                    for (low, high) in [(0, port - 1), (port.saturating_add(1), u16::MAX)] {
                        assert_eq!(
                            ports_in(low, high),
                            (false, false),
                            "{place} in {low}-{high} by {family:?}"
                        );
                    }
                }
            }
        }
    }
}
