//! The ways in which interpreters read their command lines, from `interpreters.tsv`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::named;

/// The code or destination in the command line of an interpreter or a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterpreterCommand<'c> {
    /// A script, or a jar.
    File(&'c str),
    /// The directories and jars of a Java class path, and the main class or module.
    ClassPath(Vec<&'c str>, &'c str),
    /// The name of a module. The interpreter finds the module in its module path.
    Module(&'c str),
    /// Code on the command line.
    Code(&'c str),
    Relay(&'c [String]),
    /// The command line names no code. For example, the code comes from standard input.
    Nothing,
}

named! {
    /// A property of a program that runs other code. The head of the table describes the properties.
    pub(crate) enum Property {
        Argument = "argument",
        Clusters = "clusters",
        NoFile = "no-file",
        CodeBeforeFile = "code-before-file",
        WithValue = "with-value",
        AttachedOnly = "attached-only",
        File = "file",
        Commands = "commands",
        Loads = "loads",
        Places = "places",
        Searches = "searches",
        PathVariables = "path-variables",
        OptionVariables = "option-variables",
    }
}

/// The rows of the table about programs that read their command lines in the same way.
pub(super) struct Syntax {
    pub names: Vec<&'static str>,
    values: [Vec<&'static str>; Property::ALL.len()],
}

static SYNTAXES: LazyLock<Vec<Syntax>> = LazyLock::new(|| {
    let mut syntaxes: Vec<Syntax> = Vec::new();
    // A line without a property is skipped. A test checks that the table has no such line.
    for (names, property, values) in TABLE.lines().filter_map(parse) {
        if syntaxes.last().is_none_or(|last| last.names != names) {
            syntaxes.push(Syntax { names, values: Default::default() });
        }
        if let Some(last) = syntaxes.last_mut() {
            last.values[property as usize] = values;
        }
    }
    syntaxes
});

const TABLE: &str = include_str!("interpreters.tsv");

fn parse(line: &'static str) -> Option<(Vec<&'static str>, Property, Vec<&'static str>)> {
    let mut fields = line.split('\t');
    let (names, property) = (fields.next()?, Property::named(fields.next()?)?);
    Some((names.split(' ').collect(), property, fields.next()?.split(' ').collect()))
}

/// Returns the values of a property of an interpreter; empty if the table lists no value.
pub(crate) fn values_of(name: &str, property: Property) -> &'static [&'static str] {
    let rows = SYNTAXES.iter().filter(|syntax| syntax.names.contains(&name));
    rows.map(|syntax| syntax.values(property)).find(|values| !values.is_empty()).unwrap_or_default()
}

pub(super) fn syntaxes() -> impl Iterator<Item = &'static Syntax> {
    SYNTAXES.iter()
}

/// Returns the rows about a program, module or class; `None` if the table has no row about its arguments.
pub(super) fn properties_of(name: &str) -> Option<&'static Syntax> {
    /// A listing looks up several names for each process, so the names have an index.
    static BY_NAME: LazyLock<HashMap<&str, &Syntax>> = LazyLock::new(|| {
        let syntaxes = SYNTAXES.iter().filter(|syntax| !syntax.values(Property::Argument).is_empty());
        syntaxes.flat_map(|syntax| syntax.names.iter().map(move |name| (*name, syntax))).collect()
    });
    BY_NAME.get(name).copied()
}

/// Returns the syntax of an interpreter. `name` has no version: `python`, not `python3.11`.
pub(super) fn syntax_of(name: &str) -> Option<&'static Syntax> {
    properties_of(name).filter(|syntax| {
        !["relay", "script", "program", "emulated"].iter().any(|other| syntax.has(Property::Argument, other))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument<'c> {
    /// A known option. The second field has its value, if both are in one argument (`--option=value`).
    Option(&'static str, Option<&'c str>),
    /// Any other option. The option contains no code, and the next argument is not its value.
    Flag,
    Positional,
}

impl Syntax {
    pub(super) fn values(&self, property: Property) -> &[&'static str] {
        &self.values[property as usize]
    }

    pub(super) fn has(&self, property: Property, value: &str) -> bool {
        self.values(property).contains(&value)
    }

    /// Returns the option in an argument, if this syntax lists the option; `Flag` for any other option.
    pub(super) fn read<'c>(&self, argument: &'c str) -> Argument<'c> {
        let known = [Property::NoFile, Property::CodeBeforeFile, Property::WithValue, Property::File]
            .map(|property| self.values(property))
            .concat();
        if let Some(option) = known.iter().find(|option| **option == argument) {
            return Argument::Option(option, None);
        }
        let assigned = argument.split_once('=').filter(|(option, _)| option.starts_with("--"));
        if let Some((option, value)) = assigned {
            let option = known.iter().find(|known| **known == option);
            return option.map_or(Argument::Flag, |option| Argument::Option(option, Some(value)));
        }
        if !argument.starts_with(['-', '+']) {
            return Argument::Positional;
        }
        let letters = argument.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
        let (Some(letters), false) = (letters, self.values(Property::Clusters).is_empty()) else {
            return Argument::Flag;
        };
        for (at, letter) in letters.char_indices() {
            if self.values(Property::AttachedOnly).iter().any(|letters| letters.contains(letter))
                || !letter.is_ascii_alphanumeric()
            {
                return Argument::Flag;
            }
            let mut short = known.iter().filter(|option| option.len() == 2 && option.starts_with('-'));
            if let Some(option) = short.find(|option| option.ends_with(letter)) {
                let rest = letters.get(at + 1..).filter(|rest| !rest.is_empty());
                return Argument::Option(option, rest.filter(|_| self.has(Property::Clusters, "attached")));
            }
        }
        Argument::Flag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let known = |property: Property| -> &[&str] {
            match property {
                Property::Argument => &["file", "code", "other", "relay", "script", "program", "emulated"],
                Property::Clusters => &["joined", "attached"],
                _ => &[],
            }
        };
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let (_, property, values) = parse(line).unwrap_or_else(|| panic!("{line}"));
            let known = known(property);
            assert!(known.is_empty() || matches!(values[..], [value] if known.contains(&value)), "{line}");
        }
    }
}
