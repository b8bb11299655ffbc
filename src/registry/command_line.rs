//! A running program in the form that the tables of dangerous services and of tools use: its names and its command
//! line.
//!
//! The tables name a program by `NAME`, `NAME:TEXT` or `NAME:/REGEX/`, as the heads of `dangers.tsv` and `ad-hoc.tsv`
//! explain. This file matches these names; it does not judge.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex_lite::{Regex, RegexBuilder};

use super::programs::stem;

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
    ("lua", &["lua"]),
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

/// Returns the compiled expression. Each expression is compiled once, when it is first used: compiling takes much
/// longer than matching, and a scan matches some expressions with thousands of processes.
fn compiled(expression: &'static str) -> Arc<Option<Regex>> {
    static COMPILED: LazyLock<Mutex<HashMap<&'static str, Arc<Option<Regex>>>>> =
        LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(compiled.entry(expression).or_insert_with(|| Arc::new(compile(expression))))
}

/// Returns the compiled expression, with bounded size.
pub(super) fn compile(expression: &str) -> Option<Regex> {
    RegexBuilder::new(expression).size_limit(1 << 20).build().ok()
}

/// Returns the name that the tables use for the interpreter whose file is `file`.
fn interpreter(file: &str) -> Option<&'static str> {
    let found = INTERPRETERS.iter().find(|(_, files)| files.contains(&file) || files.contains(&stem(file)));
    found.map(|(name, _)| *name)
}

/// Returns the file name of the script that an interpreter runs: its first argument that is not an option.
fn script(arguments: &[String]) -> Option<&str> {
    let path = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'))?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// The rows of a table, indexed by the programs that they name.
pub(super) struct Programs {
    /// For each program name, the conditions that its rows add, with the number of the row.
    rows: HashMap<&'static str, Vec<(usize, Condition)>>,
}

/// The condition that a row adds to the program's name.
#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    /// Digits and dots may follow the name, as in `lua5.4`.
    Version,
    Text(&'static str),
    Regex(&'static str),
}

impl Programs {
    /// Reads the program column of every row.
    pub(super) fn new(columns: impl Iterator<Item = &'static str>) -> Self {
        let mut rows: HashMap<&'static str, Vec<(usize, Condition)>> = HashMap::with_capacity(1024);
        for (row, column) in columns.enumerate() {
            for program in column.split(',') {
                let (name, rest) = program.split_once(':').unwrap_or((program, ""));
                let regex = rest.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
                let (name, condition) = match (name.strip_suffix("[0-9.]*"), regex) {
                    (Some(name), _) => (name, Condition::Version),
                    (None, Some(regex)) => (name, Condition::Regex(regex)),
                    (None, None) if rest.is_empty() => (name, Condition::None),
                    (None, None) => (name, Condition::Text(rest)),
                };
                rows.entry(name).or_default().push((row, condition));
            }
        }
        Programs { rows }
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

    /// Returns the numbers of the rows that name any program.
    pub(super) fn any(&self) -> impl Iterator<Item = usize> {
        self.rows.get("*").into_iter().flatten().map(|(row, _)| *row)
    }

    /// Adds the rows that name `name`; if `versioned`, only rows that allow a version after the name.
    fn add(&self, name: &str, versioned: bool, command: &CommandLine<'_>, found: &mut Vec<usize>) {
        for (row, condition) in self.rows.get(name).into_iter().flatten() {
            let applies = match condition {
                Condition::Version => true,
                Condition::None => !versioned,
                Condition::Text(text) => !versioned && command.contains(text),
                Condition::Regex(regex) => !versioned && command.matches(regex),
            };
            if applies {
                found.push(*row);
            }
        }
    }
}
