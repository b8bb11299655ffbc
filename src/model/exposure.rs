//! The clients that can reach a socket according to its address and device. Firewalls are not considered.

use std::net::IpAddr;

use super::{named, unmapped};

named! {
    /// The clients that can reach a listener. The order is from most to least exposed, as in listings.
    pub enum Exposure {
        /// The wildcard address, which stands for every address of this machine.
        Any = "any",
        /// A globally routable address, or any address to which no other variant applies.
        Public = "public",
        /// An address of a private network: RFC 1918, RFC 6598 (shared), RFC 4193 (unique local), RFC 3879
        /// (site-local).
        Private = "private",
        /// An address of one link: RFC 3927, RFC 4291 section 2.5.6, or the limited broadcast address of RFC 919.
        LinkLocal = "link-local",
        /// A multicast address with a scope wider than this machine: RFC 5771, RFC 4291 section 2.7.
        Multicast = "multicast",
        /// This machine only.
        Loopback = "loopback",
        /// No client can reach the socket, because this machine does not have the address or the device of the socket.
        None = "none",
    }
}

impl Exposure {
    /// Returns the exposure of an address. A socket on the loopback device (`lo` on Linux, `lo0` on the BSDs) receives
    /// traffic from this machine only, regardless of its address.
    #[must_use]
    pub fn of(address: IpAddr, device: Option<&str>) -> Self {
        if matches!(device, Some("lo" | "lo0")) {
            return Exposure::Loopback;
        }
        match unmapped(address) {
            IpAddr::V4(a) => {
                let [first, second, ..] = a.octets();
                if a.is_unspecified() {
                    Exposure::Any
                } else if a.is_loopback() {
                    Exposure::Loopback
                } else if a.is_link_local() || a.is_broadcast() {
                    Exposure::LinkLocal
                } else if a.is_multicast() {
                    Exposure::Multicast
                } else if a.is_private() || (first == 100 && second & 0xc0 == 64) {
                    Exposure::Private
                } else {
                    Exposure::Public
                }
            }
            IpAddr::V6(a) => {
                let [first, ..] = a.segments();
                if a.is_unspecified() {
                    Exposure::Any
                } else if a.is_loopback() {
                    Exposure::Loopback
                } else if a.is_multicast() {
                    // Scope 1 is interface-local: it never leaves the machine (RFC 4291 section 2.7).
                    if first & 0x000f == 1 { Exposure::Loopback } else { Exposure::Multicast }
                } else if a.is_unicast_link_local() {
                    Exposure::LinkLocal
                } else if a.is_unique_local() || first & 0xffc0 == 0xfec0 {
                    Exposure::Private
                } else {
                    Exposure::Public
                }
            }
        }
    }

    /// Returns whether other machines can reach the listener, according to its address and device alone.
    #[must_use]
    pub const fn is_reachable_from_outside(self) -> bool {
        !matches!(self, Exposure::Loopback | Exposure::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (address, device, class) in [
            ("0.0.0.0", None, Exposure::Any),
            ("::", None, Exposure::Any),
            ("::ffff:0.0.0.0", None, Exposure::Any),
            ("0.0.0.0", Some("lo"), Exposure::Loopback),
            ("0.0.0.0", Some("eth0"), Exposure::Any),
            ("127.0.0.1", None, Exposure::Loopback),
            ("127.200.3.4", None, Exposure::Loopback),
            ("::1", None, Exposure::Loopback),
            ("::ffff:127.0.0.1", None, Exposure::Loopback),
            ("::ffff:10.1.2.3", None, Exposure::Private),
            ("10.1.2.3", None, Exposure::Private),
            ("172.31.0.1", None, Exposure::Private),
            ("172.32.0.1", None, Exposure::Public),
            ("192.168.0.1", None, Exposure::Private),
            ("100.64.0.1", None, Exposure::Private),
            ("100.128.0.1", None, Exposure::Public),
            ("fd00::1", None, Exposure::Private),
            ("fec0::1", None, Exposure::Private),
            ("169.254.1.1", None, Exposure::LinkLocal),
            ("255.255.255.255", None, Exposure::LinkLocal),
            ("fe80::1", Some("eth0"), Exposure::LinkLocal),
            ("224.0.0.251", None, Exposure::Multicast),
            ("ff02::fb", None, Exposure::Multicast),
            ("ff01::1", None, Exposure::Loopback),
            ("203.0.113.7", None, Exposure::Public),
            ("2001:db8::1", None, Exposure::Public),
        ] {
            assert_eq!(Exposure::of(address.parse().unwrap(), device), class, "{address} {device:?}");
        }
    }

    #[test]
    fn worst_first() {
        assert!(Exposure::ALL.is_sorted());
    }
}
