//! Parses configuration files, to find out whether clients must authenticate.
//!
//! A file may be hostile, so each parser accepts any bytes. It returns no setting if the file includes another file, or
//! has a decisive line that the parser does not know. A value that may be a secret is never returned.

use crate::model::{AccessSetting, AdmittedClients};

fn setting(text: &str, authenticates: bool) -> Vec<AccessSetting> {
    vec![AccessSetting { port: None, setting: text.to_owned(), clients: admitted(authenticates) }]
}

pub(super) const fn admitted(authenticates: bool) -> AdmittedClients {
    if authenticates { AdmittedClients::Authenticated } else { AdmittedClients::Anyone }
}

/// Returns the lines of a file, without lines that begin with `#`.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

pub(super) fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

/// Parses `mongod.conf`, as YAML or in the older format (`auth = true`). In YAML, only the block `security` in its
/// usual form is understood.
pub(super) fn mongod(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let (mut section, mut is_transition) = (String::new(), false);
    let mut found = Vec::new();
    for line in lines(&text) {
        let line = line.split(" #").next().unwrap_or_default();
        let is_indented = line.starts_with([' ', '\t']);
        let Some((key, value)) = line.split_once([':', '=']) else { continue };
        let (key, value) = (unquoted(key), unquoted(value));
        if !is_indented {
            key.clone_into(&mut section);
        }
        let key = if is_indented { format!("{section}.{key}") } else { key.to_owned() };
        match (key.as_str(), value) {
            // A flow mapping or an expanded value may contain any setting, so the result is unknown.
            ("security", value) if !value.is_empty() => return Vec::new(),
            (key, _) if key.ends_with("__exec") || key.ends_with("__rest") => return Vec::new(),
            ("security.authorization", "enabled") => found = setting("security.authorization: enabled", true),
            ("security.authorization", _) => found = setting("security.authorization: disabled", false),
            ("security.keyFile" | "keyFile", path) if !path.is_empty() => {
                found = setting("security.keyFile", true);
            }
            // With this setting, clients without a password are also admitted.
            ("security.transitionToAuth" | "transitionToAuth", "true") => is_transition = true,
            ("auth", "true") => found = setting("auth = true", true),
            ("noauth", "true") => found = setting("noauth = true", false),
            _ => {}
        }
    }
    match found.is_empty() {
        _ if is_transition => setting("security.transitionToAuth: true", false),
        true => setting("no security.authorization", false),
        false => found,
    }
}

/// Parses `config.yml` of the Docker registry. The login applies to the port in `http.addr`. The port in
/// `http.debug.addr` has no login. If the blocks `auth` and `http` are missing or have an unusual form, the result is
/// unknown, because environment variables can contain them.
pub(super) fn registry(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let setting = match block(&text, "auth").next().map(str::trim) {
        Some("htpasswd:") => "auth: htpasswd",
        Some("token:") => "auth: token",
        _ => return Vec::new(),
    };
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let first = block(&text, "http").next().map(indent);
    let mut of_http = block(&text, "http").filter(|line| Some(indent(line)) == first);
    let address = of_http.find_map(|line| line.trim().strip_prefix("addr:"));
    let port = address.and_then(|address| unquoted(address).rsplit_once(':')?.1.parse::<u16>().ok());
    let found =
        |port| AccessSetting { port: Some(port), setting: setting.to_owned(), clients: admitted(true) };
    port.filter(|port| *port != 0).map(found).into_iter().collect()
}

fn block<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let is_head = move |line: &&str| line.trim_end().strip_suffix(':') == Some(name);
    let is_filled = |line: &&str| !line.trim().is_empty();
    let from_head = lines(text).filter(is_filled).skip_while(move |line| !is_head(line)).skip(1);
    from_head.take_while(|line| line.starts_with([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parser = fn(&[u8]) -> Vec<AccessSetting>;

    fn found(parser: Parser, text: &str) -> Vec<(Option<u16>, String, bool)> {
        parser(text.as_bytes())
            .into_iter()
            .map(|one| (one.port, one.setting, one.clients == AdmittedClients::Authenticated))
            .collect()
    }

    #[test]
    fn one_setting_decides() {
        for (name, parser, text, is) in [
            ("mongod", mongod as Parser, "net:\n  port: 27017\n", Some(("no security.authorization", false))),
            (
                "mongod, enabled",
                mongod,
                "security:\n  authorization: \"enabled\" # yes\n",
                Some(("security.authorization: enabled", true)),
            ),
            (
                "mongod, disabled",
                mongod,
                "security:\n  authorization: disabled\n",
                Some(("security.authorization: disabled", false)),
            ),
            (
                "mongod, another block",
                mongod,
                "x:\n  authorization: enabled\n",
                Some(("no security.authorization", false)),
            ),
            (
                "mongod, key file",
                mongod,
                "security:\n  keyFile: /etc/key\n",
                Some(("security.keyFile", true)),
            ),
            (
                "mongod, dotted",
                mongod,
                "security.authorization: enabled\n",
                Some(("security.authorization: enabled", true)),
            ),
            (
                "mongod, a transition",
                mongod,
                "security:\n  keyFile: /etc/key\n  transitionToAuth: true\n",
                Some(("security.transitionToAuth: true", false)),
            ),
            ("mongod, flow", mongod, "security: {authorization: enabled}\n", None),
            ("mongod, expansion", mongod, "security:\n  __exec: x\n", None),
            ("mongod, old form", mongod, "auth = true\n", Some(("auth = true", true))),
        ] {
            let is = is.map(|(setting, authenticates)| (None, setting.to_owned(), authenticates));
            assert_eq!(found(parser, text), is.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn the_login_of_a_registry_is_that_of_its_main_port() {
        let http = "http:\n  addr: :5000\n  debug:\n    addr: :5001\n";
        for (name, text, is) in [
            (
                "as Debian installs it",
                format!("{http}auth:\n  htpasswd:\n    realm: x\nhealth:\n  y: z\n"),
                Some((5000, "auth: htpasswd")),
            ),
            (
                "token",
                "auth: \n# x\n\n  token:\nhttp:\n  debug:\n    addr: :1\n  addr: '0.0.0.0:80'".to_owned(),
                Some((80, "auth: token")),
            ),
            ("none", http.to_owned(), None),
            ("accepts everyone", format!("{http}auth:\n  silly:\n    realm: x\n"), None),
            ("empty", format!("{http}auth:\nhtpasswd:\n"), None),
            ("of another block", format!("{http}x:\n  auth:\n    htpasswd:\n"), None),
            ("flow", format!("{http}auth: {{htpasswd: {{realm: x}}}}\n"), None),
            ("no port", "auth:\n  htpasswd:\n".to_owned(), None),
            ("any port", "http:\n  addr: :0\nauth:\n  htpasswd:\n".to_owned(), None),
            ("a variable", "http:\n  addr: ${A}\nauth:\n  htpasswd:\n".to_owned(), None),
        ] {
            let is = is.map(|(port, setting)| (Some(port), setting.to_owned(), true));
            assert_eq!(found(registry, &text), is.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn any_bytes_are_parsed() {
        for text in ["", "{", "}}}}", "\"", "'x", "a\\\n", "\u{fffd}{\u{fffd}", "user default"] {
            for parser in [mongod as Parser, registry] {
                let cut = &text.as_bytes()[..text.len().saturating_sub(1)];
                assert!(parser(text.as_bytes()).len() + parser(cut).len() <= 2, "{text}");
            }
        }
    }
}
