//! Decides whether an option on a command line protects a service.
//!
//! The name of an option is not enough, because many options take a value that switches the protection off:
//! `-vnc :1,password=off`, `--tcp-auth=none`.

use regex_lite::Regex;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Meaning {
    Any,
    /// The expression matches an option that protects the service. A match does not count if the value of the option
    /// switches the protection off.
    Protection,
}

impl Meaning {
    /// Returns whether an expression matches a command line.
    ///
    /// With [`Meaning::Protection`], every matched option must have a value that protects, because a program can have
    /// one option for each listener. If an option is repeated, its last occurrence must match too, because most
    /// programs use the last value.
    pub(super) fn is_match(self, regex: &Regex, line: &str) -> bool {
        if self == Meaning::Any {
            return regex.is_match(line);
        }
        let mut found = regex.find_iter(line).peekable();
        if found.peek().is_none() || found.any(|found| value(line, found.end()).is_some_and(protects_nothing))
        {
            return false;
        }
        regex.find_iter(line).all(|found| {
            let last = option(found.as_str()).and_then(|name| last_place(line, name));
            last.is_none_or(|last| regex.find_iter(line).any(|found| found.range().contains(&last)))
        })
    }
}

/// Replaces `{on}` and `{off}` in an expression by the values of Go's Boolean options (`strconv.ParseBool`). An option
/// without a value is on.
pub(super) fn with_go_values(expression: &str) -> String {
    expression
        .replace("{on}", r"(=(1|t|T|true|TRUE|True)(\s|$)|\s|$)")
        .replace("{off}", r"=(0|f|F|false|FALSE|False)(\s|$)")
}

/// Returns the name of the option at the beginning of a match, without its dashes.
fn option(matched: &str) -> Option<&str> {
    let name = matched.trim_start().split(['=', ' ', '\t', '\n']).next()?;
    name.strip_prefix('-').map(|name| name.strip_prefix('-').unwrap_or(name))
}

/// Returns the position of the last option with this name, after one dash or two.
fn last_place(line: &str, name: &str) -> Option<usize> {
    let mut words = line.split_whitespace().filter(|word| option(word) == Some(name));
    words.next_back().map(|word| word.as_ptr().addr() - line.as_ptr().addr())
}

/// Values that do not protect. They switch the protection off, or let in every client.
const PROTECTS_NOTHING: [&str; 10] =
    ["", "off", "no", "none", "false", "0", "allow", "disable", "disabled", "null"];

fn protects_nothing(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']).to_ascii_lowercase();
    PROTECTS_NOTHING.contains(&value.as_str())
}

/// Returns the value of the option whose match ends at `end`. `None` if the option has no value, or if the match
/// already contains the whole value.
fn value(line: &str, end: usize) -> Option<&str> {
    let (before, after) = line.split_at_checked(end)?;
    if before.ends_with(',') {
        return None;
    }
    let next_word = |text| Some(first(text)).filter(|word: &&str| !word.starts_with('-'));
    if before.ends_with('=') {
        return Some(first(after));
    }
    if before.ends_with(char::is_whitespace) {
        return next_word(after);
    }
    // The match ends inside a word, or directly after a word.
    let begin = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (matched, word) = (before.get(begin..)?, line.get(begin..)?);
    let (word, behind) = word.split_once(char::is_whitespace).unwrap_or((word, "-"));
    match (matched.rfind('='), word.get(matched.len()..)?.split_once('=')) {
        (Some(_), _) if matched == word => None,
        (Some(at), _) => Some(first(word.get(at + 1..)?)),
        (None, Some((_, value))) => Some(first(value)),
        (None, None) if word.starts_with('-') => next_word(behind),
        (None, None) => None,
    }
}

/// Returns the first part of a value, without its parameters: `file` of `file,filename=x`.
fn first(text: &str) -> &str {
    text.split([' ', '\t', '\n', ',', ';', ':', '(']).next().unwrap_or_default()
}
