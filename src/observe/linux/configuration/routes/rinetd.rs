//! `rinetd.conf`: lines such as `0.0.0.0 8888 127.0.0.1 6379`.

use super::{add, route};
use crate::model::{Protocol, RelayRoute};

pub(in super::super) fn rinetd(text: &str) -> Option<Vec<RelayRoute>> {
    let (mut routes, mut is_restricted) = (Vec::<RelayRoute>::new(), false);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        match words[..] {
            [] => {}
            ["logfile" | "pidlogfile" | "logcommon" | "pidfile", ..] => {}
            // Rules before the first route apply to every route, later ones to the route before them.
            ["allow" | "deny", _] => match routes.last_mut() {
                Some(last) => last.is_restricted = true,
                None => is_restricted = true,
            },
            [host, port, to, to_port, ..] => {
                let (port, protocol) = port_and_protocol(port)?;
                let mut found = route(host, port, protocol)?;
                let (to_port, to_protocol) = port_and_protocol(to_port)?;
                add(&mut found, to, to_port);
                // A relay between two protocols is not followed.
                found.is_complete &= to_protocol == protocol;
                routes.push(found);
            }
            _ => return None,
        }
    }
    routes.iter_mut().for_each(|route| route.is_restricted |= is_restricted);
    Some(routes)
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
            ("0.0.0.0 1 10.0.0.1 2\ndeny 1.*\n0.0.0.0 3 db 4", Some("0.0.0.0:1>10.0.0.1:2~ 0.0.0.0:3>?")),
            ("0.0.0.0 ssh 127.0.0.1 22", None),
            ("host 1 127.0.0.1 22", None),
            ("word", None),
            ("", Some("")),
        ] {
            assert_eq!(text(rinetd(file)).as_deref(), is, "{file}");
        }
    }
}
