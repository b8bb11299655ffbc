//! The virtual services of IPVS.

use std::net::{IpAddr, SocketAddr};

use crate::model::Protocol;

/// Parses `/proc/net/ip_vs`. Returns each virtual service with its first server.
pub(super) fn virtual_services(text: &str) -> Vec<(Protocol, SocketAddr, SocketAddr)> {
    let mut services = Vec::new();
    let mut service = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("->"), Some(server)) => {
                let found = service.take().zip(in_hexadecimal(server));
                services.extend(found.map(|((protocol, at), server)| (protocol, at, server)));
            }
            (Some(name), Some(at)) => {
                service = name.parse().ok().zip(in_hexadecimal(at));
            }
            _ => {}
        }
    }
    services
}

/// Parses `0A600001:01BB`, `[fd00:0000:0000:0000:0000:0000:0000:0001]:01BB`.
fn in_hexadecimal(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(six) => IpAddr::V6(six.parse().ok()?),
        None => IpAddr::V4(u32::from_str_radix(address, 16).ok()?.into()),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}
