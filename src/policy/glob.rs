//! Patterns with wildcards, for paths and names.
//!
//! | in a pattern | matches |
//! | --- | --- |
//! | `*` | any characters except `/` |
//! | `**` as a whole component | any number of components: `/usr/**/x` matches `/usr/x` too |
//! | `?` | one ASCII character except `/` |
//! | `[abc]`, `[a-z]`, `[!a-z]` | one of these ASCII characters, or with `!` any other, but never `/` |
//! | `{a,b}` | `a` or `b` |
//!
//! Every other character matches itself, even a backslash. `[*]`, `[?]`, `[[]` and `[{]` match the characters
//! themselves.
//!
//! In a Windows path (`C:\…`, `\\server\…`) a backslash separates directories and means the same as `/`.

use std::fmt;

use globset::{Candidate, GlobBuilder, GlobSet};

/// The maximum length of a pattern in bytes. This is the length of the longest path in Linux (`PATH_MAX`,
/// linux/limits.h).
const MAX_LENGTH: usize = 4096;

#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    /// The matcher; `None` if the pattern has no wildcard.
    matcher: Option<GlobSet>,
    /// The matcher for Windows paths, if it is different. In its pattern, each backslash is replaced by `/`.
    windows: Option<GlobSet>,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl Glob {
    /// Parses a pattern. The error does not repeat the pattern.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing".to_owned());
        }
        if text.len() > MAX_LENGTH {
            return Err(format!("longer than {MAX_LENGTH} bytes"));
        }
        if text.contains('\0') {
            return Err("paths and names contain no zero byte".to_owned());
        }
        if has_non_ascii_class(text) {
            return Err("only ASCII characters are allowed between brackets".to_owned());
        }
        let has_wildcard = text.contains(['*', '?', '[', '{', '}']);
        let matcher = has_wildcard.then(|| compile(text)).transpose()?;
        let windows = (has_wildcard && text.contains('\\')).then(|| compile(&with_slashes(text)));
        Ok(Glob { text: text.to_owned(), matcher, windows: windows.transpose()? })
    }

    /// Returns the pattern that matches only `text`.
    pub fn exactly(text: &str) -> String {
        globset::escape(text)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the only text that the pattern matches, if it has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        self.matcher.is_none().then_some(&self.text)
    }

    pub(super) fn matches_all(&self) -> bool {
        self.text == "**"
    }

    /// Returns whether the pattern matches every absolute path of Unix.
    pub(super) fn is_every_path(&self) -> bool {
        self.text == "/**"
    }

    pub fn matches(&self, text: &str) -> bool {
        let is_windows = is_windows_path(text);
        match &self.matcher {
            None if is_windows => with_slashes(&self.text) == with_slashes(text),
            None => self.text == text,
            Some(matcher) if is_windows => {
                let matcher = self.windows.as_ref().unwrap_or(matcher);
                matcher.is_match_candidate(&Candidate::from_bytes(&with_slashes(text)))
            }
            Some(matcher) => matcher.is_match_candidate(&Candidate::from_bytes(text)),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Compiles a pattern. The result is a set with one pattern, because a set returns an error for a pattern that is too
/// large, but a single matcher panics.
fn compile(text: &str) -> Result<GlobSet, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(false).build();
    let set = glob.and_then(|glob| GlobSet::builder().add(glob).build());
    set.map_err(|error| error.kind().to_string())
}

/// Returns whether a pattern has a non-ASCII character between brackets. Such a pattern is wrong, because globset
/// compares bytes there.
fn has_non_ascii_class(text: &str) -> bool {
    text.split('[').skip(1).any(|class| {
        // The first character is skipped, because brackets are never empty: in `[]]`, the first `]` is a character to
        // match.
        let end = class.char_indices().skip(1).find(|(_, c)| *c == ']').map_or(class.len(), |(at, _)| at);
        !class[..end].is_ascii()
    })
}

/// Returns whether a path begins with a drive (`C:\`) or a UNC prefix (`\\`).
fn is_windows_path(text: &str) -> bool {
    text.starts_with("\\\\")
        || matches!(text.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
}

fn with_slashes(text: &str) -> String {
    text.replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match() {
        for (pattern, text, matches) in [
            ("/usr/sbin/nginx", "/usr/sbin/nginx", true),
            ("/usr/sbin/nginx", "/usr/sbin/nginx2", false),
            ("/usr/*/nginx", "/usr/sbin/nginx", true),
            ("/usr/*/nginx", "/usr/local/sbin/nginx", false),
            ("/usr/**/nginx", "/usr/local/sbin/nginx", true),
            ("/usr/**/nginx", "/usr/nginx", true),
            ("/usr/**nginx", "/usr/nginx", true),
            ("/usr/**nginx", "/usr/local/nginx", false),
            ("/opt/**", "/opt/a/b", true),
            ("/opt/**", "/opt", false),
            ("**", "", true),
            ("**", "/anything/at all\n", true),
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
            ("{web,db}-1", "db-1", true),
            ("{web,db}-1", "mail-1", false),
            ("a[!b]c", "a/c", false),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[*]", "*", true),
            ("[*]", "x", false),
            ("C:\\x\\*.exe", "C:\\x\\y.exe", true),
            ("C:\\x\\*.exe", "C:\\x\\y\\z.exe", false),
            ("C:\\x\\**\\*.exe", "C:\\x\\y\\z.exe", true),
            ("C:\\x?y", "C:\\x\\y", false),
            ("C:\\x[!a]y", "C:\\x\\y", false),
            ("\\\\server\\*\\y.exe", "\\\\server\\x\\y.exe", true),
            ("\\\\server\\*\\y.exe", "\\\\server\\x\\x\\y.exe", false),
            ("C:/x/y.exe", "C:\\x\\y.exe", true),
            ("C:\\x/y.exe", "C:\\x\\y.exe", true),
            ("C:\\x\\Y.exe", "C:\\x\\y.exe", false),
            ("**/y.exe", "C:\\x\\y.exe", true),
            ("**/y.exe", "C:\\x\\xy.exe", false),
            ("/x/a/b", "/x/a\\b", false),
            ("*a*b", "xaxab", true),
            ("*ab", "aab", true),
            ("**/a*b/c", "x/ab/q/aab/c", true),
            ("**/a*b/c", "x/ab/q/aab/d", false),
            ("сервер-*", "сервер-я", true),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(text), matches, "{pattern} {text}");
        }
    }

    /// On Windows, globset treats a backslash as a separator, so this test does not run there.
    #[cfg(unix)]
    #[test]
    fn a_backslash_is_an_ordinary_character_outside_windows_paths() {
        for (pattern, text) in [("/x/*", "/x/a\\b"), ("dev-*.service", "dev-\\x2d.service")] {
            assert!(Glob::new(pattern).unwrap().matches(text), "{pattern} {text}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for (pattern, why) in [
            ("", "empty"),
            ("/x/[a", "unclosed character class"),
            ("[]", "unclosed character class"),
            ("[!]", "unclosed character class"),
            ("[z-a]", "invalid range"),
            ("{a", "unclosed alternate group"),
            ("a}", "unopened alternate group"),
            (&"{".repeat(1000), "nested"),
            ("[я]", "only ASCII"),
            ("a\0", "zero byte"),
            (&"a".repeat(4097), "longer than 4096"),
        ] {
            let error = Glob::new(pattern).unwrap_err();
            assert!(error.contains(why) && !error.contains('\n'), "{pattern:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn exactly_matches_only_itself(text in "[a*?\\[\\]{},!/-]{1,12}", other in "[a*?\\[\\]{},!/-]{1,12}") {
            let glob = Glob::new(&Glob::exactly(&text)).unwrap();
            prop_assert!(glob.matches(&text));
            prop_assert_eq!(glob.matches(&other), other == text);
        }

        #[test]
        fn no_pattern_panics(pattern in "[ab/*?\\[\\]{},!я\\\\-]{0,40}", text in "[ab/\\\\я]{0,9}") {
            if let Ok(glob) = Glob::new(&pattern) {
                let _ = glob.matches(&text);
            }
        }
    }
}
