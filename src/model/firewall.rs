//! The packet filter of a network namespace: its interfaces, and the rules of nftables and iptables in one form.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Family, named};

/// The packet filter of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// The inode of the network namespace; `None` for the namespace in which portolan runs.
    pub netns: Option<u64>,
    /// Whether the rules could not be read because only root may read them.
    pub is_refused: bool,
    /// Any other reason why the rules could not be read.
    pub unread: Option<String>,
    /// The reason why packets for one port can reach a listener on another port, even without a rule. `None` if this
    /// cannot happen.
    #[serde(default)]
    pub steering: Option<String>,
    /// The interfaces. They are listed only if something can change the path of a packet, such as a rule, an XDP
    /// program, or an interface that leads to another network namespace.
    pub interfaces: Vec<Interface>,
    /// The networks that a route makes local (`ip route add local`), although no interface has their addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_routes: Vec<LocalRoute>,
    /// Whether this machine forwards packets to other machines, for IPv4 and IPv6.
    pub forwards: [bool; 2],
    /// The tables that have rules or drop packets.
    pub tables: Vec<FilterTable>,
    /// Whether every interface that is up leads to another network namespace of this machine, as in most containers.
    /// Packets of other machines come through that namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_internal: bool,
    /// The name of a tun or tap device, if every interface that leads outside this machine is such a device. The
    /// packets come from the process that has the device open, such as slirp4netns or pasta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tun: Option<String>,
}

/// A network interface in the packet filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether the flags of the interface mark it as a loopback interface.
    pub is_loopback: bool,
    /// Whether the interface is up.
    pub is_up: bool,
    /// Whether the interface is a member of a bridge or bond. Rules do not see the name of a member.
    pub is_port: bool,
    /// Its index; 0 if it is not known.
    #[serde(default)]
    pub index: u32,
    /// Whether the kernel forwards the IPv4 packets that arrive on the interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwards: bool,
    /// The index of the interface at the other end, if that interface is in another network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// The ID (nsid) of the network namespace at the other end. Each network namespace gives its own IDs to the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_nsid: Option<u32>,
    /// The inode of the network namespace at the other end. `None` if it is not known, or if `index` and `peer` are
    /// enough to find the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_netns: Option<u64>,
    /// The index of the bridge or other device of which this interface is a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
    /// Whether only this machine sends packets to the interface. The other end is then in another network namespace, or
    /// does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_internal: bool,
    /// Whether packets of other machines never arrive on the interface. Examples are a dummy device, and a bridge
    /// without a member that leads outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_local_only: bool,
    /// Whether the kernel accepts packets for 127.0.0.0/8 that arrive on the interface (`route_localnet`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub routes_localnet: bool,
    /// The indices of the interfaces to which traffic control (tc) can send packets that arrive here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sends_to: Vec<u32>,
    /// Whether a BPF program (XDP or traffic control) sees the packets that arrive here. The program can send these
    /// packets to any interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_program: bool,
    /// The reason why the rules alone may not decide about packets of this interface. For example, a BPF program may
    /// drop the packets first. `None` if there is no such reason.
    pub uncertain: Option<String>,
    /// The addresses, with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// A route by which this machine accepts packets for the addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRoute {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
    /// Whether the route may apply only to some packets. For example, a routing rule decides which packets use the
    /// table of the route.
    pub uncertain: bool,
}

/// A table of rules of nftables or legacy iptables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterTable {
    /// The families of the packets that pass through the table.
    pub families: Vec<Family>,
    /// The chains.
    pub chains: Vec<FilterChain>,
    /// The named sets and maps.
    pub sets: Vec<FilterSet>,
}

/// A chain of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterChain {
    /// The name of the chain, which other chains of the table use to call it.
    pub name: String,
    /// The place at which the kernel calls the chain, if it is a base chain.
    pub base: Option<FilterBase>,
    /// The rules.
    pub rules: Vec<FilterRule>,
}

named! {
    /// The point at which the kernel calls a base chain. The variants are in the order in which a packet passes these
    /// points.
    pub enum FilterHook {
        /// The kernel calls the chain as soon as a packet arrives.
        Ingress = "ingress",
        /// The kernel calls the chain before it decides on the destination of a packet.
        Prerouting = "prerouting",
        /// The kernel calls the chain before it delivers a packet to this machine.
        Input = "input",
        /// The kernel calls the chain before it forwards a packet to another machine.
        Forward = "forward",
        /// The kernel calls the chain after a process of this machine has sent a packet.
        Output = "output",
        /// The kernel calls the chain before a packet leaves.
        Postrouting = "postrouting",
    }
}

/// The place at which the kernel calls a base chain, and the policy that applies after its last rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterBase {
    /// The hook.
    pub hook: FilterHook,
    /// The priority: chains of one hook are called in ascending order.
    pub priority: i64,
    /// Whether the chain translates addresses.
    pub translates: bool,
    /// Whether the policy of the chain is `drop`. The policy applies to a packet if no rule decides.
    pub drops: bool,
    /// The interfaces whose packets pass through the chain. `None` for all interfaces; empty if the interfaces are not
    /// known.
    pub devices: Option<Vec<String>>,
    /// The name of the policy in reports: `policy drop of the nft chain inet filter input`.
    pub text: String,
}

/// A rule. Its action applies to packets that meet all conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// The rule in the notation of iptables, or the place of an nft rule: `nft rule inet filter input, handle 7`.
    pub text: String,
    /// The conditions.
    pub conditions: Vec<FilterCondition>,
    /// The action.
    pub action: FilterAction,
}

/// The action of a rule on a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterAction {
    /// Accepts the packet in this base chain. The packet then goes to the next base chain.
    Accept,
    /// Drops the packet, with or without an answer to its sender.
    Drop,
    /// Leaves this chain.
    Return,
    /// Continues in another chain, and then at the next rule of this chain.
    Jump(String),
    /// Continues in another chain, and does not return to this chain.
    Goto(String),
    /// Looks up the action in a map, with these fields of the packet as the key.
    Lookup(Vec<FilterField>, FilterElements),
    /// Changes the destination.
    Translate {
        /// The new address. `None` if the address stays the same, or if the new address can be any address of this
        /// machine.
        address: Option<IpAddr>,
        /// The new port; `None` if the port stays the same.
        port: Option<u16>,
    },
    /// Gives the packet to a socket of this machine that accepts packets for any address (TPROXY). The destination of
    /// the packet does not change.
    Steer {
        /// The address of the socket; `None` for an address of this machine.
        address: Option<IpAddr>,
        /// The port of the socket; `None` for the port of the packet.
        port: Option<u16>,
    },
    /// Looks up the new destination in a map, with these fields of the packet as the key. The action of each element is
    /// `Translate`.
    TranslateBy(Vec<FilterField>, FilterElements),
    /// Changes the mark of the packet or of its connection.
    Mark,
    /// Excludes the packet from connection tracking.
    Untrack,
    /// Sends the packet, or a copy of it, to another interface.
    Send {
        /// The name of the interface; `None` if it is not known.
        to: Option<String>,
        /// Whether only a copy is sent, and the packet continues.
        is_copy: bool,
    },
    /// Changes the source address. A service then does not see the address of the client.
    ChangeSource,
    /// Does not change the path of the packet. For example, the rule counts or logs the packet.
    Continue,
    /// An action that portolan does not understand. The packet may be accepted, dropped or changed.
    Unknown,
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterCondition {
    /// Is met if the fields have the values of one of the elements.
    In {
        /// The fields, in the order of the values of an element.
        fields: Vec<FilterField>,
        /// The elements.
        elements: FilterElements,
        /// Whether the condition is negated.
        negated: bool,
    },
    /// Is met if the field and `value` are equal in all bits of `mask`.
    Masked {
        /// The field.
        field: FilterField,
        /// The compared bits.
        mask: u64,
        /// The expected value of these bits.
        value: u64,
        /// Whether the condition is negated.
        negated: bool,
    },
    /// A condition that the packets of most clients meet, such as a rate limit that is not exceeded.
    Usual,
    /// A condition that the packets of few clients meet, such as a rate limit that is exceeded.
    Unusual,
    /// A condition that portolan does not evaluate.
    Unknown,
}

impl FilterCondition {
    /// Returns the field and the value if the condition requires exactly one value of one field.
    #[must_use]
    pub fn single(&self) -> Option<(FilterField, &FilterValue)> {
        match self {
            FilterCondition::In { fields, elements: FilterElements::Listed(listed), negated: false } => {
                match (fields.as_slice(), listed.as_slice()) {
                    ([field], [FilterElement { key, .. }]) => Some((*field, key.first()?)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterField {
    /// `4` or `6`.
    Family,
    /// The number of the transport protocol. If a family is named, only packets of this family have the field.
    Protocol(Option<Family>),
    /// The source address of a packet of this family.
    Source(Family),
    /// The destination address of a packet of this family.
    Destination(Family),
    /// The source port. If a protocol is named, only packets of this protocol have the field.
    SourcePort(Option<u8>),
    /// The destination port. If a protocol is named, only packets of this protocol have the field.
    DestinationPort(Option<u8>),
    /// The name of the interface on which the packet arrived.
    InInterface,
    /// The name of the interface on which the packet leaves.
    OutInterface,
    /// The state of the connection, as a bit of [`conntrack`].
    ConnectionState,
    /// The status of the connection, as bits of [`conntrack`].
    ConnectionStatus,
    /// `0` for packets of the client, `1` for packets of the server.
    ConnectionDirection,
    /// The mark of the packet.
    Mark,
    /// The mark of the connection.
    ConnectionMark,
    /// The type of the packet on its link: `host`, `broadcast`, `multicast`, `other`.
    PacketType,
    /// The type of the destination address: `local`, `broadcast`, `multicast`, `unicast`.
    DestinationType,
    /// The type of the source address.
    SourceType,
    /// The flags of TCP.
    TcpFlags,
    /// A field of a protocol without ports. Packets to a port do not have the field.
    OfOtherProtocol,
    /// A field that portolan does not evaluate.
    Unknown,
}

/// The bits of the state and of the status of a connection (linux/netfilter/nf_conntrack_common.h).
pub mod conntrack {
    /// The packet belongs to no known connection, and opens none.
    pub const INVALID: u64 = 1;
    /// The packet belongs to a known connection.
    pub const ESTABLISHED: u64 = 2;
    /// The packet belongs to a connection that is related to a known connection.
    pub const RELATED: u64 = 4;
    /// The packet opens a connection.
    pub const NEW: u64 = 8;
    /// Connections are not tracked for the packet.
    pub const UNTRACKED: u64 = 64;
    /// The source address is translated.
    pub const SOURCE_TRANSLATED: u64 = 16;
    /// The destination address is translated.
    pub const DESTINATION_TRANSLATED: u64 = 32;

    /// The names in the notation of iptables.
    pub(crate) const NAMES: [(u64, &str); 7] = [
        (INVALID, "INVALID"),
        (NEW, "NEW"),
        (RELATED, "RELATED"),
        (ESTABLISHED, "ESTABLISHED"),
        (UNTRACKED, "UNTRACKED"),
        (SOURCE_TRANSLATED, "SNAT"),
        (DESTINATION_TRANSLATED, "DNAT"),
    ];
}

/// The types of addresses by number (linux/rtnetlink.h), in the notation of iptables.
pub(crate) const ADDRESS_TYPES: [&str; 9] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
];

/// The elements of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterElements {
    /// These elements.
    Listed(Vec<FilterElement>),
    /// The elements of a named set or map of the table.
    Named(String),
}

/// A named set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterSet {
    /// Its name.
    pub name: String,
    /// Whether rules can add elements. A packet may then add its own source address.
    pub is_changed_by_rules: bool,
    /// The elements; `None` if they were not understood.
    pub elements: Option<Vec<FilterElement>>,
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterElement {
    /// The values, one for each field.
    pub key: Vec<FilterValue>,
    /// The action, for an element of a map.
    pub action: Option<FilterAction>,
    /// Whether the kernel removes the element after some time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_temporary: bool,
}

/// The values that a field of an element accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterValue {
    /// A range of numbers, both ends included.
    Numbers(u64, u64),
    /// A range of addresses, both ends included.
    Addresses(IpAddr, IpAddr),
    /// A name; `*` at the end matches any further characters.
    Name(String),
    /// Any value.
    Any,
    /// A value that portolan does not understand.
    Unknown,
}

impl LocalRoute {
    /// Returns whether the network contains an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl FilterBase {
    /// Returns whether arriving packets pass through the chain. Only packets that leave this machine pass through the
    /// other chains.
    #[must_use]
    pub const fn is_for_arrivals(&self) -> bool {
        !matches!(self.hook, FilterHook::Output | FilterHook::Postrouting)
    }
}
