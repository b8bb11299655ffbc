//! The addresses of lsof's `-i`: `[46][protocol][@address][:port[,port…]]`, as fingers know them.
//!
//! Host names are not resolved: nothing is asked of the network.

use super::select::Filter;
use super::{Error, target};
use crate::model::{Family, Protocol, Target};
use crate::registry::Registry;

/// Understands one `-i`; an empty one is every socket.
pub(super) fn filter(text: &str, registry: &Registry) -> Result<Filter, Error> {
    let said =
        |why: &str| Error::msg(format!("-i {text}: {why}; lsof writes [46][tcp|udp][@address][:port]"));
    let mut filters = Vec::new();
    let mut rest = text;
    for (digit, family) in [("4", Family::Ipv4), ("6", Family::Ipv6)] {
        // A port goes after a colon, so that a leading digit is a family; but -i 40 is neither.
        if let Some(after) = rest.strip_prefix(digit).filter(|r| !r.starts_with(|c: char| c.is_ascii_digit()))
        {
            filters.push(Filter::Family(family));
            rest = after;
            break;
        }
    }
    let end = rest.find(['@', ':']).unwrap_or(rest.len());
    let (protocol, rest) = rest.split_at(end);
    let protocol = match protocol {
        "" => None,
        name => Some(name.parse::<Protocol>().map_err(|_| said("unknown protocol"))?),
    };
    filters.extend(protocol.map(Filter::Protocol));
    let (host, ports) = match rest.strip_prefix('@') {
        None => ("", rest.strip_prefix(':').unwrap_or_default()),
        // The port follows the last colon, but those of an IPv6 address stand in brackets.
        Some(rest) if rest.starts_with('[') => {
            let (host, ports) = rest.split_once(']').ok_or_else(|| said("bracket left open"))?;
            (&host[1..], ports.strip_prefix(':').unwrap_or_default())
        }
        Some(rest) => rest.split_once(':').unwrap_or((rest, "")),
    };
    if !host.is_empty() {
        let address = host.parse::<std::net::IpAddr>().map_err(|_| said("the address must be a number"))?;
        filters.extend(targets(&[address.to_string()], registry)?);
    } else if rest.starts_with('@') {
        return Err(said("no address after @"));
    }
    if !ports.is_empty() {
        let named: Vec<String> = ports.split(',').map(str::to_owned).collect();
        let unknown = |name: &&String| {
            name.parse().is_ok_and(|target| matches!(target, Target::Name { .. }))
                && !registry.is_service(name)
        };
        if let Some(name) = named.iter().find(unknown) {
            let near = target::suggestion(name, registry);
            return Err(said(&format!("{name} is no registered service{near}")));
        }
        let mut any = targets(&named, registry)?;
        filters.push(match (any.pop(), any.is_empty()) {
            (Some(one), true) => one,
            _ => return Err(said("one port, range or service at a time")),
        });
    } else if rest.ends_with(':') {
        return Err(said("no port after the colon"));
    }
    Ok(Filter::All(filters))
}

fn targets(texts: &[String], registry: &Registry) -> Result<Vec<Filter>, Error> {
    Ok(target::resolve(texts, registry)?.into_iter().map(|target| Filter::Target(Box::new(target))).collect())
}
