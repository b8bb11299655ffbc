//! Parses `daemon.json` of dockerd: its addresses, and whether clients need a certificate.

use serde_json::Value;

use crate::model::{AccessSetting, AdmittedClients};

/// The default port of dockerd, for a TCP address without a port.
const PORT: u16 = 2375;
/// The maximum number of addresses. Real files have one to three.
const MOST_ADDRESSES: usize = 64;

/// Returns one setting for all ports if clients need a certificate. Otherwise returns a setting for each TCP address.
pub(super) fn dockerd(bytes: &[u8]) -> Vec<AccessSetting> {
    let Ok(file) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    if file.get("tlsverify").and_then(Value::as_bool) == Some(true) {
        let setting = "\"tlsverify\": true".to_owned();
        return vec![AccessSetting { port: None, setting, clients: AdmittedClients::Authenticated }];
    }
    let hosts = file.get("hosts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let addresses = hosts.iter().filter_map(Value::as_str).filter_map(|host| host.strip_prefix("tcp://"));
    let settings = addresses.filter_map(|address| {
        let port = match address.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.trim_end_matches('/').parse().ok()?,
            _ => PORT,
        };
        let setting = "\"hosts\" without \"tlsverify\"".to_owned();
        Some(AccessSetting { port: Some(port), setting, clients: AdmittedClients::Anyone })
    });
    settings.take(MOST_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_or_the_ports() {
        use AdmittedClients::{Anyone, Authenticated};
        for (name, text, found) in [
            ("no address", r#"{"log-level": "info"}"#, vec![]),
            ("a socket file", r#"{"hosts": ["unix:///run/docker.sock", "fd://"]}"#, vec![]),
            (
                "two ports",
                r#"{"hosts": ["tcp://0.0.0.0:2375", "tcp://[::]:999/"]}"#,
                vec![(Some(2375), Anyone), (Some(999), Anyone)],
            ),
            ("the default port", r#"{"hosts": ["tcp://10.0.0.1"]}"#, vec![(Some(2375), Anyone)]),
            ("TLS alone", r#"{"tls": true, "hosts": ["tcp://:2376"]}"#, vec![(Some(2376), Anyone)]),
            ("certificates", r#"{"tlsverify": true, "hosts": ["tcp://:2376"]}"#, vec![(None, Authenticated)]),
            ("not true", r#"{"tlsverify": "true", "hosts": [1, "tcp://:x"]}"#, vec![]),
            ("not JSON", "hosts", vec![]),
            ("no object", "[]", vec![]),
        ] {
            let settings = dockerd(text.as_bytes()).into_iter().map(|one| (one.port, one.clients));
            assert_eq!(settings.collect::<Vec<_>>(), found, "{name}");
        }
    }
}
