//! Sets of client addresses in the access rules of a server.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::Family;
use crate::model::address_set::AddressSet;

/// A set of addresses of both families. IPv4 addresses are stored in `::ffff:0:0/96`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses(AddressSet);

const V4: u128 = 0xffff_0000_0000;
/// The maximum number of ranges. Large block lists have some thousands.
pub(super) const MOST_RANGES: usize = 4096;

impl Addresses {
    pub(super) fn all() -> Self {
        Addresses(AddressSet::all(Family::Ipv6))
    }

    pub(super) fn loopback() -> Self {
        Addresses::of(&["127.0.0.0/8", "::1"])
    }

    fn of(networks: &[&str]) -> Self {
        let networks = networks.iter().filter_map(|network| Addresses::parse(network));
        networks.fold(Addresses::default(), |all, network| all.or(&network))
    }

    /// Parses an address, or a range as `ADDRESS/BITS`, `ADDRESS/MASK` or `FIRST-LAST`. Returns `None` for any other
    /// text, such as a host name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            return (is_same_family(first, last) && first <= last)
                .then(|| Addresses(AddressSet::of(vec![(number(first), number(last))])));
        }
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let length: u32 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => length,
            Some(bits) => match bits.parse::<IpAddr>() {
                Ok(IpAddr::V4(mask)) if address.is_ipv4() => prefix_of(mask)?,
                Ok(_) => return None,
                Err(_) => bits.parse().ok().filter(|bits| *bits <= length)?,
            },
        };
        let host = 1_u128.checked_shl(length - bits).map_or(u128::MAX, |size| size - 1);
        let number = number(address);
        Some(Addresses(AddressSet::of(vec![(number & !host, number | host)])))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ranges(&self) -> usize {
        self.0.len()
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        let mut all = self.0.clone();
        all.add(&other.0);
        Addresses(all)
    }

    pub(super) fn not(&self) -> Self {
        Addresses(self.0.complement(Family::Ipv6))
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Addresses(self.0.and(&other.0))
    }

    /// Returns whether the set is too large to be a list of known clients. The limit is a /8 network of IPv4 or a /16
    /// network of IPv6. Private networks do not count.
    pub(super) fn is_wide(&self) -> bool {
        let v4 = Addresses(AddressSet::of(vec![(V4, V4 | u128::from(u32::MAX))]));
        let public = self.and(&Addresses::of(&PRIVATE).not());
        public.and(&v4).0.count() > 1 << 24 || public.and(&v4.not()).0.count() > 1 << 112
    }
}

/// The networks that Squid's example file lists as private.
const PRIVATE: [&str; 8] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

const fn is_same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => V4 | u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Returns the prefix length of a mask such as 255.255.0.0.
fn prefix_of(mask: Ipv4Addr) -> Option<u32> {
    let mask = u32::from(mask);
    (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0).then(|| mask.leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_both_families() {
        let set = |text: &str| Addresses::parse(text);
        for (name, one, other) in [
            ("a mask", "10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("bits of the host", "10.1.2.3/8", "10.0.0.0-10.255.255.255"),
            ("one address", "192.0.2.1", "192.0.2.1/32"),
            ("IPv6", "fe80::1/64", "fe80::-fe80::ffff:ffff:ffff:ffff"),
            ("all of IPv4", "0.0.0.0/0.0.0.0", "0.0.0.0-255.255.255.255"),
            ("all", "::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert!(set(one).is_some() && set(one) == set(other), "{name}");
        }
        for bad in [
            "",
            "host",
            "1.2.3.4/33",
            "::1/129",
            "1.2.3.4/255.0.255.0",
            "2.0.0.0-1.0.0.0",
            "1.1.1.1-::1",
            "1-2",
            "::1/1.2.3.4",
        ] {
            assert_eq!(set(bad), None, "{bad}");
        }
    }

    #[test]
    fn sets() {
        let (ten, half) =
            (Addresses::parse("10.0.0.0/8").unwrap(), Addresses::parse("10.128.0.0/9").unwrap());
        assert_eq!(ten.and(&half), half);
        assert_eq!(half.or(&ten), ten);
        assert_eq!(half.or(&ten.and(&half.not())), ten, "neighbouring ranges are joined");
        assert_eq!(ten.not().not(), ten);
        assert!(Addresses::all().not().is_empty() && Addresses::default().not() == Addresses::all());
        assert!(!ten.is_wide() && Addresses::parse("2.0.0.0/7").unwrap().is_wide());
        assert!(
            !Addresses::parse("2001::/16").unwrap().is_wide()
                && Addresses::parse("2000::/15").unwrap().is_wide()
        );
    }
}
