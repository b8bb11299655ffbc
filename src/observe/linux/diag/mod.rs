//! Parses replies of `sock_diag(7)` (`linux/netlink.h`, `linux/inet_diag.h`) from bytes into records.
//!
//! The parser accepts any bytes, never panics and never guesses a value. If a record is incomplete, the whole dump is
//! an error, and the caller repeats the request or uses another source. Integers are in host order, except ports and
//! addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// Unique until the machine restarts.
    pub cookie: u64,
    /// The number of bytes to read; for a listener, of connections that wait for `accept`.
    pub receive: u32,
    /// The number of bytes not acknowledged; for a listener, the limit of its backlog.
    pub send: u32,
    /// The user ID.
    pub uid: u32,
    /// 0 if the socket has no file.
    pub inode: u32,
    /// `IPV6_V6ONLY`; `None` if the kernel does not give it.
    pub v6only: Option<bool>,
    /// The ID of the control group; `None` before Linux 5.8.
    pub cgroup: Option<u64>,
    /// Whether the socket accepts traffic for addresses of other machines (`IP_TRANSPARENT`); false if the kernel does
    /// not give this option (before Linux 5.15).
    pub transparent: bool,
    /// The path MTU, which only the message about a destroyed TCP socket contains; 0 if the socket never tried to
    /// connect.
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

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The older request for TCP. It has no family, so the kernel returns the sockets of IPv4 and IPv6.
const TCPDIAG_GETSOCK: u16 = 18;
const DUMP_INTERRUPTED: u16 = 0x10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct inet_diag_msg`.
const RECORD: usize = 72;
/// `struct tcp_info` (linux/tcp.h).
const INET_DIAG_INFO: u16 = 2;
/// The position of `tcpi_pmtu`.
const PATH_MTU: usize = 60;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;
/// One bit for each field of `struct inet_diag_sockopt` (linux/inet_diag.h).
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
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = usize::try_from(u32_at(rest, 0).ok_or(DumpError::Malformed)?);
            let length = length.ok().filter(|length| *length >= HEADER).ok_or(DumpError::Malformed)?;
            let message = rest.get(..length).ok_or(DumpError::Malformed)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if u32_at(message, 8) != Some(sequence) {
                continue; // this is a late answer to an earlier request
            }
            self.interrupted |= u16_at(message, 6).unwrap_or(0) & DUMP_INTERRUPTED != 0;
            let payload = &message[HEADER..];
            match u16_at(message, 4).unwrap_or(0) {
                ERROR => match i32_at(payload, 0).ok_or(DumpError::Malformed)? {
                    0 => {}
                    error => return Err(DumpError::Kernel(error.saturating_neg())),
                },
                // Since Linux 4.14, the end mark contains the result of the dump: negative if the dump failed.
                DONE => match i32_at(payload, 0) {
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
        interface: u32_at(fixed, 40)?,
        cookie: u64::from(u32_at(fixed, 44)?) | u64::from(u32_at(fixed, 48)?) << 32,
        receive: u32_at(fixed, 56)?,
        send: u32_at(fixed, 60)?,
        uid: u32_at(fixed, 64)?,
        inode: u32_at(fixed, 68)?,
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
fn attributes(mut rest: &[u8]) -> Option<Attributes> {
    let mut found = Attributes::default();
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        match u16_at(rest, 2)? {
            INET_DIAG_INFO => found.path_mtu = u32_at(value, PATH_MTU),
            INET_DIAG_SKV6ONLY => found.v6only = Some(*value.first()? != 0),
            INET_DIAG_CGROUP_ID => found.cgroup = Some(u64::from_ne_bytes(*value.first_chunk()?)),
            INET_DIAG_SOCKOPT => found.transparent = *value.first()? & TRANSPARENT != 0,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
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

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().copied().map(i32::from_ne_bytes)
}

/// Returns a request for the sockets in one of `states` (one bit per state) with a local port in `ports`. `protocol` is
/// `IPPROTO_*`; above 255, it goes into an attribute (Linux 5.6).
#[must_use]
pub fn request(
    family: Family,
    protocol: u16,
    states: u32,
    ports: Option<PortRange>,
    sequence: u32,
) -> Vec<u8> {
    const INET_DIAG_REQ_PROTOCOL: u16 = 3;
    let mut bytes = vec![0; HEADER];
    bytes.push(match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    });
    bytes.push(protocol.to_le_bytes()[0]);
    bytes.extend([0, 0]); // no extensions, and padding
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; 48]); // struct inet_diag_sockid: any socket
    bytes.extend(ports.into_iter().flat_map(port_filter));
    if protocol > 255 {
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
        bytes.extend(u32::from(protocol).to_ne_bytes());
    }
    with_header(bytes, SOCK_DIAG_BY_FAMILY, sequence)
}

/// Returns a request for the TCP sockets of both families (`struct inet_diag_req`).
#[must_use]
pub fn tcp_request(states: u32, ports: Option<PortRange>, sequence: u32) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes.extend([0; 4]); // any family, no address lengths, no extensions
    bytes.extend([0; 48]); // struct inet_diag_sockid: any socket
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; 4]); // idiag_dbs, obsolete
    bytes.extend(ports.into_iter().flat_map(port_filter));
    with_header(bytes, TCPDIAG_GETSOCK, sequence)
}

/// Returns an attribute that selects a range of local ports. It is a program of two comparisons (`struct
/// inet_diag_bc_op`), each with a distance to the next step for true and for false. A distance beyond the end leaves
/// the socket out.
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

/// Writes the netlink header into the first 16 bytes.
fn with_header(mut bytes: Vec<u8>, kind: u16, sequence: u32) -> Vec<u8> {
    const NLM_F_REQUEST_DUMP: u16 = 0x301;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests;
