//! Inserts the files that a configuration includes with `include PATH`.

use super::super::packages::root::Root;
use super::{LONGEST, lines};

/// The maximum number of included files of a configuration, and the maximum depth of includes.
const MOST_FILES: usize = 256;
const DEEPEST: usize = 4;

/// A configuration in which the content of included files replaces the `include` lines.
pub(super) struct Expanded {
    pub(super) bytes: Vec<u8>,
    pub(super) included: Vec<String>,
    /// The directories in which a pattern with `*` selects files.
    pub(super) directories: Vec<String>,
}

/// Functions that split a file into lines, and a line into words, for a format with `include` lines.
#[derive(Clone, Copy)]
pub(super) struct Syntax {
    pub(super) lines: fn(&str) -> Option<Vec<String>>,
    pub(super) words: fn(&str) -> Option<Vec<String>>,
    /// Returns the directory to which relative paths belong; `None` if it is not known. The arguments are the path and
    /// the text of the main file.
    pub(super) base: fn(&str, &str) -> Option<String>,
}

pub(super) const SQUID: Syntax =
    Syntax { lines: lines::squid, words: |line| Some(words_before_comment(line)), base: |_, _| None };
pub(super) const REDIS: Syntax = Syntax { lines: lines::redis, words: lines::redis_words, base: |_, _| None };

fn words_before_comment(line: &str) -> Vec<String> {
    line.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned).collect()
}

/// Replaces each `include` line with the content of its files. A line stays unchanged if one of its files cannot be
/// read, or if the nesting is too deep. Returns `None` if a file cannot be split into lines.
pub(super) fn expand(root: &Root, path: &str, bytes: &[u8], syntax: Syntax) -> Option<Expanded> {
    let base = (syntax.base)(path, &String::from_utf8_lossy(bytes)).unwrap_or_default();
    let mut expanded =
        Expanded { bytes: Vec::with_capacity(bytes.len()), included: Vec::new(), directories: Vec::new() };
    add(root, &base, bytes, syntax, 0, &mut expanded)?;
    Some(expanded)
}

fn add(
    root: &Root,
    base: &str,
    bytes: &[u8],
    syntax: Syntax,
    depth: usize,
    expanded: &mut Expanded,
) -> Option<()> {
    for line in (syntax.lines)(&String::from_utf8_lossy(bytes))? {
        let patterns = (syntax.words)(&line).and_then(|words| patterns(&words, base));
        let files = patterns.filter(|_| depth < DEEPEST).and_then(|patterns| read(root, &patterns, expanded));
        match files {
            Some(files) => {
                for file in files {
                    add(root, base, &file, syntax, depth + 1, expanded)?;
                }
            }
            None => {
                expanded.bytes.extend_from_slice(line.as_bytes());
                expanded.bytes.push(b'\n');
            }
        }
    }
    Some(())
}

/// Returns the paths of an `include` line; `None` for any other line.
fn patterns(words: &[String], base: &str) -> Option<Vec<String>> {
    let (first, patterns) = words.split_first()?;
    let absolute = |path: &String| match path.starts_with('/') || base.is_empty() {
        true => path.clone(),
        false => format!("{base}/{path}"),
    };
    (first.eq_ignore_ascii_case("include") && !patterns.is_empty())
        .then(|| patterns.iter().map(absolute).collect())
}

/// Returns the content of the files that an `include` line names. Returns `None` if a file cannot be read or is too
/// large, or if there are too many files.
fn read(root: &Root, patterns: &[String], expanded: &mut Expanded) -> Option<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for pattern in patterns {
        if let Some((before, _)) = pattern.split_once('*') {
            expanded.directories.extend(before.rsplit_once('/').map(|(directory, _)| directory.to_owned()));
        }
        for path in paths(root, pattern)? {
            let left =
                LONGEST.checked_sub(expanded.bytes.len() + files.iter().map(Vec::len).sum::<usize>())?;
            files.push(root.read(path.strip_prefix('/')?, left).ok()??);
            expanded.included.push(path);
            if expanded.included.len() > MOST_FILES {
                return None;
            }
        }
    }
    Some(files)
}

/// Returns the paths that match a pattern, in order. The last part of a pattern may contain one `*`. Returns `None` for
/// other wildcards.
fn paths(root: &Root, pattern: &str) -> Option<Vec<String>> {
    let below = pattern.strip_prefix('/')?;
    let Some((before, after)) = below.split_once('*') else { return Some(vec![pattern.to_owned()]) };
    let (directory, begin) = before.rsplit_once('/')?;
    if after.contains(['/', '*', '?', '[']) || before.contains(['?', '[']) {
        return None;
    }
    let mut names: Vec<String> =
        root.names(directory).ok()?.into_iter().map(|name| name.into_string().ok()).collect::<Option<_>>()?;
    let fits = |name: &String| {
        let is_hidden = name.starts_with('.') && !begin.starts_with('.');
        !is_hidden
            && name.len() >= begin.len() + after.len()
            && name.starts_with(begin)
            && name.ends_with(after)
    };
    names.retain(fits);
    names.sort_unstable();
    Some(names.into_iter().map(|name| format!("/{directory}/{name}")).collect())
}
