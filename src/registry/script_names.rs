//! Finds the code of an interpreter in its command line, for the tables of dangerous services and of tools.

use super::program_names::interpreter as interpreter_of;
use crate::model::file_name;
use crate::model::interpreter::{InterpreterCommand, parse_command};

/// Python servers that run the application in their arguments (`gunicorn superset.app:create_app()`).
const APPLICATION_SERVERS: [&str; 7] =
    ["gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "waitress-serve", "pserve"];
/// Wrappers: scripts, modules and classes that run other code. Their arguments name this code.
const WRAPPERS: [&str; 11] = [
    "WrapperSimpleApp",
    "WrapperStartStopApp",
    "clojure.main",
    "debugpy",
    "pydevd.py",
    "coverage",
    "newrelic-admin",
    "opentelemetry-instrument",
    "org.apache.hadoop.util.RunJar",
    "org.apache.spark.deploy.SparkSubmit",
    "bundle",
];
/// The maximum number of words after a wrapper that may name the wrapped code. Further words are arguments of the
/// wrapped code.
const WORDS_OF_A_WRAPPER: usize = 3;
/// Directories with installed packages. The next part of a path is the package that contains the script.
const PACKAGES: [&str; 3] = ["node_modules", "site-packages", "dist-packages"];
/// Words that can follow the name of the product in the file name of a jar.
const JAR_WORDS: [&str; 9] = ["all", "app", "boot", "exec", "full", "jre8", "server", "shaded", "standalone"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A path, or the name that a process gave itself.
    File,
    Module,
    Class,
}

/// The code that an interpreter runs, and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command<'p> {
    kind: Kind,
    name: &'p str,
    /// The arguments. If the process replaced them with a title, the words of the title.
    arguments: Vec<&'p str>,
}

impl<'p> Command<'p> {
    fn new(kind: Kind, name: &'p str, arguments: impl IntoIterator<Item = &'p str>) -> Self {
        Command { kind, name, arguments: arguments.into_iter().collect() }
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &'p str> {
        self.arguments.iter().copied()
    }

    /// Returns the name without directories, followed by the arguments.
    pub(super) fn line(&self) -> String {
        let mut line = self.name.rsplit('/').next().unwrap_or(self.name).to_owned();
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(argument);
        }
        line
    }

    /// Returns whether `text`, from a table, names this code. A text with a slash names directories and a file. Only
    /// whole parts match:
    ///
    /// - the file name or the package of a script
    /// - a module, or a package above it
    /// - a class, with or without its package
    /// - a jar, with or without its version
    pub(super) fn is_called(&self, text: &str) -> bool {
        let is_below =
            |name: &str| name.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match self.kind {
            Kind::Module => is_below(self.name),
            Kind::Class => is_below(self.name) || self.name.rsplit('.').next() == Some(text),
            Kind::File => self.is_file(text),
        }
    }

    fn is_file(&self, text: &str) -> bool {
        let parts = parts_of_path(self.name);
        let Some(file) = parts.last() else { return false };
        let wanted: Vec<&str> = text.split('/').collect();
        let package = || {
            let at = parts.iter().rposition(|part| PACKAGES.contains(part))?;
            parts.get(at + 1..at + 1 + wanted.len())
        };
        is_file_name(file, text)
            || (wanted.len() > 1 && parts.windows(wanted.len()).any(|some| some == wanted))
            || package().is_some_and(|package| package == wanted)
    }
}

/// Returns the parts of a path, without `.` and with `..` resolved.
fn parts_of_path(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// Returns whether a file has the name `text`. In `text`, a .NET program may lack its extension, and a jar may lack its
/// version.
fn is_file_name(file: &str, text: &str) -> bool {
    if file == text || [".dll", ".exe"].iter().any(|end| file.strip_suffix(end) == Some(text)) {
        return true;
    }
    let jar = file.strip_suffix(".jar").or_else(|| file.strip_suffix(".war"));
    let rest = jar.and_then(|jar| jar.strip_prefix(text));
    let is_addition = |word: &str| {
        JAR_WORDS.contains(&word) || word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit())
    };
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix(['-', '_']).is_some_and(|rest| rest.split(['-', '_']).all(is_addition))
    })
}

/// Returns the scripts and modules that an interpreter runs, from its command line or from the title that replaced the
/// command line. If one of them is a wrapper, the wrapped code is returned too.
pub(super) fn commands<'p>(interpreter: &str, arguments: &'p [String]) -> Vec<Command<'p>> {
    let Some(first) = arguments.first() else { return Vec::new() };
    let mut found = match interpreter {
        "busybox" => vec![applet(arguments)],
        "beam" => releases(arguments),
        _ => Vec::new(),
    };
    if !matches!(interpreter, "busybox" | "beam") {
        let file = file_name(first);
        if interpreter_of(file) != Some(interpreter) {
            found.extend(title(arguments));
        }
        found.extend(started(interpreter, arguments));
    }
    let further: Vec<Command<'p>> = found.iter().flat_map(further).collect();
    found.extend(further);
    found
}

/// Returns the options of the interpreter itself: its arguments before the script or module.
pub(super) fn options<'p>(interpreter: &str, arguments: &'p [String]) -> &'p [String] {
    let Some(
        InterpreterCommand::File(target)
        | InterpreterCommand::ClassPath(_, target)
        | InterpreterCommand::Module(target)
        | InterpreterCommand::Code(target),
    ) = parse_command(interpreter, arguments)
    else {
        return arguments.get(1..).unwrap_or_default();
    };
    // In `--eval=CODE`, the code is only a part of the argument.
    let holds = |word: &String| {
        word.as_bytes().as_ptr_range().contains(&target.as_ptr()) || std::ptr::eq(word.as_str(), target)
    };
    let end = arguments.iter().position(holds).unwrap_or(arguments.len());
    arguments.get(1..end).unwrap_or_default()
}

/// Returns the script, module, class or jar on the command line of an interpreter.
fn started<'p>(interpreter: &str, arguments: &'p [String]) -> Vec<Command<'p>> {
    let Some(run) = parse_command(interpreter, arguments) else { return Vec::new() };
    let (kind, target) = match &run {
        InterpreterCommand::File(target) => (Kind::File, *target),
        InterpreterCommand::Module(target) => (Kind::Module, *target),
        InterpreterCommand::ClassPath(_, target) => (Kind::Class, *target),
        InterpreterCommand::Code(_) | InterpreterCommand::Relay(_) | InterpreterCommand::Nothing => {
            return Vec::new();
        }
    };
    let at = arguments.iter().position(|word| std::ptr::eq(word.as_str(), target));
    let rest = at.and_then(|at| arguments.get(at + 1..)).unwrap_or_default();
    // In `java -m MODULE/CLASS`, the name is the class.
    let name = if kind == Kind::Class { target.rsplit('/').next().unwrap_or(target) } else { target };
    let mut found = vec![Command::new(kind, name, rest.iter().map(String::as_str))];
    if let InterpreterCommand::ClassPath(elements, class) = run
        && class.starts_with("org.springframework.boot.loader.")
    {
        let jars = elements.into_iter().filter(|element| element.ends_with(".jar"));
        found.extend(jars.map(|jar| Command::new(Kind::File, jar, [])));
    }
    found
}

/// Returns the code that a process title names: `airflow webserver`, `gunicorn: master [superset.app:create_app()]`.
fn title(arguments: &[String]) -> Vec<Command<'_>> {
    let words: Vec<&str> = arguments.iter().flat_map(|argument| argument.split_whitespace()).collect();
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    let mut found = vec![Command::new(Kind::File, first.trim_end_matches(':'), rest.iter().copied())];
    let bracketed = rest.iter().filter_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    found.extend(bracketed.map(|name| match application(name) {
        Some(module) => Command::new(Kind::Module, module, []),
        None => Command::new(Kind::File, name, []),
    }));
    found
}

/// Returns the code that is named in the arguments of an application server or a wrapper.
fn further<'p>(command: &Command<'p>) -> Vec<Command<'p>> {
    if APPLICATION_SERVERS.iter().any(|server| command.is_called(server)) {
        let modules = command.arguments.iter().filter_map(|word| application(word));
        return modules.map(|module| Command::new(Kind::Module, module, [])).collect();
    }
    if !WRAPPERS.iter().any(|wrapper| command.is_called(wrapper)) {
        return Vec::new();
    }
    let words = &command.arguments;
    let named = words.iter().enumerate().filter(|(_, word)| !word.starts_with('-')).take(WORDS_OF_A_WRAPPER);
    let named = named.map(|(at, word)| {
        let is_module = at.checked_sub(1).and_then(|before| words.get(before)) == Some(&"-m");
        let rest = words.get(at + 1..).unwrap_or_default();
        let kind = match command.kind {
            _ if is_module => Kind::Module,
            Kind::Class if !word.contains('/') && !word.ends_with(".jar") => Kind::Class,
            _ => Kind::File,
        };
        Command::new(kind, word, rest.iter().copied())
    });
    named.collect()
}

/// Returns the module of a Python application (`MODULE:NAME`); `None` for any other word.
fn application(word: &str) -> Option<&str> {
    let (module, name) = word.split_once(':')?;
    let begins_a_name = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_module = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    (begins_a_name(module) && begins_a_name(name) && module.chars().all(is_module)).then_some(module)
}

/// Returns the applet that busybox or toybox runs. The applet has the name with which the process was started. If this
/// is the name of busybox or toybox, the first argument names the applet.
fn applet(arguments: &[String]) -> Command<'_> {
    let mut words = arguments.iter().flat_map(|argument| argument.split_whitespace());
    let mut file = words.next().unwrap_or_default();
    if interpreter_of(file.rsplit('/').next().unwrap_or(file)) == Some("busybox") {
        file = words.next().unwrap_or_default();
    }
    Command::new(Kind::File, file.trim_start_matches('-'), words)
}

/// Returns the names of the code that an Erlang runtime runs: its modules, its release, its script, and its own name as
/// a node.
fn releases(arguments: &[String]) -> Vec<Command<'_>> {
    let mut found = Vec::new();
    for (at, word) in arguments.iter().enumerate() {
        let rest = arguments.get(at + 1..).unwrap_or_default();
        let Some((value, rest)) = rest.split_first() else { break };
        let name = match word.as_str() {
            "-s" | "-run" | "-extra" => value,
            "--" if !value.starts_with('-') => value,
            "-boot" => match value.split_once("/releases/") {
                Some((root, _)) => root,
                None => value,
            },
            "-name" | "-sname" => value.split('@').next().unwrap_or(value),
            _ => continue,
        };
        found.push(Command::new(Kind::File, name, rest.iter().map(String::as_str)));
    }
    found
}
