//! What a user names on the command line: a port, a range, an address, or a name.
//!
//! Only the shape is judged here. Whether a name is a service or a running process is not known yet.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::endpoint::unmapped;
use super::{PortRange, Protocol};

/// A block of addresses: those that share the first `prefix` bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// One address; a v4-mapped one is taken for the IPv4 address it stands for.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        let address = unmapped(address);
        Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The one address it is made of, where it is one.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        (Network::single(self.address) == self).then_some(self.address)
    }

    /// Whether every address of `other` lies in it.
    #[must_use]
    pub fn covers(self, other: Network) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether `address` lies in it; a v4-mapped address is taken for the IPv4 address it stands for.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, unmapped(address)) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                a.to_bits() & mask == b.to_bits() & mask
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                a.to_bits() & mask == b.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// `10.0.0.0/8`, or an address alone where it is one.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

impl FromStr for Network {
    type Err = BadTarget;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match address(s).transpose()? {
            Some(Target::Address { network, port: None }) => Ok(network),
            _ => bad("no address: write 127.0.0.1, ::1 or 10.0.0.0/8"),
        }
    }
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `3416`, `:3416`, `8000-8100`, `tcp/3416`.
    Ports {
        /// Only this protocol.
        protocol: Option<Protocol>,
        /// These ports.
        ports: PortRange,
    },
    /// `127.0.0.1`, `127.0.0.1:5432`, `[::1]:5432`, `10.0.0.0/8`.
    Address {
        /// These addresses.
        network: Network,
        /// Only this port.
        port: Option<u16>,
    },
    /// `ssh`, `nginx`, `tcp/ssh`: a service or a process.
    Name {
        /// Only this protocol.
        protocol: Option<Protocol>,
        /// The name as typed.
        name: String,
    },
}

/// Why a text is no target: the trouble and the remedy, without the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTarget {}

fn bad<T>(why: &str) -> Result<T, BadTarget> {
    Err(BadTarget(why.to_owned()))
}

fn digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

fn port(s: &str) -> Result<u16, BadTarget> {
    s.parse().or_else(|_| bad("no such port: ports are 0 to 65535"))
}

/// A port or a range; `None` where the text is neither in shape.
fn ports(s: &str) -> Option<Result<PortRange, BadTarget>> {
    if digits(s) {
        return Some(port(s).map(PortRange::single));
    }
    let (low, high) = s.split_once('-')?;
    match (digits(low), digits(high)) {
        (true, true) => Some(port(low).and_then(|low| {
            PortRange::new(low, port(high)?)
                .ok_or_else(|| BadTarget(format!("the range ends before it begins: try {high}-{low}")))
        })),
        (true, false) if high.is_empty() => Some(bad("the range has no end: try 8000-8100")),
        (false, true) if low.is_empty() => Some(bad("the range has no beginning: try 8000-8100")),
        (false, false) if s == "-" => Some(bad("an empty range: try 8000-8100")),
        _ => None,
    }
}

/// An address, a block of them, or an address with a port; `None` where the text is none in shape.
fn address(s: &str) -> Option<Result<Target, BadTarget>> {
    let whole = Network::single;
    let bare = s.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(s);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Ok(Target::Address { network: whole(address), port: None }));
    }
    if let Some((host, bits)) = s.split_once('/') {
        let Ok(address) = host.parse::<IpAddr>() else {
            // No protocol is written with these.
            let meant =
                host.contains(':') || (host.contains('.') && host.starts_with(|c: char| c.is_ascii_digit()));
            return meant.then(|| bad("no such address: try 10.0.0.0/8 or fd00::/8"));
        };
        let widest = if address.is_ipv4() { 32 } else { 128 };
        return Some(match bits.parse::<u8>() {
            // The block of v4-mapped addresses stands for the IPv4 addresses in it.
            Ok(prefix @ 96..=128) if digits(bits) && unmapped(address).is_ipv4() && address.is_ipv6() => {
                let network = Network { address: unmapped(address), prefix: prefix - 96 };
                Ok(Target::Address { network, port: None })
            }
            Ok(prefix) if digits(bits) && prefix <= widest => {
                Ok(Target::Address { network: Network { address, prefix }, port: None })
            }
            _ => Err(BadTarget(format!("the prefix of such an address is 0 to {widest} bits"))),
        });
    }
    let (host, number) = s.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let address: IpAddr = bracketed.unwrap_or(host).parse().ok()?;
    if bracketed.is_none() && address.is_ipv6() {
        return Some(bad("an IPv6 address with a port is written [::1]:22"));
    }
    if !digits(number) {
        return Some(bad("no such port: ports are 0 to 65535"));
    }
    Some(port(number).map(|port| Target::Address { network: whole(address), port: Some(port) }))
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.trim().is_empty() {
            return bad("an empty target: name a port, a range, an address, a service or a process");
        }
        if let Some(found) = address(s) {
            return found;
        }
        let unprotocolled = s.strip_prefix(':').unwrap_or(s);
        if let Some(found) = ports(unprotocolled) {
            return found.map(|ports| Target::Ports { protocol: None, ports });
        }
        let Some((head, rest)) = s.split_once('/') else {
            return Ok(Target::Name { protocol: None, name: s.to_owned() });
        };
        let Ok(protocol) = head.parse::<Protocol>() else {
            return bad("unknown protocol: write tcp/53, udp/53, udplite/53, sctp/53 or dccp/53");
        };
        match ports(rest) {
            Some(found) => found.map(|ports| Target::Ports { protocol: Some(protocol), ports }),
            None if rest.trim().is_empty() => bad("no port after the protocol: try tcp/53"),
            None => Ok(Target::Name { protocol: Some(protocol), name: rest.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(s: &str) -> Result<Target, BadTarget> {
        s.parse()
    }

    #[test]
    fn shapes() {
        let ports =
            |protocol, low, high| Ok(Target::Ports { protocol, ports: PortRange::new(low, high).unwrap() });
        for (text, target) in [
            ("3416", ports(None, 3416, 3416)),
            (":3416", ports(None, 3416, 3416)),
            ("0", ports(None, 0, 0)),
            ("8000-8100", ports(None, 8000, 8100)),
            ("tcp/3416", ports(Some(Protocol::Tcp), 3416, 3416)),
            ("UDP/53", ports(Some(Protocol::Udp), 53, 53)),
            ("sctp/1-2", ports(Some(Protocol::Sctp), 1, 2)),
            ("http-alt", Ok(Target::Name { protocol: None, name: "http-alt".to_owned() })),
            ("tcp/ssh", Ok(Target::Name { protocol: Some(Protocol::Tcp), name: "ssh".to_owned() })),
        ] {
            assert_eq!(parsed(text), target, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, address, hit) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1:5432", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "11.1.1.1", false),
            ("[::1]:5432", "::1", true),
            ("[::1]", "::1", true),
            ("::1", "::1", true),
            ("fe80::/10", "fe80::1", true),
            ("::/0", "127.0.0.1", false),
        ] {
            match parsed(text) {
                Ok(Target::Address { network, .. }) => {
                    assert_eq!(network.contains(address.parse().unwrap()), hit, "{text} {address}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn networks_by_themselves() {
        let network = |s: &str| s.parse::<Network>();
        for text in ["10.0.0.0/8", "127.0.0.1", "::1", "fe80::/10", "0.0.0.0/0"] {
            assert_eq!(network(text).unwrap().to_string(), text);
        }
        assert_eq!(network("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1");
        for text in ["", "10.0.0.0/33", "127.0.0.1:80", "80", "ssh", "10.0.0"] {
            assert!(network(text).is_err(), "{text}");
        }
        for (wide, narrow, covers) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
        ] {
            assert_eq!(network(wide).unwrap().covers(network(narrow).unwrap()), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn bad_targets_say_why() {
        for (text, why) in [
            ("65536", "0 to 65535"),
            ("99999999999999999999", "0 to 65535"),
            ("tcp/70000", "0 to 65535"),
            ("8100-8000", "try 8000-8100"),
            ("8000-", "no end"),
            ("-", "empty range"),
            ("icmp/53", "unknown protocol"),
            ("tcp/", "no port"),
            ("", "empty target"),
            ("  ", "empty target"),
            ("10.0.0.0/33", "0 to 32"),
            ("::1:22x", "[::1]:22"),
            ("127.0.0.1:http", "0 to 65535"),
        ] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
