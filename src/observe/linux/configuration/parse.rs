//! Parses configuration files, to find out whether clients must authenticate.
//!
//! A file is hostile input: each parser accepts any bytes, and returns no setting if the file includes another file, or
//! has a decisive line that the parser does not know. A value that may be a secret is never returned.

use std::collections::HashMap;

use crate::model::{AccessSetting, AdmittedClients};

fn setting(text: &str, authenticates: bool) -> Vec<AccessSetting> {
    vec![AccessSetting { port: None, setting: text.to_owned(), clients: admitted(authenticates) }]
}

const fn admitted(authenticates: bool) -> AdmittedClients {
    if authenticates { AdmittedClients::Authenticated } else { AdmittedClients::Anyone }
}

/// Returns the lines of a file, without lines that begin with `#`.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

/// Parses the `redis.conf` of Redis, Valkey and KeyDB. The settings count only for the ports in the file: a server on
/// another port was started with another file, or with options that are not visible.
pub(super) fn redis(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let (mut password, mut acl, mut is_protected, mut is_bound) = (false, None, true, false);
    let mut admits_without_password = false;
    let (mut port, mut tls_port) = ("6379".to_owned(), String::new());
    for line in lines(&text) {
        let (directive, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let value = value.trim();
        match directive.to_ascii_lowercase().as_str() {
            "requirepass" => password = !unquoted(value).is_empty(),
            "protected-mode" => is_protected = !value.eq_ignore_ascii_case("no"),
            "bind" => is_bound = true,
            "user" => {
                acl = default_user(value).or(acl);
                admits_without_password |= is_user_without_password(value);
            }
            "port" => port = unquoted(value).to_owned(),
            "tls-port" => tls_port = unquoted(value).to_owned(),
            // The file that this line names may set or remove a password, so the result is unknown.
            "include" | "aclfile" => return Vec::new(),
            _ => {}
        }
    }
    let (setting, clients) = match (password, acl) {
        // A user other than `default` needs no password, and the rights of this user are not checked, so the result is
        // unknown.
        (_, Some(true)) | (true, None) if admits_without_password => return Vec::new(),
        (_, Some(true)) => ("user default", AdmittedClients::Authenticated),
        (true, None) => ("requirepass", AdmittedClients::Authenticated),
        (_, acl) if !is_protected => {
            (if acl.is_some() { "user default nopass" } else { "protected-mode no" }, AdmittedClients::Anyone)
        }
        // Without a password, protected mode refuses other machines; before Redis 6.2, only if the file has no `bind`.
        // The version is not known, so for a file with `bind` the result is unknown.
        _ if is_bound => return Vec::new(),
        _ => ("protected-mode yes, without a password", AdmittedClients::Local),
    };
    let ports =
        [port, tls_port].into_iter().filter_map(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    ports.map(|port| AccessSetting { port: Some(port), setting: setting.to_owned(), clients }).collect()
}

/// Returns the options on the command line of Redis, as lines of its file; `None` if Redis also reads lines from
/// standard input.
pub(super) fn redis_options(arguments: &[String]) -> Option<String> {
    let mut lines = String::new();
    for argument in arguments {
        match argument.strip_prefix("--") {
            _ if argument == "-" => return None,
            Some(option) => lines.extend(["\n", option, " "]),
            // Redis, too, puts an empty value in quotes.
            None if argument.is_empty() => lines.push_str("\"\" "),
            None => lines.extend([&*argument.replace(['\n', '\r'], " "), " "]),
        }
    }
    Some(lines)
}

/// Returns whether the user `default` needs a password; `None` if the rules leave this open, or are for another user.
fn default_user(rules: &str) -> Option<bool> {
    let mut rules = rules.split_whitespace();
    if rules.next() != Some("default") {
        return None;
    }
    let mut authenticates = None;
    for rule in rules {
        match rule.as_bytes().first() {
            _ if rule.eq_ignore_ascii_case("nopass") => authenticates = Some(false),
            _ if rule.eq_ignore_ascii_case("off") => authenticates = Some(true),
            Some(b'>' | b'#') => authenticates = Some(true),
            _ => {}
        }
    }
    authenticates
}

/// Returns whether the rules are for a user other than `default` who can log in (`on`) and needs no password.
fn is_user_without_password(rules: &str) -> bool {
    let mut rules = rules.split_whitespace();
    if rules.next().is_none_or(|name| name == "default") {
        return false;
    }
    let (mut is_on, mut is_open) = (false, false);
    for rule in rules {
        match rule.to_ascii_lowercase().as_str() {
            "on" => is_on = true,
            "off" => is_on = false,
            "nopass" => is_open = true,
            "resetpass" => is_open = false,
            "reset" => (is_on, is_open) = (false, false),
            password if password.starts_with(['>', '#']) => is_open = false,
            _ => {}
        }
    }
    is_on && is_open
}

/// Parses `mongod.conf`, as YAML or in the older format (`auth = true`). In YAML, only the block `security` in its
/// usual form is understood.
pub(super) fn mongod(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let mut section = String::new();
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
            ("auth", "true") => found = setting("auth = true", true),
            ("noauth", "true") => found = setting("noauth = true", false),
            _ => {}
        }
    }
    if found.is_empty() { setting("no security.authorization", false) } else { found }
}

/// Parses `config.yml` of the Docker registry. Without a block `auth` in its usual form, the result is unknown, because
/// environment variables can contain it.
pub(super) fn registry(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let is_indented = |line: &str| line.starts_with([' ', '\t']);
    let mut auth = lines(&text).skip_while(|line| line.trim_end() != "auth:").skip(1);
    let kind = auth.find(|line| !line.trim().is_empty()).filter(|line| is_indented(line));
    match kind.map(str::trim) {
        Some("htpasswd:") => setting("auth: htpasswd", true),
        Some("token:") => setting("auth: token", true),
        _ => Vec::new(),
    }
}

pub(super) fn nats(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let mut blocks: Vec<&str> = Vec::new();
    let (mut found, mut is_undecided) = (None, false);
    for NatsKey { depth, key } in NatsKeys::new(&text) {
        blocks.truncate(depth);
        let outermost = blocks.first().copied().unwrap_or(key);
        match (depth, outermost, key) {
            (_, _, "no_auth_user") => return setting("no_auth_user", false),
            (_, _, "include") | (_, "tls", "verify" | "verify_and_map") => return Vec::new(),
            (0, _, "operator") => found = Some("operator"),
            (1.., "authorization", "user" | "users" | "password" | "token" | "nkey" | "auth_callout") => {
                found = Some("authorization");
            }
            (2.., "accounts", "users") => found = Some("accounts"),
            (0, _, "authorization" | "accounts" | "trusted" | "trusted_keys") => is_undecided = true,
            _ => {}
        }
        blocks.push(key);
    }
    match found {
        Some(key) => setting(key, true),
        None if is_undecided => Vec::new(),
        None => setting("no authorization", false),
    }
}

/// A key of a NATS configuration, and the number of blocks around this key.
struct NatsKey<'t> {
    depth: usize,
    key: &'t str,
}

/// Iterates over the keys: the first word of each line, and the first word after a brace, bracket, comma or semicolon.
struct NatsKeys<'t> {
    rest: &'t str,
    depth: usize,
    has_key: bool,
}

impl<'t> NatsKeys<'t> {
    const fn new(text: &'t str) -> Self {
        NatsKeys { rest: text, depth: 0, has_key: false }
    }

    fn skip_to(&mut self, end: &[char]) {
        self.rest = self.rest.find(end).and_then(|at| self.rest.get(at..)).unwrap_or_default();
    }
}

impl<'t> Iterator for NatsKeys<'t> {
    type Item = NatsKey<'t>;

    fn next(&mut self) -> Option<NatsKey<'t>> {
        loop {
            let first = self.rest.chars().next()?;
            let after = self.rest.get(first.len_utf8()..).unwrap_or_default();
            match first {
                '#' => self.skip_to(&['\n']),
                '/' if after.starts_with('/') => self.skip_to(&['\n']),
                '"' | '\'' => {
                    let end = after.find(first).and_then(|at| after.get(at + 1..)).unwrap_or_default();
                    let quoted = after.get(..after.len() - end.len()).unwrap_or_default();
                    self.rest = end;
                    if !std::mem::replace(&mut self.has_key, true) {
                        return Some(NatsKey { depth: self.depth, key: unquoted(quoted) });
                    }
                }
                '{' | '}' | '\n' | ',' | ';' | '[' | ']' => {
                    match first {
                        '{' => self.depth = self.depth.saturating_add(1),
                        '}' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    self.has_key = false;
                    self.rest = after;
                }
                first if first.is_whitespace() || matches!(first, ':' | '=') => self.rest = after,
                _ => {
                    let is_end = |c: char| c.is_whitespace() || ":={}[],;\"'".contains(c);
                    let end = self.rest.find(is_end).unwrap_or(self.rest.len()).max(first.len_utf8());
                    let (word, rest) = self.rest.split_at(end);
                    self.rest = rest;
                    if !std::mem::replace(&mut self.has_key, true) {
                        return Some(NatsKey { depth: self.depth, key: word });
                    }
                }
            }
        }
    }
}

/// Parses `server.properties` of Kafka. Returns the authentication that each listener requires.
pub(super) fn kafka(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes).replace("\\\n", "").replace("\\\r\n", "");
    let properties: HashMap<&str, &str> = lines(&text)
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let protocols: HashMap<&str, &str> = properties
        .get("listener.security.protocol.map")
        .map(|map| map.split(',').filter_map(|pair| pair.trim().split_once(':')).collect())
        .unwrap_or_default();
    let listeners = properties.get("listeners").copied().unwrap_or("PLAINTEXT://:9092");
    let access = listeners.split(',').filter_map(|listener| {
        let (name, address) = listener.trim().split_once("://")?;
        let port = address.rsplit(':').next()?.parse().ok()?;
        let protocol = protocols.get(name).copied().unwrap_or(name).trim().to_ascii_uppercase();
        let own = format!("listener.name.{}.ssl.client.auth", name.to_ascii_lowercase());
        let client = properties.get(own.as_str()).or_else(|| properties.get("ssl.client.auth"));
        let asks_for_certificate = client.is_some_and(|value| value.eq_ignore_ascii_case("required"));
        let (setting, authenticates) = match protocol.as_str() {
            "SASL_SSL" => ("listener SASL_SSL", true),
            "SASL_PLAINTEXT" => ("listener SASL_PLAINTEXT", true),
            "SSL" if asks_for_certificate => ("listener SSL, ssl.client.auth=required", true),
            "SSL" => ("listener SSL, no ssl.client.auth", false),
            "PLAINTEXT" => ("listener PLAINTEXT", false),
            _ => return None,
        };
        Some(AccessSetting {
            port: Some(port),
            setting: setting.to_owned(),
            clients: admitted(authenticates),
        })
    });
    access.take(MOST_LISTENERS).collect()
}

/// Real brokers have two to five listeners.
const MOST_LISTENERS: usize = 64;

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

    /// The settings of a file apply only to the ports in this file.
    #[test]
    fn redis_files() {
        use AdmittedClients::{Anyone, Authenticated, Local};
        let protected = Some(("protected-mode yes, without a password", Local));
        for (text, is) in [
            ("", protected),
            ("port 6379\nrequirepass secret\n", Some(("requirepass", Authenticated))),
            ("# requirepass foobared\n", protected),
            ("requirepass secret\nrequirepass \"\"\n", protected),
            ("bind * -::*\n", None),
            ("bind 10.0.0.1\nprotected-mode no\n", Some(("protected-mode no", Anyone))),
            ("user default on >secret ~* +@all\n", Some(("user default", Authenticated))),
            ("user default off\n", Some(("user default", Authenticated))),
            (
                "requirepass x\nuser default on nopass ~*\nprotected-mode no\n",
                Some(("user default nopass", Anyone)),
            ),
            ("user ann on >x\n", protected),
            ("requirepass x\nuser ann on >y\n", Some(("requirepass", Authenticated))),
            ("requirepass x\nuser ann off nopass\n", Some(("requirepass", Authenticated))),
            ("requirepass x\nuser ann on nopass >y\n", Some(("requirepass", Authenticated))),
            ("requirepass x\nuser ann on nopass ~* +@all\n", None),
            ("user default on >x\nUSER ann NOPASS ON +@all\n", None),
            ("protected-mode no\nuser ann on nopass\n", Some(("protected-mode no", Anyone))),
            ("requirepass x\ninclude /etc/other.conf\n", None),
            ("aclfile /etc/redis/users.acl\n", None),
        ] {
            let is = is.map(|(setting, clients)| AccessSetting {
                port: Some(6379),
                setting: setting.to_owned(),
                clients,
            });
            assert_eq!(redis(text.as_bytes()), is.into_iter().collect::<Vec<_>>(), "{text}");
        }
        let ports = |text: &str| redis(text.as_bytes()).iter().map(|access| access.port).collect::<Vec<_>>();
        assert_eq!(ports("port 7000\ntls-port 7001\n"), [Some(7000), Some(7001)]);
        assert_eq!(ports("port 0\n"), []);
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
            ("mongod, flow", mongod, "security: {authorization: enabled}\n", None),
            ("mongod, expansion", mongod, "security:\n  __exec: x\n", None),
            ("mongod, old form", mongod, "auth = true\n", Some(("auth = true", true))),
            (
                "registry, as Debian installs it",
                registry,
                "http:\n  addr: :5000\nauth:\n  htpasswd:\n    realm: x\nhealth:\n  y: z\n",
                Some(("auth: htpasswd", true)),
            ),
            ("registry, token", registry, "auth: \n# x\n\n  token:\n", Some(("auth: token", true))),
            ("registry, none", registry, "http:\n  addr: :5000\n", None),
            ("registry, accepts everyone", registry, "auth:\n  silly:\n    realm: x\n", None),
            ("registry, empty", registry, "auth:\nhtpasswd:\n", None),
            ("registry, of another block", registry, "x:\n  auth:\n    htpasswd:\n", None),
            ("registry, flow", registry, "auth: {htpasswd: {realm: x}}\n", None),
            ("nats", nats, "port: 4222\nserver_name: operator\n", Some(("no authorization", false))),
            (
                "nats, user",
                nats,
                "authorization {\n  user: a\n  password: b\n}\n",
                Some(("authorization", true)),
            ),
            ("nats, one line", nats, "authorization: { token = \"t\" }", Some(("authorization", true))),
            (
                "nats, of a cluster",
                nats,
                "cluster { authorization { user: a } }",
                Some(("no authorization", false)),
            ),
            (
                "nats, a comment",
                nats,
                "# authorization { user: a }\n// operator: x\n",
                Some(("no authorization", false)),
            ),
            (
                "nats, no_auth_user",
                nats,
                "authorization { users = [{user: a}] }\nno_auth_user: a\n",
                Some(("no_auth_user", false)),
            ),
            ("nats, accounts", nats, "accounts { A { users: [{user: a}] } }", Some(("accounts", true))),
            ("nats, accounts without users", nats, "accounts { A {} }", None),
            ("nats, operator", nats, "operator: /etc/op.jwt\n", Some(("operator", true))),
            ("nats, certificates", nats, "tls { verify: true }", None),
            ("nats, include", nats, "include ./auth.conf\n", None),
        ] {
            let is = is.map(|(setting, authenticates)| (None, setting.to_owned(), authenticates));
            assert_eq!(found(parser, text), is.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn each_listener_of_kafka_decides_for_its_port() {
        let text = "# x\nlisteners=PLAINTEXT://:9092,SASL_SSL://0.0.0.0:9093,\\\nIN://[::]:9094,TLS://:9095,X://:9096\n\
                    listener.security.protocol.map=IN:SASL_PLAINTEXT,TLS:SSL,X:NEW\n\
                    listener.name.tls.ssl.client.auth=required\n";
        let listener = |port, setting: &str, authenticates| (Some(port), setting.to_owned(), authenticates);
        assert_eq!(
            found(kafka, text),
            [
                listener(9092, "listener PLAINTEXT", false),
                listener(9093, "listener SASL_SSL", true),
                listener(9094, "listener SASL_PLAINTEXT", true),
                listener(9095, "listener SSL, ssl.client.auth=required", true),
            ]
        );
        assert_eq!(found(kafka, ""), [listener(9092, "listener PLAINTEXT", false)]);
        let open = found(kafka, "listeners=SSL://:1\n");
        assert_eq!(open, [listener(1, "listener SSL, no ssl.client.auth", false)]);
    }

    #[test]
    fn any_bytes_are_parsed() {
        for text in
            ["", "{", "}}}}", "\"", "'x", "a\\\n", "\u{fffd}{\u{fffd}", "listeners=://:", "user default"]
        {
            for parser in [redis as Parser, mongod, nats, kafka] {
                let cut = &text.as_bytes()[..text.len().saturating_sub(1)];
                assert!(parser(text.as_bytes()).len() + parser(cut).len() <= 2 * MOST_LISTENERS, "{text}");
            }
        }
    }
}
