//! Splits configuration files into lines and words. Comments, continued lines and quotes are treated as the server of
//! each format treats them.

use std::collections::HashMap;

/// Returns the lines of `squid.conf` without comments. A comment is never continued. Between continued lines, a comment
/// or an empty line is ignored (`parseOneConfigFile` of cache_cf.cc). Returns `None` if it is not clear where a line
/// ends.
pub(super) fn squid(text: &str) -> Option<Vec<String>> {
    let (mut lines, mut begun) = (Vec::new(), String::new());
    for line in text.split('\n') {
        let line = line.split('\r').next().unwrap_or_default().trim_start_matches(WHITE);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => begun.push_str(part),
            None => lines.push(std::mem::take(&mut begun) + line.trim_end_matches(WHITE)),
        }
    }
    let is_clear = begun.is_empty() && !lines.iter().any(|line| line.ends_with('\\'));
    (is_clear && !text.contains('\0')).then_some(lines)
}

/// The white-space characters of `isspace(3)`.
const WHITE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// Returns the lines of a systemd unit without comments. A comment is never continued. Between continued lines, a
/// comment is ignored (systemd.syntax(7)). Returns `None` for a file with line ends other than `\n`.
pub(super) fn unit(text: &str) -> Option<Vec<String>> {
    if text.contains(['\r', '\0']) {
        return None;
    }
    let (mut lines, mut begun) = (Vec::new(), String::new());
    for line in text.trim_start_matches('\u{feff}').lines() {
        if line.trim_start_matches([' ', '\t']).starts_with(['#', ';']) {
            continue;
        }
        begun.push_str(line);
        if is_continued(&begun) {
            begun.pop();
            begun.push(' ');
        } else {
            lines.push(std::mem::take(&mut begun));
        }
    }
    lines.extend(Some(begun).filter(|line| !line.is_empty()));
    Some(lines)
}

/// Returns whether a line ends with an odd number of backslashes. Two backslashes stand for a literal backslash.
fn is_continued(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// Returns the keys and values of a file of `java.util.Properties`. A comment (`#` or `!`) is never continued; the rest
/// of a continued line is never a comment. `=`, `:` or white space ends a key. The last value of a key counts.
pub(super) fn properties(text: &str) -> HashMap<String, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut natural = text.split('\n').map(|line| line.trim_start_matches(BLANK));
    let mut properties = HashMap::new();
    while let Some(line) = natural.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut line = line.to_owned();
        while is_continued(&line) {
            line.pop();
            let Some(next) = natural.next() else { break };
            line.push_str(next);
        }
        let (key, value) = key_and_value(&line);
        properties.insert(without_escapes(key), without_escapes(value));
    }
    properties
}

/// The white-space characters within a line of `java.util.Properties`.
const BLANK: [char; 3] = [' ', '\t', '\x0c'];

fn key_and_value(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let is_end = !is_escaped && (matches!(c, '=' | ':') || BLANK.contains(&c));
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANK);
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANK))
}

fn without_escapes(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            (_, Some('u')) => {
                let code: String = rest.by_ref().take(4).collect();
                plain.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
            }
            (_, Some('t')) => plain.push('\t'),
            (_, Some('n')) => plain.push('\n'),
            (_, Some('r')) => plain.push('\r'),
            (_, Some('f')) => plain.push('\x0c'),
            (_, Some(other)) => plain.push(other),
            ('\\', None) => {}
            (other, None) => plain.push(other),
        }
    }
    plain
}

/// Returns the lines of `redis.conf` without comments. No line is continued. Returns `None` for a file with a zero
/// byte, because Redis ignores the rest of the line after this byte.
pub(super) fn redis(text: &str) -> Option<Vec<String>> {
    let lines = text.split('\n').map(|line| line.trim_matches([' ', '\t', '\r']));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    (!text.contains('\0')).then(|| lines.map(str::to_owned).collect())
}

/// Splits a line of `redis.conf` into words, which may be quoted (`sdssplitargs` of sds.c). Returns `None` if a quote
/// is not closed, or if text follows a closing quote. Redis refuses such a line.
pub(super) fn redis_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.bytes().peekable();
    loop {
        while rest.next_if(|byte| WHITE.contains(&char::from(*byte))).is_some() {}
        if rest.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some(byte) = rest.next() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => break,
                b'"' => add_quoted(&mut rest, &mut word)?,
                b'\'' => loop {
                    match rest.next()? {
                        b'\\' if rest.next_if_eq(&b'\'').is_some() => word.push(b'\''),
                        b'\'' => break,
                        other => word.push(other),
                    }
                },
                other => {
                    word.push(other);
                    continue;
                }
            }
            // White space must follow a closing quote.
            if rest.peek().is_some_and(|next| !WHITE.contains(&char::from(*next))) {
                return None;
            }
            break;
        }
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
}

fn add_quoted(rest: &mut (impl Iterator<Item = u8> + Clone), word: &mut Vec<u8>) -> Option<()> {
    loop {
        match rest.next()? {
            b'"' => return Some(()),
            b'\\' => {
                let escaped = rest.next()?;
                let mut digits = rest.clone();
                let code =
                    (escaped == b'x').then(|| Some((hex(digits.next()?)?, hex(digits.next()?)?))).flatten();
                word.push(match (escaped, code) {
                    (_, Some((high, low))) => {
                        rest.nth(1);
                        high * 16 + low
                    }
                    (b'n', _) => b'\n',
                    (b'r', _) => b'\r',
                    (b't', _) => b'\t',
                    (b'a', _) => 7,
                    (b'b', _) => 8,
                    (other, _) => other,
                });
            }
            other => word.push(other),
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Quotes an argument of Redis, so that [`redis_words`] returns it unchanged.
pub(super) fn redis_quoted(argument: &str) -> String {
    let escaped =
        argument.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_never_continued() {
        for (name, lines, is) in [
            ("squid", squid as fn(&str) -> Option<Vec<String>>, &["a", "b c", "d e"][..]),
            ("unit", unit, &["a", "b   c", "  d e"]),
            ("redis", redis, &["a", "b \\", "c", "d e"]),
        ] {
            let text = "# x \\\na\nb \\\n# between \\\n c\n  d e\n";
            assert_eq!(lines(text).unwrap(), is, "{name}");
        }
        let found = properties("# x \\\na=1\n! y \\\nb = 2\\\n#3\n");
        assert_eq!((&*found["a"], &*found["b"]), ("1", "2#3"));
    }

    #[test]
    fn what_continues_a_line() {
        assert_eq!(squid("a\\\n b\\\n\n\\\nc").unwrap(), ["abc"], "without the blanks");
        assert_eq!(squid("a \\"), None, "the line does not end");
        assert_eq!(squid("a \\ \nb"), None, "a blank behind the backslash");
        assert_eq!(unit("a=x\\\\\nb=y\\\n\nc").unwrap(), ["a=x\\\\", "b=y ", "c"]);
        assert_eq!(unit("a \\\r\nb"), None);
        assert_eq!(properties("a=x\\\\\nb=y\\\r\n\tz\nc=\\").len(), 3);
    }

    #[test]
    fn keys_and_values_of_java() {
        for (line, key, value) in [
            ("a=b", "a", "b"),
            (" a : b ", "a", "b "),
            ("a b=c", "a", "b=c"),
            ("a\t=\tb", "a", "b"),
            ("a\\:b:c", "a:b", "c"),
            ("\\u0061=\\u0062\\t\\q", "a", "b\tq"),
            ("a", "a", ""),
            ("a:=b", "a", "=b"),
        ] {
            assert_eq!(properties(line), HashMap::from([(key.to_owned(), value.to_owned())]), "{line}");
        }
        assert_eq!(properties("a=1\na: 2\n")["a"], "2", "the last value counts");
    }

    #[test]
    fn quoted_words_of_redis() {
        for (line, words) in [
            ("requirepass x", Some(&["requirepass", "x"][..])),
            ("\"protected-mode\" 'no'", Some(&["protected-mode", "no"])),
            ("requirepass \"\" ''", Some(&["requirepass", "", ""])),
            (
                "\"\\x72equirepass\" \"a\\n\\\"\\xzz\" 'it\\'s \\x'",
                Some(&["requirepass", "a\n\"xzz", "it's \\x"]),
            ),
            ("foo\"bar\" b", Some(&["foobar", "b"])),
            ("\"a\"b", None),
            ("a \"b", None),
            ("'a", None),
            ("\"a\\", None),
            (" \t", Some(&[])),
        ] {
            let words = words.map(|words| words.iter().map(|&word| word.to_owned()).collect());
            assert_eq!(redis_words(line), words, "{line}");
        }
        for argument in ["", "x\ny", "\\x41", "\"", "it's"] {
            assert_eq!(redis_words(&redis_quoted(argument)).unwrap(), [argument]);
        }
    }
}
