//! The network devices of the calling thread's network namespace, by rtnetlink (RFC 3549, linux/rtnetlink.h).

use std::net::IpAddr;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// Whether it is a loopback device, by its flags: any device can be called `lo`.
    pub is_loopback: bool,
    /// What kind of virtual device it is: `wireguard`, `vxlan`.
    pub kind: Option<String>,
}

/// The protocol number is 0, which means the default of the family.
const NETLINK_ROUTE: Option<rustix::net::Protocol> = None;
const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const RTM_GETADDR: u16 = 22;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP` (linux/netlink.h).
const DUMP: u16 = 0x301;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Excludes the flags for nested attributes and for byte order, which are not part of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;
const IFF_LOOPBACK: u32 = 0x8;
const IFA_ADDRESS: u16 = 1;
/// The own address of a link between two hosts, whose `IFA_ADDRESS` is the other end.
const IFA_LOCAL: u16 = 2;
/// Sizes of `nlmsghdr`, `ifinfomsg` and `ifaddrmsg`.
const HEADER: usize = 16;
const BODY: usize = 16;
const ADDRESS_BODY: usize = 8;
/// The kernel fills datagrams of at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; this only ends the wait if something else answers in its place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists the devices.
///
/// # Errors
///
/// Returns an error if the kernel refuses, or if its answer cannot be parsed.
pub(super) fn list() -> Result<Vec<Link>, Errno> {
    dump(RTM_GETLINK, RTM_NEWLINK, link)
}

/// Lists the addresses of the device of this name; `None` if there is no such device.
///
/// # Errors
///
/// Returns an error if the kernel refuses, or if its answer cannot be parsed.
pub(super) fn addresses(name: &str) -> Result<Option<Vec<IpAddr>>, Errno> {
    let Some(link) = list()?.into_iter().find(|link| link.name == name) else { return Ok(None) };
    let all = dump(RTM_GETADDR, RTM_NEWADDR, address)?;
    let own = all.into_iter().filter(|(index, _)| *index == link.index);
    Ok(Some(own.filter_map(|(_, address)| address).collect()))
}

/// Asks for everything of a kind, and parses each message of the kind `answer`.
fn dump<T>(request_kind: u16, answer: u16, parse: Parse<T>) -> Result<Vec<T>, Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, NETLINK_ROUTE)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut request = Vec::with_capacity(HEADER + BODY);
    request.extend(32_u32.to_ne_bytes());
    request.extend(request_kind.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8 + BODY]);
    let kernel = SocketAddrNetlink::new(0, 0);
    retry_on_intr(|| sendto(&socket, &request, SendFlags::empty(), &kernel))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let (_, length) = retry_on_intr(|| recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC))?;
        let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
        if read(datagram, answer, parse, &mut found)? {
            return Ok(found);
        }
    }
}

/// Parses the body of a message; `None` if it is too short.
type Parse<T> = fn(&[u8]) -> Option<T>;

/// Parses one datagram; returns whether it ends the answer.
fn read<T>(datagram: &[u8], answer: u16, parse: Parse<T>, found: &mut Vec<T>) -> Result<bool, Errno> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = usize::try_from(number(rest, 0).ok_or(Errno::BADMSG)?).map_err(|_| Errno::BADMSG)?;
        let kind = short(rest, 4).ok_or(Errno::BADMSG)?;
        let message = rest.get(HEADER..length).ok_or(Errno::BADMSG)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(Errno::BADMSG),
            _ if kind == answer => found.push(parse(message).ok_or(Errno::BADMSG)?),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Parses the index of a device and one of its addresses; the address is `None` if it is of another family.
fn address(message: &[u8]) -> Option<(u32, Option<IpAddr>)> {
    let index = number(message, 4)?;
    let attributes = message.get(ADDRESS_BODY..)?;
    let bytes = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS));
    let address = bytes.and_then(|bytes| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    });
    Some((index, address))
}

fn link(message: &[u8]) -> Option<Link> {
    let (index, flags) = (number(message, 4)?, number(message, 8)?);
    let attributes = message.get(BODY..)?;
    let kind = attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
    Some(Link {
        index,
        name: text(attribute(attributes, IFLA_IFNAME)?),
        is_loopback: flags & IFF_LOOPBACK != 0,
        kind: kind.map(text),
    })
}

/// Returns the value of the first attribute of a type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(short(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if short(attributes, 2)? & TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
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

    fn wireguard() -> Vec<u8> {
        let mut body = vec![0; BODY];
        body[4] = 7;
        body.extend(attribute_of(IFLA_IFNAME, b"lo\0"));
        body.extend(attribute_of(IFLA_LINKINFO | 0x8000, &attribute_of(IFLA_INFO_KIND, b"wireguard\0")));
        message(RTM_NEWLINK, &body)
    }

    #[test]
    fn a_device_called_lo_is_not_the_loopback_device() {
        let mut links = Vec::new();
        let mut datagram = wireguard();
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        assert_eq!(read(&datagram, RTM_NEWLINK, link, &mut links), Ok(true));
        let kind = Some("wireguard".to_owned());
        let wanted =
            Link { index: u32::from_ne_bytes([7, 0, 0, 0]), name: "lo".to_owned(), is_loopback: false, kind };
        assert_eq!(links, [wanted]);
    }

    #[test]
    fn short_datagrams_are_refused() {
        let datagram = wireguard();
        for length in 1..datagram.len() {
            let mut cut = datagram[..length].to_vec();
            assert!(read(&cut, RTM_NEWLINK, link, &mut Vec::new()).is_err(), "{length} bytes");
            if length >= 4 {
                cut[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
                let _ = read(&cut, RTM_NEWLINK, link, &mut Vec::new()); // must end
            }
        }
        assert_eq!(
            read(&message(NLMSG_ERROR, &[0; 4]), RTM_NEWLINK, link, &mut Vec::new()),
            Err(Errno::BADMSG)
        );
        assert!(
            read(&[0; 16], RTM_NEWLINK, link, &mut Vec::new()).is_err(),
            "a length of zero must not loop"
        );
    }

    #[test]
    fn the_own_address_of_a_device() {
        let body = |attributes: &[Vec<u8>]| {
            let mut body = vec![2, 32, 0, 0, 7, 0, 0, 0];
            attributes.iter().for_each(|attribute| body.extend(attribute));
            address(&body)
        };
        let index = u32::from_ne_bytes([7, 0, 0, 0]);
        let near = attribute_of(IFA_LOCAL, &[10, 0, 0, 1]);
        let far = attribute_of(IFA_ADDRESS, &[10, 0, 0, 2]);
        assert_eq!(body(&[far.clone(), near]), Some((index, Some([10, 0, 0, 1].into()))));
        assert_eq!(body(&[far]), Some((index, Some([10, 0, 0, 2].into()))));
        assert_eq!(body(&[attribute_of(IFA_ADDRESS, &[1, 2])]), Some((index, None)));
        assert_eq!(address(&[0; 7]), None);
        assert_eq!(addresses("no-such-device"), Ok(None));
    }

    #[test]
    fn the_devices_of_this_namespace() {
        let links = list().unwrap();
        assert!(links.iter().all(|link| link.index > 0 && !link.name.is_empty()), "{links:?}");
    }
}
