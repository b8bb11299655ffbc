//! The packets that a raw or packet socket receives.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Device, Protocol};

/// The packets that a raw or packet socket receives, unless a filter of the program excludes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReceivedPackets {
    /// For a raw socket, the IP protocol (IANA protocol numbers). For a packet socket, the `EtherType`, or a number
    /// of `linux/if_ether.h`.
    pub number: u16,
    /// The network devices that the socket has set to promiscuous mode. The socket then receives packets for other
    /// machines too.
    pub promiscuous: Vec<Device>,
}

/// `IPPROTO_RAW` (linux/in.h): the socket only sends.
const IPPROTO_RAW: u16 = 255;
/// `ETH_P_ALL` (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;

/// Names of IP protocols (IANA protocol numbers).
const IP_PROTOCOLS: [(u16, &str); 19] = [
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (88, "eigrp"),
    (89, "ospf"),
    (103, "pim"),
    (112, "vrrp"),
    (115, "l2tp"),
    (132, "sctp"),
    (136, "udplite"),
];

/// Names of link-layer protocols (IEEE `EtherType`, linux/if_ether.h).
const LINK_PROTOCOLS: [(u16, &str); 13] = [
    (ETH_P_ALL, "all"),
    (4, "802.2"),
    (0x0800, "ip"),
    (0x0806, "arp"),
    (0x8100, "vlan"),
    (0x86dd, "ipv6"),
    (0x8863, "pppoe-discovery"),
    (0x8864, "pppoe"),
    (0x888e, "eapol"),
    (0x88c7, "preauth"),
    (0x88cc, "lldp"),
    (0x88f7, "ptp"),
    (0x890d, "tdls"),
];

/// The protocols whose packets can carry data of other programs, openly or in a covert channel.
const DATA: [&str; 12] =
    ["all", "802.2", "ip", "ipv6", "vlan", "pppoe", "tcp", "udp", "icmp", "ipv6-icmp", "sctp", "udplite"];

impl ReceivedPackets {
    /// Returns the name of the packets: `icmp`, `all`; `None` if the socket receives nothing.
    #[must_use]
    pub fn name(&self, protocol: Protocol) -> Option<Cow<'static, str>> {
        let (names, is_link): (&[_], _) = match protocol {
            Protocol::Packet => (&LINK_PROTOCOLS, true),
            _ => (&IP_PROTOCOLS, false),
        };
        match (self.number, is_link) {
            (0, true) | (IPPROTO_RAW, false) => return None,
            _ => {}
        }
        let known = names.iter().find(|(number, _)| *number == self.number);
        Some(match known {
            Some((_, name)) => Cow::Borrowed(*name),
            None if is_link => format!("0x{:04x}", self.number).into(),
            None => self.number.to_string().into(),
        })
    }

    /// Returns whether the packets can contain the data of other programs.
    #[must_use]
    pub fn has_data_of_programs(&self, protocol: Protocol) -> bool {
        self.name(protocol).is_some_and(|name| DATA.contains(&&*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packets() {
        for (protocol, number, name, has_data) in [
            (Protocol::Raw, 1, Some("icmp"), true),
            (Protocol::Raw, 3, Some("3"), false),
            (Protocol::Raw, 89, Some("ospf"), false),
            (Protocol::Raw, 255, None, false),
            (Protocol::Raw, 0, Some("0"), false),
            (Protocol::Packet, 3, Some("all"), true),
            (Protocol::Packet, 0x88cc, Some("lldp"), false),
            (Protocol::Packet, 0x1234, Some("0x1234"), false),
            (Protocol::Packet, 0, None, false),
        ] {
            let packets = ReceivedPackets { number, promiscuous: Vec::new() };
            assert_eq!(packets.name(protocol).as_deref(), name, "{protocol} {number}");
            assert_eq!(packets.has_data_of_programs(protocol), has_data, "{protocol} {number}");
        }
    }
}
