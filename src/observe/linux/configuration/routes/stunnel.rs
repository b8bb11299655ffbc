//! `stunnel.conf`: sections with `accept` and `connect`.

use super::{add, host_and_port, route};
use crate::model::{Protocol, RelayRoute};

/// A service section.
#[derive(Default)]
struct Section<'t> {
    accept: Option<&'t str>,
    connect: Vec<&'t str>,
    is_complete: bool,
    is_restricted: bool,
}

pub(in super::super) fn stunnel(text: &str) -> Option<Vec<RelayRoute>> {
    let mut sections = vec![Section { is_complete: true, ..Section::default() }];
    let mut has_names = false;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if line.starts_with('[') {
            // The options before the first section are the defaults of every section.
            let is_restricted = sections.first().is_some_and(|first| first.is_restricted);
            sections.push(Section { is_complete: true, is_restricted, ..Section::default() });
            continue;
        }
        let (key, value) = line.split_once('=')?;
        let (key, value, section) = (key.trim(), value.trim(), sections.last_mut()?);
        match key.to_ascii_lowercase().as_str() {
            "accept" => section.accept = Some(value),
            "connect" | "redirect" => section.connect.push(value),
            // A program answers, or the client chooses the destination.
            "exec" | "protocol" if key != "protocol" || value == "socks" => section.is_complete = false,
            // The name that a client asks for chooses another section.
            "sni" if value.contains(':') => has_names = true,
            "include" => return None,
            "verify" | "verifychain" | "verifypeer" | "requirecert" | "psksecrets" => {
                section.is_restricted |= !matches!(value, "no" | "0" | "1");
            }
            _ => {}
        }
    }
    let accepting = sections.iter().filter_map(|section| Some((section, section.accept?)));
    let routes = accepting.map(|(section, accept)| {
        let (host, port) = host_and_port(accept)?;
        let mut found = route(host, port, Protocol::Tcp)?;
        found.is_complete = section.is_complete && !section.connect.is_empty() && !has_names;
        found.is_restricted = section.is_restricted;
        for to in &section.connect {
            match host_and_port(to) {
                Some((host, port)) => add(&mut found, host, port),
                // The path of a Unix socket.
                None => found.is_complete = false,
            }
        }
        Some(found)
    });
    routes.collect()
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn routes() {
        for (file, is) in [
            (
                "; x\npid = /x\n[a]\naccept = 8888\nconnect = 6379\n[b]\nclient = yes\naccept = 127.0.0.1:1\nconnect=db:2\n",
                Some("[::]:8888>127.0.0.1:6379,[::1]:6379 127.0.0.1:1>?"),
            ),
            ("[a]\naccept = :::1\nconnect = ::1:2\nverify = 2", Some("[::]:1>[::1]:2~")),
            ("verifyPeer = yes\n[a]\naccept = 1\nconnect = 10.0.0.1:2", Some("[::]:1>10.0.0.1:2~")),
            ("[a]\naccept = 1\nexec = /x", Some("[::]:1>?")),
            ("[a]\naccept = 1\nprotocol = socks", Some("[::]:1>?")),
            ("[a]\naccept = 1\nconnect = /run/x", Some("[::]:1>?")),
            (
                "[a]\naccept = 1\nconnect = 2\n[b]\nsni = a:x\nconnect = 3",
                Some("[::]:1>127.0.0.1:2,[::1]:2?"),
            ),
            ("include = /x", None),
            ("[a]\naccept = name:1\nconnect = 2", None),
            ("word", None),
        ] {
            assert_eq!(text(stunnel(file)).as_deref(), is, "{file}");
        }
    }
}
