//! Finds the servers of nginx on which everyone can write (`dav_methods`).

use super::super::include;
use super::{MOST_SETTINGS, anyone, directory};
use crate::model::AccessSetting;

/// The separator between the words of a statement whose quotes were removed.
const SEPARATOR: char = '\u{1f}';
const WRITING_METHODS: [&str; 4] = ["PUT", "DELETE", "COPY", "MOVE"];
/// The maximum depth of blocks; real files have three to five.
const DEEPEST: usize = 32;

/// `include` of nginx. A relative path is below the directory of the main file.
pub(in super::super) const NGINX_INCLUDE: include::Syntax = include::Syntax {
    lines: statements,
    words: |line| Some(line.strip_suffix(';')?.split(SEPARATOR).map(str::to_owned).collect()),
    base: |path, _| directory(path).map(str::to_owned),
};

/// Returns the statements of a file, each with its words and its end: `;`, `{` or `}`. Returns `None` if a quote or a
/// statement has no end.
fn statements(text: &str) -> Option<Vec<String>> {
    let (mut found, mut words) = (Vec::new(), Vec::<String>::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_ascii_whitespace() => {}
            '#' => drop(rest.by_ref().find(|c| *c == '\n')),
            ';' | '{' | '}' => {
                let is_lua = c == '{' && words.first().is_some_and(|word| word.ends_with("_by_lua_block"));
                let text = std::mem::take(&mut words).join(&SEPARATOR.to_string()).replace('\n', " ");
                if is_lua {
                    skip_block(&mut rest)?;
                }
                let end = if is_lua { ';' } else { c };
                found.push(format!("{text}{end}"));
            }
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                loop {
                    match rest.next()? {
                        '\\' => word.extend(rest.next()),
                        c if c == quote => break,
                        c => word.push(c),
                    }
                }
                words.push(word);
            }
            first => {
                let mut word = first.to_string();
                // A variable such as `${name}` has braces.
                while let Some(c) = rest
                    .next_if(|c| !c.is_ascii_whitespace() && *c != ';' && (*c != '{' || word.ends_with('$')))
                {
                    word.push(c);
                    if c == '\\' {
                        word.extend(rest.next());
                    }
                }
                words.push(word);
            }
        }
    }
    words.is_empty().then_some(found)
}

/// Skips the code of a block up to its closing brace.
fn skip_block(rest: &mut impl Iterator<Item = char>) -> Option<()> {
    let mut open = 1;
    while open > 0 {
        match rest.next()? {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
    }
    Some(())
}

/// A block, with the settings that it has or inherits.
#[derive(Clone, Default)]
struct Block {
    name: String,
    /// The value of `dav_methods`, if it lets clients write or delete files.
    methods: Option<String>,
    /// Whether `allow` or `deny` is in this block. If so, it does not inherit them.
    has_addresses: bool,
    /// The first rule about every address: whether it allows or denies. Other rules are only about some addresses.
    allows_everyone: Option<bool>,
    asks_for_login: bool,
    /// Whether an allowed address or a login is enough (`satisfy any`).
    one_is_enough: bool,
    /// Whether something else decides about the requests: another handler, a condition, or an included file that was
    /// not read.
    is_other: bool,
    /// Whether another location of this server serves every path that this block would serve.
    has_root_location: bool,
    ports: Vec<u16>,
}

impl Block {
    fn inside(&self, name: &str) -> Self {
        Block {
            name: name.to_owned(),
            has_addresses: false,
            has_root_location: false,
            ports: Vec::new(),
            ..self.clone()
        }
    }

    /// Returns the methods by which clients can write or delete files.
    fn writing_methods(&self) -> impl Iterator<Item = &str> {
        let words = self.methods.as_deref().unwrap_or_default().split(' ');
        words.filter(|word| WRITING_METHODS.contains(word))
    }

    /// Returns whether some clients may be refused. A rule that refuses only some addresses does not count.
    fn refuses(&self) -> bool {
        let by_address = self.allows_everyone == Some(false);
        self.is_other
            || match self.one_is_enough && self.asks_for_login {
                true => self.allows_everyone != Some(true),
                false => by_address || self.asks_for_login,
            }
    }

    fn set(&mut self, words: &[&str]) {
        let [name, values @ ..] = words else { return };
        match *name {
            "dav_methods" => {
                let writes = values.iter().any(|method| WRITING_METHODS.contains(method));
                self.methods = writes.then(|| words.join(" "));
            }
            "allow" | "deny" => {
                if !self.has_addresses {
                    (self.has_addresses, self.allows_everyone) = (true, None);
                }
                if matches!(values.first(), Some(&("all" | "0.0.0.0/0"))) {
                    self.allows_everyone.get_or_insert(*name == "allow");
                }
            }
            "satisfy" => self.one_is_enough = values.first() == Some(&"any"),
            // `off` removes the login of an outer block.
            name if name.starts_with("auth_") && !is_detail(name) => {
                self.asks_for_login = values.first() != Some(&"off");
            }
            "ssl_verify_client" => self.asks_for_login |= values.first() == Some(&"on"),
            "listen" if self.name == "server" => self.ports.extend(ports(values)),
            "include" | "return" | "rewrite" | "internal" | "perl" | "js_content" | "modsecurity" => {
                self.is_other = true;
            }
            name if name.ends_with("_pass") || name.contains("_by_lua") || name.starts_with("js_access") => {
                self.is_other = true;
            }
            _ => {}
        }
    }
}

/// Returns whether a directive only gives details of a login. Another directive switches the login on.
fn is_detail(name: &str) -> bool {
    name == "auth_delay"
        || name.ends_with("_user_file")
        || name.ends_with("_set")
        || name.contains("_key")
        || name.contains("_jwt_")
}

fn ports(values: &[&str]) -> Vec<u16> {
    let Some(address) = values.first().filter(|address| !address.starts_with("unix:")) else {
        return Vec::new();
    };
    let last = match address.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port,
        _ => address,
    };
    let range = last.split_once('-').unwrap_or((last, last));
    match (range.0.parse::<u16>(), range.1.parse::<u16>()) {
        (Ok(low), Ok(high)) => (low..=high).take(MOST_SETTINGS).collect(),
        // The address has no port.
        _ => vec![80],
    }
}

pub(in super::super) fn nginx(bytes: &[u8]) -> Vec<AccessSetting> {
    find(&String::from_utf8_lossy(bytes)).unwrap_or_default()
}

/// Returns the settings of a file whose includes were inserted; `None` if its blocks do not match.
fn find(text: &str) -> Option<Vec<AccessSetting>> {
    let text = if text.contains(SEPARATOR) { text.to_owned() } else { statements(text)?.join("\n") };
    let mut settings = Vec::new();
    // A directive also applies to the inner blocks above it. So all directives of a block are read before its inner
    // blocks.
    judge(&tree(&mut text.lines(), 0)?, &Block::default(), &mut settings);
    settings.truncate(MOST_SETTINGS);
    Some(settings)
}

/// A statement, with the statements of its block.
struct Statement<'t> {
    words: Vec<&'t str>,
    block: Option<Vec<Statement<'t>>>,
}

fn tree<'t>(lines: &mut std::str::Lines<'t>, depth: usize) -> Option<Vec<Statement<'t>>> {
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let (words, end) = line.split_at_checked(line.len().checked_sub(1)?)?;
        let words: Vec<&str> = words.split(SEPARATOR).collect();
        match end {
            ";" => found.push(Statement { words, block: None }),
            "{" if depth < DEEPEST => {
                let block = Some(tree(lines, depth + 1)?);
                found.push(Statement { words, block });
            }
            "}" if depth > 0 => return Some(found),
            _ => return None,
        }
    }
    (depth == 0).then_some(found)
}

/// Judges a block: returns whether everyone can write in it or in an inner block. Adds a setting for each port of a
/// server in which everyone can write.
fn judge(statements: &[Statement<'_>], outer: &Block, settings: &mut Vec<AccessSetting>) -> bool {
    let mut block = outer.clone();
    for statement in statements.iter().filter(|statement| statement.block.is_none()) {
        block.set(&statement.words);
    }
    if block.name == "server" && block.ports.is_empty() {
        block.ports.push(80);
    }
    let blocks = statements.iter().filter_map(|one| Some((&one.words[..], one.block.as_deref()?)));
    // A condition may refuse clients.
    block.is_other |= blocks.clone().any(|(words, _)| matches!(words.first(), Some(&"if")));
    for (words, inner) in blocks.clone().filter(|(words, _)| words.first() == Some(&"limit_except")) {
        // The methods that the block does not limit.
        let is_free = |method: &&str| words.contains(method);
        let refuses = !inner.is_empty();
        block.is_other |= refuses && !block.writing_methods().any(|method| is_free(&method));
    }
    block.has_root_location =
        blocks.clone().any(|(words, _)| matches!(words, ["location", "/"] | ["location", "^~", "/"]));
    let mut is_open = false;
    for (words, inner) in blocks {
        if let [name @ ("http" | "server" | "location"), ..] = words {
            is_open |= judge(inner, &block.inside(name), settings);
        }
    }
    let serves = block.name == "location" || (block.name == "server" && !block.has_root_location);
    is_open |= serves && !block.refuses() && block.methods.is_some();
    if block.name == "server" && is_open {
        let methods = methods_of(statements).or(block.methods).unwrap_or_default();
        settings.extend(block.ports.iter().map(|port| anyone(Some(*port), methods.clone())));
    }
    is_open
}

/// Returns the first `dav_methods` of a block or of its inner blocks.
fn methods_of(statements: &[Statement<'_>]) -> Option<String> {
    statements.iter().find_map(|statement| match &statement.block {
        Some(block) => methods_of(block),
        None => (statement.words.first() == Some(&"dav_methods")).then(|| statement.words.join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_everyone_can_write() {
        let in_server = |text: &str| format!("events {{}} http {{ server {{ listen 8080; {text} }} }}");
        for (text, is) in [
            ("root /srv; dav_methods PUT DELETE;", true),
            ("location / { dav_methods PUT; }", true),
            ("location /a { dav_methods \"PUT\" 'DELETE'; } # x\n", true),
            ("dav_methods PUT; location /a { root /b; }", true),
            ("dav_methods off;", false),
            ("dav_methods MKCOL;", false),
            ("# dav_methods PUT;", false),
            ("dav_methods PUT; auth_basic x; auth_basic_user_file /x;", false),
            ("location / { dav_methods PUT; auth_basic x; }", false),
            ("location / { dav_methods PUT; auth_basic off; auth_basic_user_file /x; }", true),
            ("auth_basic x; location /a { auth_basic off; dav_methods PUT; }", true),
            ("location /a { dav_methods PUT; } auth_basic x;", false),
            ("location / { dav_methods PUT; auth_request /x; }", false),
            ("dav_methods PUT; allow 10.0.0.0/8; deny all;", false),
            ("deny all; location / { allow all; dav_methods PUT; }", true),
            // Only some addresses are refused, or everyone is allowed first.
            ("dav_methods PUT; deny 192.0.2.1;", true),
            ("dav_methods PUT; allow all; deny all;", true),
            ("dav_methods PUT; deny 192.0.2.1; allow 10.0.0.0/8; deny all;", false),
            // An allowed address or a login is enough.
            ("dav_methods PUT; satisfy any; allow all; auth_basic x;", true),
            ("dav_methods PUT; satisfy any; allow 10.0.0.0/8; deny all; auth_basic x;", false),
            ("dav_methods PUT; satisfy any; allow 10.0.0.0/8; auth_basic x;", false),
            ("dav_methods PUT; satisfy all; allow all; auth_basic x;", false),
            ("dav_methods PUT; auth_delay 1s;", true),
            ("location / { dav_methods PUT; limit_except GET { deny all; } }", false),
            ("location / { dav_methods PUT; limit_except GET PUT { deny all; } }", true),
            ("location / { dav_methods PUT; limit_except DELETE { deny all; } }", false),
            ("location / { dav_methods PUT; if ($x) { return 403; } }", false),
            ("location / { dav_methods PUT; proxy_pass http://x; }", false),
            ("dav_methods PUT; location / { auth_basic x; }", false),
            ("dav_methods PUT; return 301 https://$host${uri};", false),
            ("ssl_verify_client on; location / { dav_methods PUT; }", false),
            ("include /not/read; location / { dav_methods PUT; }", false),
            ("location ~ \\.x$ { access_by_lua_block { if x then y = {} end } dav_methods PUT; }", false),
        ] {
            let found = nginx(in_server(text).as_bytes());
            assert_eq!(!found.is_empty(), is, "{text}");
            assert!(found.iter().all(|one| one.port == Some(8080)), "{text}");
        }
        let of = |text: &str| nginx(text.as_bytes()).iter().map(|one| one.port).collect::<Vec<_>>();
        let two = "http { dav_methods PUT; server { listen [::]:81; listen 1.2.3.4:82 ssl; listen unix:/x; } server { listen 83; return 404; } }";
        assert_eq!(of(two), [Some(81), Some(82)]);
        assert_eq!(of("http { server { dav_methods PUT; } }"), [Some(80)]);
        for broken in ["http { server { dav_methods PUT; }", "}", "\"", "a { b", "\u{1f}"] {
            assert_eq!(of(broken), [], "{broken}");
        }
    }
}
