//! Reads the network devices and addresses in the network namespace of the calling thread through rtnetlink (RFC 3549,
//! linux/rtnetlink.h).

use std::collections::HashSet;
use std::net::IpAddr;

use rustix::io::Errno;

use super::bytes::number;
use super::netlink_dump::{Connection, attribute, dump, text};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// Whether the flags mark the device as a loopback device. The name is not evidence, because any device can be
    /// called `lo`.
    pub is_loopback: bool,
    /// The kind of a virtual device, such as `wireguard` or `vxlan`.
    pub kind: Option<String>,
    /// The UDP port on which a tunnel listens.
    pub port: Option<u16>,
    /// Whether the device receives packets for other machines because a program or a user requested it. The kernel
    /// itself requests this for a device in a bridge or a bond; this request does not count.
    pub is_promiscuous: bool,
}

/// `None` stands for protocol number 0, which is `NETLINK_ROUTE`.
const NETLINK_ROUTE: Option<rustix::net::Protocol> = None;
/// The message types of each request and of its answer.
const GETLINK: (u16, u16) = (18, 16);
const GETADDR: (u16, u16) = (22, 20);
const GETROUTE: u16 = 26;
const GETRULE: (u16, u16) = (34, 32);
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_DATA: u16 = 2;
/// The kinds of tunnels that listen on a UDP port, each with the attribute that contains the port (linux/if_link.h,
/// linux/amt.h).
const TUNNELS: [(&str, u16); 4] = [("vxlan", 15), ("geneve", 5), ("bareudp", 1), ("amt", 3)];
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTA_DST: u16 = 1;
/// `RTN_LOCAL`, `RTN_BROADCAST`, `RTN_ANYCAST` and `RTN_MULTICAST` (linux/rtnetlink.h).
const TO_THIS_MACHINE: [u8; 4] = [2, 3, 4, 5];
/// The size of `rtmsg`.
const ROUTE_BODY: usize = 12;
/// The size of `fib_rule_hdr`.
const RULE_BODY: usize = 12;
/// The offset of the type of a route in a message. The message begins with a header of 16 bytes; `rtmsg` follows.
const ROUTE_KIND: usize = 16 + 7;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_PROMISC: u32 = 0x100;
/// The sizes of `ifinfomsg` and `ifaddrmsg`.
const LINK_BODY: usize = 16;
const ADDRESS_BODY: usize = 8;

pub(super) fn list() -> Result<Vec<Link>, Errno> {
    dump(NETLINK_ROUTE, GETLINK, &[0; LINK_BODY], link)
}

pub(super) fn all_addresses() -> Result<HashSet<IpAddr>, Errno> {
    let all = dump(NETLINK_ROUTE, GETADDR, &[0; ADDRESS_BODY], address)?;
    Ok(all.into_iter().filter_map(|(_, address)| address).collect())
}

/// Returns whether this machine accepts packets for an address, according to the kernel's route to the address. `None`
/// if the kernel does not answer.
pub(super) fn is_local(address: IpAddr) -> Option<bool> {
    let (family, length, bytes) = match address {
        IpAddr::V4(address) => (AF_INET, 32, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, 128, address.octets().to_vec()),
    };
    let mut body = vec![0; ROUTE_BODY];
    body[0] = family;
    body[1] = length;
    body.extend(u16::try_from(4 + bytes.len()).ok()?.to_ne_bytes());
    body.extend(RTA_DST.to_ne_bytes());
    body.extend(bytes);
    match Connection::open(NETLINK_ROUTE).and_then(|mut kernel| kernel.get(GETROUTE, &body)) {
        Ok(message) => Some(TO_THIS_MACHINE.contains(message.get(ROUTE_KIND)?)),
        // There is no route, or the route rejects the packets.
        Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL) => Some(false),
        Err(_) => None,
    }
}

/// Returns whether a routing rule of this address family uses a table other than the three default tables. If so, the
/// answer of [`is_local`] is not certain, because the rule can depend on the incoming device, the source or the mark of
/// a packet. Also returns true if the kernel does not answer.
pub(super) fn has_further_rules(address: IpAddr) -> bool {
    let mut body = [0; RULE_BODY];
    body[0] = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    match dump(NETLINK_ROUTE, GETRULE, &body, uses_further_table) {
        Ok(rules) => rules.contains(&true),
        // The kernel does not support routing rules.
        Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => false,
        Err(_) => true,
    }
}

/// Returns whether a routing rule leads to a table other than `RT_TABLE_DEFAULT`, `RT_TABLE_MAIN` and `RT_TABLE_LOCAL`
/// (linux/rtnetlink.h). The message is a `fib_rule_hdr` with attributes (linux/fib_rules.h).
fn uses_further_table(message: &[u8]) -> Option<bool> {
    const TO_TABLE: u8 = 1;
    const FRA_TABLE: u16 = 15;
    let header = message.get(..RULE_BODY)?;
    let by_attribute = attribute(message.get(RULE_BODY..)?, FRA_TABLE).and_then(|table| number(table, 0));
    let table = by_attribute.unwrap_or_else(|| u32::from(header[4]));
    Some(header[7] == TO_TABLE && !(253..=255).contains(&table))
}

/// Lists the addresses of the device with this name. `None` if there is no device with this name.
pub(super) fn addresses(name: &str) -> Result<Option<Vec<IpAddr>>, Errno> {
    let Some(link) = list()?.into_iter().find(|link| link.name == name) else { return Ok(None) };
    let all = dump(NETLINK_ROUTE, GETADDR, &[0; ADDRESS_BODY], address)?;
    let own = all.into_iter().filter(|(index, _)| *index == link.index);
    Ok(Some(own.filter_map(|(_, address)| address).collect()))
}

fn link(message: &[u8]) -> Option<Link> {
    let (index, flags) = (number(message, 4)?, number(message, 8)?);
    let attributes = message.get(LINK_BODY..)?;
    let info = attribute(attributes, IFLA_LINKINFO);
    let kind = info.and_then(|info| attribute(info, IFLA_INFO_KIND)).map(text);
    let port = kind.as_deref().and_then(|kind| TUNNELS.iter().find(|(name, _)| *name == kind)).and_then(
        |(_, port)| {
            attribute(attribute(info?, IFLA_INFO_DATA)?, *port)?
                .first_chunk()
                .copied()
                .map(u16::from_be_bytes)
        },
    );
    let is_port = info.is_some_and(|info| attribute(info, IFLA_INFO_SLAVE_KIND).is_some());
    let promiscuity = attribute(attributes, IFLA_PROMISCUITY).and_then(|count| number(count, 0)).unwrap_or(0);
    Some(Link {
        index,
        // Only the request of a user sets the flag. The counter also includes the requests of programs and of the
        // kernel.
        is_promiscuous: flags & IFF_PROMISC != 0 || (promiscuity > 0 && !is_port),
        name: text(attribute(attributes, IFLA_IFNAME)?),
        is_loopback: flags & IFF_LOOPBACK != 0,
        kind,
        port,
    })
}

/// Parses the index of a device and one of its addresses. The address is `None` if its family is neither IPv4 nor IPv6.
fn address(message: &[u8]) -> Option<(u32, Option<IpAddr>)> {
    let index = number(message, 4)?;
    let attributes = message.get(ADDRESS_BODY..)?;
    // On a point-to-point device, `IFA_ADDRESS` is the address of the other end.
    let bytes = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS));
    let address = bytes.and_then(|bytes| match *bytes {
        [a, b, c, d] => Some([a, b, c, d].into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    });
    Some((index, address))
}

#[cfg(test)]
mod tests {
    use super::super::netlink_dump::tests::attribute_of;
    use super::*;

    #[test]
    fn a_device_called_lo_is_not_the_loopback_device() {
        let mut message = vec![0; LINK_BODY];
        message[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        message.extend(attribute_of(IFLA_IFNAME, b"lo\0"));
        message.extend(attribute_of(IFLA_LINKINFO | 0x8000, &attribute_of(IFLA_INFO_KIND, b"wireguard\0")));
        let kind = Some("wireguard".to_owned());
        let wanted = Link {
            index: 7,
            name: "lo".to_owned(),
            is_loopback: false,
            kind,
            port: None,
            is_promiscuous: false,
        };
        assert_eq!(link(&message), Some(wanted));
    }

    #[test]
    fn a_device_that_receives_packets_for_others() {
        let one = attribute_of(IFLA_PROMISCUITY, &1_u32.to_ne_bytes());
        let port = attribute_of(IFLA_LINKINFO, &attribute_of(IFLA_INFO_SLAVE_KIND, b"bridge\0"));
        for (name, flags, attributes, expected) in [
            ("an ordinary device", 0, &[][..], false),
            ("a program asked for it", 0, &one[..], true),
            ("the port of a bridge", 0, &[&one[..], &port].concat(), false),
            ("the port of a bridge, on request of a user", IFF_PROMISC, &[&one[..], &port].concat(), true),
        ] {
            let mut message = vec![0; LINK_BODY];
            message[8..12].copy_from_slice(&flags.to_ne_bytes());
            message.extend(attribute_of(IFLA_IFNAME, b"eth0\0"));
            message.extend(attributes);
            assert_eq!(link(&message).map(|link| link.is_promiscuous), Some(expected), "{name}");
        }
    }

    #[test]
    fn the_port_of_a_tunnel() {
        let data = attribute_of(15, &4789_u16.to_be_bytes());
        let info = [attribute_of(IFLA_INFO_KIND, b"vxlan\0"), attribute_of(IFLA_INFO_DATA, &data)].concat();
        let mut message = vec![0; LINK_BODY];
        message.extend(attribute_of(IFLA_IFNAME, b"vxlan0\0"));
        message.extend(attribute_of(IFLA_LINKINFO, &info));
        assert_eq!(link(&message).and_then(|link| link.port), Some(4789));
    }

    #[test]
    fn the_address_of_this_end() {
        let mut message = vec![0; ADDRESS_BODY];
        message.extend(attribute_of(IFA_ADDRESS, &[10, 0, 0, 2]));
        assert_eq!(address(&message), Some((0, Some(IpAddr::from([10, 0, 0, 2])))));
        message.extend(attribute_of(IFA_LOCAL, &[10, 0, 0, 1]));
        assert_eq!(address(&message), Some((0, Some(IpAddr::from([10, 0, 0, 1])))));
        assert_eq!(address(&[0; ADDRESS_BODY]), Some((0, None)));
    }

    #[test]
    fn routing_rules_with_further_tables() {
        let rule = |table: u8, action: u8, long: Option<u32>| {
            let mut message = vec![AF_INET, 0, 0, 0, table, 0, 0, action, 0, 0, 0, 0];
            message.extend(long.iter().flat_map(|table| attribute_of(15, &table.to_ne_bytes())));
            message
        };
        for (message, further) in [
            (rule(255, 1, Some(255)), Some(false)),
            (rule(254, 1, None), Some(false)),
            (rule(100, 1, None), Some(true)),
            (rule(252, 1, Some(1000)), Some(true)),
            (rule(0, 1, None), Some(true)),  // the table of a VRF
            (rule(0, 7, None), Some(false)), // the rule prohibits the packets
            (vec![AF_INET; 11], None),
        ] {
            assert_eq!(uses_further_table(&message), further, "{message:?}");
        }
    }

    #[test]
    fn the_devices_and_addresses_of_this_namespace() {
        let links = list().unwrap();
        assert!(links.iter().all(|link| link.index > 0 && !link.name.is_empty()), "{links:?}");
        all_addresses().unwrap();
        assert_eq!(addresses("no device"), Ok(None));
        assert_eq!(is_local("192.0.2.77".parse().unwrap()), Some(false), "an address for documentation");
    }
}
