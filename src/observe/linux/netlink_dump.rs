//! One dump request to a netlink protocol other than the socket diagnosis, and the attributes of its answer
//! (linux/netlink.h).

use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// Excludes the flags for nested attributes and for byte order, which are not part of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;
/// The size of `nlmsghdr`.
const HEADER: usize = 16;
/// The kernel fills datagrams of at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; this limit only ends the wait if another program answers in its place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests a dump with the message type `kind`, and returns the result of `parse` for each message of the type
/// `answer`.
///
/// # Errors
///
/// Returns an error if the kernel refuses, or if its answer cannot be parsed.
pub(super) fn dump<T>(
    protocol: Option<Protocol>,
    (kind, answer): (u16, u16),
    body: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::INVAL)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    let kernel = SocketAddrNetlink::new(0, 0);
    retry_on_intr(|| sendto(&socket, &request, SendFlags::empty(), &kernel))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let (_, length) = retry_on_intr(|| recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC))?;
        let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
        if read(datagram, answer, &parse, &mut found)? {
            return Ok(found);
        }
    }
}

/// Parses one datagram; returns whether it ends the answer.
fn read<T>(
    datagram: &[u8],
    answer: u16,
    parse: impl Fn(&[u8]) -> Option<T>,
    found: &mut Vec<T>,
) -> Result<bool, Errno> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = usize::try_from(number(rest, 0).ok_or(Errno::BADMSG)?).map_err(|_| Errno::BADMSG)?;
        let kind = short(rest, 4).ok_or(Errno::BADMSG)?;
        let message = rest.get(HEADER..length).ok_or(Errno::BADMSG)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let error = number(message, 0).ok_or(Errno::BADMSG)?.cast_signed();
                return Err(Errno::from_raw_os_error(error.checked_neg().unwrap_or_default()));
            }
            _ if kind == answer => found.push(parse(message).ok_or(Errno::BADMSG)?),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Returns the value of the first attribute of a type.
pub(super) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(short(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if short(attributes, 2)? & TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// Returns the text before the first zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Returns the number of four bytes at an offset, in host order.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns the bytes of an attribute.
    pub(in super::super) fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn read_attribute(datagram: &[u8]) -> Result<(bool, Vec<Vec<u8>>), Errno> {
        let mut found = Vec::new();
        let parse = |message: &[u8]| attribute(message, 3).map(<[u8]>::to_vec);
        read(datagram, 16, parse, &mut found).map(|ends| (ends, found))
    }

    #[test]
    fn messages_of_the_wanted_type() {
        let mut datagram = message(16, &[attribute_of(7, b"no"), attribute_of(3 | 0x8000, b"yes")].concat());
        datagram.extend(message(17, b"another type"));
        assert_eq!(read_attribute(&datagram), Ok((false, vec![b"yes".to_vec()])));
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        assert_eq!(read_attribute(&datagram), Ok((true, vec![b"yes".to_vec()])));
        let refusal = message(NLMSG_ERROR, &(-1_i32).to_ne_bytes());
        assert_eq!(read_attribute(&refusal), Err(Errno::PERM));
    }

    #[test]
    fn short_datagrams_are_refused() {
        let datagram = message(16, &attribute_of(3, b"wireguard\0"));
        for length in 1..datagram.len() {
            let mut cut = datagram[..length].to_vec();
            assert!(read_attribute(&cut).is_err(), "{length} bytes");
            if length >= 4 {
                cut[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
                let _ = read_attribute(&cut); // must end
            }
        }
        assert!(read_attribute(&[0; 16]).is_err(), "a length of zero must not loop");
    }
}
