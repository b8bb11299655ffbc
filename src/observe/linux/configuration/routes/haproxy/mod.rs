//! Finds the servers that the frontends in `haproxy.cfg` use.

mod clients;

use std::collections::HashMap;
use std::net::SocketAddr;

use self::clients::{Admitted, Rules, Trust, VARIABLE, words};
use super::{MOST_ROUTES, add, route};
use crate::model::{Protocol, RelayRoute, RestrictedBy};

/// A section with listening addresses or servers.
#[derive(Clone, Default)]
struct Section<'t> {
    /// The listening addresses, and the clients that they admit.
    binds: Vec<(SocketAddr, Admitted)>,
    /// The host and the port of each server. A server without a port uses the port on which the client arrived.
    servers: Vec<(&'t str, Option<u16>)>,
    /// The words of each `use_backend` line: the name and the condition.
    backends: Vec<(&'t str, &'t [String])>,
    default_backend: Option<&'t str>,
    has_unknown: bool,
    is_http: bool,
    rules: Rules<'t>,
}

pub(in super::super) fn haproxy(text: &str) -> Option<Vec<RelayRoute>> {
    let lines: Vec<Vec<String>> = text.lines().map(words).collect::<Option<_>>()?;
    let trust = Trust::of(&lines);
    let sections = sections(&lines, trust)?;
    let backends: HashMap<&str, &Section<'_>> = sections
        .iter()
        .filter(|(kind, ..)| matches!(*kind, "backend" | "listen"))
        .map(|(_, name, section)| (*name, section))
        .collect();
    let mut routes = Vec::new();
    for (_, _, section) in sections.iter().filter(|(kind, ..)| matches!(*kind, "frontend" | "listen")) {
        let conditional = section
            .backends
            .iter()
            .map(|(name, condition)| Some((*backends.get(name)?, section.rules.meeting(condition, trust))));
        let default = section.default_backend.map(|name| Some((*backends.get(name)?, Admitted::Everyone)));
        let mut used: Vec<(&Section<'_>, Admitted)> = conditional.chain(default).collect::<Option<_>>()?;
        if used.is_empty() || section.has_unknown || !section.servers.is_empty() {
            used.push((section, Admitted::Everyone));
        }
        let by_rules = section.rules.admitted(section.is_http, trust);
        for (bind, by_bind) in &section.binds {
            for (used, by_condition) in &used {
                let mut found = route("", bind.port(), Protocol::Tcp)?;
                found.on = *bind;
                let by_backend = used.rules.admitted(used.is_http, trust);
                let admitted = by_rules.max(*by_bind).max(*by_condition).max(by_backend);
                if admitted != Admitted::Nobody {
                    let servers = used.servers.iter();
                    servers.for_each(|(host, port)| add(&mut found, host, port.unwrap_or(bind.port())));
                    found.is_complete &= !used.has_unknown;
                    found.restriction = admitted.restriction();
                }
                routes.push(found);
                if routes.len() > MOST_ROUTES {
                    return None;
                }
            }
        }
    }
    Some(routes)
}

/// Returns the kind, the name and the lines of each section; `None` if a line is not understood.
fn sections(lines: &[Vec<String>], trust: Trust) -> Option<Vec<(&str, &str, Section<'_>)>> {
    let mut sections: Vec<(&str, &str, Section<'_>)> = Vec::new();
    let mut defaults = Section::default();
    for line in lines {
        let Some((first, values)) = line.split_first() else { continue };
        let value = values.first().map(String::as_str);
        // Whether HAProxy reads the next lines depends on a condition.
        if first.starts_with(".if") || first.starts_with(".el") {
            return None;
        }
        if is_section(first) {
            let is_http = defaults.is_http;
            let section = match first.as_str() {
                "frontend" | "listen" => defaults.clone(),
                "defaults" => Section::default(),
                _ => Section { is_http, ..Section::default() },
            };
            // The section selects a `defaults` section by its name. This is not supported.
            if values.iter().any(|value| value == "from") {
                return None;
            }
            sections.push((first, value.unwrap_or_default(), section));
            continue;
        }
        let (kind, _, section) = sections.last_mut()?;
        let has_variable = values.iter().any(|value| value.contains(VARIABLE));
        match (first.as_str(), values) {
            (
                "bind" | "server" | "server-template" | "dispatch" | "use_backend" | "default_backend"
                | "mode",
                _,
            ) if has_variable => {
                return None;
            }
            ("bind", [addresses, parameters @ ..]) => {
                let admitted = admitted_by_bind(parameters, trust);
                for address in addresses.split(',') {
                    section.binds.extend(bind(address)?.into_iter().map(|place| (place, admitted)));
                }
            }
            ("server", [_, address, ..]) | ("dispatch", [address, ..]) => match server(address) {
                Some(server) => section.servers.push(server),
                None => section.has_unknown = true,
            },
            ("server-template", _) => section.has_unknown = true,
            ("mode", [mode, ..]) => section.is_http = mode == "http",
            ("default_backend", [name, ..]) => section.default_backend = Some(name),
            ("use_backend", [name, ..]) if name.contains('%') => section.has_unknown = true,
            ("use_backend", [name, condition @ ..]) => section.backends.push((name, condition)),
            ("acl" | "http-request" | "tcp-request", values) if *kind != "defaults" => {
                section.rules.add(line);
                section.has_unknown |=
                    values.iter().any(|value| value == "set-dst" || value == "set-dst-port");
            }
            _ => {}
        }
        if let Some(("defaults", _, section)) = sections.last() {
            defaults = section.clone();
        }
    }
    Some(sections)
}

/// Returns the clients that a listening address admits. With `ssl` and `verify required`, these are the clients with a
/// certificate. A `crt-list` can switch the verification off, so with it everyone is admitted.
fn admitted_by_bind(parameters: &[String], trust: Trust) -> Admitted {
    let has = |word: &str| parameters.iter().any(|one| one == word);
    let verifies = parameters.windows(2).any(|pair| pair == ["verify", "required"]);
    if has("ssl") && verifies && !has("crt-list") && !trust.ignores_certificates {
        Admitted::Listed(RestrictedBy::Credentials)
    } else {
        Admitted::Everyone
    }
}

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
                "frontend a\n bind :1-2\n use_backend b if x\n use_backend c\nbackend b\n server s [::1]:4\nbackend c\n mode http\n acl y src 10.0.0.0/8\n http-request deny if !y\n server t 1.1.1.1:5",
                Some("[::]:1>[::1]:4 [::]:1>1.1.1.1:5~ [::]:2>[::1]:4 [::]:2>1.1.1.1:5~"),
            ),
            (
                "defaults\n mode http\nlisten a\n bind :1\n http-request deny unless { src 10.1.1.1 }\n use_backend b if { path /x }\n server s 127.0.0.1:2\nbackend b\n server t 127.0.0.1:3",
                Some("[::]:1>127.0.0.1:3~ [::]:1>127.0.0.1:2~"),
            ),
            (
                "listen a\n bind :1\n http-request deny unless { src 10.1.1.1 }\n server s 127.0.0.1:2",
                Some("[::]:1>127.0.0.1:2"),
            ),
            (
                "frontend a\n bind :1\n use_backend b if { src 10.1.1.1 }\n default_backend c\nbackend b\n server s 127.0.0.1:2\nbackend c\n server s 127.0.0.1:3",
                Some("[::]:1>127.0.0.1:2~ [::]:1>127.0.0.1:3"),
            ),
            ("listen a\n bind :1\n tcp-request content reject\n server s 127.0.0.1:2", Some("[::]:1>")),
            (
                "defaults\n default_backend b\nfrontend a\n bind :1\nbackend b\n server s /run/x",
                Some("[::]:1>?"),
            ),
            (
                "listen a\n bind :1 ssl verify required\n bind :3\n server s 127.0.0.1:2",
                Some("[::]:1>127.0.0.1:2~~ [::]:3>127.0.0.1:2"),
            ),
            ("listen a\n bind :1 verify required\n server s 127.0.0.1:2", Some("[::]:1>127.0.0.1:2")),
            (
                "listen a\n bind :1 ssl verify required crt-ignore-err all\n server s 127.0.0.1:2",
                Some("[::]:1>127.0.0.1:2"),
            ),
            (
                "listen a\n bind :1 ssl crt-list /x verify required\n server s 127.0.0.1:2",
                Some("[::]:1>127.0.0.1:2"),
            ),
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
