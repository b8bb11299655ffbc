//! The interfaces that rules name, with what can take their packets before any rule sees them, by rtnetlink
//! (linux/rtnetlink.h, linux/if_link.h).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use rustix::io::Errno;

use super::super::netlink_dump::{attribute, dump, number, text};
use crate::model::firewall::Interface;

const GETLINK: (u16, u16) = (18, 16);
const GETADDR: (u16, u16) = (22, 20);
const GETQDISC: (u16, u16) = (38, 36);
/// The sizes of `ifinfomsg`, `ifaddrmsg` and `tcmsg`.
const LINK_BODY: usize = 16;
const ADDRESS_BODY: usize = 8;
const QUEUE_BODY: usize = 20;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const TCA_KIND: u16 = 1;

/// Returns the interfaces of the calling thread's network namespace, without their addresses unless these are wanted.
///
/// # Errors
///
/// Returns an error if the kernel refuses, or if its answer cannot be parsed.
pub(super) fn list(with_addresses: bool) -> Result<Vec<Interface>, Errno> {
    let mut links = dump(None, GETLINK, &[0; LINK_BODY], link)?;
    let queues = dump(None, GETQDISC, &[0; QUEUE_BODY], queue)?;
    let filtered: HashSet<u32> =
        queues.into_iter().filter_map(|(index, filters)| filters.then_some(index)).collect();
    for (index, interface) in &mut links {
        if filtered.contains(index) && interface.uncertain.is_none() {
            interface.uncertain = Some(format!(
                "traffic control (tc) can take packets of {} before the firewall",
                interface.name
            ));
        }
    }
    if with_addresses {
        let mut addresses: HashMap<u32, Vec<(IpAddr, u8)>> = HashMap::new();
        for (index, address) in dump(None, GETADDR, &[0; ADDRESS_BODY], address)? {
            addresses.entry(index).or_default().extend(address);
        }
        for (index, interface) in &mut links {
            interface.addresses = addresses.remove(index).unwrap_or_default();
        }
    }
    Ok(links.into_iter().map(|(_, interface)| interface).collect())
}

fn link(message: &[u8]) -> Option<(u32, Interface)> {
    let (index, flags) = (number(message, 4)?, number(message, 8)?);
    let attributes = message.get(LINK_BODY..)?;
    let name = text(attribute(attributes, IFLA_IFNAME)?);
    let info = attribute(attributes, IFLA_LINKINFO);
    let kind = info.and_then(|info| attribute(info, IFLA_INFO_KIND)).map(text);
    let port_of = info.and_then(|info| attribute(info, IFLA_INFO_SLAVE_KIND)).map(text);
    let attached = attribute(attributes, IFLA_XDP).and_then(|xdp| attribute(xdp, IFLA_XDP_ATTACHED));
    let has_program = attached.and_then(|attached| attached.first()).is_some_and(|mode| *mode != 0);
    // Rules see the packets of a VRF under two names.
    let is_vrf = [&kind, &port_of].into_iter().flatten().any(|kind| kind == "vrf");
    let uncertain = match (has_program, is_vrf) {
        (true, _) => Some(format!("an XDP program takes packets of {name} before the firewall")),
        (false, true) => Some(format!("{name} belongs to a VRF, which is not evaluated")),
        (false, false) => None,
    };
    let interface = Interface {
        name,
        is_loopback: flags & IFF_LOOPBACK != 0,
        is_up: flags & IFF_UP != 0,
        is_port: port_of.is_some_and(|kind| kind != "vrf"),
        uncertain,
        addresses: Vec::new(),
    };
    Some((index, interface))
}

/// Parses the index of a device, and whether its queueing discipline is one that only filters.
fn queue(message: &[u8]) -> Option<(u32, bool)> {
    let kind = attribute(message.get(QUEUE_BODY..)?, TCA_KIND).map(text);
    Some((number(message, 4)?, kind.is_some_and(|kind| matches!(kind.as_str(), "clsact" | "ingress"))))
}

/// Parses the index of a device, and one of its addresses with the length of its prefix.
fn address(message: &[u8]) -> Option<(u32, Option<(IpAddr, u8)>)> {
    let index = number(message, 4)?;
    let length = *message.get(1)?;
    let attributes = message.get(ADDRESS_BODY..)?;
    // On a point-to-point device, `IFA_ADDRESS` is the address of the other end.
    let bytes = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS));
    let address = bytes.and_then(|bytes| match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    });
    Some((index, address.map(|address| (address, length))))
}

#[cfg(test)]
mod tests {
    use super::super::super::netlink_dump::tests::attribute_of;
    use super::*;

    #[test]
    fn an_interface_with_a_program() {
        let mut message = vec![0; LINK_BODY];
        message[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        message[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        message.extend(attribute_of(IFLA_IFNAME, b"eth0\0"));
        message.extend(attribute_of(IFLA_LINKINFO, &attribute_of(IFLA_INFO_SLAVE_KIND, b"bridge\0")));
        message.extend(attribute_of(IFLA_XDP | 0x8000, &attribute_of(IFLA_XDP_ATTACHED, &[1])));
        let (index, interface) = link(&message).unwrap();
        assert_eq!((index, &*interface.name, interface.is_up, interface.is_port), (7, "eth0", true, true));
        assert!(interface.uncertain.unwrap().contains("XDP"));
    }

    #[test]
    fn the_interfaces_of_this_namespace() {
        assert!(list(true).unwrap().iter().all(|interface| !interface.name.is_empty()));
    }

    #[test]
    fn a_queue_that_filters() {
        let mut message = vec![0; QUEUE_BODY];
        message[4] = 3;
        message.extend(attribute_of(TCA_KIND, b"clsact\0"));
        assert_eq!(queue(&message), Some((3, true)));
    }
}
