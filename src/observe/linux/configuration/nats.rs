//! Parses the configuration of nats-server. Each port has its own clients and its own `authorization`.
//!
//! The parser follows nats-server 2.9. The logins of the clients also apply to MQTT and WebSocket, but not to the
//! servers of a cluster or to leaf nodes. The monitoring port is not reported, because it never has a login.

use super::parse::{admitted, unquoted};
use crate::model::AccessSetting;

#[derive(Default)]
struct Block<'t> {
    is_present: bool,
    /// The value of `listen` or `port`.
    address: Option<&'t str>,
    /// The key that requires a login.
    login: Option<&'static str>,
    admits_anyone: bool,
    /// Whether the block has a key whose effect is not known.
    is_undecided: bool,
}

/// The blocks of a file that can open a port. Each entry has the names of the block, the setting to report if the block
/// has no login, and the default port. The first entry stands for the file itself, which sets the port for clients.
const CLIENTS: usize = 0;
const LEAF_NODES: usize = 3;
const BLOCKS: [(&[&str], &str, Option<u16>); 6] = [
    (&[], "no authorization", Some(4222)),
    (&["cluster"], "cluster without authorization", None),
    (&["gateway"], "gateway without authorization", None),
    (&["leafnodes", "leaf"], "leafnodes without authorization", Some(7422)),
    (&["mqtt"], "no authorization", Some(1883)),
    (&["websocket", "ws"], "no authorization", None),
];

/// Returns the setting of each port whose clients are known.
pub(super) fn nats(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    parse(&text).unwrap_or_default()
}

fn parse(text: &str) -> Option<Vec<AccessSetting>> {
    let mut blocks: [Block<'_>; BLOCKS.len()] = Default::default();
    let system_account = NatsKeys::new(text).find(|one| one.depth == 0 && one.is("system_account"));
    let system_account = system_account.map_or("$SYS", |one| one.value());
    let mut above: Vec<&str> = Vec::new();
    let mut has_operator = false;
    for one in NatsKeys::new(text) {
        let NatsKey { depth, key, .. } = one;
        above.truncate(depth);
        let name = above.first().copied().unwrap_or(key).to_ascii_lowercase();
        let named = BLOCKS.iter().position(|(names, ..)| names.contains(&name.as_str()));
        // The keys for clients are at the top level of the file. Other blocks have the same keys one level deeper.
        let (index, inner) = match named {
            Some(index) => (index, above.get(1..).unwrap_or_default()),
            None => (CLIENTS, &above[..]),
        };
        let block = &mut blocks[index];
        let inner: Vec<String> = inner.iter().map(|name| name.to_ascii_lowercase()).collect();
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        match (&inner[..], key.to_ascii_lowercase().as_str()) {
            (_, "include") => return None,
            // If two blocks have the same name, only one of them has an effect, so the result is unknown.
            _ if depth == 0 && named.is_some() && std::mem::replace(&mut block.is_present, true) => {
                return None;
            }
            _ if depth == 0 && named.is_some() => {}
            ([], "listen" | "port") => block.address = Some(one.value()),
            ([], "no_auth_user") => block.admits_anyone = true,
            // An empty value is not a login.
            (_, "user" | "username" | "token" | "nkey") if matches!(one.value(), "") => {}
            ([], "operator" | "operators") => {
                has_operator = true;
                block.login = Some("operator");
            }
            // The value of a variable (`$NAME`) may be empty, so it does not count as a login.
            (["authorization"], "user" | "username" | "token")
            | (["authorization", "users"], "user" | "username" | "nkey")
                if !one.value().starts_with('$') =>
            {
                block.login = Some("authorization");
            }
            // If only the system account has users, clients do not have to log in.
            (["accounts", _, "users" | "nkeys"], "user" | "username" | "nkey")
                if above.get(1).is_some_and(|name| *name != system_account) =>
            {
                block.login.get_or_insert("accounts");
            }
            (["tls", ..], "verify" | "verify_and_map") => block.is_undecided = true,
            // Servers of a cluster or gateway check each other's certificates.
            ([], "tls") if ["cluster", "gateway"].contains(&name.as_str()) => block.is_undecided = true,
            ([], "authorization" | "accounts" | "trusted" | "trusted_keys" | "jwt_cookie") => {
                block.is_undecided = true;
            }
            _ => {}
        }
        above.push(key);
    }
    blocks[CLIENTS].is_present = true;
    let of_clients = decision(&blocks[CLIENTS], BLOCKS[CLIENTS].1);
    let settings = blocks.iter().zip(BLOCKS).enumerate().filter(|(_, (block, _))| block.is_present);
    let settings = settings.filter_map(|(index, (block, (names, without, port)))| {
        let port = match block.address {
            Some(address) => address.rsplit(':').next()?.parse().ok().filter(|port| *port != 0)?,
            None => port?,
        };
        let has_own = block.login.is_some() || block.admits_anyone || block.is_undecided;
        let (setting, authenticates) = match names {
            [] => of_clients?,
            ["mqtt" | "websocket", ..] if !has_own => of_clients?,
            _ if index == LEAF_NODES && !has_own && has_operator => ("operator", true),
            // A leaf node without a login has no access to the accounts, so nothing is reported.
            _ if index == LEAF_NODES && !has_own && blocks[CLIENTS].login == Some("accounts") => return None,
            _ => decision(block, without)?,
        };
        let setting = match names {
            [name, ..] if has_own && authenticates => format!("{name}: {setting}"),
            _ => setting.to_owned(),
        };
        Some(AccessSetting { port: Some(port), setting, clients: admitted(authenticates) })
    });
    Some(settings.collect())
}

/// Returns the deciding setting of a block, and whether clients must log in. Returns `None` if this is not known.
fn decision(block: &Block<'_>, without: &'static str) -> Option<(&'static str, bool)> {
    match block.login {
        _ if block.admits_anyone => Some(("no_auth_user", false)),
        Some(key) => Some((key, true)),
        None if block.is_undecided => None,
        None => Some((without, false)),
    }
}

/// A key of a NATS configuration, and the number of blocks around this key.
struct NatsKey<'t> {
    depth: usize,
    key: &'t str,
    rest: &'t str,
}

impl<'t> NatsKey<'t> {
    fn is(&self, key: &str) -> bool {
        self.key.eq_ignore_ascii_case(key)
    }

    /// Returns the value of the key if it is a word, number or quoted text, and otherwise an empty text.
    fn value(&self) -> &'t str {
        let text = self.rest.trim_start_matches([' ', '\t', ':', '=']);
        match text.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                text.get(1..).and_then(|text| text.split(quote).next()).unwrap_or_default()
            }
            _ => {
                let end = text.find(|c: char| c.is_whitespace() || "{}[],;\"'#".contains(c));
                text.get(..end.unwrap_or(text.len())).unwrap_or_default()
            }
        }
    }
}

/// Iterates over the keys. A key is the first word of a line, or the first word after a brace, bracket, comma or
/// semicolon.
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
                        return Some(NatsKey { depth: self.depth, key: unquoted(quoted), rest: self.rest });
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
                        return Some(NatsKey { depth: self.depth, key: word, rest: self.rest });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AdmittedClients;

    fn found(text: &str) -> Vec<(u16, String, bool)> {
        let is_authenticated = |one: &AccessSetting| one.clients == AdmittedClients::Authenticated;
        nats(text.as_bytes())
            .into_iter()
            .map(|one| (one.port.unwrap(), one.setting.clone(), is_authenticated(&one)))
            .collect()
    }

    #[test]
    fn the_logins_of_clients() {
        for (name, text, is) in [
            ("none", "port: 4222\nserver_name: operator\n", Some(("no authorization", false))),
            ("user", "authorization {\n  user: a\n  password: b\n}\n", Some(("authorization", true))),
            ("one line", "authorization: { token = \"t\" }", Some(("authorization", true))),
            ("empty", "authorization { user: \"\", password: \"\" }", None),
            ("an empty token", "authorization { token: '' }", None),
            ("no users", "authorization { timeout: 2, users = [ ] }", None),
            ("a password alone", "authorization { password: b }", None),
            ("a variable", "authorization { user: $U, password: b }", None),
            ("users", "authorization { users = [ {user: a, password: b} ] }", Some(("authorization", true))),
            ("an account without users", "accounts { A { users: [] } }", None),
            ("a comment", "# authorization { user: a }\n// operator: x\n", Some(("no authorization", false))),
            (
                "no_auth_user",
                "authorization { users = [{user: a}] }\nno_auth_user: a\n",
                Some(("no_auth_user", false)),
            ),
            ("accounts", "accounts { A { users: [{user: a}] } }", Some(("accounts", true))),
            ("accounts without users", "accounts { A {} }", None),
            ("the system account", "accounts { $SYS { users = [{user: a}] } }", None),
            ("another name", "accounts { S { users = [{user: a}] } }\nsystem_account: S", None),
            (
                "two accounts",
                "accounts { S { users = [{user: a}] }, A { users = [{user: b}] } }\nsystem_account: S",
                Some(("accounts", true)),
            ),
            ("operator", "operator: /etc/op.jwt\n", Some(("operator", true))),
            ("certificates", "tls { verify: true }", None),
            ("include", "include ./auth.conf\n", None),
        ] {
            let is = is.map(|(setting, authenticates)| (4222, setting.to_owned(), authenticates));
            assert_eq!(found(text), is.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn each_port_has_its_own_logins() {
        let clients = "listen: 0.0.0.0:4333\nauthorization { user: app, password: x }\nhttp: 8222\n";
        for (name, text, is) in [
            ("alone", "", None),
            (
                "a cluster",
                "cluster { name: c, listen: 0.0.0.0:6222 }",
                Some((6222, "cluster without authorization", false)),
            ),
            (
                "a cluster with a password",
                "cluster {\n  listen: \"[::]:6223\"\n  authorization { user: r, password: x }\n}",
                Some((6223, "cluster: authorization", true)),
            ),
            ("a cluster with certificates", "cluster { port: 6222, tls { ca_file: x } }", None),
            ("a variable", "cluster { port: $PORT }", None),
            (
                "two blocks",
                "cluster { port: 6222 }\nLeafnodes { }",
                Some((6222, "cluster without authorization", false)),
            ),
            (
                "leaf nodes",
                "leafnodes { port = 7422 }",
                Some((7422, "leafnodes without authorization", false)),
            ),
            (
                "leaf nodes with users",
                "leafnodes { port: 7422, authorization { users: [ {user: a, password: b} ] } }",
                Some((7422, "leafnodes: authorization", true)),
            ),
            ("MQTT", "mqtt { port: 1884 }", Some((1884, "authorization", true))),
            (
                "MQTT without a login",
                "mqtt { port: 1884, no_auth_user: a }",
                Some((1884, "no_auth_user", false)),
            ),
            (
                "WebSocket",
                "websocket { listen: \"0.0.0.0:8080\", no_tls: true }",
                Some((8080, "authorization", true)),
            ),
        ] {
            let mut expected = vec![(4333, "authorization".to_owned(), true)];
            expected
                .extend(is.map(|(port, setting, authenticates)| (port, setting.to_owned(), authenticates)));
            let found = found(&format!("{clients}{text}\n"));
            assert_eq!(found[..expected.len().min(found.len())], expected, "{name}");
        }
        assert_eq!(
            found("cluster { port: 1 }\ncluster { authorization { user: a } }"),
            [],
            "only one of them counts"
        );
    }

    #[test]
    fn any_bytes_are_parsed() {
        for text in [
            "",
            "{",
            "}}}}",
            "\"",
            "'x",
            "a\\\n",
            "\u{fffd}{\u{fffd}",
            "cluster",
            "cluster {",
            "port:",
            "port: \"",
            "listen: :",
        ] {
            let cut = &text.as_bytes()[..text.len().saturating_sub(1)];
            assert!(nats(text.as_bytes()).len() + nats(cut).len() <= 4, "{text}");
        }
    }
}
