//! `stunnel.conf`: sections with `accept` and `connect`.

use super::{add, host_and_port, route};
use crate::model::{Protocol, RelayRestriction, RelayRoute, RestrictedBy};

#[derive(Clone, Default)]
struct Section<'t> {
    accept: Option<&'t str>,
    connect: Vec<&'t str>,
    /// The destination of clients without a valid certificate.
    redirect: Vec<&'t str>,
    has_unknown: bool,
    /// Whether stunnel is the TLS client: it accepts plain connections and uses TLS to the destination.
    is_client: bool,
    /// Whether stunnel verifies the chain of the certificate, and whether it verifies the certificate itself. If both
    /// are false, every certificate is accepted.
    verifies: [bool; 2],
    requires_certificate: bool,
    has_keys: bool,
    /// Whether the section has a certificate of its own or chooses the ciphers. If so, clients without a pre-shared key
    /// may connect.
    accepts_without_key: bool,
}

impl Section<'_> {
    /// Applies a setting about the verification of certificates. As in stunnel, a later setting replaces an earlier
    /// one.
    fn verify(&mut self, key: &str, value: &str) -> Option<()> {
        if key == "verify" {
            let level: u8 = value.parse().ok()?;
            self.verifies = [(1..=3).contains(&level), level >= 3];
            self.requires_certificate = level >= 2;
            return Some(());
        }
        let is_on = yes_or_no(value)?;
        match key {
            "verifychain" => self.verifies[0] = is_on,
            "verifypeer" => self.verifies[1] = is_on,
            _ => self.requires_certificate = is_on,
        }
        self.requires_certificate |= is_on;
        Some(())
    }

    /// Returns whether clients need a certificate or a pre-shared key.
    fn is_restricted(&self) -> bool {
        let by_certificate = self.requires_certificate && self.verifies.contains(&true);
        !self.is_client && (by_certificate || (self.has_keys && !self.accepts_without_key))
    }

    fn route(&self, on: &str, to: &[&str], has_names: bool) -> Option<RelayRoute> {
        let (host, port) = host_and_port(on)?;
        let mut found = route(host, port, Protocol::Tcp)?;
        found.is_complete = !self.has_unknown && !to.is_empty() && !has_names;
        for to in to {
            match host_and_port(to) {
                Some((host, port)) => add(&mut found, host, port),
                // `to` is the path of a Unix socket.
                None => found.is_complete = false,
            }
        }
        Some(found)
    }
}

pub(in super::super) fn stunnel(text: &str) -> Option<Vec<RelayRoute>> {
    let mut sections = vec![Section::default()];
    let mut has_names = false;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if line.starts_with('[') {
            // The options before the first section are the defaults of every section.
            let defaults = sections.first()?.clone();
            sections.push(Section { accept: None, ..defaults });
            continue;
        }
        let (key, value) = line.split_once('=')?;
        let (key, value, section) = (key.trim().to_ascii_lowercase(), value.trim(), sections.last_mut()?);
        match key.as_str() {
            "accept" => section.accept = Some(value),
            "connect" => section.connect.push(value),
            "redirect" => section.redirect.push(value),
            "client" => section.is_client = yes_or_no(value)?,
            // With `exec`, a program answers. With `protocol = socks`, the client chooses the destination.
            "exec" | "protocol" if key != "protocol" || value == "socks" => section.has_unknown = true,
            // The server name in the client's TLS handshake chooses another section.
            "sni" if value.contains(':') => has_names = true,
            "include" => return None,
            "verify" | "verifychain" | "verifypeer" | "requirecert" => section.verify(&key, value)?,
            "psksecrets" => section.has_keys = true,
            "cert" | "ciphers" | "ciphersuites" => section.accepts_without_key = true,
            "config" if value.to_ascii_lowercase().starts_with("verifymode") => return None,
            _ => {}
        }
    }
    let mut routes = Vec::new();
    for (section, accept) in sections.iter().filter_map(|section| Some((section, section.accept?))) {
        let mut found = section.route(accept, &section.connect, has_names)?;
        if section.is_restricted() {
            found.restriction = Some(RelayRestriction { by: RestrictedBy::Credentials, file: None });
        }
        routes.push(found);
        if !section.redirect.is_empty() {
            routes.push(section.route(accept, &section.redirect, has_names)?);
        }
    }
    Some(routes)
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
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
                "; x\npid = /x\n[a]\naccept = 8888\nconnect = 6379\n[b]\nclient = yes\naccept = 127.0.0.1:1\nconnect=db:2\n",
                Some("[::]:8888>127.0.0.1:6379,[::1]:6379 127.0.0.1:1>?"),
            ),
            ("[a]\naccept = :::1\nconnect = ::1:2\nverify = 2", Some("[::]:1>[::1]:2~~")),
            ("[a]\naccept = :::1\nconnect = ::1:2\nverify = 1", Some("[::]:1>[::1]:2")),
            ("verifyPeer = yes\n[a]\naccept = 1\nconnect = 10.0.0.1:2", Some("[::]:1>10.0.0.1:2~~")),
            (
                "verifyPeer = Yes\n[a]\naccept = 1\nconnect = 10.0.0.1:2\nverify = 0",
                Some("[::]:1>10.0.0.1:2"),
            ),
            // Every certificate is accepted, or clients need no certificate.
            ("[a]\naccept = 1\nconnect = 10.0.0.1:2\nrequireCert = yes", Some("[::]:1>10.0.0.1:2")),
            (
                "[a]\naccept = 1\nconnect = 10.0.0.1:2\nverifyChain = yes\nrequireCert = no",
                Some("[::]:1>10.0.0.1:2"),
            ),
            // The certificate of the server is verified, not those of the clients.
            (
                "client = yes\n[a]\naccept = 1\nconnect = 10.0.0.1:2\nverifyChain = yes\ncheckHost = x",
                Some("[::]:1>10.0.0.1:2"),
            ),
            // Clients without a valid certificate reach the second service.
            (
                "[a]\naccept = 1\nconnect = 10.0.0.1:2\nredirect = 10.0.0.1:3\nverifyPeer = yes",
                Some("[::]:1>10.0.0.1:2~~ [::]:1>10.0.0.1:3"),
            ),
            ("[a]\naccept = 1\nconnect = 10.0.0.1:2\nPSKsecrets = /x", Some("[::]:1>10.0.0.1:2~~")),
            ("cert = /c\n[a]\naccept = 1\nconnect = 10.0.0.1:2\nPSKsecrets = /x", Some("[::]:1>10.0.0.1:2")),
            ("[a]\naccept = 1\nexec = /x", Some("[::]:1>?")),
            ("[a]\naccept = 1\nprotocol = socks", Some("[::]:1>?")),
            ("[a]\naccept = 1\nconnect = /run/x", Some("[::]:1>?")),
            (
                "[a]\naccept = 1\nconnect = 2\n[b]\nsni = a:x\nconnect = 3",
                Some("[::]:1>127.0.0.1:2,[::1]:2?"),
            ),
            ("[a]\naccept = 1\nconnect = 2\nconfig = VerifyMode:Request", None),
            ("include = /x", None),
            ("[a]\naccept = name:1\nconnect = 2", None),
            ("word", None),
        ] {
            assert_eq!(text(stunnel(file)).as_deref(), is, "{file}");
        }
    }
}
