//! The programs that the rows of a table name.
//!
//! A table names a program by `NAME`, `NAME:TEXT` or `NAME:/REGEX/`, as the head of `dangers.tsv` explains. This
//! module only finds the rows; it does not judge.

use memchr::memchr;

use super::command_line::CommandLine;
use super::programs::first_letters;
use super::table::parts;

/// The rows of a table, indexed by the programs that they name.
///
/// Every listing builds the index, so the index takes one allocation and leaves the conditions unparsed.
pub(super) struct Programs {
    /// The entries, in the order of the table.
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

/// The name in a table that stands for any program.
const ANY_PROGRAM: &str = "*";

/// A program that a row names.
#[derive(Clone, Copy, Debug)]
struct Entry {
    row: u16,
    /// The number of the previous entry in the same bucket, counted from one; zero if there is none.
    previous: u16,
    name: &'static str,
    /// The text after the colon: a condition on the command line; empty if there is none.
    condition: &'static str,
    /// Whether the name is too common to identify the program: the row then applies only on its own ports.
    is_common: bool,
}

impl Entry {
    fn read(row: u16, program: &'static str) -> Self {
        let (program, is_common) =
            program.strip_prefix('@').map_or((program, false), |program| (program, true));
        let (name, condition) = match memchr(b':', program.as_bytes()) {
            Some(colon) => (&program[..colon], &program[colon + 1..]),
            None => (program, ""),
        };
        Entry { row, previous: 0, name, condition, is_common }
    }

    /// Returns whether the command line meets the row's condition.
    fn applies_to(&self, command: &CommandLine<'_>) -> bool {
        match self.condition.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            Some(regex) if command.interpreter == Some(self.name) => command.matches_command(regex),
            Some(regex) => command.matches(regex),
            None if self.condition.is_empty() => true,
            None if self.name == ANY_PROGRAM => command.contains(self.condition),
            None if self.condition.starts_with('-') => command.has_option(self.condition),
            None => command.has_words(self.condition),
        }
    }
}

/// A row that names a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamedBy {
    /// The number of the row.
    pub row: usize,
    /// Whether the row applies only on its own ports.
    pub on_own_ports: bool,
}

impl Programs {
    /// Parses the program column of every row.
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

    /// Returns the rows that name the program, in the order of the table.
    pub(super) fn naming(&self, command: &CommandLine<'_>) -> Vec<NamedBy> {
        let interpreter = command.interpreter.filter(|known| !command.names.contains(known));
        self.rows(command.names.iter().copied().chain(interpreter), command)
    }

    /// Returns the rows for any program, perhaps with a condition.
    pub(super) fn any(&self, command: &CommandLine<'_>) -> Vec<NamedBy> {
        self.rows(std::iter::once(ANY_PROGRAM), command)
    }

    fn rows<'n>(&self, names: impl Iterator<Item = &'n str>, command: &CommandLine<'_>) -> Vec<NamedBy> {
        let entries = names.flat_map(|name| self.named(name)).filter(|entry| entry.applies_to(command));
        let mut found: Vec<NamedBy> = entries
            .map(|entry| NamedBy { row: usize::from(entry.row), on_own_ports: entry.is_common })
            .collect();
        // Of several names in a row, a name without the restriction counts: `false` is first.
        found.sort_unstable();
        found.dedup_by_key(|named| named.row);
        found
    }

    /// Returns the entries with this name, the last first.
    fn named<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s Entry> + use<'s> {
        let entry = |number: u16| self.entries.get(usize::from(number).checked_sub(1)?);
        let mut found = Vec::new();
        let mut at = entry(self.last[bucket(name)]);
        while let Some(one) = at {
            if one.name == name {
                found.push(one);
            }
            at = entry(one.previous);
        }
        found.into_iter()
    }
}
