//! `rinetd.conf`: lines such as `0.0.0.0 8888 127.0.0.1 6379`.

use std::net::IpAddr;

use super::{add, route};
use crate::model::{Protocol, RelayRestriction, RelayRoute, RestrictedBy};

pub(in super::super) fn rinetd(text: &str) -> Option<Vec<RelayRoute>> {
    // Element 0 of `rules` has the rules before the first route, which apply to every route. Element N has the rules
    // below the route N, which apply only to this route.
    let (mut routes, mut rules) = (Vec::<RelayRoute>::new(), vec![Vec::<(&str, &str)>::new()]);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        match words[..] {
            [] => {}
            ["logfile" | "pidlogfile" | "logcommon" | "pidfile", ..] => {}
            [kind @ ("allow" | "deny"), pattern] => rules.last_mut()?.push((kind, pattern)),
            [host, port, to, to_port, ..] => {
                let (port, protocol) = port_and_protocol(port)?;
                let mut found = route(host, port, protocol)?;
                let (to_port, to_protocol) = port_and_protocol(to_port)?;
                add(&mut found, to, to_port);
                // For example, from TCP to UDP. Such a destination is reported as unknown.
                found.is_complete &= to_protocol == protocol;
                routes.push(found);
                rules.push(Vec::new());
            }
            _ => return None,
        }
    }
    // rinetd up to 0.73 has a bug: it ignores the first rule of the file if this rule is below a route and another rule
    // follows before the next route.
    let first = rules.iter_mut().enumerate().find(|(_, rules)| !rules.is_empty());
    if let Some((1.., rules)) = first.filter(|(_, rules)| rules.len() > 1) {
        rules.remove(0);
    }
    let restricts: Vec<bool> = rules.iter().map(|rules| admits_only_some(rules)).collect();
    for (route, restricts_route) in routes.iter_mut().zip(restricts.iter().skip(1)) {
        let is_restricted = restricts[0] || *restricts_route;
        route.restriction =
            is_restricted.then_some(RelayRestriction { by: RestrictedBy::Addresses, file: None });
    }
    Some(routes)
}

/// Returns whether the rules admit only listed clients. Without an `allow` rule, all clients are admitted except those
/// of the `deny` rules.
fn admits_only_some(rules: &[(&str, &str)]) -> bool {
    let mut allowed =
        rules.iter().filter(|(kind, _)| *kind == "allow").map(|(_, pattern)| *pattern).peekable();
    allowed.peek().is_some() && allowed.all(is_part)
}

/// Returns whether a pattern matches only a part of all addresses. It is a single address such as `10.0.0.1`, or begins
/// with a part of an address, such as `10.*`. If rinetd listens on `::`, IPv4 clients have addresses such as
/// `::ffff:10.0.0.1`.
fn is_part(pattern: &str) -> bool {
    let fixed = pattern.split(['*', '?']).next().unwrap_or_default();
    let fixed = fixed.strip_prefix("::ffff:").unwrap_or(fixed);
    let begins = fixed.starts_with(|c: char| c.is_ascii_hexdigit()) && fixed.contains(['.', ':']);
    begins || pattern.parse::<IpAddr>().is_ok()
}

fn port_and_protocol(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn routes() {
        for (file, is) in [
            ("# x\n0.0.0.0 8888 127.0.0.1 6379\nlogfile /x\n", Some("0.0.0.0:8888>127.0.0.1:6379")),
            (
                "allow 10.*\n:: 1 localhost 2 # x\n1.2.3.4 53/udp 10.0.0.1 53/udp [timeout=3]",
                Some("[::]:1>127.0.0.1:2,[::1]:2~ 1.2.3.4:53/udp>10.0.0.1:53~"),
            ),
            ("0.0.0.0 1 10.0.0.1 2\nallow 1.*\n0.0.0.0 3 db 4", Some("0.0.0.0:1>10.0.0.1:2~ 0.0.0.0:3>?")),
            ("deny 1.*\n0.0.0.0 1 10.0.0.1 2\ndeny 2.*", Some("0.0.0.0:1>10.0.0.1:2")),
            ("deny 1.*\n0.0.0.0 1 10.0.0.1 2\nallow 2.*\ndeny 2.2.*", Some("0.0.0.0:1>10.0.0.1:2~")),
            ("0.0.0.0 1 10.0.0.1 2\nallow 2.*\ndeny 2.2.*", Some("0.0.0.0:1>10.0.0.1:2")),
            ("0.0.0.0 1 10.0.0.1 2\nallow 2.*\nallow 192.168.1.?", Some("0.0.0.0:1>10.0.0.1:2~")),
            ("allow 10.0.0.1\nallow *\n0.0.0.0 1 10.0.0.1 2", Some("0.0.0.0:1>10.0.0.1:2")),
            ("allow ?*.*\n0.0.0.0 1 10.0.0.1 2", Some("0.0.0.0:1>10.0.0.1:2")),
            ("allow ::ffff:*\n:: 1 10.0.0.1 2", Some("[::]:1>10.0.0.1:2")),
            ("allow ::1\nallow ::ffff:10.*\nallow fe80:*\n:: 1 10.0.0.1 2", Some("[::]:1>10.0.0.1:2~")),
            ("0.0.0.0 ssh 127.0.0.1 22", None),
            ("host 1 127.0.0.1 22", None),
            ("word", None),
            ("", Some("")),
        ] {
            assert_eq!(text(rinetd(file)).as_deref(), is, "{file}");
        }
    }
}
