//! Parses source files to find the imports between files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A path such as `crate::model::Pid`, segment by segment; `*` is a segment too.
type Segments = Vec<String>;

/// A source file outside tests.
pub(crate) struct Source {
    /// The path below `src`, with slashes.
    pub(crate) path: String,
    /// Every path that the code names, with `use` trees expanded.
    pub(crate) paths: Vec<Segments>,
    /// The module of the file in the crate.
    module: Segments,
    /// The re-exports of the file: the name, and the path that it stands for.
    reexports: Vec<(String, Segments)>,
    /// The names of the items that the file defines.
    items: BTreeSet<String>,
}

pub(crate) struct Sources {
    pub(crate) files: Vec<Source>,
}

/// Returns the module of the crate that a file belongs to.
pub(crate) fn top_level(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let tokens = without_tests(tokens(text));
        let module = path.trim_end_matches(".rs").split('/').filter(|part| !["mod", "lib"].contains(part));
        let mut source = Source {
            path: path.to_owned(),
            paths: Vec::new(),
            module: module.map(str::to_owned).collect(),
            reexports: Vec::new(),
            items: BTreeSet::new(),
        };
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            let is_item = ["fn", "struct", "enum", "trait", "type", "const", "static"].contains(&token);
            if is_item && let Some(name) = tokens.get(at + 1) {
                source.items.insert(name.clone());
            }
            if token == "use" {
                let is_public = at > 0 && ["pub", ")"].contains(&tokens[at - 1].as_str());
                let mut tree = Vec::new();
                at = read_tree(&tokens, at + 1, &[], &mut tree);
                for (path, name) in tree {
                    source.paths.push(path.clone());
                    if is_public {
                        source.reexports.push((name, path));
                    }
                }
            } else if is_name(token) && tokens.get(at + 1).is_some_and(|next| next == "::") {
                let mut path = vec![tokens[at].clone()];
                while tokens.get(at + 1).is_some_and(|next| next == "::")
                    && tokens.get(at + 2).is_some_and(|next| is_name(next))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                source.paths.push(path);
                at += 1;
            } else {
                at += 1;
            }
        }
        source
    }

    /// Returns a path as seen from the crate: `super::x` in `a::b` is `a::x`; `None` if it leads out of the crate.
    fn absolute(&self, path: &[String], modules: &BTreeMap<&[String], usize>) -> Option<Segments> {
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        let base = match path[0].as_str() {
            "crate" => &[],
            "super" => &self.module[..self.module.len().checked_sub(ups)?],
            "self" => &self.module[..],
            child => {
                let whole = [&self.module[..], &[child.to_owned()]].concat();
                return modules.contains_key(&whole[..]).then(|| [&self.module[..], path].concat());
            }
        };
        Some([base, &path[ups.max(1)..]].concat())
    }
}

impl Sources {
    pub(crate) fn read(root: &Path) -> Self {
        Self::of(&read_sources(root))
    }

    /// Parses sources, given by their path and text.
    pub(crate) fn of(files: &[(String, String)]) -> Self {
        let is_test =
            |path: &str| path.split(['/', '.']).any(|part| ["tests", "fixtures", "testkit"].contains(&part));
        let files = files.iter().filter(|(path, _)| !is_test(path) && path != "main.rs");
        Sources { files: files.map(|(path, text)| Source::new(path, text)).collect() }
    }

    /// Returns the groups of files that import each other, directly or through others; each group is sorted.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let modules: BTreeMap<&[String], usize> =
            self.files.iter().enumerate().map(|(at, file)| (&file.module[..], at)).collect();
        let mut imports: Vec<BTreeSet<usize>> = Vec::new();
        for file in &self.files {
            let targets = file
                .paths
                .iter()
                .filter_map(|path| self.file_of(&file.absolute(path, &modules)?, &modules, 0));
            // A parent module declares its children, and the children use its items: this direction does not count as
            // an import.
            let is_child = |target: &usize| self.files[*target].module.starts_with(&file.module);
            imports.push(targets.filter(|target| !is_child(target)).collect());
        }
        let reached: Vec<BTreeSet<usize>> = (0..imports.len()).map(|at| reachable(&imports, at)).collect();
        let mut circles = BTreeSet::new();
        for at in 0..imports.len() {
            if reached[at].contains(&at) {
                let members = reached[at].iter().filter(|other| reached[**other].contains(&at));
                circles
                    .insert(members.map(|member| self.files[*member].path.clone()).collect::<BTreeSet<_>>());
            }
        }
        circles.into_iter().map(|circle| circle.into_iter().collect()).collect()
    }

    /// Returns the file that defines the item at an absolute path; re-exports are followed.
    fn file_of(&self, path: &[String], modules: &BTreeMap<&[String], usize>, depth: usize) -> Option<usize> {
        let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
        let found = modules[&path[..length]];
        let file = &self.files[found];
        let Some(name) = path.get(length).filter(|_| depth < 10) else { return Some(found) };
        let mut named = file.reexports.iter().filter(|(exported, _)| exported == name || exported == "*");
        let target = named.find_map(|(exported, path)| {
            let mut path = file.absolute(path, modules)?;
            if exported == "*" {
                *path.last_mut()? = name.clone();
            }
            let target = self.file_of(&path, modules, depth + 1)?;
            (exported != "*" || self.files[target].items.contains(name)).then_some(target)
        });
        Some(target.unwrap_or(found))
    }
}

fn reachable(imports: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        open.extend(imports[at].iter().copied().filter(|next| reached.insert(*next)));
    }
    reached
}

/// Returns the path and text of every source file below `root`.
pub(crate) fn read_sources(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    read_directory(root, root, &mut files);
    files
}

fn read_directory(root: &Path, directory: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_directory(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Returns the names and signs of a source; comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let at_is = |at: usize, wanted: char| characters.get(at) == Some(&wanted);
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let character = characters[at];
        if character == '/' && at_is(at + 1, '/') {
            while at < characters.len() && characters[at] != '\n' {
                at += 1;
            }
        } else if character == 'r'
            && (at_is(at + 1, '"') || at_is(at + 1, '#') && (at_is(at + 2, '"') || at_is(at + 2, '#')))
        {
            let hashes = characters[at + 1..].iter().take_while(|c| **c == '#').count();
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while at < characters.len() && !characters[at..].iter().copied().take(end.len()).eq(end.chars()) {
                at += 1;
            }
            at += end.len();
        } else if character == '"' {
            at += 1;
            while at < characters.len() && characters[at] != '"' {
                at += if characters[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if character == '\'' {
            // A character literal, or a lifetime, whose name is read next.
            at += match (at_is(at + 1, '\\'), at_is(at + 2, '\'')) {
                (true, _) => 2 + characters[at + 2..].iter().skip(1).take_while(|c| **c != '\'').count() + 2,
                (false, true) => 3,
                (false, false) => 1,
            };
        } else if character.is_alphanumeric() || character == '_' {
            let name: String =
                characters[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            at += name.chars().count();
            tokens.push(name);
        } else {
            let is_path = character == ':' && at_is(at + 1, ':');
            if !character.is_whitespace() {
                tokens.push(if is_path { "::".to_owned() } else { character.to_string() });
            }
            at += if is_path { 2 } else { 1 };
        }
    }
    tokens
}

/// Returns the tokens without the items under `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept: Vec<String> = Vec::new();
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        kept.push(token);
        let start = kept.len().saturating_sub(MARK.len());
        if kept[start..] == MARK {
            kept.truncate(start);
            let mut depth = 0;
            for token in rest.by_ref() {
                match token.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    ";" if depth == 0 => break,
                    _ => {}
                }
                if token == "}" && depth == 0 {
                    break;
                }
            }
        }
    }
    kept
}

/// Parses a `use` tree from `at` on: each path below `prefix`, with the name that it gets. Returns the position where
/// the tree ends.
fn read_tree(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(Segments, String)>,
) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = read_tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            "as" => {
                found.push((path, tokens.get(at + 1).cloned().unwrap_or_default()));
                return at + 2;
            }
            name if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    if let Some(name) = path.last().cloned() {
        found.push((path, name));
    }
    at
}
