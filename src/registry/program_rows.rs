//! Finds the rows of a table that name a running program, as `NAME`, `NAME:TEXT` or `NAME:/REGEX/` (see the head of
//! `dangers.tsv`).

use super::command_line::CommandLine;
use super::name_index::{NameIndex, NamePlace};

pub(super) struct Programs<const N: usize> {
    pub text: &'static str,
    pub names: &'static NameIndex<N>,
}

const ANY_PROGRAM: &str = "*";

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: NamePlace,
    name: &'static str,
    /// The condition on the command line, which follows a colon; empty if there is none.
    condition: &'static str,
    /// Whether the name is too common to identify the program. The row then applies only on its own ports.
    is_common: bool,
}

impl Entry {
    fn read(place: NamePlace, text: &'static str) -> Self {
        let (before, rest) = place.split(text);
        let is_end = |byte: u8| matches!(byte, b',' | b'\t' | b'\n');
        let program = rest.bytes().position(is_end).map_or(rest, |end| &rest[..end]);
        let (name, condition) = program.split_once(':').unwrap_or((program, ""));
        Entry { place, name, condition, is_common: before.ends_with('@') }
    }

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedBy {
    pub place: NamePlace,
    pub on_own_ports: bool,
}

impl<const N: usize> Programs<N> {
    /// Returns the rows that name the program, in the order of the table.
    pub(super) fn naming(&self, command: &CommandLine<'_>) -> Vec<NamedBy> {
        let interpreter = command.interpreter.filter(|known| !command.names.contains(known));
        self.rows(command.names.iter().copied().chain(interpreter), command)
    }

    /// Returns the rows for any program (`*`) whose condition matches the command line.
    pub(super) fn any(&self, command: &CommandLine<'_>) -> Vec<NamedBy> {
        self.rows(std::iter::once(ANY_PROGRAM), command)
    }

    fn rows<'n>(&self, names: impl Iterator<Item = &'n str>, command: &CommandLine<'_>) -> Vec<NamedBy> {
        let entries = names.flat_map(|name| self.names.find(self.text, name));
        let entries = entries.map(|place| Entry::read(place, self.text));
        let applying = entries.filter(|entry| entry.applies_to(command));
        let mut found: Vec<NamedBy> =
            applying.map(|entry| NamedBy { place: entry.place, on_own_ports: entry.is_common }).collect();
        // If two entries of one row match, the first is kept. An entry that applies on every port comes first, because
        // `false` sorts before `true`.
        found.sort_unstable_by_key(|named| (named.place.line, named.on_own_ports));
        found.dedup_by_key(|named| named.place.line);
        found
    }
}

/// Returns whether an entry of the column `programs` names the running program. An entry is a name with or without a
/// condition.
pub(super) fn is_named_by(program: &'static str, command: &CommandLine<'_>) -> bool {
    let name = u32::from(program.starts_with('@'));
    let entry = Entry::read(NamePlace { line: 0, name }, program);
    let mut names = command.names.iter().copied().chain(command.interpreter);
    names.any(|name| name == entry.name) && entry.applies_to(command)
}
