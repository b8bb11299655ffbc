//! Blocks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::endpoint::unmapped;

/// A block of addresses that share the first `prefix` bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Returns the block of one address. A v4-mapped address counts as its IPv4 address.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        let address = unmapped(address);
        Network { address, prefix: widest(address) }
    }

    /// Returns the block with the first `prefix` bits of an address; `None` if the prefix is too long.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= widest(address)).then_some(Network { address, prefix })
    }

    /// Returns the block with exactly the addresses from `first` to `last`, if there is one.
    #[must_use]
    pub fn spanning(first: IpAddr, last: IpAddr) -> Option<Self> {
        let differing = (number(first) ^ number(last)).trailing_ones();
        let prefix = widest(first).checked_sub(u8::try_from(differing).ok()?)?;
        let network = Network { address: first, prefix };
        (network.bounds() == (first, last)).then_some(network)
    }

    /// Returns the first and the last address.
    #[must_use]
    pub fn bounds(self) -> (IpAddr, IpAddr) {
        match self.address {
            IpAddr::V4(four) => {
                let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                (
                    Ipv4Addr::from_bits(four.to_bits() & !host).into(),
                    Ipv4Addr::from_bits(four.to_bits() | host).into(),
                )
            }
            IpAddr::V6(six) => {
                let host = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                (
                    Ipv6Addr::from_bits(six.to_bits() & !host).into(),
                    Ipv6Addr::from_bits(six.to_bits() | host).into(),
                )
            }
        }
    }

    /// Returns a block of v4-mapped addresses as a block of IPv4 addresses, and any other block unchanged.
    #[must_use]
    pub fn unmapped(self) -> Self {
        match (unmapped(self.address), self.prefix.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => Network { address, prefix },
            _ => self,
        }
    }

    /// Returns the address if the block contains exactly one address.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        (Network::single(self.address) == self).then_some(self.address)
    }

    /// Returns whether the addresses are IPv4 addresses.
    #[must_use]
    pub const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Returns whether every address of `other` lies in this block.
    #[must_use]
    pub fn covers(self, other: Network) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Returns whether `address` lies in this block. A v4-mapped address counts as its IPv4 address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let (first, last) = self.bounds();
        (first..=last).contains(&unmapped(address))
    }
}

const fn widest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns the bits of an address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_bits().into(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

/// Writes `10.0.0.0/8`, or the address alone if the block contains exactly one address.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

/// The reason why a text is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadNetwork {
    /// The address is not an IP address.
    Address,
    /// The prefix length is not a number from 0 to this maximum.
    Prefix(u8),
}

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadNetwork::Address => f.write_str("not an address (expected 127.0.0.1, ::1 or 10.0.0.0/8)"),
            BadNetwork::Prefix(bits) => write!(f, "not a prefix length (expected 0 to {bits})"),
        }
    }
}

impl std::error::Error for BadNetwork {}

impl FromStr for Network {
    type Err = BadNetwork;

    /// Parses `127.0.0.1`, `::1`, `[::1]` and `10.0.0.0/8`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let Some((host, bits)) = s.split_once('/') else {
            let bare = s.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(s);
            return bare.parse().map(Network::single).map_err(|_| BadNetwork::Address);
        };
        let address: IpAddr = host.parse().map_err(|_| BadNetwork::Address)?;
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = bits.parse().ok().filter(|_| digits);
        let network = prefix.and_then(|prefix| Network::new(address, prefix));
        network.map(Network::unmapped).ok_or(BadNetwork::Prefix(widest(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_ranges() {
        for (first, last, network) in [
            ("10.0.0.0", "10.255.255.255", Some("10.0.0.0/8")),
            ("10.0.0.1", "10.0.0.1", Some("10.0.0.1")),
            ("0.0.0.0", "255.255.255.255", Some("0.0.0.0/0")),
            ("fd00::", "fd00::ffff", Some("fd00::/112")),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("::/0")),
            ("10.0.0.1", "10.0.0.2", None),
            ("10.0.0.2", "10.0.0.5", None),
            ("10.0.0.0", "10.0.0.5", None),
            ("10.0.0.1", "fd00::1", None),
        ] {
            let found = Network::spanning(first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(found, network.map(|network| network.parse().unwrap()), "{first} to {last}");
        }
    }

    #[test]
    fn addresses_in_networks() {
        for (network, address, hit) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "11.1.1.1", false),
            ("[::1]", "::1", true),
            ("::1", "::1", true),
            ("fe80::/10", "fe80::1", true),
            ("::/0", "127.0.0.1", false),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), hit, "{network} {address}");
        }
    }

    #[test]
    fn networks_round_trip() {
        for text in ["10.0.0.0/8", "127.0.0.1", "::1", "fe80::/10", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("::ffff:10.0.0.1".parse::<Network>().unwrap().to_string(), "10.0.0.1");
    }

    #[test]
    fn bad_networks_are_refused() {
        for (text, error) in [
            ("", BadNetwork::Address),
            ("10.0.0.0/33", BadNetwork::Prefix(32)),
            ("10.0.0.0/", BadNetwork::Prefix(32)),
            ("10.0.0.0/+8", BadNetwork::Prefix(32)),
            ("fd00::/129", BadNetwork::Prefix(128)),
            ("127.0.0.1:80", BadNetwork::Address),
            ("80", BadNetwork::Address),
            ("ssh", BadNetwork::Address),
            ("10.0.0", BadNetwork::Address),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn networks_cover_narrower_networks() {
        for (wide, narrow, covers) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
        ] {
            let (wide, narrow): (Network, Network) = (wide.parse().unwrap(), narrow.parse().unwrap());
            assert_eq!(wide.covers(narrow), covers, "{wide} {narrow}");
        }
    }
}
