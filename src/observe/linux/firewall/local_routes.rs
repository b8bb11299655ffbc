//! Reads the local routes for addresses that no interface has (`ip route add local`; linux/rtnetlink.h). Because of
//! these routes, this machine accepts packets for the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use super::super::bytes::number;
use super::super::netlink_dump::{Connection, attribute};
use crate::model::Network;
use crate::model::firewall::{Interface, LocalRoute};

const GETROUTE: u16 = 26;
/// The sizes of `nlmsghdr` and `rtmsg`.
const HEADER: usize = 16;
const BODY: usize = 12;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTN_LOCAL: u8 = 2;
const RTN_ANYCAST: u8 = 4;
const RTA_DST: u16 = 1;
const RTA_TABLE: u16 = 15;
/// `RT_TABLE_DEFAULT`, `RT_TABLE_MAIN` and `RT_TABLE_LOCAL`, which the default routing rules use.
const ORDINARY_TABLES: std::ops::RangeInclusive<u32> = 253..=255;
/// The maximum numbers of all routes and of local routes.
const MOST: usize = 200_000;
const MOST_LOCAL: usize = 1_000;

/// Returns the local routes of the calling thread's network namespace. Routes for the addresses of interfaces are left
/// out. If the routes cannot be read, or if there are too many, returns routes by which any address may be local.
pub(super) fn list(interfaces: &[Interface]) -> Vec<LocalRoute> {
    read(interfaces).unwrap_or_else(|_| {
        let any = |first: IpAddr, last: IpAddr| LocalRoute { first, last, uncertain: true };
        vec![
            any(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
            any(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into()),
        ]
    })
}

fn read(interfaces: &[Interface]) -> Result<Vec<LocalRoute>, Errno> {
    let own: Vec<IpAddr> =
        interfaces.iter().flat_map(|interface| &interface.addresses).map(|(address, _)| *address).collect();
    let (mut routes, mut count) = (Vec::new(), 0);
    // Family 0 stands for every family.
    Connection::open(None)?.dump(GETROUTE, &[0; BODY], &mut |message| {
        count += 1;
        let route = message.get(HEADER..).and_then(local_route);
        routes.extend(route.filter(|route| route.first != route.last || !own.contains(&route.first)));
        if count > MOST || routes.len() > MOST_LOCAL { Err(Errno::OVERFLOW) } else { Ok(()) }
    })?;
    Ok(routes)
}

/// Parses a route to this machine; `None` for any other route, and for a loopback address.
fn local_route(message: &[u8]) -> Option<LocalRoute> {
    let [family, prefix, source, service, table, _, _, kind, ..] = *message else { return None };
    let attributes = message.get(BODY..).unwrap_or_default();
    if !matches!(kind, RTN_LOCAL | RTN_ANYCAST) {
        return None;
    }
    // A default route has no destination attribute, so its destination is zero.
    let bytes = attribute(attributes, RTA_DST).unwrap_or(&[0; 16]);
    let destination: IpAddr = match family {
        AF_INET => Ipv4Addr::from(*bytes.first_chunk()?).into(),
        AF_INET6 => Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let (first, last) = Network::new(destination, prefix)?.bounds();
    if first.is_loopback() {
        return None;
    }
    let table = attribute(attributes, RTA_TABLE).and_then(|table| number(table, 0)).unwrap_or(table.into());
    let is_for_all = kind == RTN_LOCAL && source == 0 && service == 0 && ORDINARY_TABLES.contains(&table);
    Some(LocalRoute { first, last, uncertain: !is_for_all })
}

#[cfg(test)]
mod tests {
    use super::super::super::netlink_dump::tests::attribute_of;
    use super::*;

    #[test]
    fn routes_that_lead_to_this_machine() {
        let route = |family: u8, prefix: u8, table: u8, kind: u8, to: &[u8]| {
            let mut message = vec![family, prefix, 0, 0, table, 0, 0, kind, 0, 0, 0, 0];
            message.extend(if to.is_empty() { Vec::new() } else { attribute_of(RTA_DST, to) });
            message.extend(attribute_of(RTA_TABLE, &u32::from(table).to_ne_bytes()));
            local_route(&message)
                .map(|route| (route.first.to_string(), route.last.to_string(), route.uncertain))
        };
        let wanted =
            |first: &str, last: &str, uncertain| Some((first.to_owned(), last.to_owned(), uncertain));
        let prefix6: [u8; 16] = "2001:db8::".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(route(AF_INET, 16, 255, 2, &[10, 55, 0, 0]), wanted("10.55.0.0", "10.55.255.255", false));
        assert_eq!(route(AF_INET, 32, 255, 2, &[10, 9, 0, 1]), wanted("10.9.0.1", "10.9.0.1", false));
        assert_eq!(route(AF_INET, 0, 100, 2, &[]), wanted("0.0.0.0", "255.255.255.255", true));
        assert_eq!(
            route(AF_INET6, 32, 255, 2, &prefix6),
            wanted("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", false)
        );
        assert_eq!(route(AF_INET6, 128, 255, 4, &prefix6), wanted("2001:db8::", "2001:db8::", true));
        assert_eq!(route(AF_INET, 8, 255, 2, &[127, 0, 0, 0]), None, "loopback");
        assert_eq!(route(AF_INET, 24, 254, 1, &[10, 0, 0, 0]), None, "a route to a network");
        assert_eq!(route(AF_INET, 33, 255, 2, &[10, 0, 0, 0]), None, "a prefix that is too long");
        assert_eq!(local_route(&[AF_INET, 8, 0, 0]), None);
    }

    /// The routes of this machine can be parsed. No interfaces are given, so the routes for the addresses of interfaces
    /// are included too.
    #[test]
    fn the_routes_of_this_namespace() {
        let routes = list(&[]);
        assert!(
            routes.iter().all(|route| route.first <= route.last && !route.first.is_loopback()),
            "{routes:?}"
        );
    }
}
