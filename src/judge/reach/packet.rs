//! A packet as the rules see it. The address of the client is left open, so the packet can come from any address.

use std::net::IpAddr;

use crate::model::Family;
use crate::model::firewall::{FilterField, conntrack};

/// The state of a packet in connection tracking, at a point on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracking {
    /// The packet has not yet reached the point at which the kernel looks up its connection.
    Before,
    New,
    Established,
    /// A rule may have excluded the packet from connection tracking.
    Uncertain,
}

/// The kind of address to which a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Delivery {
    Unicast,
    Broadcast,
    Multicast,
}

/// The name of an interface at a point on the path of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InterfaceName {
    /// The packet has no interface at this point. Rules then see an empty name.
    None,
    Known(String),
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) family: Family,
    pub(super) protocol: u8,
    /// The address of the service. It is the destination of a packet, or the source of an answer.
    pub(super) address: IpAddr,
    pub(super) delivery: Delivery,
    /// Whether the address belongs to this machine.
    pub(super) is_own: bool,
    pub(super) port: u16,
    pub(super) arrives_on: InterfaceName,
    pub(super) leaves_on: InterfaceName,
    pub(super) is_answer: bool,
    /// Whether this is the packet that the client sends after the answer.
    pub(super) is_later: bool,
    pub(super) tracking: Tracking,
    pub(super) is_translated: bool,
    /// Whether a rule may have set the mark of the packet or of the connection. Without a rule, both marks are 0.
    pub(super) is_marked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'p> {
    Number(u64),
    Address(IpAddr),
    Name(&'p str),
    /// The address of the client, which can be any address.
    Client,
    /// The packet does not have the field. It meets neither a condition on the field nor the negated condition.
    Absent,
    Unknown,
}

/// The TCP flags that are certain in a packet that opens or accepts a connection. Only the flags of congestion
/// notification (RFC 3168) are uncertain.
const CERTAIN_FLAGS: u64 = 0x3f;
/// The flags PSH and URG, which a client can set in every packet.
const CHOSEN_FLAGS: u64 = 0x28;
const SYN: u64 = 0x02;
const ACK: u64 = 0x10;

impl Packet {
    pub(super) fn value(&self, field: FilterField) -> Value<'_> {
        match field {
            FilterField::Family => Value::Number(if self.family == Family::Ipv4 { 4 } else { 6 }),
            FilterField::OfOtherProtocol => Value::Absent,
            FilterField::Source(family)
            | FilterField::Destination(family)
            | FilterField::Protocol(Some(family))
                if family != self.family =>
            {
                Value::Absent
            }
            FilterField::Protocol(_) => Value::Number(self.protocol.into()),
            FilterField::Source(_) if self.is_answer => Value::Address(self.address),
            FilterField::Destination(_) if !self.is_answer => Value::Address(self.address),
            FilterField::Source(_) | FilterField::Destination(_) => Value::Client,
            FilterField::SourcePort(protocol) => self.port_of(protocol, self.is_answer),
            FilterField::DestinationPort(protocol) => self.port_of(protocol, !self.is_answer),
            FilterField::InInterface => name(&self.arrives_on),
            FilterField::OutInterface => name(&self.leaves_on),
            FilterField::ConnectionState => match self.tracking {
                Tracking::Before => Value::Number(conntrack::INVALID),
                Tracking::New => Value::Number(conntrack::NEW),
                Tracking::Established => Value::Number(conntrack::ESTABLISHED),
                Tracking::Uncertain => Value::Unknown,
            },
            FilterField::ConnectionDirection => match self.tracking {
                Tracking::Before => Value::Absent,
                Tracking::Uncertain => Value::Unknown,
                _ => Value::Number(self.is_answer.into()),
            },
            FilterField::ConnectionMark if self.tracking == Tracking::Before => Value::Absent,
            FilterField::Mark | FilterField::ConnectionMark if !self.is_marked => Value::Number(0),
            FilterField::PacketType if !self.is_answer => Value::Number(match self.delivery {
                Delivery::Unicast => 0,
                Delivery::Broadcast => 1,
                Delivery::Multicast => 2,
            }),
            FilterField::DestinationType if !self.is_answer => Value::Number(match self.delivery {
                Delivery::Unicast if self.is_own => 2,
                Delivery::Unicast => 1,
                Delivery::Broadcast => 3,
                Delivery::Multicast => 5,
            }),
            // A client's packet never has a source address of this machine, because the kernel drops such a packet.
            FilterField::SourceType => Value::Number(if self.is_answer && self.is_own { 2 } else { 1 }),
            FilterField::TcpFlags if self.protocol != 6 => Value::Absent,
            FilterField::TcpFlags
            | FilterField::Mark
            | FilterField::ConnectionMark
            | FilterField::ConnectionStatus
            | FilterField::PacketType
            | FilterField::DestinationType
            | FilterField::Unknown => Value::Unknown,
        }
    }

    /// Returns whether a client can choose an unusual value of a field. The only such field is the type of the first
    /// header of an IPv6 packet, because this header can be an extension header.
    pub(super) fn is_chosen_by_client(&self, field: FilterField) -> bool {
        let is_first_header = field == FilterField::Protocol(Some(Family::Ipv6));
        is_first_header && self.family == Family::Ipv6 && !self.is_answer
    }

    /// Returns the bits of a field that a client can set, although most clients do not.
    pub(super) fn chosen_bits(&self, field: FilterField) -> u64 {
        if field == FilterField::TcpFlags && !self.is_answer { CHOSEN_FLAGS } else { 0 }
    }

    /// Returns which bits of a field are known, and the values of these bits. `None` if the packet does not have the
    /// field.
    pub(super) fn bits(&self, field: FilterField) -> Option<(u64, u64)> {
        let translated = if self.is_translated { conntrack::DESTINATION_TRANSLATED } else { 0 };
        let of_status = conntrack::SOURCE_TRANSLATED | conntrack::DESTINATION_TRANSLATED;
        match field {
            FilterField::TcpFlags if self.protocol == 6 => {
                let flags = match (self.is_answer, self.is_later) {
                    (true, _) => SYN | ACK,
                    (false, true) => ACK,
                    (false, false) => SYN,
                };
                Some((CERTAIN_FLAGS, flags))
            }
            FilterField::ConnectionStatus => match self.tracking {
                Tracking::Before => None,
                Tracking::Uncertain => Some((0, 0)),
                _ => Some((of_status, translated)),
            },
            // iptables combines the state with the translation bits of the status in one number.
            FilterField::ConnectionState => match self.value(field) {
                Value::Number(number) => Some((u64::MAX, number | translated)),
                _ => Some((0, 0)),
            },
            field => match self.value(field) {
                Value::Number(number) => Some((u64::MAX, number)),
                Value::Absent => None,
                _ => Some((0, 0)),
            },
        }
    }

    fn port_of(&self, protocol: Option<u8>, is_of_service: bool) -> Value<'static> {
        if protocol.is_some_and(|protocol| protocol != self.protocol) {
            Value::Absent
        } else if is_of_service {
            Value::Number(self.port.into())
        } else {
            Value::Unknown
        }
    }
}

fn name(interface: &InterfaceName) -> Value<'_> {
    match interface {
        InterfaceName::None => Value::Name(""),
        InterfaceName::Known(name) => Value::Name(name),
        InterfaceName::Unknown => Value::Unknown,
    }
}
