//! Patterns with wildcards, for paths and names. No pattern makes it slow: at worst the length of the text times
//! itself, and a text is never longer than a path.
//!
//! | in a pattern | stands for |
//! | --- | --- |
//! | `*` | any characters but `/` |
//! | `**` | any characters |
//! | `?` | one character but `/` |
//! | `[abc]`, `[a-z]`, `[!a-z]` | one of these, one of none of these, never `/` |
//!
//! Everything else stands for itself, a backslash too; `[*]`, `[?]` and `[[]` are the characters themselves.
//!
//! In a path of Windows (`C:\…`, `\\server\…`) a backslash parts folders, so it is as `/` in all of this: no `*` crosses
//! it, and `/` in a pattern stands for it.

use std::fmt;

/// Longer patterns are refused: a path has 4,096 bytes at most (`PATH_MAX`, linux/limits.h), and each may take three
/// here, as `[*]` or as U+FFFD.
const LONGEST: usize = 3 * 4096;

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    text: String,
    /// `None` where the text stands for itself alone.
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    One(char),
    AnyOne,
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`
    Within,
    /// `**`
    Across,
}

impl Part {
    /// Whether it takes `c` as one character, in a path of Windows or elsewhere; the stars take none here.
    fn takes(&self, c: char, windows: bool) -> bool {
        match self {
            Part::One(one) => *one == c || *one == '/' && parts_folders(c, windows),
            Part::AnyOne => !parts_folders(c, windows),
            Part::Class { not, ranges } => {
                !parts_folders(c, windows)
                    && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *not
            }
            Part::Within | Part::Across => false,
        }
    }
}

/// Whether a text is a path of Windows: from a drive, or from the root of all.
fn of_windows(text: &str) -> bool {
    text.starts_with("\\\\")
        || matches!(text.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
}

fn parts_folders(c: char, windows: bool) -> bool {
    c == '/' || windows && c == '\\'
}

impl Glob {
    /// Understands a pattern.
    ///
    /// # Errors
    /// What is wrong with it, without the text itself.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing");
        }
        if text.len() > LONGEST {
            return Err("a pattern of more than 12288 bytes");
        }
        if text.contains('\0') {
            return Err("no path or name holds a zero byte");
        }
        // `C:/x` has `C:\x` to match, too.
        let either = text.contains('/') && !text.starts_with('/');
        let parts = if either || text.contains(['*', '?', '[']) { Some(parts(text)?) } else { None };
        Ok(Glob { text: text.to_owned(), parts })
    }

    /// The pattern that matches `text` and nothing else.
    #[must_use]
    pub fn exactly(text: &str) -> String {
        let mut pattern = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '*' | '?' | '[' => pattern.extend(['[', c, ']']),
                c => pattern.push(c),
            }
        }
        pattern
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The only text it matches, where there is but one.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.parts.is_none().then_some(&self.text)
    }

    /// Whether it matches every text.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.parts.as_deref() == Some(&[Part::Across])
    }

    /// Whether it matches the whole of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some(parts) = &self.parts else { return self.text == text };
        let windows = of_windows(text);
        let (mut part, mut rest) = (0, text);
        // Where to go on after the last star of each kind: what follows it, and what it has not taken yet. A star
        // within a segment need not be asked again once that segment is over, for the next `/` stands where it does.
        let mut within: Option<(usize, &str)> = None;
        let mut across: Option<(usize, &str)> = None;
        loop {
            match parts.get(part) {
                Some(Part::Across) => {
                    part += 1;
                    across = Some((part, rest));
                    within = None;
                    continue;
                }
                Some(Part::Within) => {
                    part += 1;
                    within = Some((part, rest));
                    continue;
                }
                Some(one) => {
                    let mut chars = rest.chars();
                    if chars.next().is_some_and(|c| one.takes(c, windows)) {
                        part += 1;
                        rest = chars.as_str();
                        continue;
                    }
                }
                None if rest.is_empty() => return true,
                None => {}
            }
            // It does not fit so: the last star takes one character more.
            within = within.and_then(|star| one_more(star, |c| !parts_folders(c, windows)));
            if within.is_none() {
                across = across.and_then(|star| one_more(star, |_| true));
            }
            let Some(star) = within.or(across) else { return false };
            (part, rest) = star;
        }
    }
}

/// A star that has taken one character more, where it may.
fn one_more((after, untaken): (usize, &str), may: impl Fn(char) -> bool) -> Option<(usize, &str)> {
    let mut chars = untaken.chars();
    chars.next().filter(|c| may(*c)).map(|_| (after, chars.as_str()))
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parts(text: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                if chars.peek() == Some(&'*') {
                    return Err("three stars in a row: write * or **");
                }
                Part::Across
            }
            '*' => Part::Within,
            '?' => Part::AnyOne,
            '[' => class(&mut chars)?,
            c => Part::One(c),
        });
    }
    Ok(parts)
}

/// What stands between brackets; a bracket that closes at once stands for itself.
fn class(chars: &mut impl Iterator<Item = char>) -> Result<Part, &'static str> {
    const OPEN: &str = "a bracket that is not closed: write [[] for the character";
    let mut inner: Vec<char> = Vec::new();
    let mut not = false;
    loop {
        match chars.next().ok_or(OPEN)? {
            '!' if inner.is_empty() && !not => not = true,
            ']' if !inner.is_empty() => break,
            '/' => return Err("a slash between brackets matches nothing"),
            c => inner.push(c),
        }
    }
    let mut ranges = Vec::new();
    let mut rest = &inner[..];
    while let [low, after @ ..] = rest {
        match after {
            ['-', high, after @ ..] => {
                if low > high {
                    return Err("a range between brackets that ends before it begins");
                }
                ranges.push((*low, *high));
                rest = after;
            }
            _ => {
                ranges.push((*low, *low));
                rest = after;
            }
        }
    }
    Ok(Part::Class { not, ranges })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, text, matches) in [
            ("/usr/sbin/nginx", "/usr/sbin/nginx", true),
            ("/usr/sbin/nginx", "/usr/sbin/nginx2", false),
            ("/usr/*/nginx", "/usr/sbin/nginx", true),
            ("/usr/*/nginx", "/usr/local/sbin/nginx", false),
            ("/usr/**/nginx", "/usr/local/sbin/nginx", true),
            ("/usr/**/nginx", "/usr/nginx", false),
            ("/usr/**nginx", "/usr/nginx", true),
            ("/opt/**", "/opt/a/b", true),
            ("/opt/**", "/opt", false),
            ("**", "", true),
            ("**", "/anything/at all", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("/usr/lib/postgresql/*/bin/postgres", "/usr/lib/postgresql/16/bin/postgres", true),
            ("python3.?", "python3.1", true),
            ("python3.?", "python3.11", false),
            ("a?b", "a/b", false),
            ("web-[0-9]", "web-7", true),
            ("web-[0-9]", "web-x", false),
            ("web-[!0-9]", "web-x", true),
            ("web-[!0-9]", "web-7", false),
            ("a[!b]c", "a/c", false),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[*]", "*", true),
            ("[*]", "x", false),
            ("C:\\x\\*.exe", "C:\\x\\y.exe", true),
            ("C:\\x\\*.exe", "C:\\x\\y\\z.exe", false),
            ("C:\\x\\**.exe", "C:\\x\\y\\z.exe", true),
            ("C:\\x?y", "C:\\x\\y", false),
            ("C:\\x[!a]y", "C:\\x\\y", false),
            ("\\\\server\\*\\y.exe", "\\\\server\\x\\y.exe", true),
            ("\\\\server\\*\\y.exe", "\\\\server\\x\\x\\y.exe", false),
            ("C:/x/y.exe", "C:\\x\\y.exe", true),
            ("C:\\x/y.exe", "C:\\x\\y.exe", true),
            ("**/y.exe", "C:\\x\\y.exe", true),
            ("**/y.exe", "C:\\x\\xy.exe", false),
            // Elsewhere it is a character like any other.
            ("/x/*", "/x/a\\b", true),
            ("/x/a/b", "/x/a\\b", false),
            ("dev-*.service", "dev-\\x2d.service", true),
            ("*a*b", "xaxab", true),
            ("*ab", "aab", true),
            ("**/a*b/c", "x/ab/q/aab/c", true),
            ("**/a*b/c", "x/ab/q/aab/d", false),
            ("сервер-*", "сервер-я", true),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        for (pattern, why) in [
            ("", "empty"),
            ("/x/[a", "not closed"),
            ("[", "not closed"),
            ("[]", "not closed"),
            ("[!]", "not closed"),
            ("[z-a]", "ends before it begins"),
            ("[a/b]", "a slash"),
            ("/x/***", "three stars"),
            ("a\0", "zero byte"),
            (&"a".repeat(12_289), "more than 12288"),
        ] {
            let error = Glob::new(pattern).unwrap_err();
            assert!(error.contains(why), "{pattern:?}: {error}");
        }
    }

    /// The same, said plainly: slow, and right.
    fn plainly(parts: &[Part], text: &[char], windows: bool) -> bool {
        match (parts, text) {
            ([], _) => text.is_empty(),
            ([Part::Across, after @ ..], _) => (0..=text.len()).any(|n| plainly(after, &text[n..], windows)),
            ([Part::Within, after @ ..], _) => (0..=text.len())
                .take_while(|n| !text[..*n].iter().any(|c| parts_folders(*c, windows)))
                .any(|n| plainly(after, &text[n..], windows)),
            ([one, after @ ..], [c, rest @ ..]) => one.takes(*c, windows) && plainly(after, rest, windows),
            ([_, ..], []) => false,
        }
    }

    proptest! {
        #[test]
        fn as_said_plainly(pattern in "[ab/*?]{1,9}", text in "[ab/]{0,9}") {
            let Ok(glob) = Glob::new(&pattern) else { return Ok(()) };
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), plainly(&parts(&pattern).unwrap(), &chars, false));
        }

        #[test]
        fn as_said_plainly_of_windows(pattern in r"(\*\*|C:)[ab/\\*?]{1,9}", text in r"C:\\[ab\\]{0,9}") {
            let Ok(glob) = Glob::new(&pattern) else { return Ok(()) };
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), plainly(&parts(&pattern).unwrap(), &chars, true));
        }

        #[test]
        fn exactly_matches_itself_alone(text in "[a*?\\[\\]!/-]{1,12}", other in "[a*?\\[\\]!/-]{1,12}") {
            let glob = Glob::new(&Glob::exactly(&text)).unwrap();
            prop_assert!(glob.matches(&text));
            prop_assert_eq!(glob.matches(&other), other == text);
        }
    }

    #[test]
    fn no_pattern_is_slow() {
        let glob = Glob::new(&format!("/{}b", "a*".repeat(2000))).unwrap();
        let start = std::time::Instant::now();
        assert!(!glob.matches(&format!("/{}", "a".repeat(4000))));
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }
}
