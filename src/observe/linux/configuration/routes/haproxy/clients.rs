//! The clients that the rules of HAProxy admit.
//!
//! A rule restricts the clients only if it refuses everyone who is not listed, such as `deny unless allowed` or `deny
//! if !allowed`. A rule that tests the path, the method or the rate is no restriction, because everyone can still send
//! other requests.

use std::collections::HashMap;

use crate::model::{RelayRestriction, RestrictedBy};

/// The clients that a section or a rule admits, from the most to the fewest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Admitted {
    #[default]
    Everyone,
    Listed(RestrictedBy),
    Nobody,
}

impl Admitted {
    pub(super) fn restriction(self) -> Option<RelayRestriction> {
        match self {
            Admitted::Listed(by) => Some(RelayRestriction { by, file: None }),
            Admitted::Everyone | Admitted::Nobody => None,
        }
    }
}

/// Settings that make a test of the client worthless. They are searched in the whole file.
#[derive(Clone, Copy, Default)]
pub(super) struct Trust {
    /// Whether the source address comes from a header or a rule, so that the client may choose it.
    pub(super) has_other_source: bool,
    /// Whether a certificate is accepted although its verification failed.
    pub(super) ignores_certificates: bool,
}

impl Trust {
    pub(super) fn of(lines: &[Vec<String>]) -> Self {
        let has = |named: &[&str]| lines.iter().flatten().any(|word| named.contains(&word.as_str()));
        Trust {
            has_other_source: has(&[
                "accept-proxy",
                "accept-netscaler-cip",
                "expect-proxy",
                "expect-netscaler-cip",
                "set-src",
            ]),
            ignores_certificates: has(&["crt-ignore-err", "ca-ignore-err"]),
        }
    }
}

/// The rules and the named tests (`acl`) of a section.
#[derive(Clone, Default)]
pub(super) struct Rules<'t> {
    acls: HashMap<&'t str, Vec<&'t [String]>>,
    lines: Vec<&'t [String]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Test {
    /// Only listed clients pass the test.
    Clients(RestrictedBy),
    Always,
    /// Not a test of the client, or not understood.
    Other,
}

struct Literal {
    is_negated: bool,
    test: Test,
}

/// A condition in the form `a b or c d`: either `a` and `b` must pass, or `c` and `d`.
type Alternatives = Vec<Vec<Literal>>;

enum Condition {
    None,
    If(Alternatives),
    Unless(Alternatives),
}

impl<'t> Rules<'t> {
    /// Adds a line that begins with `acl`, `http-request` or `tcp-request`.
    pub(super) fn add(&mut self, line: &'t [String]) {
        match line {
            [first, name, test @ ..] if first == "acl" => self.acls.entry(name).or_default().push(test),
            _ => self.lines.push(line),
        }
    }

    /// Returns the clients that the rules admit. HAProxy reads the rules about HTTP only in the mode `http`.
    pub(super) fn admitted(&self, is_http: bool, trust: Trust) -> Admitted {
        let tcp = ["connection", "session", "content"].map(|list| ["tcp-request", list]);
        let of_tcp = tcp.map(|list| self.admitted_by(&list, trust)).into_iter().max();
        let of_http = is_http.then(|| self.admitted_by(&["http-request"], trust));
        of_tcp.into_iter().chain(of_http).max().unwrap_or_default()
    }

    /// Returns the clients that one list of rules admits. The first rule that accepts or refuses a client decides.
    fn admitted_by(&self, list: &[&str], trust: Trust) -> Admitted {
        const REFUSALS: [&str; 8] =
            ["deny", "auth", "reject", "tarpit", "silent-drop", "return", "redirect", "block"];
        let (mut admitted, mut accepted) = (Admitted::Everyone, Admitted::Nobody);
        for line in &self.lines {
            let Some((begin, [action, rest @ ..])) = line.split_at_checked(list.len()) else { continue };
            if begin != list {
                continue;
            }
            let condition = self.condition(rest, trust);
            match action.as_str() {
                action if REFUSALS.contains(&action) => {
                    let left = condition.as_ref().and_then(Condition::left_by_a_refusal);
                    admitted = admitted.max(left.unwrap_or_default().min(accepted));
                }
                "accept" | "allow" => match condition.as_ref().and_then(Condition::met_only_by) {
                    Some(clients) => accepted = accepted.min(clients),
                    // This rule may accept everyone, so the rules after it restrict nobody.
                    None => break,
                },
                _ => {}
            }
        }
        admitted
    }

    /// Returns the clients that meet the condition of a `use_backend` line.
    pub(super) fn meeting(&self, words: &[String], trust: Trust) -> Admitted {
        let condition = self.condition(words, trust);
        condition.as_ref().and_then(Condition::met_only_by).unwrap_or_default()
    }

    /// Returns the condition at the end of a line; `None` if it is not understood.
    fn condition(&self, words: &[String], trust: Trust) -> Option<Condition> {
        if words.iter().any(|word| word.contains(VARIABLE)) {
            return None;
        }
        let mut depth = 0_usize;
        let mut begin = None;
        for (at, word) in words.iter().enumerate() {
            match word.trim_start_matches('!') {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "if" | "unless" if depth == 0 => begin = Some(at),
                _ => {}
            }
        }
        let Some(begin) = begin else { return Some(Condition::None) };
        let alternatives = self.alternatives(words.get(begin + 1..)?, trust)?;
        Some(if words[begin] == "if" { Condition::If } else { Condition::Unless }(alternatives))
    }

    fn alternatives(&self, words: &[String], trust: Trust) -> Option<Alternatives> {
        let (mut found, mut is_negated) = (vec![Vec::new()], false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.trim_start_matches('!');
            is_negated ^= (word.len() - name.len()) % 2 == 1;
            let test = match name {
                "" => continue,
                "or" | "||" | "OR" => {
                    found.push(Vec::new());
                    continue;
                }
                "{" => {
                    let inner: Vec<String> =
                        words.by_ref().take_while(|word| *word != "}").cloned().collect();
                    test(&inner, trust)
                }
                name => self.named(name, trust),
            };
            found.last_mut()?.push(Literal { is_negated, test });
            is_negated = false;
        }
        found.iter().all(|tests| !tests.is_empty()).then_some(found)
    }

    /// Returns the test with this name. A client that passes one of its lines passes the test, so the weakest line
    /// decides.
    fn named(&self, name: &str, trust: Trust) -> Test {
        let Some(lines) = self.acls.get(name) else {
            return match name {
                "TRUE" => Test::Always,
                "LOCALHOST" => clients(RestrictedBy::Addresses, !trust.has_other_source),
                _ => Test::Other,
            };
        };
        let tests = lines.iter().map(|line| match test(line, trust) {
            Test::Clients(by) => Some(by),
            Test::Always | Test::Other => None,
        });
        let weakest = tests.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
        weakest.map_or(Test::Other, Test::Clients)
    }
}

impl Condition {
    /// Returns the clients that may be left if a rule refuses everyone who meets this condition. `None` if anyone may
    /// be left.
    fn left_by_a_refusal(&self) -> Option<Admitted> {
        match self {
            Condition::None => Some(Admitted::Nobody),
            Condition::If(alternatives) => met_by_the_rest(alternatives),
            Condition::Unless(alternatives) => met_only_by(alternatives),
        }
    }

    /// Returns the clients that can meet the condition. `None` if anyone may meet it.
    fn met_only_by(&self) -> Option<Admitted> {
        match self {
            Condition::None => None,
            Condition::If(alternatives) => met_only_by(alternatives),
            Condition::Unless(alternatives) => met_by_the_rest(alternatives),
        }
    }
}

/// Returns the clients that can meet one of the alternatives. `None` if an alternative has no test of the client.
fn met_only_by(alternatives: &Alternatives) -> Option<Admitted> {
    let of_one = |tests: &Vec<Literal>| {
        let clients = tests.iter().filter_map(|literal| match literal {
            Literal { is_negated: false, test: Test::Clients(by) } => Some(Admitted::Listed(*by)),
            _ => None,
        });
        clients.max()
    };
    alternatives.iter().map(of_one).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Returns the clients that may fail all alternatives; `None` if anyone may. For example, everyone who is not in the
/// list `office` meets the alternative `!office`. So only the clients in this list may fail.
fn met_by_the_rest(alternatives: &Alternatives) -> Option<Admitted> {
    let of_one = |tests: &Vec<Literal>| {
        let clients = tests.iter().map(|literal| match literal {
            Literal { is_negated: true, test: Test::Clients(by) } => Some(Admitted::Listed(*by)),
            Literal { is_negated: false, test: Test::Always } => Some(Admitted::Nobody),
            _ => None,
        });
        clients.collect::<Option<Vec<_>>>()?.into_iter().min()
    };
    alternatives.iter().filter_map(of_one).max()
}

const fn clients(by: RestrictedBy, counts: bool) -> Test {
    if counts { Test::Clients(by) } else { Test::Other }
}

fn test(words: &[String], trust: Trust) -> Test {
    let Some((criterion, values)) = words.split_first() else { return Test::Other };
    let by_login = clients(RestrictedBy::Credentials, true);
    match criterion.as_str() {
        "src" => clients(RestrictedBy::Addresses, !trust.has_other_source && is_list(values)),
        "always_true" => Test::Always,
        "ssl_c_used" | "ssl_fc_has_crt" if values.is_empty() => {
            clients(RestrictedBy::Credentials, !trust.ignores_certificates)
        }
        name if name.starts_with("http_auth(") && name.ends_with(')') && values.is_empty() => by_login,
        name if name.starts_with("http_auth_group(") && name.ends_with(')') && !values.is_empty() => by_login,
        _ => Test::Other,
    }
}

/// Returns whether the values of a test are a list of addresses or a file with such a list.
fn is_list(values: &[String]) -> bool {
    let mut values = values.iter();
    let mut is_filled = false;
    while let Some(value) = values.next() {
        match value.as_str() {
            "-f" => is_filled |= values.next().is_some(),
            "-n" | "-i" | "--" => {}
            address if address.starts_with('-') || address.contains(VARIABLE) => return false,
            address => {
                // A prefix of fewer than 4 bits contains a large part of all addresses.
                let is_short = |bits: &str| match bits.parse::<u8>() {
                    Ok(bits) => bits < 4,
                    Err(_) => !bits.starts_with("255."),
                };
                if address.split_once('/').is_some_and(|(_, bits)| is_short(bits)) {
                    return false;
                }
                is_filled = true;
            }
        }
    }
    is_filled
}

/// Stands for the value of an environment variable, which is not known.
pub(super) const VARIABLE: char = '\0';

/// Splits a line into words, without its comment; `None` if a quote has no end.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let (mut found, mut word) = (Vec::new(), None::<String>);
    let mut quote = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') => break,
            (None, c) if c.is_ascii_whitespace() => found.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(rest.next()),
            (None | Some('"'), '$') => word.get_or_insert_default().push(VARIABLE),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    quote.is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::Admitted::{Everyone, Listed, Nobody};
    use super::RestrictedBy::{Addresses, Credentials};
    use super::*;

    fn admitted(text: &str) -> Admitted {
        let lines: Vec<Vec<String>> = text.lines().map(|line| words(line).unwrap()).collect();
        let mut rules = Rules::default();
        lines.iter().for_each(|line| rules.add(line));
        rules.admitted(true, Trust::of(&lines))
    }

    #[test]
    fn rules_that_refuse_everyone_else() {
        const OFFICE: &str = "acl office src 10.0.0.0/8 192.168.1.1\n";
        for (text, is) in [
            ("http-request deny", Nobody),
            ("tcp-request connection reject if TRUE", Nobody),
            ("tcp-request content inspect-delay 5s", Everyone),
            // Only some requests or some clients are refused.
            ("http-request deny if { path_beg /admin }", Everyone),
            ("http-request return status 200 if { path /health }", Everyone),
            ("http-request deny if { src 192.0.2.1 }", Everyone),
            ("http-request deny unless { method GET }", Everyone),
            ("http-request deny if office", Everyone),
            ("http-request deny if { path /admin } !office", Everyone),
            ("http-request deny unless office or { path /public }", Everyone),
            ("http-request deny if !unknown", Everyone),
            ("tcp-request connection reject if { src_conn_rate gt 10 }", Everyone),
            ("http-request redirect scheme https unless { ssl_fc }", Everyone),
            // Everyone else is refused.
            ("http-request deny unless office", Listed(Addresses)),
            ("http-request deny if !office", Listed(Addresses)),
            ("http-request deny if ! office", Listed(Addresses)),
            ("http-request deny if !office !LOCALHOST", Listed(Addresses)),
            ("http-request deny if { path /x } or !office", Listed(Addresses)),
            ("http-request deny unless office { path /public }", Listed(Addresses)),
            ("tcp-request connection reject if !{ src 10.0.0.0/8 }", Listed(Addresses)),
            ("tcp-request content reject unless { src -f /etc/haproxy/allowed }", Listed(Addresses)),
            ("http-request auth realm Ask\\ if\\ unsure unless { http_auth(users) }", Listed(Credentials)),
            (
                "http-request auth realm \"# x\" unless { http_auth_group(users) ops } or office",
                Listed(Addresses),
            ),
            ("http-request deny unless { ssl_fc_has_crt }", Listed(Credentials)),
            // The first rule that decides counts.
            ("http-request allow if office\nhttp-request deny", Listed(Addresses)),
            ("http-request allow if { path /public }\nhttp-request deny", Everyone),
            ("http-request allow\nhttp-request deny unless office", Everyone),
            ("tcp-request content accept if HTTP\nhttp-request deny unless office", Listed(Addresses)),
            // The list contains everyone, or is not known.
            ("http-request deny unless { src 0.0.0.0/0 }", Everyone),
            ("http-request deny unless { src 10.0.0.1 0.0.0.0/0.0.0.0 }", Everyone),
            ("http-request deny unless { src \"$OFFICE\" }", Everyone),
            ("http-request deny unless { src,ipmask(8) 10.0.0.0 }", Everyone),
            ("http-request deny unless { hdr_ip(x-forwarded-for) 10.0.0.0/8 }", Everyone),
            ("acl office path /public\nhttp-request deny unless office", Everyone),
            ("tcp-request connection set-src hdr(x)\nhttp-request deny unless office", Everyone),
            ("bind :1 ssl crt-ignore-err all\nhttp-request deny unless { ssl_c_used }", Everyone),
        ] {
            assert_eq!(admitted(&format!("{OFFICE}{text}")), is, "{text}");
        }
        let lines = [words("http-request deny").unwrap()];
        let mut rules = Rules::default();
        rules.add(&lines[0]);
        assert_eq!(rules.admitted(false, Trust::default()), Everyone, "the mode is not http");
    }

    #[test]
    fn words_of_a_line() {
        for (line, is) in [
            (" bind :1 # x", Some(&["bind", ":1"][..])),
            ("a 'b # c' \"d\\\" e\" f\\ g\\#h#i", Some(&["a", "b # c", "d\" e", "f g#h"])),
            ("a '' '$b' $c", Some(&["a", "", "$b", "\0c"])),
            ("a \"b", None),
        ] {
            let found = words(line);
            let found: Option<Vec<&str>> = found.as_ref().map(|all| all.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), is, "{line}");
        }
    }
}
