//! Sends netlink requests to parts of the kernel other than `sock_diag`, and parses the attributes of the answers
//! (linux/netlink.h).

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::bytes::{number, short};

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST`, and `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST: u16 = 0x1;
pub(super) const DUMP: u16 = 0x301;
/// `NLM_F_DUMP_INTR`.
pub(super) const INTERRUPTED: u16 = 0x10;
/// Selects the type of an attribute. The flags for nested attributes and for byte order are left out.
const TYPE_MASK: u16 = 0x3fff;
/// The size of `nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// The size of the buffer in bytes: twice the size of the kernel's largest datagram.
const BUFFER: usize = 64 * 1024;
/// The time limit for an answer. It is reached only if a program answers in place of the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to one netlink protocol of the kernel.
pub(super) struct Connection {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects in the network namespace of the calling thread.
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Connection { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Requests a dump with the message type `kind`. Passes each message of the answer, with its header, to `each`.
    /// Returns false if something changed during the dump, because messages may then be missing.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<bool, Errno> {
        self.send(kind, DUMP, body)?;
        let mut is_consistent = true;
        loop {
            let datagram = self.receive()?;
            if read(datagram, &mut is_consistent, each)? {
                return Ok(is_consistent);
            }
        }
    }

    /// Requests a dump with the message type `kind`. Returns the result of `parse` for each message of the type
    /// `answer`. Returns an error if one of these messages cannot be parsed.
    pub(super) fn collect<T>(
        &mut self,
        (kind, answer): (u16, u16),
        body: &[u8],
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Errno> {
        let mut found = Vec::new();
        self.dump(kind, body, &mut |message| {
            if short(message, 4) == Some(answer) {
                let parsed = message.get(HEADER..).and_then(&parse);
                found.push(parsed.ok_or(Errno::BADMSG)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Sends a request that the kernel answers with a single message. Returns this message with its header.
    pub(super) fn get(&mut self, kind: u16, body: &[u8]) -> Result<Vec<u8>, Errno> {
        self.send(kind, REQUEST, body)?;
        let mut found = None;
        let mut each = |message: &[u8]| {
            found.get_or_insert_with(|| message.to_vec());
            Ok(())
        };
        read(self.receive()?, &mut true, &mut each)?;
        found.ok_or(Errno::BADMSG)
    }

    /// Sends a request. Returns its sequence number, which the answers contain too.
    pub(super) fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<u32, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::INVAL)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        let kernel = SocketAddrNetlink::new(0, 0);
        retry_on_intr(|| sendto(&self.socket, &request, SendFlags::empty(), &kernel))?;
        Ok(self.sequence)
    }

    /// Returns the next datagram, or the error `EMSGSIZE` if the datagram is larger than the buffer.
    pub(super) fn receive(&mut self) -> Result<&[u8], Errno> {
        self.buffer.clear();
        let receive = || recv(&self.socket, spare_capacity(&mut self.buffer), RecvFlags::TRUNC);
        let (_, length) = retry_on_intr(receive)?;
        self.buffer.get(..length).ok_or(Errno::MSGSIZE)
    }
}

/// Does the same as [`Connection::collect`], over a separate connection.
pub(super) fn dump<T>(
    protocol: Option<Protocol>,
    kinds: (u16, u16),
    body: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, Errno> {
    Connection::open(protocol)?.collect(kinds, body, parse)
}

/// Returns each message with its header. If the rest of the bytes is malformed, the last item is `None`.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    parts(bytes, |rest| usize::try_from(number(rest, 0)?).ok().filter(|length| *length >= HEADER))
}

/// Returns each attribute with its type. If the rest of the bytes is malformed, the last item is `None`.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let attributes = parts(bytes, |rest| Some(usize::from(short(rest, 0)?)).filter(|length| *length >= 4));
    attributes.map(|attribute| Some((short(attribute?, 2)? & TYPE_MASK, attribute?.get(4..)?)))
}

/// Splits bytes into parts. `length` reads the length of a part from the first bytes of the part. Each part is padded
/// to a multiple of four bytes. If a part is malformed, the last item is `None`.
fn parts(mut rest: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let part = length(rest).and_then(|length| rest.get(..length));
        let next = part.and_then(|part| rest.get(part.len().next_multiple_of(4)..));
        rest = next.unwrap_or_default();
        Some(part)
    })
}

/// Parses one datagram. Returns whether the answer ends with this datagram.
fn read(
    datagram: &[u8],
    is_consistent: &mut bool,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    for message in messages(datagram) {
        let message = message.ok_or(Errno::BADMSG)?;
        *is_consistent &= short(message, 6).is_some_and(|flags| flags & INTERRUPTED == 0);
        match short(message, 4) {
            Some(NLMSG_DONE) => return Ok(true),
            Some(NLMSG_ERROR) => {
                let error = number(message, HEADER).ok_or(Errno::BADMSG)?.cast_signed();
                return Err(Errno::from_raw_os_error(error.checked_neg().unwrap_or_default()));
            }
            _ => each(message)?,
        }
    }
    Ok(false)
}

/// Returns the value of the first attribute of a type.
pub(super) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let attribute = attributes(bytes).map_while(|attribute| attribute).find(|(kind, _)| *kind == wanted);
    attribute.map(|(_, value)| value)
}

/// Returns the text before the first zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

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

    /// Returns whether the answer ends with the datagram, and the value of attribute 3 in each message of type 16.
    fn read_attribute(datagram: &[u8]) -> Result<(bool, Vec<Vec<u8>>), Errno> {
        let (mut found, mut is_consistent) = (Vec::new(), true);
        let mut each = |message: &[u8]| {
            if short(message, 4) == Some(16) {
                let value = attribute(&message[HEADER..], 3).ok_or(Errno::BADMSG)?;
                found.push(value.to_vec());
            }
            Ok(())
        };
        let ends = read(datagram, &mut is_consistent, &mut each)?;
        assert_eq!(is_consistent, datagram[6] & 0x10 == 0);
        Ok((ends, found))
    }

    #[test]
    fn messages_of_the_wanted_type() {
        let mut datagram = message(16, &[attribute_of(7, b"no"), attribute_of(3 | 0x8000, b"yes")].concat());
        datagram.extend(message(17, b"another type"));
        assert_eq!(read_attribute(&datagram), Ok((false, vec![b"yes".to_vec()])));
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        assert_eq!(read_attribute(&datagram), Ok((true, vec![b"yes".to_vec()])));
        datagram[6] = 0x10; // interrupted
        assert!(read_attribute(&datagram).is_ok());
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
