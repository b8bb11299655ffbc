//! Reads the network interfaces that firewall rules can name. Also reads the programs that see the packets of these
//! interfaces before any rule does (linux/rtnetlink.h, linux/if_link.h).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use rustix::io::Errno;

use super::super::bytes::number;
use super::super::netlink_dump::{Connection, attribute, attributes, dump, text};
use crate::model::firewall::Interface;

const GETLINK: (u16, u16) = (18, 16);
const GETADDR: (u16, u16) = (22, 20);
const GETQDISC: (u16, u16) = (38, 36);
const GETTFILTER: (u16, u16) = (46, 44);
/// The sizes of `ifinfomsg`, `ifaddrmsg` and `tcmsg`.
const LINK_BODY: usize = 16;
const ADDRESS_BODY: usize = 8;
const QUEUE_BODY: usize = 20;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
/// The network namespace of the other end of the link, if the two ends are in different namespaces.
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET_CONF: u16 = 1;
const AF_INET: u16 = 2;
/// The offsets of `forwarding` and `route_localnet` among the IPv4 settings of a device (linux/ip.h).
const FORWARDING: usize = 0;
const ROUTE_LOCALNET: usize = 25 * 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
/// The attributes with the IDs of XDP programs. A device with a single program has the first attribute. A device with
/// several programs has the others, in this order: driver, network stack, hardware.
const IFLA_XDP_IDS: [u16; 4] = [4, 5, 6, 7];
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ID: u16 = 11;
/// The attributes of an action, and the offset of the interface in `tc_mirred` (linux/pkt_cls.h, linux/tc_act/tc_mirred.h).
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const MIRRED_INTERFACE: usize = 24;
/// The number of levels of attributes from a filter to its action: the options, the list of actions, the action.
const ACTION_DEPTH: usize = 3;
/// The filters of incoming packets: `ffff:fff2` for clsact, `ffff:` for ingress (linux/pkt_sched.h).
const INCOMING: [u32; 2] = [0xffff_fff2, 0xffff_0000];

/// A program or filter that sees the packets of an interface before the firewall and before the sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PacketHandler {
    pub(super) interface: String,
    /// `XDP`, or `tc` for a filter of traffic control.
    pub(super) kind: &'static str,
    /// The IDs of the BPF programs; empty for a filter without BPF.
    pub(super) programs: Vec<u32>,
}

impl fmt::Display for PacketHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.interface)?;
        match &self.programs[..] {
            [] => Ok(()),
            [one] => write!(f, ": program {one}"),
            several => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                write!(f, ": programs {}", several.join(", "))
            }
        }
    }
}

/// The interfaces of a network namespace, the programs and filters that see incoming packets before the firewall, and
/// the indices of the tun and tap devices.
type Listed = (Vec<Interface>, Vec<PacketHandler>, HashSet<u32>);

/// Returns the interfaces of the calling thread's network namespace, with their packet handlers and tun and tap
/// devices. The addresses are read if `with_addresses` is set, or if any interface is
/// [`uncertain`](Interface::uncertain) or leads to another network namespace.
///
/// # Errors
///
/// Returns an error if the kernel refuses, or if its answer cannot be parsed.
pub(super) fn list(with_addresses: bool) -> Result<Listed, Errno> {
    let mut connection = Connection::open(None)?;
    let links = connection.collect(GETLINK, &[0; LINK_BODY], link)?;
    let mut handlers = Vec::new();
    let mut interfaces = Vec::with_capacity(links.len());
    // A bridge, and any link that is not internal, can lead outside. The master of such a link can then lead outside
    // too.
    let can_lead_outside = links.iter().filter(|link| link.is_bridge || !link.interface.is_internal);
    let leading_outside: HashSet<u32> = can_lead_outside.filter_map(|link| link.interface.master).collect();
    let tuns = links.iter().filter(|link| link.is_tun).map(|link| link.interface.index).collect();
    for Link { interface, is_bridge, xdp, .. } in links {
        handlers.extend(xdp.map(|programs| PacketHandler {
            interface: interface.name.clone(),
            kind: "XDP",
            programs,
        }));
        let is_local_only =
            interface.is_local_only || is_bridge && !leading_outside.contains(&interface.index);
        interfaces.push(Interface { is_local_only, ..interface });
    }
    let mut links = interfaces;
    let queues = connection.collect(GETQDISC, &[0; QUEUE_BODY], queue)?;
    let filtered: HashSet<u32> =
        queues.into_iter().filter_map(|(index, filters)| filters.then_some(index)).collect();
    for interface in &mut links {
        if !filtered.contains(&interface.index) {
            continue;
        }
        if let Some(Filters { programs, sends_to }) = filters(interface.index) {
            interface.has_program |= !programs.is_empty();
            interface.sends_to = sends_to;
            handlers.push(PacketHandler { interface: interface.name.clone(), kind: "tc", programs });
        }
        if interface.uncertain.is_none() {
            interface.uncertain = Some(format!(
                "traffic control (tc) can answer, drop or redirect packets of {} before the firewall sees them",
                interface.name
            ));
        }
    }
    let needs_address = |one: &Interface| one.uncertain.is_some() || one.peer.is_some();
    if with_addresses || links.iter().any(needs_address) {
        let mut addresses: HashMap<u32, Vec<(IpAddr, u8)>> = HashMap::new();
        for (index, address) in connection.collect(GETADDR, &[0; ADDRESS_BODY], address)? {
            addresses.entry(index).or_default().extend(address);
        }
        for interface in &mut links {
            interface.addresses = addresses.remove(&interface.index).unwrap_or_default();
        }
    }
    Ok((links, handlers, tuns))
}

#[derive(Debug, Default, PartialEq)]
struct Filters {
    /// The IDs of the BPF programs of the filters.
    programs: Vec<u32>,
    /// The indices of the devices to which the filters send packets.
    sends_to: Vec<u32>,
}

/// Returns the filters of the packets that arrive on a device; `None` if the kernel lists no filter.
fn filters(index: u32) -> Option<Filters> {
    let mut found = Filters::default();
    let mut has_filter = false;
    for parent in INCOMING {
        let mut request = [0; QUEUE_BODY];
        request[4..8].copy_from_slice(&index.to_ne_bytes());
        request[12..16].copy_from_slice(&parent.to_ne_bytes());
        for (program, sends_to) in dump(None, GETTFILTER, &request, filter).unwrap_or_default() {
            has_filter = true;
            found.programs.extend(program);
            found.sends_to.extend(sends_to);
        }
    }
    for numbers in [&mut found.programs, &mut found.sends_to] {
        numbers.sort_unstable();
        numbers.dedup();
    }
    has_filter.then_some(found)
}

/// Returns the BPF program of a filter, if it has one, and the devices to which the filter sends packets. Returns
/// `None` if the message is malformed.
fn filter(message: &[u8]) -> Option<(Option<u32>, Vec<u32>)> {
    let options = attribute(message.get(QUEUE_BODY..)?, TCA_OPTIONS).unwrap_or_default();
    let mut sends_to = Vec::new();
    find_targets(options, ACTION_DEPTH, &mut sends_to);
    Some((attribute(options, TCA_BPF_ID).and_then(|id| number(id, 0)), sends_to))
}

/// Finds the devices to which the actions `mirred` send packets. Each kind of filter stores its actions in a different
/// attribute, so all attributes are searched.
fn find_targets(bytes: &[u8], depth: usize, found: &mut Vec<u32>) {
    if attribute(bytes, TCA_ACT_KIND).map(text).as_deref() == Some("mirred") {
        let parameters = attribute(bytes, TCA_ACT_OPTIONS)
            .and_then(|options| attribute(options, TCA_MIRRED_PARMS))
            .and_then(|parameters| number(parameters, MIRRED_INTERFACE));
        found.extend(parameters);
    } else if depth > 0 {
        let inner = attributes(bytes).map_while(|attribute| attribute);
        inner.for_each(|(_, inner)| find_targets(inner, depth - 1, found));
    }
}

#[derive(Debug, PartialEq)]
struct Link {
    interface: Interface,
    is_bridge: bool,
    /// Whether a process sends and receives the packets of the device (tun or tap).
    is_tun: bool,
    /// The IDs of the XDP programs; `None` if the device has no XDP program.
    xdp: Option<Vec<u32>>,
}

fn link(message: &[u8]) -> Option<Link> {
    let (index, flags) = (number(message, 4)?, number(message, 8)?);
    let attributes = message.get(LINK_BODY..)?;
    let name = text(attribute(attributes, IFLA_IFNAME)?);
    let info = attribute(attributes, IFLA_LINKINFO);
    let kind = info.and_then(|info| attribute(info, IFLA_INFO_KIND)).map(text);
    let port_of = info.and_then(|info| attribute(info, IFLA_INFO_SLAVE_KIND)).map(text);
    let xdp = attribute(attributes, IFLA_XDP);
    let attached = xdp.and_then(|xdp| attribute(xdp, IFLA_XDP_ATTACHED));
    let has_program = attached.and_then(|attached| attached.first()).is_some_and(|mode| *mode != 0);
    let programs = has_program.then(|| {
        let ids = IFLA_XDP_IDS.iter().filter_map(|kind| number(attribute(xdp?, *kind)?, 0));
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    });
    // Rules see each packet of a VRF twice: first with the name of the interface in the VRF, then with the name of the
    // VRF. Portolan does not evaluate this.
    let is_vrf = [&kind, &port_of].into_iter().flatten().any(|kind| kind == "vrf");
    let uncertain = match (has_program, is_vrf) {
        (true, _) => Some(format!(
            "an XDP program can answer, drop or redirect packets of {name} before the firewall sees them"
        )),
        (false, true) => Some(format!("{name} belongs to a VRF, and portolan does not evaluate VRFs")),
        (false, false) => None,
    };
    let settings = attribute(attributes, IFLA_AF_SPEC)
        .and_then(|families| attribute(attribute(families, AF_INET)?, IFLA_INET_CONF));
    let is_loopback = flags & IFF_LOOPBACK != 0;
    let route_localnet = settings.and_then(|settings| number(settings, ROUTE_LOCALNET));
    let master = attribute(attributes, IFLA_MASTER).and_then(|master| number(master, 0));
    let peer_nsid = attribute(attributes, IFLA_LINK_NETNSID).and_then(|nsid| number(nsid, 0));
    let is_in_other = peer_nsid.is_some() && kind.as_deref() == Some("veth");
    let peer = attribute(attributes, IFLA_LINK).and_then(|peer| number(peer, 0)).filter(|_| is_in_other);
    let is_internal = match kind.as_deref() {
        Some("veth") => is_in_other,
        // A bridge receives packets only through the interfaces in it. A dummy device receives none.
        Some("bridge" | "dummy") => true,
        _ => false,
    };
    let interface = Interface {
        name,
        is_internal,
        is_local_only: kind.as_deref() == Some("dummy"),
        is_loopback,
        is_up: flags & IFF_UP != 0,
        is_port: port_of.is_some_and(|kind| kind != "vrf"),
        index,
        peer,
        peer_nsid,
        peer_netns: None,
        master,
        forwards: settings
            .and_then(|settings| number(settings, FORWARDING))
            .is_some_and(|value| !is_loopback && value != 0),
        routes_localnet: route_localnet.is_some_and(|value| value != 0),
        sends_to: Vec::new(),
        has_program,
        uncertain,
        addresses: Vec::new(),
    };
    let is_bridge = kind.as_deref() == Some("bridge");
    Some(Link { interface, is_bridge, is_tun: kind.as_deref() == Some("tun"), xdp: programs })
}

/// Returns the index of a device, and whether its queueing discipline only filters packets (clsact or ingress).
fn queue(message: &[u8]) -> Option<(u32, bool)> {
    let kind = attribute(message.get(QUEUE_BODY..)?, TCA_KIND).map(text);
    Some((number(message, 4)?, kind.is_some_and(|kind| matches!(kind.as_str(), "clsact" | "ingress"))))
}

/// Returns the index of a device, and one of its addresses with the prefix length.
fn address(message: &[u8]) -> Option<(u32, Option<(IpAddr, u8)>)> {
    let index = number(message, 4)?;
    let length = *message.get(1)?;
    let attributes = message.get(ADDRESS_BODY..)?;
    // On a point-to-point device, `IFA_ADDRESS` is the address of the peer.
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
        let xdp = [attribute_of(IFLA_XDP_ATTACHED, &[1]), attribute_of(4, &12_u32.to_ne_bytes())].concat();
        message.extend(attribute_of(IFLA_XDP | 0x8000, &xdp));
        let Link { interface, xdp, .. } = link(&message).unwrap();
        assert_eq!(xdp, Some(vec![12]));
        assert_eq!(
            (interface.index, &*interface.name, interface.is_up, interface.is_port),
            (7, "eth0", true, true)
        );
        assert!(interface.uncertain.unwrap().contains("XDP"));
    }

    #[test]
    fn the_interfaces_of_this_namespace() {
        assert!(list(true).unwrap().0.iter().all(|interface| !interface.name.is_empty()));
    }

    #[test]
    fn filters_and_their_programs() {
        let mut message = vec![0; QUEUE_BODY];
        message.extend(attribute_of(TCA_KIND, b"u32\0"));
        assert_eq!(filter(&message), Some((None, vec![])));
        let of_program =
            [message.clone(), attribute_of(TCA_OPTIONS, &attribute_of(TCA_BPF_ID, &7_u32.to_ne_bytes()))];
        assert_eq!(filter(&of_program.concat()), Some((Some(7), vec![])));
        let mut parameters = vec![0; MIRRED_INTERFACE];
        parameters.extend(9_u32.to_ne_bytes());
        let options = attribute_of(TCA_ACT_OPTIONS, &attribute_of(TCA_MIRRED_PARMS, &parameters));
        let action = [attribute_of(TCA_ACT_KIND, b"mirred\0"), options].concat();
        message.extend(attribute_of(TCA_OPTIONS, &attribute_of(7, &attribute_of(1, &action))));
        assert_eq!(filter(&message), Some((None, vec![9])));
        let handler = |kind, programs| PacketHandler { interface: "eth0".to_owned(), kind, programs };
        assert_eq!(handler("tc", vec![]).to_string(), "tc on eth0");
        assert_eq!(handler("XDP", vec![7]).to_string(), "XDP on eth0: program 7");
        assert_eq!(handler("tc", vec![7, 9]).to_string(), "tc on eth0: programs 7, 9");
    }

    #[test]
    fn a_queue_that_filters() {
        let mut message = vec![0; QUEUE_BODY];
        message[4] = 3;
        message.extend(attribute_of(TCA_KIND, b"clsact\0"));
        assert_eq!(queue(&message), Some((3, true)));
    }
}
