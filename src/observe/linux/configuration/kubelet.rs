//! Parses the configuration file of kubelet (`KubeletConfiguration`), as JSON or as YAML in its usual form.
//!
//! Without a setting in the file, kubelet refuses anonymous requests (pkg/kubelet/apis/config/v1beta1/defaults.go of
//! Kubernetes).

use serde_json::Value;

use super::parse::{admitted, unquoted};
use crate::model::AccessSetting;

/// The two deciding settings: whether anonymous requests are accepted, and how requests are authorized.
#[derive(Default)]
struct Decisive {
    anonymous: Option<bool>,
    mode: Option<String>,
}

pub(super) fn kubelet(bytes: &[u8]) -> Vec<AccessSetting> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    let found = if text.trim_start().starts_with('{') { json(text) } else { yaml(text) };
    let Some(Decisive { anonymous, mode }) = found else { return Vec::new() };
    let (setting, authenticates) = match (anonymous.unwrap_or(false), mode.as_deref()) {
        (false, _) => ("authentication.anonymous.enabled: false", true),
        (true, Some("AlwaysAllow")) => ("authorization.mode: AlwaysAllow", false),
        // The rules of the cluster decide which anonymous requests are allowed, so the result is unknown.
        (true, _) => return Vec::new(),
    };
    vec![AccessSetting { port: None, setting: setting.to_owned(), clients: admitted(authenticates) }]
}

fn json(text: &str) -> Option<Decisive> {
    let file: Value = serde_json::from_str(text).ok()?;
    let anonymous = &file["authentication"]["anonymous"]["enabled"];
    let mode = &file["authorization"]["mode"];
    Some(Decisive {
        anonymous: if anonymous.is_null() { None } else { Some(anonymous.as_bool()?) },
        mode: if mode.is_null() { None } else { Some(mode.as_str()?.to_owned()) },
    })
}

/// Parses block mappings of plain values. Returns `None` if a decisive block has any other form.
fn yaml(text: &str) -> Option<Decisive> {
    let mut found = Decisive::default();
    // The keys of the blocks around the current line, each with its indentation.
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut blocks: Vec<&str> = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim_end();
        let rest = line.trim_start_matches(' ');
        let indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') || (line == "---" && blocks.is_empty()) {
            continue;
        }
        let is_decisive = above.first().is_some_and(|(_, block)| DECISIVE.contains(block));
        // A list need not be indented more than its key.
        let is_item = rest == "-" || rest.starts_with("- ");
        if (indent > 0 || is_item) && !is_decisive {
            continue;
        }
        if is_item || rest.starts_with('\t') {
            return None;
        }
        let (key, value) = rest.split_once(':')?;
        let (key, value) = (unquoted(key), value.trim());
        if !key.chars().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        above.retain(|(outer, _)| *outer < indent);
        if indent == 0 {
            // If two blocks have the same name, only one has an effect, so the result is unknown.
            if blocks.contains(&key) {
                return None;
            }
            blocks.push(key);
        }
        above.push((indent, key));
        let path: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
        match (&path[..], value) {
            ([block], value) if DECISIVE.contains(block) && !value.is_empty() => return None,
            (["authentication", "anonymous"], value) if !value.is_empty() => return None,
            (["authentication", "anonymous", "enabled"], "true") => found.anonymous = Some(true),
            (["authentication", "anonymous", "enabled"], "false") => found.anonymous = Some(false),
            (["authentication", "anonymous", "enabled"], _) => return None,
            (["authorization", "mode"], value) => found.mode = Some(unquoted(value).to_owned()),
            _ => {}
        }
    }
    Some(found)
}

const DECISIVE: [&str; 2] = ["authentication", "authorization"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AdmittedClients;

    #[test]
    fn anonymous_requests() {
        let refused = Some("authentication.anonymous.enabled: false");
        let open = Some("authorization.mode: AlwaysAllow");
        for (name, text, is) in [
            (
                "as kubeadm writes it",
                "apiVersion: kubelet.config.k8s.io/v1beta1\nauthentication:\n  anonymous:\n    enabled: false\n  webhook:\n    cacheTTL: 0s\n    enabled: true\n  x509:\n    clientCAFile: /etc/kubernetes/pki/ca.crt\nauthorization:\n  mode: Webhook\n  webhook:\n    cacheAuthorizedTTL: 0s\nclusterDNS:\n- 10.96.0.10\nlogging:\n  flushFrequency: 0\n",
                refused,
            ),
            ("empty", "", refused),
            ("others", "---\n# x\nkind: KubeletConfiguration\nlogging: {a: 1}\n", refused),
            (
                "open",
                "authentication:\n  anonymous:\n    enabled: true\n  webhook:\n    enabled: false\nauthorization:\n  mode: AlwaysAllow\n",
                open,
            ),
            (
                "quoted",
                "\"authentication\":\n  anonymous:\n    enabled: true\nauthorization:\n  mode: \"AlwaysAllow\" # x\n",
                open,
            ),
            ("rules decide", "authentication:\n  anonymous:\n    enabled: true\n", None),
            ("flow", "authentication: {anonymous: {enabled: true}}\n", None),
            ("flow below", "authentication:\n  anonymous: {enabled: true}\n", None),
            ("an anchor", "authentication: &a\n  anonymous:\n    enabled: false\n", None),
            ("a merge", "authentication:\n  <<: *a\n", None),
            ("another word", "authentication:\n  anonymous:\n    enabled: yes\n", None),
            (
                "twice",
                "authentication:\n  x509: {}\nauthentication:\n  anonymous:\n    enabled: true\n",
                None,
            ),
            ("two documents", "kind: a\n---\nauthentication:\n", None),
            ("a tab", "authentication:\n\tanonymous:\n", None),
            ("JSON", "{\"authentication\":{\"anonymous\":{\"enabled\":false}}}", refused),
            (
                "open JSON",
                "{\"authentication\":{\"anonymous\":{\"enabled\":true}},\"authorization\":{\"mode\":\"AlwaysAllow\"}}",
                open,
            ),
            ("no JSON", "{\"authentication\"", None),
        ] {
            let found = kubelet(text.as_bytes());
            assert_eq!(found.first().map(|one| one.setting.as_str()), is, "{name}");
            let is_open = found.first().map(|one| one.clients == AdmittedClients::Anyone);
            assert_eq!(is_open, is.map(|setting| setting == "authorization.mode: AlwaysAllow"), "{name}");
        }
    }

    #[test]
    fn any_bytes_are_parsed() {
        for text in ["{", ":", "authentication:\n :", " - a", "\u{fffd}:", "authorization:\n  mode:"] {
            let cut = &text.as_bytes()[..text.len() - 1];
            assert!(kubelet(text.as_bytes()).len() + kubelet(cut).len() <= 2, "{text}");
        }
    }
}
