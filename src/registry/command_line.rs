//! A running program in the form that the tables of dangerous services and of tools use: its names and its command
//! line.
//!
//! The tables name a program by `NAME`, `NAME:TEXT` or `NAME:/REGEX/`, as the heads of `dangers.tsv` and `ad-hoc.tsv`
//! explain. This file matches these names; it does not judge.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use memchr::memchr;
use regex_lite::{Regex, RegexBuilder};

use super::programs::{first_letters, stem};
use super::table::parts;
use crate::model::interpreter::without_build;

/// Longer command lines are cut here, in bytes: four times the length that a person writes, and fast to search.
const LONGEST_LINE: usize = 1 << 16;

/// The file names of each interpreter that the tables name, without their versions.
const INTERPRETERS: [(&str, &[&str]); 10] = [
    ("python", &["python", "pypy"]),
    ("node", &["node", "nodejs"]),
    ("java", &["java"]),
    ("ruby", &["ruby"]),
    ("perl", &["perl"]),
    ("php", &["php"]),
    ("beam", &["beam.smp"]),
    ("lua", &["lua", "luajit", "luajit-"]),
    ("dotnet", &["dotnet"]),
    ("mono", &["mono", "mono-sgen"]),
];

/// The names and the command line of one process.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine<'p> {
    /// The name of its program file, followed by the name of the script that it runs.
    names: Vec<&'p str>,
    /// Its arguments, joined by blanks.
    line: Cow<'p, str>,
}

impl<'p> CommandLine<'p> {
    /// Returns the command line of a program with the file name `file`; `arguments` start with the name that the
    /// program was started by.
    #[must_use]
    pub(crate) fn new(file: &'p str, arguments: &'p [String]) -> Self {
        let mut names = vec![file];
        names.extend(without_release(file));
        if interpreter(file).is_some() {
            names.extend(script(arguments));
        }
        let mut line = match arguments {
            [only] => Cow::Borrowed(only.as_str()),
            several => Cow::Owned(several.join(" ")),
        };
        if line.len() > LONGEST_LINE {
            let end = (0..=LONGEST_LINE).rev().find(|at| line.is_char_boundary(*at));
            line = Cow::Owned(line.get(..end.unwrap_or(0)).unwrap_or_default().to_owned());
        }
        CommandLine { names, line }
    }

    /// Returns whether the joined command line contains `text`.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.line.contains(text)
    }

    /// Returns whether an expression of a table matches the joined command line. An expression that does not compile
    /// matches nothing; a test checks that every expression compiles.
    pub(super) fn matches(&self, expression: &'static str) -> bool {
        compiled(expression).as_ref().as_ref().is_some_and(|regex| regex.is_match(&self.line))
    }

    /// Returns whether an expression that contains `{port}` matches the joined command line for this port.
    pub(super) fn matches_port(&self, expression: &str, port: u16) -> bool {
        let expression = expression.replace("{port}", &port.to_string());
        compile(&expression).is_some_and(|regex| regex.is_match(&self.line))
    }
}

/// The compiled expressions; `None` for one that does not compile.
type Compiled = HashMap<&'static str, Arc<Option<Regex>>>;

/// Returns the compiled expression. Each expression is compiled once, when it is first used: compiling takes much
/// longer than matching, and a scan matches some expressions with thousands of processes.
fn compiled(expression: &'static str) -> Arc<Option<Regex>> {
    static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(compiled.entry(expression).or_insert_with(|| Arc::new(compile(expression))))
}

/// Returns the compiled expression, with bounded size.
pub(super) fn compile(expression: &str) -> Option<Regex> {
    RegexBuilder::new(expression).size_limit(1 << 20).build().ok()
}

/// Returns a name without the system and the version that a downloaded file has at its end, as in
/// `chisel_1.9.1_linux_amd64`, `gost-linux-amd64` and `xmrig-6.21.0`; `None` if it has none.
fn without_release(file: &str) -> Option<&str> {
    let lower = file.to_ascii_lowercase();
    let name =
        lower.rfind("linux").and_then(|at| file.get(..at)?.strip_suffix(['-', '_', '.'])).unwrap_or(file);
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let name = ["-v", "_v", "-", "_"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(name);
    (name != file && !name.is_empty()).then_some(name)
}

/// Returns the name that the tables use for the interpreter whose file is `file`.
fn interpreter(file: &str) -> Option<&'static str> {
    let names = [file, stem(file), stem(without_build(file))];
    let found = INTERPRETERS.iter().find(|(_, files)| names.iter().any(|name| files.contains(name)));
    found.map(|(name, _)| *name)
}

/// Returns the file name of the script that an interpreter runs: its first argument that is not an option.
fn script(arguments: &[String]) -> Option<&str> {
    let path = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'))?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// The rows of a table, indexed by the programs that they name.
///
/// Every listing builds the index, so it takes one allocation and leaves the conditions unread.
pub(super) struct Programs {
    /// In the order of the table.
    entries: Vec<Entry>,
    /// The number of the last entry of each bucket of names, counted from one; zero if the bucket is empty.
    last: [u16; BUCKETS],
}

const BUCKETS: usize = 256;

/// Returns the bucket of a name.
fn bucket(name: &str) -> usize {
    // The multiplier is 2⁶⁴ divided by the golden ratio, which spreads similar names over the upper bits.
    let mixed = first_letters(name).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::from(mixed.to_be_bytes()[0])
}

/// This text after a name in a table allows any version after it.
const ANY_VERSION: &str = "[0-9.]*";

/// A program that a row names.
#[derive(Clone, Copy, Debug)]
struct Entry {
    row: u16,
    /// The number of the entry before it in its bucket, counted from one; zero if it is the first.
    previous: u16,
    name: &'static str,
    /// The text after the colon: a condition on the command line; empty if there is none.
    condition: &'static str,
    /// Whether digits and dots may follow the name, as in `lua5.4`.
    versioned: bool,
}

impl Entry {
    fn read(row: u16, program: &'static str) -> Self {
        let (name, condition) = match memchr(b':', program.as_bytes()) {
            Some(colon) => (&program[..colon], &program[colon + 1..]),
            None => (program, ""),
        };
        let (name, versioned) = name.strip_suffix(ANY_VERSION).map_or((name, false), |name| (name, true));
        Entry { row, previous: 0, name, condition, versioned }
    }

    /// Returns whether the command line meets the row's condition.
    fn applies_to(&self, command: &CommandLine<'_>) -> bool {
        match self.condition.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            Some(regex) => command.matches(regex),
            None => command.contains(self.condition),
        }
    }
}

impl Programs {
    /// Reads the program column of every row.
    pub(super) fn new(columns: impl Iterator<Item = &'static str>) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(1024);
        let mut last = [0; BUCKETS];
        let programs =
            (0..).zip(columns).flat_map(|(row, column)| parts(column, b',').map(move |part| (row, part)));
        for ((row, program), number) in programs.zip(1..) {
            let mut entry = Entry::read(row, program);
            let last = &mut last[bucket(entry.name)];
            entry.previous = std::mem::replace(last, number);
            entries.push(entry);
        }
        Programs { entries, last }
    }

    /// Returns the numbers of the rows that name the program, in the order of the table.
    pub(super) fn naming(&self, command: &CommandLine<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        for name in &command.names {
            self.add(name, false, command, &mut found);
            if stem(name) != *name {
                self.add(stem(name), true, command, &mut found);
            }
            if let Some(interpreter) = interpreter(name).filter(|known| known != name) {
                self.add(interpreter, false, command, &mut found);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the numbers of the rows that name any program, perhaps with a condition.
    pub(super) fn any(&self, command: &CommandLine<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        self.add("*", false, command, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the entries with this name, the last first.
    fn named(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let entry = |number: u16| self.entries.get(usize::from(number).checked_sub(1)?);
        let bucket = std::iter::successors(entry(self.last[bucket(name)]), move |at| entry(at.previous));
        bucket.filter(move |entry| entry.name == name)
    }

    /// Adds the rows that name `name`; if `versioned`, only rows that allow a version after the name.
    fn add(&self, name: &str, versioned: bool, command: &CommandLine<'_>, found: &mut Vec<usize>) {
        let entries = self.named(name).filter(|entry| entry.versioned || !versioned);
        found.extend(entries.filter(|entry| entry.applies_to(command)).map(|entry| usize::from(entry.row)));
    }
}
