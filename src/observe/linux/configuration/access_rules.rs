//! Finds out which clients may use a proxy, from the access rules in `squid.conf` and `tinyproxy.conf`.
//!
//! A rule may have a condition that is not understood. If such a rule refuses clients, it is ignored. If it allows
//! clients, the result is unknown.

use std::collections::HashMap;

use super::addresses::{Addresses, MOST_RANGES};
use super::lines;
use crate::model::{AccessSetting, AdmittedClients};

/// A file with more rules is not judged; real files have at most a few dozen.
const MOST_RULES: usize = 256;
/// A file with more conditions in one rule is not judged; real rules have one to five.
const MOST_CONDITIONS: usize = 64;
/// The maximum length, in characters, of the text of the deciding rule.
const LONGEST_TEXT: usize = 60;

/// An access rule. The first rule whose conditions are all met applies.
struct Rule {
    allows: bool,
    /// The client addresses to which the rule applies.
    clients: Addresses,
    /// Whether the rule has conditions on anything but the address of the client.
    is_conditional: bool,
    asks_for_login: bool,
    text: String,
}

/// Returns which clients the rules admit; `None` if this is unknown. `default` is the decision for a client that no
/// rule matches.
fn decide(rules: &[Rule], default: bool) -> Option<AccessSetting> {
    let mut rest = Addresses::all();
    let [mut admitted, mut logged_in, mut undecided] = [(); 3].map(|()| Addresses::default());
    let outside = Addresses::loopback().not();
    let (mut first_allowed, mut last_denied) = (None, None);
    for rule in rules {
        let clients = rest.and(&rule.clients);
        let others = clients.and(&outside);
        if rule.allows && !others.is_empty() {
            let set = match (rule.is_conditional, rule.asks_for_login) {
                (false, _) => &mut admitted,
                (true, true) => &mut logged_in,
                (true, false) => &mut undecided,
            };
            *set = set.or(&others);
            first_allowed.get_or_insert(rule.text.as_str());
        }
        if !rule.is_conditional {
            if !rule.allows && others.is_wide() {
                last_denied = Some(rule.text.as_str());
            }
            rest = rest.and(&rule.clients.not());
        }
    }
    if default {
        admitted = admitted.or(&rest.and(&outside));
    }
    let (clients, text) = if admitted.or(&logged_in).or(&undecided).is_empty() {
        (AdmittedClients::Local, last_denied.or(rules.first().map(|rule| rule.text.as_str()))?)
    } else if admitted.is_wide() {
        (AdmittedClients::Anyone, first_allowed.unwrap_or("no rule denies"))
    } else if undecided.is_wide() {
        return None;
    } else if logged_in.is_wide() {
        (AdmittedClients::Authenticated, first_allowed?)
    } else {
        (AdmittedClients::Listed, first_allowed?)
    };
    Some(AccessSetting { port: None, setting: text.chars().take(LONGEST_TEXT).collect(), clients })
}

/// A named list of conditions in `squid.conf`: `acl NAME TYPE VALUE...`.
enum Acl {
    Clients(Addresses),
    Login,
    Other,
}

/// Parses the text of `squid.conf`. The included files are already inserted.
pub(super) fn squid(bytes: &[u8]) -> Vec<AccessSetting> {
    let lines = lines::squid(&String::from_utf8_lossy(bytes));
    let rules = lines.and_then(|lines| squid_rules(&lines));
    rules.and_then(|rules| decide(&rules, is_default_allow(&rules))).into_iter().collect()
}

/// Returns whether Squid admits a client that no rule matches. Squid then does the opposite of the last rule.
fn is_default_allow(rules: &[Rule]) -> bool {
    rules.last().is_some_and(|rule| !rule.allows)
}

fn squid_rules(lines: &[String]) -> Option<Vec<Rule>> {
    let mut acls: HashMap<String, Acl> = HashMap::new();
    acls.insert("all".to_owned(), Acl::Clients(Addresses::all()));
    acls.insert("localhost".to_owned(), Acl::Clients(Addresses::loopback()));
    let (mut rules, mut ranges) = (Vec::new(), 0);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        match &words[..] {
            ["acl", name, kind, values @ ..] => {
                let acl = acl(kind, values, &mut ranges)?;
                match (acls.get_mut(&name.to_ascii_lowercase()), acl) {
                    (Some(Acl::Clients(known)), Acl::Clients(more)) => *known = known.or(&more),
                    (Some(known), Acl::Other) => *known = Acl::Other,
                    (Some(_), _) => {}
                    (None, acl) => drop(acls.insert(name.to_ascii_lowercase(), acl)),
                }
            }
            ["http_access", action @ ("allow" | "deny"), names @ ..]
                if (1..=MOST_CONDITIONS).contains(&names.len()) =>
            {
                rules.push(squid_rule(*action == "allow", names, &acls, words.join(" ")));
            }
            // The result is unknown in these cases:
            // - an `include` line whose file was not inserted
            // - a condition on the configuration
            // - a rule of another form
            // - a setting that lets clients claim another address
            ["include" | "if" | "else" | "endif" | "http_access" | "acl", ..] => return None,
            ["follow_x_forwarded_for" | "proxy_protocol_access", "allow", ..] => return None,
            _ => {}
        }
        if rules.len() > MOST_RULES || ranges > MOST_RANGES {
            return None;
        }
    }
    Some(rules)
}

/// Parses the values of an `acl` line; `None` if there are more ranges than the limit.
fn acl(kind: &str, values: &[&str], ranges: &mut usize) -> Option<Acl> {
    match kind {
        "src" => {
            let mut clients = Addresses::default();
            for value in values {
                let Some(more) = squid_addresses(value) else { return Some(Acl::Other) };
                *ranges += more.ranges();
                if *ranges > MOST_RANGES {
                    return None;
                }
                clients = clients.or(&more);
            }
            Some(Acl::Clients(clients))
        }
        "proxy_auth" => Some(Acl::Login),
        _ => Some(Acl::Other),
    }
}

fn squid_addresses(value: &str) -> Option<Addresses> {
    match value {
        "all" => Some(Addresses::all()),
        "none" => Some(Addresses::default()),
        _ => Addresses::parse(value),
    }
}

fn squid_rule(allows: bool, names: &[&str], acls: &HashMap<String, Acl>, text: String) -> Rule {
    let mut rule =
        Rule { allows, clients: Addresses::all(), is_conditional: false, asks_for_login: false, text };
    for name in names {
        let (name, is_negated) = name.strip_prefix('!').map_or((*name, false), |name| (name, true));
        match acls.get(&name.to_ascii_lowercase()) {
            Some(Acl::Clients(clients)) if is_negated => rule.clients = rule.clients.and(&clients.not()),
            Some(Acl::Clients(clients)) => rule.clients = rule.clients.and(clients),
            Some(Acl::Login) if !is_negated => (rule.is_conditional, rule.asks_for_login) = (true, true),
            _ => rule.is_conditional = true,
        }
    }
    rule
}

/// Parses `tinyproxy.conf`. The first matching `Allow` or `Deny` applies. If the file has rules but none matches, the
/// client is refused. A file without rules admits every client.
pub(super) fn tinyproxy(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let (mut rules, mut asks_for_login) = (Vec::new(), false);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let [directive, value, ..] = words[..] else { continue };
        match directive.to_ascii_lowercase().as_str() {
            "basicauth" => asks_for_login = true,
            directive @ ("allow" | "deny") => {
                let clients = Addresses::parse(value.trim_matches('"'));
                rules.push(Rule {
                    allows: directive == "allow",
                    // The address of a host name or domain is not known, so the rule may apply to any client.
                    is_conditional: clients.is_none(),
                    clients: clients.unwrap_or_else(Addresses::all),
                    asks_for_login: false,
                    text: words.join(" "),
                });
            }
            _ => {}
        }
        if rules.len() > MOST_RULES {
            return Vec::new();
        }
    }
    let decided = decide(&rules, rules.is_empty());
    let with_login = |setting: AccessSetting| match setting.clients {
        AdmittedClients::Anyone if asks_for_login => AccessSetting {
            setting: "BasicAuth".to_owned(),
            clients: AdmittedClients::Authenticated,
            ..setting
        },
        _ => setting,
    };
    decided.map(with_login).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Option<(AdmittedClients, String)>;

    fn found(settings: Vec<AccessSetting>) -> Found {
        settings.into_iter().next().map(|one| (one.clients, one.setting))
    }

    /// Returns the rules of Debian's `squid.conf` and one more line.
    fn debian(more: &str) -> String {
        format!(
            "acl localnet src 0.0.0.1-0.255.255.255\t# RFC 1122\nacl localnet src 10.0.0.0/8\nacl localnet src 172.16.0.0/12\n\
             acl localnet src 192.168.0.0/16 fc00::/7\nacl SSL_ports port 443\nacl Safe_ports port 80\n\
             http_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\nhttp_access allow localhost manager\n\
             http_access deny manager\n#http_access allow localnet\n{more}\nhttp_access allow localhost\nhttp_access deny all\n"
        )
    }

    #[test]
    fn rules_of_squid() {
        use AdmittedClients::{Anyone, Authenticated, Listed, Local};
        let debian_itself = debian("logfile_rotate 0");
        let (private, everyone) = (debian("http_access allow localnet"), debian("http_access allow all"));
        for (name, text, is) in [
            ("Debian", debian_itself.as_str(), Some((Local, "http_access deny all"))),
            ("Debian, private networks", &private, Some((Listed, "http_access allow localnet"))),
            ("Debian, open", &everyone, Some((Anyone, "http_access allow all"))),
            ("not included", &debian("include /etc/squid/conf.d/*.conf"), None),
            ("no rules", "http_port 3128\n", None),
            ("one rule", "http_access allow localhost\n", Some((Local, "http_access allow localhost"))),
            ("the opposite of the last", "http_access deny localhost\n", Some((Anyone, "no rule denies"))),
            (
                "a rule that denies nobody outside first",
                "http_access deny localhost\nhttp_access allow all\n",
                Some((Anyone, "http_access allow all")),
            ),
            ("another condition", "http_access allow CONNECT\nhttp_access deny all\n", None),
            (
                "a condition of deny refuses nobody",
                "http_access deny CONNECT\nhttp_access allow all\n",
                Some((Anyone, "http_access allow all")),
            ),
            (
                "a login",
                "acl users proxy_auth REQUIRED\nhttp_access allow users\nhttp_access deny all\n",
                Some((Authenticated, "http_access allow users")),
            ),
            (
                "no login",
                "acl users proxy_auth REQUIRED\nhttp_access allow !users\nhttp_access deny all\n",
                None,
            ),
            (
                "one customer",
                "acl c src 203.0.113.7\nhttp_access allow c\nhttp_access deny all\n",
                Some((Listed, "http_access allow c")),
            ),
            (
                "half of the internet",
                "acl c src 0.0.0.0/1\nhttp_access allow c\nhttp_access deny all\n",
                Some((Anyone, "http_access allow c")),
            ),
            (
                "everyone in parts",
                "acl c src 0.0.0.0/1 128.0.0.0/1\nhttp_access deny c\nhttp_access allow all\n",
                Some((Anyone, "http_access allow all")),
            ),
            (
                "everyone but one network",
                "acl c src 10.0.0.0/8\nhttp_access allow !c\nhttp_access deny all\n",
                Some((Anyone, "http_access allow !c")),
            ),
            (
                "both conditions",
                "acl a src 10.0.0.0/8\nacl b src 11.0.0.0/8\nhttp_access allow a b\nhttp_access deny all\n",
                Some((Local, "http_access deny all")),
            ),
            (
                "addresses of a file",
                "acl c src \"/etc/squid/c\"\nhttp_access allow c\nhttp_access deny all\n",
                None,
            ),
            (
                "the name of a host",
                "acl c src example.org\nhttp_access allow c\nhttp_access deny all\n",
                None,
            ),
            ("an unknown list", "http_access allow c\nhttp_access deny all\n", None),
            (
                "a list that is made wider",
                "acl localhost src 0.0.0.0/0\nhttp_access allow localhost\nhttp_access deny all\n",
                Some((Anyone, "http_access allow localhost")),
            ),
            (
                "a mask",
                "acl c src 10.0.0.0/255.0.0.0\nhttp_access allow c\nhttp_access deny all\n",
                Some((Listed, "http_access allow c")),
            ),
            ("a continued line", "http_access deny \\\n all\n", Some((Local, "http_access deny all"))),
            (
                "a comment with a backslash",
                "# C:\\squid\\\nhttp_access allow all\nhttp_access deny all\n",
                Some((Anyone, "http_access allow all")),
            ),
            (
                "a comment between continued lines",
                "http_access deny \\\n# x\n\n all\n",
                Some((Local, "http_access deny all")),
            ),
            ("a condition of the file", "if true\nhttp_access deny all\nendif\n", None),
            (
                "addresses that clients claim",
                "follow_x_forwarded_for allow all\nhttp_access deny all\n",
                None,
            ),
        ] {
            let is = is.map(|(clients, text)| (clients, text.to_owned()));
            assert_eq!(found(squid(text.as_bytes())), is, "{name}");
        }
    }

    #[test]
    fn rules_of_tinyproxy() {
        use AdmittedClients::{Anyone, Authenticated, Listed, Local};
        for (name, text, is) in [
            ("Debian", "Port 8888\nAllow 127.0.0.1\nAllow ::1\n", Some((Local, "Allow 127.0.0.1"))),
            ("a comment", "#Allow 127.0.0.1\n", Some((Anyone, "no rule denies"))),
            ("private", "allow 127.0.0.1\nALLOW 192.168.0.0/16\n", Some((Listed, "ALLOW 192.168.0.0/16"))),
            ("open", "Allow 127.0.0.1\nAllow 0.0.0.0/0\n", Some((Anyone, "Allow 0.0.0.0/0"))),
            ("the first that fits", "Deny 10.0.0.0/8\nAllow 10.0.0.0/8\n", Some((Local, "Deny 10.0.0.0/8"))),
            ("a domain", "Allow .example.org\n", None),
            ("a login", "BasicAuth user password\n", Some((Authenticated, "BasicAuth"))),
            (
                "a login from this machine",
                "BasicAuth a b\nAllow 127.0.0.1\n",
                Some((Local, "Allow 127.0.0.1")),
            ),
        ] {
            let is = is.map(|(clients, text)| (clients, text.to_owned()));
            assert_eq!(found(tinyproxy(text.as_bytes())), is, "{name}");
        }
    }

    #[test]
    fn a_hostile_file_is_not_judged() {
        let many_rules = "http_access allow localhost\n".repeat(MOST_RULES + 1);
        let many_ranges: String =
            (0..=MOST_RANGES).map(|i| format!("acl c src 10.{}.{}.0/32\n", i / 256, i % 256)).collect();
        let allowed = "Allow 127.0.0.1\n".repeat(MOST_RULES + 1);
        assert!(squid(many_rules.as_bytes()).is_empty() && tinyproxy(allowed.as_bytes()).is_empty());
        let many_conditions = format!("http_access deny{}\n", " all".repeat(MOST_CONDITIONS + 1));
        assert!(squid(many_conditions.as_bytes()).is_empty());
        assert!(squid(format!("{many_ranges}http_access deny all\n").as_bytes()).is_empty());
        for text in [
            "acl",
            "acl a",
            "http_access",
            "http_access allow",
            "\\\n",
            "acl a src -",
            "acl a src 1.1.1.1/99",
        ] {
            assert!(squid(text.as_bytes()).len() + tinyproxy(text.as_bytes()).len() <= 2, "{text}");
        }
    }
}
