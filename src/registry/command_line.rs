//! Reads the names, the script and the options of a running program, for the tables of dangerous services and of tools.
//!
//! An interpreter is identified by its script, module, class or jar. Other text in the command line proves nothing,
//! because anyone can choose the arguments of a program and the names of directories.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex_lite::{Regex, RegexBuilder};

use super::program_names::{interpreter, names_of, selected_program};
use super::protection::{Meaning, with_go_values};
use super::script_names::{Command, commands, options};
use crate::model::LONGEST_COMMAND_LINE;
use crate::model::interpreter::{InterpreterCommand, parse_innermost, shows_only_a_title};

#[derive(Clone, Debug)]
pub(crate) struct CommandLine<'p> {
    /// The file name of the program, and its shorter forms: without a version, a processor or another suffix. If the
    /// file contains many programs, the name of the running program is added.
    pub(super) names: Vec<&'p str>,
    /// The name that the tables use for the interpreter; `None` for other programs.
    pub(super) interpreter: Option<&'static str>,
    /// Everything that may be the code of an interpreter; empty for other programs.
    commands: Vec<Command<'p>>,
    /// The options of the interpreter itself, without the arguments of its script; empty for other programs.
    options: &'p [String],
    /// The arguments, joined by blanks.
    line: Cow<'p, str>,
    pub(super) is_cut: bool,
    /// Whether an interpreter runs code from its command line or from standard input instead of a file.
    pub(super) runs_typed_code: bool,
}

/// Interpreters that read code from standard input if their command line names no code.
const READ_STANDARD_INPUT: [&str; 5] = ["python", "node", "perl", "ruby", "lua"];
/// Interpreters whose code on the command line does not count as typed code. This code is ordinary, or the tables have
/// separate rows for it.
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

/// Returns whether an interpreter runs code without a file. If a title has replaced the command line, the code is not
/// visible, and the result is false.
fn runs_typed_code(file: &str, arguments: &[String]) -> bool {
    let bare = |name| super::programs::stem(crate::model::interpreter::without_build(name));
    match parse_innermost(file, arguments) {
        Some(InterpreterCommand::Code(_)) => !ORDINARY_WITH_CODE.contains(&bare(file)),
        Some(InterpreterCommand::Nothing) => {
            // The interactive debugger of Node.js has a separate row in the tables.
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
    /// Reads the command line of the program file `file`. The first argument is the name with which the program was
    /// started.
    pub(crate) fn new(file: &'p str, arguments: &'p [String]) -> Self {
        let mut names = names_of(file);
        let interpreter = names.iter().find_map(|name| interpreter(name));
        names.extend(selected_program(file, arguments).filter(|_| interpreter.is_none()));
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

    pub(super) fn is_called(&self, known: &[&str]) -> bool {
        self.names.iter().any(|name| known.contains(name))
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.line.contains(text)
    }

    pub(super) fn matches(&self, expression: &'static str) -> bool {
        is_match(Meaning::Any, expression, &self.line)
    }

    /// Returns whether an expression matches the joined command line, with `port` in place of `{port}`.
    pub(super) fn matches_on(&self, expression: &'static str, port: u16) -> bool {
        self.has(Meaning::Any, expression, port)
    }

    /// Returns whether the command line has an option that protects the service. `expression` matches this option, with
    /// `port` in place of `{port}`. If ` && ` joins several expressions, each of them must match a protecting option.
    ///
    /// An option does not count if its value switches the protection off: `--tls-auth=none`.
    pub(super) fn protects_on(&self, expression: &'static str, port: u16) -> bool {
        expression.split(" && ").all(|part| self.has(Meaning::Protection, part, port))
    }

    /// Returns whether an option opens this port for metrics, health checks or profiles.
    pub(super) fn names_port_for_diagnostics(&self, port: u16) -> bool {
        self.has(Meaning::Any, FOR_DIAGNOSTICS, port)
    }

    fn has(&self, meaning: Meaning, expression: &'static str, port: u16) -> bool {
        if !expression.contains("{port}") {
            return is_match(meaning, expression, &self.line);
        }
        let expression = expression.replace("{port}", &port.to_string());
        compile(&expression).is_some_and(|regex| meaning.is_match(&regex, &self.line))
    }

    /// Returns the texts that the groups `host` and `port` of an expression match in the joined command line. `None` if
    /// the expression does not match, or if the text of `port` is not a port. If the expression has no group `host`,
    /// the host is empty.
    pub(super) fn host_and_port(&self, expression: &str) -> Option<(&str, u16)> {
        let found = compile(expression)?.captures(&self.line)?;
        let host = found.name("host").map_or("", |host| host.as_str());
        Some((host, found.name("port")?.as_str().parse().ok()?))
    }

    /// Returns whether the arguments contain the words of `text` in this order. For an interpreter, the first word must
    /// be the name of its script or module: `dask scheduler`.
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

    /// Returns whether the command line has an option, alone or with a value after `=`, `:` or a comma. A `*` at the
    /// end of `option` matches any text. Of an interpreter, only its own options count, not the arguments of its
    /// script.
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

    /// Returns whether an expression in the row of an interpreter matches. If the expression begins with `^`, it is
    /// compared with the script and its arguments. Otherwise it is compared with each option of the interpreter.
    pub(super) fn matches_command(&self, expression: &'static str) -> bool {
        if expression.starts_with('^') {
            return self.commands.iter().any(|command| is_match(Meaning::Any, expression, &command.line()));
        }
        self.options.iter().any(|option| is_match(Meaning::Any, expression, option))
    }
}

/// Options that open a port for metrics, health checks or profiles. Two examples are `--metrics-addr 0.0.0.0:9399`, and
/// the Prometheus agent of a Java process.
const FOR_DIAGNOSTICS: &str = concat!(
    r"(?i)\s(--?[a-z0-9._-]*(metrics|telemetry|prometheus|pprof|profiling|health|debug[._-]?addr)[a-z0-9._-]*",
    r"[= ](\S*[^\d\s])?|-javaagent:\S*(prometheus|jmx_exporter|opentelemetry)\S*=(\S*:)?){port}(\D|$)",
);

struct UsedExpression {
    /// `None` if the expression does not compile.
    regex: Option<Regex>,
    last: String,
    matched: bool,
}

/// The maximum length of a stored text, in bytes. The limit saves memory.
const LONGEST_LAST: usize = 4096;

/// Returns whether an expression matches a text. Each expression is compiled only once. The last text and its result
/// are stored, because a listing can show thousands of listeners of one process in sequence.
fn is_match(meaning: Meaning, expression: &'static str, text: &str) -> bool {
    static USED: LazyLock<Mutex<HashMap<(Meaning, &'static str), UsedExpression>>> =
        LazyLock::new(Mutex::default);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let used = used.entry((meaning, expression)).or_insert_with(|| {
        let regex = compile(expression);
        let matched = regex.as_ref().is_some_and(|regex| meaning.is_match(regex, ""));
        UsedExpression { regex, last: String::new(), matched }
    });
    if used.last != text {
        let matched = used.regex.as_ref().is_some_and(|regex| meaning.is_match(regex, text));
        if text.len() > LONGEST_LAST {
            return matched;
        }
        text.clone_into(&mut used.last);
        used.matched = matched;
    }
    used.matched
}

/// Returns the compiled expression; `None` if it is invalid or too large. A dot also matches a line break, because code
/// on a command line may have several lines.
pub(super) fn compile(expression: &str) -> Option<Regex> {
    RegexBuilder::new(&with_go_values(expression)).dot_matches_new_line(true).size_limit(1 << 20).build().ok()
}
