//! Parses replies of `sock_diag(7)` (`linux/netlink.h`, `linux/inet_diag.h`) from bytes into records.
//!
//! The parser accepts any bytes, never panics and never guesses a value. If a record is incomplete, the whole dump is
//! an error. The caller then repeats the request or uses another source. Integers are in host order, except ports and
//! addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{number, short};
use super::netlink_dump::{self, HEADER, INTERRUPTED, NLMSG_DONE, NLMSG_ERROR, messages};
use crate::model::{Family, PortRange};

/// One socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRecord {
    /// `AF_INET` or `AF_INET6`.
    pub family: Family,
    /// The number in `net/tcp_states.h`.
    pub state: u8,
    /// Local address and port.
    pub local: (IpAddr, u16),
    /// Address and port of the peer; zeros if there is none.
    pub peer: (IpAddr, u16),
    /// The index of the device to which the socket is bound; 0 for none.
    pub interface: u32,
    /// A number that is unique until the machine restarts.
    pub cookie: u64,
    /// The number of received bytes that were not read yet. For a listener, the number of connections that wait for
    /// `accept`.
    pub receive: u32,
    /// The number of sent bytes that were not acknowledged yet. For a listener, the limit of its backlog.
    pub send: u32,
    /// The user ID.
    pub uid: u32,
    /// The inode number; 0 if the socket has no file.
    pub inode: u32,
    /// `IPV6_V6ONLY`; `None` if the kernel does not give it.
    pub v6only: Option<bool>,
    /// The ID of the control group; `None` before Linux 5.8.
    pub cgroup: Option<u64>,
    /// Whether the socket accepts traffic for addresses of other machines (`IP_TRANSPARENT`). Always false before Linux
    /// 5.15, because the kernel does not give this option.
    pub transparent: bool,
    /// The path MTU; 0 if the socket never tried to connect. Only the message about a destroyed TCP socket contains the
    /// path MTU.
    pub path_mtu: Option<u32>,
}

/// The reason why a dump cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpError {
    /// The kernel answered with this error number.
    Kernel(i32),
    /// The kernel reports that the tables changed during the dump (`NLM_F_DUMP_INTR`).
    Interrupted,
    /// The kernel lost messages, or the datagram was larger than the buffer.
    Truncated,
    /// The bytes are not netlink messages, or a record is shorter than its layout.
    Malformed,
    /// Repeated dumps differed, so each may lack a socket.
    NotCompared,
}

/// The progress of a dump after a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More datagrams follow.
    More,
    /// The dump ended in this datagram. Bytes after the end mark were ignored.
    Done,
}

const OVERRUN: u16 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The older request for TCP. It has no family, so the kernel returns the sockets of IPv4 and IPv6.
const TCPDIAG_GETSOCK: u16 = 18;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The size of `struct inet_diag_msg`.
const RECORD: usize = 72;
/// The attribute that contains `struct tcp_info` (linux/tcp.h).
const INET_DIAG_INFO: u16 = 2;
/// The position of `tcpi_pmtu` in `struct tcp_info`.
const PATH_MTU: usize = 60;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;
/// The attribute with one bit for each socket option (`struct inet_diag_sockopt`, linux/inet_diag.h).
const INET_DIAG_SOCKOPT: u16 = 22;
const TRANSPARENT: u8 = 1 << 5;

/// A dump, parsed datagram by datagram.
#[derive(Debug, Default)]
pub struct Reading {
    pub records: Vec<SocketRecord>,
    interrupted: bool,
}

impl Reading {
    /// Parses the messages of one datagram that have this `sequence` number.
    ///
    /// # Errors
    ///
    /// Returns a [`DumpError`]; the records before the error are kept. [`DumpError::Interrupted`] is returned only at
    /// the end of the dump, so that the next request does not receive the rest of this dump.
    pub fn datagram(&mut self, bytes: &[u8], sequence: u32) -> Result<Progress, DumpError> {
        for message in messages(bytes) {
            let message = message.ok_or(DumpError::Malformed)?;
            if number(message, 8) != Some(sequence) {
                continue; // this is a late answer to an earlier request
            }
            self.interrupted |= short(message, 6).unwrap_or(0) & INTERRUPTED != 0;
            let payload = &message[HEADER..];
            match short(message, 4).unwrap_or(0) {
                NLMSG_ERROR => match i32_at(payload, 0).ok_or(DumpError::Malformed)? {
                    0 => {}
                    error => return Err(DumpError::Kernel(error.saturating_neg())),
                },
                // Since Linux 4.14, the end mark contains the result of the dump: negative if the dump failed.
                NLMSG_DONE => match i32_at(payload, 0) {
                    Some(error @ ..0) => return Err(DumpError::Kernel(error.saturating_neg())),
                    _ if self.interrupted => return Err(DumpError::Interrupted),
                    _ => return Ok(Progress::Done),
                },
                OVERRUN => return Err(DumpError::Truncated),
                SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => {
                    self.records.push(record(payload).ok_or(DumpError::Malformed)?);
                }
                _ => {}
            }
        }
        Ok(Progress::More)
    }
}

fn record(bytes: &[u8]) -> Option<SocketRecord> {
    let fixed: &[u8; RECORD] = bytes.first_chunk()?;
    let family = match fixed[0] {
        AF_INET => Family::Ipv4,
        AF_INET6 => Family::Ipv6,
        _ => return None,
    };
    let Attributes { v6only, cgroup, transparent, path_mtu } = attributes(bytes.get(RECORD..)?)?;
    Some(SocketRecord {
        family,
        state: fixed[1],
        local: (address(family, fixed, 8)?, port_at(fixed, 4)?),
        peer: (address(family, fixed, 24)?, port_at(fixed, 6)?),
        interface: number(fixed, 40)?,
        cookie: u64::from(number(fixed, 44)?) | u64::from(number(fixed, 48)?) << 32,
        receive: number(fixed, 56)?,
        send: number(fixed, 60)?,
        uid: number(fixed, 64)?,
        inode: number(fixed, 68)?,
        v6only,
        cgroup,
        transparent,
        path_mtu,
    })
}

#[derive(Default)]
struct Attributes {
    v6only: Option<bool>,
    cgroup: Option<u64>,
    transparent: bool,
    path_mtu: Option<u32>,
}

/// Parses the attributes of a socket; `None` if one is malformed. Unknown attributes are skipped.
fn attributes(bytes: &[u8]) -> Option<Attributes> {
    let mut found = Attributes::default();
    for attribute in netlink_dump::attributes(bytes) {
        let (kind, value) = attribute?;
        match kind {
            INET_DIAG_INFO => found.path_mtu = number(value, PATH_MTU),
            INET_DIAG_SKV6ONLY => found.v6only = Some(*value.first()? != 0),
            INET_DIAG_CGROUP_ID => found.cgroup = Some(u64::from_ne_bytes(*value.first_chunk()?)),
            INET_DIAG_SOCKOPT => found.transparent = *value.first()? & TRANSPARENT != 0,
            _ => {}
        }
    }
    Some(found)
}

fn address(family: Family, bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
    Some(match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(*bytes)),
    })
}

fn port_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    number(bytes, at).map(u32::cast_signed)
}

/// Returns the type and body of a request for the sockets that are in one of `states` (one bit per state) and have a
/// local port in `ports`. `protocol` is a number `IPPROTO_*`. A protocol number above 255 is sent in an attribute
/// (Linux 5.6).
pub(super) fn request(
    family: Family,
    protocol: u16,
    states: u32,
    ports: Option<PortRange>,
) -> (u16, Vec<u8>) {
    const INET_DIAG_REQ_PROTOCOL: u16 = 3;
    let family = match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    };
    let mut bytes = vec![family, protocol.to_le_bytes()[0], 0, 0]; // no extensions, and padding
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; 48]); // struct inet_diag_sockid: any socket
    bytes.extend(ports.into_iter().flat_map(port_filter));
    if protocol > 255 {
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
        bytes.extend(u32::from(protocol).to_ne_bytes());
    }
    (SOCK_DIAG_BY_FAMILY, bytes)
}

/// Returns the type and body of a request for the TCP sockets of both families (`struct inet_diag_req`).
pub(super) fn tcp_request(states: u32, ports: Option<PortRange>) -> (u16, Vec<u8>) {
    let mut bytes = vec![0; 4]; // any family, no address lengths, no extensions
    // `struct inet_diag_sockid` begins with the local port. If only one port is wanted, the kernel compares this
    // field before it runs the filter, which is faster. 0 stands for any port.
    let port = ports.filter(|ports| ports.low == ports.high).map_or(0, |ports| ports.low);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 46]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; 4]); // idiag_dbs, obsolete
    bytes.extend(ports.into_iter().flat_map(port_filter));
    (TCPDIAG_GETSOCK, bytes)
}

/// Returns an attribute that selects a range of local ports. The attribute contains a program of two comparisons
/// (`struct inet_diag_bc_op`). Each comparison has two jump distances, one for true and one for false. A jump beyond
/// the end leaves the socket out.
fn port_filter(ports: PortRange) -> [u8; 20] {
    const INET_DIAG_REQ_BYTECODE: u16 = 1;
    const INET_DIAG_BC_S_GE: u8 = 2;
    const INET_DIAG_BC_S_LE: u8 = 3;
    let mut bytes = [0; 20];
    let mut put = |at: usize, two: [u8; 2]| bytes[at..at + 2].copy_from_slice(&two);
    put(0, 20u16.to_ne_bytes());
    put(2, INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    put(4, [INET_DIAG_BC_S_GE, 8]);
    put(6, 20u16.to_ne_bytes());
    put(10, ports.low.to_ne_bytes());
    put(12, [INET_DIAG_BC_S_LE, 8]);
    put(14, 12u16.to_ne_bytes());
    put(18, ports.high.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests;
