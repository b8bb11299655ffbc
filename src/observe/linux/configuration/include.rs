//! Inserts the files that a configuration of Squid or Redis includes with `include PATH`.

use super::super::packages::root::Root;
use super::LONGEST;

/// The maximum number of included files of a configuration, and the maximum depth of includes.
const MOST_FILES: usize = 64;
const DEEPEST: usize = 4;

/// A configuration in which the content of included files replaces the `include` lines.
pub(super) struct Expanded {
    pub(super) bytes: Vec<u8>,
    pub(super) included: Vec<String>,
    /// The directories whose files a pattern includes.
    pub(super) directories: Vec<String>,
}

/// Replaces each `include` line with the content of its files. A line stays in place if one of its files cannot be
/// read, or if the nesting is too deep.
pub(super) fn expand(root: &Root, bytes: &[u8]) -> Expanded {
    let mut expanded =
        Expanded { bytes: Vec::with_capacity(bytes.len()), included: Vec::new(), directories: Vec::new() };
    add(root, bytes, 0, &mut expanded);
    expanded
}

fn add(root: &Root, bytes: &[u8], depth: usize, expanded: &mut Expanded) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let files =
            patterns(line).filter(|_| depth < DEEPEST).and_then(|patterns| read(root, &patterns, expanded));
        match files {
            Some(files) => files.iter().for_each(|file| {
                add(root, file, depth + 1, expanded);
                expanded.bytes.push(b'\n');
            }),
            None => expanded.bytes.extend_from_slice(line),
        }
    }
}

/// Returns the paths of an `include` line; `None` for any other line.
fn patterns(line: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_whitespace().take_while(|word| !word.starts_with('#'));
    let is_include = words.next() == Some("include");
    let patterns: Vec<String> = words.map(str::to_owned).collect();
    (is_include && !patterns.is_empty()).then_some(patterns)
}

/// Returns the content of the files of an `include` line; `None` if a file cannot be read, or if there are too many
/// or too large files.
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

/// Returns the paths that match a pattern, in order; `None` if the pattern has wildcards other than one `*` in the
/// last part of the path.
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
        name.len() >= begin.len() + after.len() && name.starts_with(begin) && name.ends_with(after)
    };
    names.retain(fits);
    names.sort_unstable();
    Some(names.into_iter().map(|name| format!("/{directory}/{name}")).collect())
}
