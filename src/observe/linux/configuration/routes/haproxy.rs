//! `haproxy.cfg`: the servers that the frontends use.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{MOST_ROUTES, add, route};
use crate::model::{Protocol, RelayRoute};

/// A section with listening addresses or servers.
#[derive(Clone, Default)]
struct Section<'t> {
    binds: Vec<SocketAddr>,
    /// The host and the port of each server; without a port, a server has the port of the listener.
    servers: Vec<(&'t str, Option<u16>)>,
    backends: Vec<&'t str>,
    default_backend: Option<&'t str>,
    has_unknown: bool,
    is_restricted: bool,
}

pub(in super::super) fn haproxy(text: &str) -> Option<Vec<RelayRoute>> {
    let mut sections: Vec<(&str, &str, Section<'_>)> = Vec::new();
    let mut defaults = Section::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let Some((&first, values)) = words.split_first() else { continue };
        // A condition decides which lines are read.
        if first.starts_with(".if") || first.starts_with(".el") {
            return None;
        }
        if is_section(first) {
            let section = match first {
                "frontend" | "listen" => {
                    Section { binds: Vec::new(), servers: Vec::new(), ..defaults.clone() }
                }
                _ => Section::default(),
            };
            // Only a named section of defaults can be selected.
            if values.contains(&"from") {
                return None;
            }
            sections.push((first, values.first().copied().unwrap_or_default(), section));
            continue;
        }
        let section = &mut sections.last_mut()?.2;
        // Quotes and variables change the words of a line.
        let is_plain = !line.contains(['"', '\'', '\\', '$']);
        match (first, values) {
            ("bind" | "server" | "server-template" | "dispatch" | "use_backend" | "default_backend", _)
                if !is_plain =>
            {
                return None;
            }
            ("bind", [addresses, parameters @ ..]) => {
                for address in addresses.split(',') {
                    section.binds.extend(bind(address)?);
                }
                section.is_restricted |= parameters.windows(2).any(|pair| pair == ["verify", "required"]);
            }
            ("server", [_, address, ..]) | ("dispatch", [address, ..]) => match server(address) {
                Some(server) => section.servers.push(server),
                None => section.has_unknown = true,
            },
            ("server-template", _) => section.has_unknown = true,
            ("default_backend", [name, ..]) => section.default_backend = Some(name),
            ("use_backend", [name, ..]) if name.contains('%') => section.has_unknown = true,
            ("use_backend", [name, ..]) => section.backends.push(name),
            ("http-request" | "tcp-request", values) => {
                const REFUSALS: [&str; 6] = ["deny", "auth", "reject", "tarpit", "silent-drop", "return"];
                section.is_restricted |= values.iter().any(|value| REFUSALS.contains(value));
                section.has_unknown |= values.contains(&"set-dst") || values.contains(&"set-dst-port");
            }
            _ => {}
        }
        if let Some(("defaults", _, section)) = sections.last() {
            defaults = section.clone();
        }
    }
    let backends: HashMap<&str, &Section<'_>> = sections
        .iter()
        .filter(|(kind, ..)| matches!(*kind, "backend" | "listen"))
        .map(|(_, name, section)| (*name, section))
        .collect();
    let mut routes = Vec::new();
    for (_, _, section) in sections.iter().filter(|(kind, ..)| matches!(*kind, "frontend" | "listen")) {
        let names = section.backends.iter().chain(&section.default_backend);
        let others: Vec<_> = names.map(|name| backends.get(name).copied()).collect::<Option<_>>()?;
        for bind in &section.binds {
            let mut found = route("", bind.port(), Protocol::Tcp)?;
            found.on = *bind;
            for used in others.iter().copied().chain([section]) {
                used.servers
                    .iter()
                    .for_each(|(host, port)| add(&mut found, host, port.unwrap_or(bind.port())));
                found.is_complete &= !used.has_unknown;
                found.is_restricted |= used.is_restricted;
            }
            routes.push(found);
            if routes.len() > MOST_ROUTES {
                return None;
            }
        }
    }
    Some(routes)
}

/// Returns whether a word begins a section.
fn is_section(word: &str) -> bool {
    const SECTIONS: [&str; 18] = [
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "peers",
        "resolvers",
        "userlist",
        "mailers",
        "program",
        "cache",
        "ring",
        "http-errors",
        "fcgi-app",
        "log-forward",
        "log-profile",
        "crt-store",
        "traces",
    ];
    SECTIONS.contains(&word)
}

/// Returns the listening addresses of `[ADDRESS]:PORT[-PORT]`; none for a Unix socket.
fn bind(text: &str) -> Option<Vec<SocketAddr>> {
    if text.starts_with('/')
        || ["unix@", "abns@", "fd@", "sockpair@", "rhttp@"].iter().any(|kind| text.starts_with(kind))
    {
        return (!text.starts_with("fd@")).then(Vec::new);
    }
    let text = ["ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"]
        .iter()
        .fold(text, |text, kind| text.strip_prefix(kind).unwrap_or(text));
    let (host, ports) = text.rsplit_once(':')?;
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
    (low..=high).map(|port| Some(route(host, port, Protocol::Tcp)?.on)).collect()
}

/// Returns the host and the port of a server; `None` if they are not known.
fn server(text: &str) -> Option<(&str, Option<u16>)> {
    let text = text.strip_prefix("ipv4@").or_else(|| text.strip_prefix("ipv6@")).unwrap_or(text);
    if text.contains(['@', '/']) {
        return None;
    }
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+') => {
            Some((host, port.parse().ok()))
        }
        Some(_) => None,
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn routes() {
        for (file, is) in [
            (
                "global\n daemon\ndefaults\n mode tcp\nfrontend a\n bind *:8888\n default_backend b\nbackend b\n server s 127.0.0.1:6379 check # x\n",
                Some("[::]:8888>127.0.0.1:6379"),
            ),
            (
                "listen a\n bind 10.0.0.1:1,:::2 ssl crt /x\n server s 10.0.0.5\n server t db:3\n",
                Some("10.0.0.1:1>10.0.0.5:1? [::]:2>10.0.0.5:2?"),
            ),
            (
                "frontend a\n bind :1-2\n use_backend b if x\n use_backend c\nbackend b\n server s [::1]:4\nbackend c\n http-request deny if y\n server t 1.1.1.1:5",
                Some("[::]:1>[::1]:4,1.1.1.1:5~ [::]:2>[::1]:4,1.1.1.1:5~"),
            ),
            (
                "defaults\n default_backend b\nfrontend a\n bind :1\nbackend b\n server s /run/x",
                Some("[::]:1>?"),
            ),
            ("listen a\n bind :1 ssl verify required\n server s 127.0.0.1:2", Some("[::]:1>127.0.0.1:2~")),
            ("frontend a\n bind /run/x\n bind :1\n use_backend %[req.hdr(host)]", Some("[::]:1>?")),
            ("listen stats\n bind :1\n stats enable", Some("[::]:1>")),
            ("frontend a\n bind :1\n default_backend none", None),
            ("frontend a\n bind :${PORT}", None),
            (".if defined(X)\nlisten a\n.endif", None),
            ("frontend a from b\n bind :1", None),
            ("bind :1", None),
        ] {
            assert_eq!(text(haproxy(file)).as_deref(), is, "{file}");
        }
    }
}
