//! A running program, in the form that the tables of dangerous services and of tools need: its names, its script or
//! module, its options and its command line.
//!
//! Any program can be started with any arguments, and any directory can have any name. An interpreter is therefore
//! identified by its script, module, class or jar, compared in whole words. Text elsewhere in the command line does not
//! count.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex_lite::{Regex, RegexBuilder};

use super::program_names::{interpreter, names_of};
use super::script_names::{Command, commands, options};
use crate::model::LONGEST_COMMAND_LINE;
use crate::model::interpreter::{InterpreterCommand, parse_innermost, shows_only_a_title};

/// The names and the command line of one process.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine<'p> {
    /// The name of the program file, followed by shorter forms of the name without suffixes such as a version or a
    /// processor.
    pub(super) names: Vec<&'p str>,
    /// The name that the tables use for the interpreter; `None` for other programs.
    pub(super) interpreter: Option<&'static str>,
    /// Everything that may be the code of an interpreter; empty for other programs.
    commands: Vec<Command<'p>>,
    /// The options of the interpreter itself, without the arguments of its script; empty for other programs.
    options: &'p [String],
    /// The arguments, joined by blanks.
    line: Cow<'p, str>,
    /// Whether the command line is cut, so that its end is missing.
    pub(super) is_cut: bool,
    /// Whether an interpreter runs code without a file: code on its command line or from standard input.
    pub(super) runs_typed_code: bool,
}

/// Interpreters that read code from standard input if their command line names no code.
const READ_STANDARD_INPUT: [&str; 5] = ["python", "node", "perl", "ruby", "lua"];
/// Interpreters whose code on the command line is not reported as typed code, because it is ordinary or because the
/// tables have separate rows for it.
const ORDINARY_WITH_CODE: [&str; 13] = [
    "sh",
    "bash",
    "dash",
    "zsh",
    "ksh",
    "mksh",
    "ash",
    "awk",
    "gawk",
    "mawk",
    "original-awk",
    "nawk",
    "expect",
];

/// Returns whether an interpreter runs code without a file. Returns false if the process overwrote its command line with
/// a title, because the code is then not visible.
fn runs_typed_code(file: &str, arguments: &[String]) -> bool {
    let bare = |name| super::programs::stem(crate::model::interpreter::without_build(name));
    match parse_innermost(file, arguments) {
        Some(InterpreterCommand::Code(_)) => !ORDINARY_WITH_CODE.contains(&bare(file)),
        Some(InterpreterCommand::Nothing) => {
            // The interactive debugger of Node.js has its own row, so it does not count here.
            let debugs = arguments.iter().any(|argument| argument.starts_with("--inspect"));
            !arguments.is_empty()
                && !shows_only_a_title(file, arguments)
                && !debugs
                && interpreter(file).is_some_and(|name| READ_STANDARD_INPUT.contains(&name))
        }
        _ => false,
    }
}

impl<'p> CommandLine<'p> {
    /// Returns the command line of a program with the file name `file`; `arguments` begin with the name that started
    /// the program.
    #[must_use]
    pub(crate) fn new(file: &'p str, arguments: &'p [String]) -> Self {
        let names = names_of(file);
        let interpreter = names.iter().find_map(|name| interpreter(name));
        let mut line = match arguments {
            [only] => Cow::Borrowed(only.as_str()),
            several => Cow::Owned(several.join(" ")),
        };
        // A command line that is as long as the limit may be cut.
        let is_cut = line.len() + 1 >= LONGEST_COMMAND_LINE;
        if is_cut {
            let end = (0..=LONGEST_COMMAND_LINE).rev().find(|at| line.is_char_boundary(*at));
            line = Cow::Owned(line.get(..end.unwrap_or(0)).unwrap_or_default().to_owned());
        }
        CommandLine {
            names,
            interpreter,
            commands: interpreter.map(|name| commands(name, arguments)).unwrap_or_default(),
            options: interpreter.map(|name| options(name, arguments)).unwrap_or_default(),
            line,
            is_cut,
            runs_typed_code: runs_typed_code(file, arguments),
        }
    }

    /// Returns whether the program file has one of these names.
    pub(super) fn is_called(&self, known: &[&str]) -> bool {
        self.names.iter().any(|name| known.contains(name))
    }

    /// Returns whether the joined command line contains `text`.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.line.contains(text)
    }

    /// Returns whether an expression of a table matches the joined command line. An expression that does not compile
    /// matches nothing; a test checks that every expression compiles.
    pub(super) fn matches(&self, expression: &'static str) -> bool {
        is_match(expression, &self.line)
    }

    /// Returns whether an expression that contains `{port}` matches the joined command line for this port.
    pub(super) fn matches_port(&self, expression: &str, port: u16) -> bool {
        let expression = expression.replace("{port}", &port.to_string());
        compile(&expression).is_some_and(|regex| regex.is_match(&self.line))
    }

    /// Returns whether `text` names the code of an interpreter (`dask scheduler`: the script or module, and the words
    /// after it). For another program, returns whether its arguments contain these words.
    pub(super) fn has_words(&self, text: &str) -> bool {
        let mut words = text.split(' ');
        if self.interpreter.is_none() {
            let mut rest = self.line.split_whitespace().skip(1);
            return words.all(|wanted| rest.any(|word| word == wanted));
        }
        let name = words.next().unwrap_or_default();
        self.commands.iter().filter(|command| command.is_called(name)).any(|command| {
            let mut rest = command.arguments();
            words.clone().all(|wanted| rest.any(|word| word == wanted))
        })
    }

    /// Returns whether the command line has an option. For an interpreter, only its own options count. The value of
    /// the option may follow after `=`, `:` or a comma; `*` at the end of `option` matches any text.
    pub(super) fn has_option(&self, option: &str) -> bool {
        let is_it = |word: &str| match option.strip_suffix('*') {
            Some(begin) => word.starts_with(begin),
            None => word.strip_prefix(option).is_some_and(|rest| {
                // The value of a short option may be in the same argument, as in `-S0.0.0.0:80`.
                option.len() == 2 || rest.is_empty() || rest.starts_with(['=', ':', ','])
            }),
        };
        match self.interpreter {
            Some(_) => self.options.iter().any(|word| is_it(word)),
            None => self.line.split_whitespace().skip(1).any(is_it),
        }
    }

    /// Returns whether an expression of an interpreter's row matches. An expression that begins with `^` is compared
    /// with the script and its arguments, and any other expression with the interpreter's own options.
    pub(super) fn matches_command(&self, expression: &'static str) -> bool {
        if expression.starts_with('^') {
            return self.commands.iter().any(|command| is_match(expression, &command.line()));
        }
        self.options.iter().any(|option| is_match(expression, option))
    }
}

/// An expression that was used, the last text with which it was compared, and the result.
struct UsedExpression {
    /// The compiled expression; `None` if it does not compile.
    regex: Option<Regex>,
    last: String,
    matched: bool,
}

/// If the compared text is longer than this, the result is not stored, to save memory.
const LONGEST_LAST: usize = 4096;

/// Returns whether an expression matches a text. Each expression is compiled once, on first use, because compiling
/// takes much longer than matching. The last text and its result are stored, because the listeners of one process
/// follow each other, and one process can have thousands of listeners.
fn is_match(expression: &'static str, text: &str) -> bool {
    static USED: LazyLock<Mutex<HashMap<&'static str, UsedExpression>>> = LazyLock::new(Mutex::default);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let used = used.entry(expression).or_insert_with(|| {
        let regex = compile(expression);
        let matched = regex.as_ref().is_some_and(|regex| regex.is_match(""));
        UsedExpression { regex, last: String::new(), matched }
    });
    if used.last != text {
        let matched = used.regex.as_ref().is_some_and(|regex| regex.is_match(text));
        if text.len() > LONGEST_LAST {
            return matched;
        }
        text.clone_into(&mut used.last);
        used.matched = matched;
    }
    used.matched
}

/// Returns the compiled expression; `None` if it is invalid or too large. A dot matches a line break too, because code
/// on a command line may have several lines.
pub(super) fn compile(expression: &str) -> Option<Regex> {
    RegexBuilder::new(expression).dot_matches_new_line(true).size_limit(1 << 20).build().ok()
}
