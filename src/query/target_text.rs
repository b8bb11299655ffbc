//! The notation of a target: a protocol, ports, addresses, and the forms that other programs print.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{BadNetwork, Network, PortRange, Protocol};
use crate::registry::Registry;

/// An address or a network as typed, with the ports and the network device after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TypedAddress {
    pub(crate) networks: Vec<Network>,
    /// The ports; empty if the user typed no port, or `*`.
    pub(crate) ports: Vec<PortRange>,
    /// The device after `%`, as in `127.0.0.53%lo`.
    pub(crate) device: Option<String>,
    /// Whether clients reach this machine by the address. `None` if this is not known, or if the text is a network.
    pub(crate) is_own: Option<bool>,
}

/// Returns the address and port of a URL, as `localhost:8080`. The port of the scheme is the default. `None` if the
/// text is not a URL.
pub(super) fn without_scheme(text: &str, registry: &Registry) -> Option<Result<String, String>> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after_bracket = host.rsplit_once(']').map_or(host, |(_, after)| after);
    if after_bracket.contains(':') {
        return Some(Ok(host.to_owned()));
    }
    let usual = registry.named(scheme).into_iter().find(|(_, protocol)| *protocol == Protocol::Tcp);
    Some(match usual {
        Some((ports, _)) if !host.is_empty() => Ok(format!("{host}:{}", ports.low)),
        _ => Err("the URL contains no port (expected http://localhost:8080)".to_owned()),
    })
}

/// Parses `tcp/53`, `tcp:53` or `53/tcp`.
pub(super) fn split_protocol(text: &str) -> Result<(Option<Protocol>, &str), String> {
    if let Some((head, rest)) = text.split_once(['/', ':'])
        && let Ok(protocol) = head.parse()
    {
        if rest.trim().is_empty() {
            return Err("a port is missing after the protocol (expected tcp/53)".to_owned());
        }
        return Ok((Some(protocol), rest));
    }
    match text.rsplit_once('/') {
        // A path is the name of a program.
        None | Some(_) if text.starts_with('/') => Ok((None, text)),
        None => Ok((None, text)),
        Some((rest, tail)) => match tail.parse() {
            Ok(protocol) if !rest.is_empty() => Ok((Some(protocol), rest)),
            _ if rest.contains(['.', ':']) => Ok((None, text)),
            _ if is_digits(rest) && is_digits(tail) => {
                Err("not a network (expected all four numbers, such as 10.0.0.0/8)".to_owned())
            }
            _ => Err("unknown protocol (expected tcp/53, udp/53, udplite/53, sctp/53 or dccp/53)".to_owned()),
        },
    }
}

fn is_digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a text is written like an IPv4 address.
fn is_four_numbers(s: &str) -> bool {
    s.split('.').count() == 4 && s.split('.').all(is_digits)
}

fn port(s: &str) -> Result<u16, String> {
    s.parse().map_err(|_| "not a port (expected 0 to 65535)".to_owned())
}

/// Parses `80`, `80,443`, `8000-8100,9000`; `None` if the text does not look like ports.
pub(super) fn ports(s: &str) -> Option<Result<Vec<PortRange>, String>> {
    s.split(',').map(|part| range(part.strip_prefix(':').unwrap_or(part))).collect()
}

fn range(s: &str) -> Option<Result<PortRange, String>> {
    if is_digits(s) {
        return Some(port(s).map(PortRange::single));
    }
    let (low, high) = s.split_once('-')?;
    match (is_digits(low), is_digits(high)) {
        (true, true) => Some(port(low).and_then(|low| {
            let high = port(high)?;
            PortRange::new(low, high)
                .ok_or_else(|| format!("the range ends before it begins (expected {high}-{low})"))
        })),
        (true, false) if high.is_empty() => {
            Some(Err("the end of the range is missing (expected a range such as 8000-8100)".to_owned()))
        }
        (false, true) if low.is_empty() => {
            Some(Err("the beginning of the range is missing (expected a range such as 8000-8100)".to_owned()))
        }
        (false, false) if s == "-" => {
            Some(Err("an empty range (expected a range such as 8000-8100)".to_owned()))
        }
        _ => None,
    }
}

/// Parses an address, a network or `localhost`, optionally with a device and ports. `None` if the text is none of
/// these.
pub(super) fn address(s: &str) -> Option<Result<TypedAddress, String>> {
    if let Some(found) = host(s) {
        return Some(Ok(found));
    }
    if let Some((head, _)) = s.split_once('/') {
        return match s.parse::<Network>() {
            Ok(network) => Some(Ok(TypedAddress { networks: vec![network], ..TypedAddress::default() })),
            Err(error @ BadNetwork::Prefix(_)) => Some(Err(error.to_string())),
            Err(BadNetwork::Address) if s.starts_with('/') || !head.contains(['.', ':']) => None,
            Err(BadNetwork::Address) => {
                Some(Err("not an address (expected 10.0.0.0/8 or fd00::/8)".to_owned()))
            }
        };
    }
    if is_four_numbers(s) {
        return Some(Err("not an IP address (expected four numbers from 0 to 255)".to_owned()));
    }
    let (head, tail) = s.rsplit_once(':')?;
    let Some(found) = host(head) else {
        if is_four_numbers(head) {
            return Some(Err("not an IP address (expected four numbers from 0 to 255)".to_owned()));
        }
        if head.starts_with('[') {
            return Some(Err("the closing bracket is missing (expected [::1]:22)".to_owned()));
        }
        if is_digits(head) && is_digits(tail) {
            return Some(Err(format!("not a range (expected {head}-{tail})")));
        }
        let looks_like_ports = tail.split(',').all(|part| range(part).is_some());
        return (looks_like_ports && !head.contains(' ')).then(|| {
            Err(format!(
                "host names are not resolved (expected an address such as 127.0.0.1:{tail}, or :{tail})"
            ))
        });
    };
    if head.contains(':') && !head.starts_with('[') {
        return Some(Err("an IPv6 address with a port is written [::1]:22".to_owned()));
    }
    Some(match ports(tail) {
        _ if tail == "*" => Ok(found),
        Some(ports) => ports.map(|ports| TypedAddress { ports, ..found }),
        None => Err("not a port (expected 0 to 65535)".to_owned()),
    })
}

/// Parses `127.0.0.1`, `::1`, `[::1]`, `localhost`, `127.0.0.53%lo` or `[fe80::1%eth0]`.
fn host(s: &str) -> Option<TypedAddress> {
    let bare = s.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(s);
    let (text, device) = match bare.split_once('%') {
        Some((text, device)) if !device.is_empty() && !device.contains(':') => {
            (text, Some(device.to_owned()))
        }
        Some(_) => return None,
        None => (bare, None),
    };
    let networks = if text.eq_ignore_ascii_case("localhost") {
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].map(Network::single).to_vec()
    } else {
        vec![Network::single(text.parse::<IpAddr>().ok()?)]
    };
    Some(TypedAddress { networks, device, ..TypedAddress::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        for (url, wanted) in [
            ("http://localhost:8080/path?q", Some(Ok("localhost:8080"))),
            ("https://127.0.0.1", Some(Ok("127.0.0.1:443"))),
            ("http://[::1]/", Some(Ok("[::1]:80"))),
            ("http://user:secret@[::1]:81/", Some(Ok("[::1]:81"))),
            ("nosuch://localhost", Some(Err(()))),
            ("http://", Some(Err(()))),
            ("localhost:8080", None),
        ] {
            let found = without_scheme(url, &Registry::embedded());
            let wanted: Option<Result<String, ()>> = wanted.map(|found| found.map(str::to_owned));
            assert_eq!(found.map(|found| found.map_err(|_| ())), wanted, "{url}");
        }
    }

    #[test]
    fn addresses_with_devices_and_ports() {
        for (text, devices, ports) in [
            ("127.0.0.53%lo", Some("lo"), 0),
            ("127.0.0.53%lo:53", Some("lo"), 1),
            ("[fe80::1%eth0]:80,81", Some("eth0"), 2),
            ("fe80::1%eth0", Some("eth0"), 0),
            ("127.0.0.1:*", None, 0),
            ("[::]:*", None, 0),
        ] {
            let found = address(text).unwrap().unwrap();
            assert_eq!((found.device.as_deref(), found.ports.len()), (devices, ports), "{text}");
        }
        for text in ["10.0.0.300", "1.2.3.256:80"] {
            assert!(address(text).unwrap().unwrap_err().starts_with("not an IP address"), "{text}");
        }
        for text in ["127.0.0.1%", "%lo", "server.py", "eth0", "1.2.3", "1.2.3.x"] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
