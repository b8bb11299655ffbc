//! Finds the script, module or arguments of an interpreter or a relay.

use super::interpreter_runner::behind;
use super::interpreter_syntax::{Argument, syntax_of};
pub(crate) use super::interpreter_syntax::{InterpreterCommand, Property, values_of};
use super::relays::is_relay;
use super::{Process, file_name};

/// The code that a process runs in addition to its program file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunTarget {
    /// The program is neither an interpreter nor a relay.
    None,
    /// The program is an interpreter or a relay, but its command line is not known.
    Unknown,
    /// The script, module, class, code or destination, without parts that change with each start. Empty if the command
    /// line contains nothing of this kind.
    Target(String),
}

impl RunTarget {
    /// Returns the code that a process runs in addition to its program file.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        let path = process.exe.as_ref().map(|exe| exe.path.as_str()).or(process.name.as_deref());
        let name = path.map(file_name).unwrap_or_default();
        let name = name.strip_suffix(".exe").unwrap_or(name);
        if !is_interpreter_or_relay(name) {
            return RunTarget::None;
        }
        let script = process.script.as_ref().map(|script| script.path.as_str());
        let text = match parse_command(name, &process.cmdline) {
            None => script.map(str::to_owned),
            Some(InterpreterCommand::File(file)) => Some(script.unwrap_or(file).to_owned()),
            Some(InterpreterCommand::ClassPath(_, class)) => Some(class.to_owned()),
            Some(InterpreterCommand::Module(module)) => Some(match parse_innermost(name, &process.cmdline) {
                Some(InterpreterCommand::File(file)) => format!("-m {module} {}", script.unwrap_or(file)),
                _ => format!("-m {module}"),
            }),
            Some(InterpreterCommand::Code(code)) => Some(format!("-c {}", without_numbers(code))),
            Some(InterpreterCommand::Relay(arguments)) => Some(arguments.join(" ")),
            Some(InterpreterCommand::Nothing) => Some(String::new()),
        };
        text.map_or(RunTarget::Unknown, RunTarget::Target)
    }

    /// Returns whether two processes with the same program file may run the same code. A relative path matches an
    /// absolute path with the same end, because snapshots of older versions contain relative paths.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let (RunTarget::Target(one), RunTarget::Target(another)) = (self, other) else {
            return self == other || [self, other].contains(&&RunTarget::Unknown);
        };
        one == another || is_end_of(one, another) || is_end_of(another, one)
    }

    /// Returns the text of the code; `None` if there is no code, or if the code is not known.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            RunTarget::Target(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

/// Returns whether the absolute `path` ends in the relative path `end`.
fn is_end_of(end: &str, path: &str) -> bool {
    let end = end.strip_prefix("./").unwrap_or(end);
    !end.is_empty()
        && !end.starts_with(['/', '-'])
        && path.starts_with('/')
        && path.strip_suffix(end).is_some_and(|directory| directory.ends_with('/'))
}

/// Returns the code with `#` in place of each number. A number can be a file descriptor or a process ID, which changes
/// with each start.
fn without_numbers(code: &str) -> String {
    let mut text = String::with_capacity(code.len());
    for c in code.chars() {
        if !c.is_ascii_digit() {
            text.push(c);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
    text
}

/// Returns the name of an interpreter without its version and its build: `python3.11-dbg` and
/// `perl5.36-x86_64-linux-gnu` become `python` and `perl`.
pub(crate) fn without_version(program: &str) -> &str {
    without_build(program).trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'))
}

/// Returns the name of an interpreter without the suffix of its build: `python3.11-dbg` and `python3.13t` become
/// `python3.11` and `python3.13`.
pub(crate) fn without_build(program: &str) -> &str {
    // Most names have no hyphen, so this check saves time.
    let program = if program.contains('-') { without_architecture(program) } else { program };
    let version = program.trim_end_matches(['d', 'm', 't', 'u']);
    if version.ends_with(|c: char| c.is_ascii_digit()) { version } else { program }
}

fn without_architecture(program: &str) -> &str {
    let architecture = ["-linux-gnu", "-linux-musl"].iter().find_map(|system| program.find(system));
    let program =
        architecture.and_then(|at| program.get(..at)?.rsplit_once('-')).map_or(program, |(name, _)| name);
    ["-dbg", "-debug", "-nogil"].iter().find_map(|end| program.strip_suffix(end)).unwrap_or(program)
}

pub(crate) fn is_interpreter_or_relay(program: &str) -> bool {
    is_relay(program) || is_interpreter(program)
}

pub(crate) fn is_interpreter(program: &str) -> bool {
    let name = without_version(program);
    name == "java" || syntax_of(name).is_some()
}

/// Returns whether a process has overwritten its command line with a title. `program` is the name of the interpreter's
/// file.
pub(crate) fn shows_only_a_title(program: &str, cmdline: &[String]) -> bool {
    let Some((first, rest)) = cmdline.split_first() else { return false };
    let name = without_version(program);
    let started_as = first.rsplit('/').next().unwrap_or(first).trim_start_matches('-');
    let is_its_name = |started_as: &str| {
        let other = without_version(started_as);
        other == name || syntax_of(name).is_some_and(|syntax| syntax.names.contains(&other))
    };
    is_interpreter(program)
        && rest.iter().all(String::is_empty)
        && (first.contains([' ', ':']) || !is_its_name(started_as))
}

/// Returns the code that the interpreter or relay `program` runs; `None` if the program is neither, or if its command
/// line is not known.
pub(crate) fn parse_command<'c>(program: &str, cmdline: &'c [String]) -> Option<InterpreterCommand<'c>> {
    let arguments = cmdline.get(1..)?;
    if is_relay(program) {
        return Some(InterpreterCommand::Relay(arguments));
    }
    let name = without_version(program);
    if name == "java" {
        return Some(class_path(arguments));
    }
    let syntax = syntax_of(name)?;
    let mut rest = arguments.iter().map(String::as_str);
    let mut code_before_file = None;
    let file = |next: Option<&'c str>| {
        next.filter(|file| !file.is_empty()).map_or(InterpreterCommand::Nothing, InterpreterCommand::File)
    };
    let has_file = syntax.has(Property::Argument, "file");
    while let Some(argument) = rest.next() {
        if argument == "--" && has_file {
            return Some(file(rest.next()));
        }
        match syntax.read(argument) {
            Argument::Option(option @ ("-" | "-s" | "repl"), _) if syntax.has(Property::NoFile, option) => {
                return Some(InterpreterCommand::Nothing);
            }
            Argument::Option(option, attached) => {
                let Some(value) = attached.or_else(|| rest.next()) else { break };
                if syntax.has(Property::File, option) {
                    return Some(file(Some(value)));
                }
                if syntax.has(Property::CodeBeforeFile, option) {
                    code_before_file = Some(value);
                } else if syntax.has(Property::NoFile, option) {
                    let is_module = option.ends_with('m');
                    let code = if is_module { InterpreterCommand::Module } else { InterpreterCommand::Code };
                    return Some(code(value));
                }
            }
            Argument::Positional if syntax.has(Property::Commands, argument) => {}
            Argument::Positional if has_file => return Some(file(Some(argument))),
            Argument::Positional if syntax.has(Property::Argument, "code") => {
                return Some(InterpreterCommand::Code(argument));
            }
            Argument::Positional | Argument::Flag => {}
        }
    }
    Some(code_before_file.map_or(InterpreterCommand::Nothing, InterpreterCommand::Code))
}

/// Returns the code that the interpreter or relay `program` runs. If this code is a profiler, debugger or launcher,
/// returns the script or module in its arguments.
pub(crate) fn parse_innermost<'c>(program: &str, cmdline: &'c [String]) -> Option<InterpreterCommand<'c>> {
    let command = parse_command(program, cmdline)?;
    behind(&command, cmdline).or(Some(command))
}

/// Returns the words after the interpreter's own name, up to and including the script, module or class. Empty for code
/// on the command line (`-c CODE`). `None` if the interpreter or its command line is not known.
pub(crate) fn command_words<'c>(program: &str, cmdline: &'c [String]) -> Option<&'c [String]> {
    let target = match parse_command(program, cmdline)? {
        InterpreterCommand::File(target)
        | InterpreterCommand::ClassPath(_, target)
        | InterpreterCommand::Module(target) => target,
        InterpreterCommand::Code(_) => return Some(&[]),
        InterpreterCommand::Nothing => {
            let end = cmdline.iter().position(|word| matches!(word.as_str(), "-" | "-s" | "repl"));
            return cmdline.get(1..end.unwrap_or(cmdline.len()));
        }
        InterpreterCommand::Relay(_) => return None,
    };
    // The file or module may be only a part of an argument, so the argument is found by memory address.
    let end = cmdline.iter().position(|word| word.as_bytes().as_ptr_range().contains(&target.as_ptr()))?;
    cmdline.get(1..=end)
}

/// Returns the words that can be options of the interpreter. For code on the command line (`-c CODE`), returns the
/// words before the code. Otherwise returns [`command_words`].
pub(crate) fn option_words<'c>(program: &str, cmdline: &'c [String]) -> Option<&'c [String]> {
    let Some(InterpreterCommand::Code(code)) = parse_command(program, cmdline) else {
        return command_words(program, cmdline);
    };
    let end = cmdline.iter().position(|word| word.as_bytes().as_ptr_range().contains(&code.as_ptr()));
    cmdline.get(1..end.unwrap_or(1))
}

/// Options of Java whose value may be the next argument.
const JAVA_OPTIONS_WITH_VALUE: [&str; 9] = [
    "--add-exports",
    "--add-modules",
    "--add-opens",
    "--add-reads",
    "--enable-native-access",
    "--limit-modules",
    "--patch-module",
    "--source",
    "--upgrade-module-path",
];

/// Returns the jar of `java -jar`. Without a jar, returns the class path. The default class path is the working
/// directory.
fn class_path(arguments: &[String]) -> InterpreterCommand<'_> {
    let mut elements = vec!["."];
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        let (option, attached) = match argument.split_once('=') {
            Some((option, value)) if argument.starts_with('-') => (option, Some(value)),
            _ => (argument, None),
        };
        match option {
            "-jar" => return rest.next().map_or(InterpreterCommand::Nothing, InterpreterCommand::File),
            "-Djava.class.path" if attached.is_none() => {}
            "-cp" | "-classpath" | "--class-path" | "-p" | "--module-path" | "-Djava.class.path" => {
                // A class path element `lib/*` means every jar in `lib`.
                let parts = attached.or_else(|| rest.next()).unwrap_or_default().split(':');
                let parts = parts.map(|part| part.strip_suffix("/*").unwrap_or(part));
                elements = parts.map(|part| if part.is_empty() { "." } else { part }).collect();
            }
            _ if attached.is_none() && JAVA_OPTIONS_WITH_VALUE.contains(&option) => drop(rest.next()),
            "-m" | "--module" => {
                let module = attached.or_else(|| rest.next()).unwrap_or_default();
                return InterpreterCommand::ClassPath(elements, module);
            }
            _ if argument.starts_with('-') || argument.starts_with('@') => {}
            _ if argument.ends_with(".java") => return InterpreterCommand::File(argument),
            _ => return InterpreterCommand::ClassPath(elements, argument),
        }
    }
    InterpreterCommand::Nothing
}

const SHELLS: [&str; 18] = [
    "sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "ksh93", "mksh", "lksh", "csh", "tcsh", "yash", "nu",
    "elvish", "xonsh", "pwsh", "rbash",
];

/// Returns whether the name of a process is that of a shell. The name of a login shell begins with a dash.
pub(crate) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name.trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{Exe, ExeState, Script};

    fn words_of(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn titles_of_interpreters() {
        for (program, words, is_title) in [
            ("node", &["my server"][..], true),
            ("node", &["worker", "", ""], true),
            ("ruby3.1", &["puma 6.4 (tcp://0.0.0.0:3000) [shop]"], true),
            ("python3.11", &["/usr/sbin/x"], true),
            ("python3.11", &["python3: worker"], true),
            ("java", &["bazel(ws)"], true),
            ("python3.11", &["/usr/bin/python3"], false),
            ("node", &["nodejs"], false),
            ("dash", &["-sh"], false),
            ("perl", &["my server", "x.pl"], false),
            ("nginx", &["nginx: master process"], false),
            ("perl", &[], false),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(shows_only_a_title(program, &words), is_title, "{program} {words:?}");
        }
    }

    #[test]
    fn scripts_and_modules_of_interpreters() {
        use InterpreterCommand::{Code, File, Module, Nothing};
        for (program, line, runs_is) in [
            ("python3.11", "python3 server.py --port 80", Some(File("server.py"))),
            ("python3", "python3 -u -X dev /srv/app.py", Some(File("/srv/app.py"))),
            ("python3", "python3 -m http.server", Some(Module("http.server"))),
            ("python3", "python3 -Im http.server", Some(Module("http.server"))),
            ("python3", "python3 -c import", Some(Code("import"))),
            ("python3", "python3 - x", Some(Nothing)),
            ("python3", "python3", Some(Nothing)),
            ("node", "node --inspect=0.0.0.0 server.js", Some(File("server.js"))),
            ("node", "node -r dotenv/config server.js", Some(File("server.js"))),
            ("node", "node -e code", Some(Code("code"))),
            ("node", "node --eval=code", Some(Code("code"))),
            ("deno", "deno run --allow-net x.ts", Some(File("x.ts"))),
            ("perl5.36", "perl -w -I lib x.pl", Some(File("x.pl"))),
            ("perl", "perl -we code", Some(Code("code"))),
            ("perl5.36-x86_64-linux-gnu", "perl x.pl", Some(File("x.pl"))),
            ("python3.11-dbg", "python3 x.py", Some(File("x.py"))),
            ("python3.13t", "python3 x.py", Some(File("x.py"))),
            ("pythond", "pythond x.py", None),
            ("php8.2", "php -S 0.0.0.0:80 -t /srv router.php", Some(File("router.php"))),
            ("php8.2", "php -S 0.0.0.0:80 -t /srv", Some(Nothing)),
            ("php", "php -f x.php", Some(File("x.php"))),
            ("bash", "bash -e run.sh", Some(File("run.sh"))),
            ("bash", "bash -ec run", Some(Code("run"))),
            ("bash", "bash -- run.sh", Some(File("run.sh"))),
            ("java", "java -Xmx1g -jar app.jar", Some(File("app.jar"))),
            ("java", "java Main.java", Some(File("Main.java"))),
            ("java", "java -jar", Some(Nothing)),
            ("nginx", "nginx -c x", None),
            ("python3", "python3 -ccode x.py", Some(Code("code"))),
            ("python3", "python3 -umhttp.server", Some(Module("http.server"))),
            ("python3", "python3 -Wignore x.py", Some(File("x.py"))),
            ("node", "node --title x --disable-warning y z.js", Some(File("z.js"))),
            ("node", "node --title=x z.js", Some(File("z.js"))),
            ("node", "node -pe code", Some(Code("code"))),
            ("perl", "perl -lne code", Some(Code("code"))),
            ("perl", "perl -ecode x", Some(Code("code"))),
            ("perl", "perl -Mre -Ilib x.pl", Some(File("x.pl"))),
            ("perl", "perl -i.e x.pl", Some(File("x.pl"))),
            ("ruby", "ruby -rsocket -I lib x.rb", Some(File("x.rb"))),
            ("php", "php --run code", Some(Code("code"))),
            ("php", "php -B code", Some(Code("code"))),
            ("php", "php -c /etc/php.ini -dx=y x.php", Some(File("x.php"))),
            ("php", "php -fx.php", Some(File("x.php"))),
            ("bash", "bash -euo pipefail run.sh", Some(File("run.sh"))),
            ("bash", "bash -ce code", Some(Code("code"))),
            ("lua5.4", "lua -l socket -e code x.lua", Some(File("x.lua"))),
            ("lua", "lua -e code", Some(Code("code"))),
            ("deno", "deno run -A -", Some(Nothing)),
            ("deno", "deno run -A x.ts", Some(File("x.ts"))),
            ("mono-sgen", "mono x.exe", Some(File("x.exe"))),
            ("gjs-console", "gjs x.js", Some(File("x.js"))),
            ("guile-3.0", "guile -s x.scm", Some(File("x.scm"))),
            ("racket", "racket x.rkt", Some(File("x.rkt"))),
            ("ocamlrun", "ocamlrun x", Some(File("x"))),
            ("expect", "expect -f x.exp", Some(File("x.exp"))),
            ("R", "R --no-echo --no-restore --file=x.R --args y", Some(File("x.R"))),
            ("gawk", "gawk -v a=b -f x.awk y", Some(File("x.awk"))),
            ("mawk", "mawk code y", Some(Code("code"))),
            ("sbcl", "sbcl --script x.lisp", Some(File("x.lisp"))),
            ("dotnet", "dotnet fsi x.fsx", Some(File("x.fsx"))),
            ("uwsgi", "uwsgi --http :80 --wsgi-file x.py", Some(File("x.py"))),
        ] {
            assert_eq!(parse_command(program, &words_of(line)), runs_is, "{line}");
        }
        assert_eq!(parse_command("python3", &[]), None, "its command line is not known");
    }

    #[test]
    fn words_that_say_what_runs() {
        for (program, line, words) in [
            ("python3", "python3 -u /srv/x.py salt-master", Some("-u /srv/x.py")),
            ("python3", "salt-master -m salt.master -d", Some("-m salt.master")),
            ("python3", "python3 -c code salt-master", Some("")),
            ("python3", "python3 -u - salt-master", Some("-u")),
            ("java", "java -agentlib:jdwp=x", Some("-agentlib:jdwp=x")),
            ("java", "java -Xmx1g -cp /a org.x.Main org.y.Main", Some("-Xmx1g -cp /a org.x.Main")),
            ("beam.smp", "beam.smp -s rabbit", None),
        ] {
            let line = words_of(line);
            let found = command_words(program, &line).map(|words| words.join(" "));
            assert_eq!(found.as_deref(), words, "{line:?}");
        }
    }

    #[test]
    fn class_paths() {
        for (line, elements, class) in [
            ("java -cp /a:/lib/*:x.jar Main", vec!["/a", "/lib", "x.jar"], "Main"),
            ("java -server Main arg -jar", vec!["."], "Main"),
            ("java -p mods -m m/Main", vec!["mods"], "m/Main"),
            ("java --class-path=/a:/b Main", vec!["/a", "/b"], "Main"),
            ("java --module-path=mods --module=m/Main", vec!["mods"], "m/Main"),
            ("java -Djava.class.path=/a -Dx=y Main", vec!["/a"], "Main"),
            ("java --add-opens=java.base/x=ALL-UNNAMED Main", vec!["."], "Main"),
            ("java --add-opens java.base/x=ALL-UNNAMED Main", vec!["."], "Main"),
        ] {
            assert_eq!(
                parse_command("java", &words_of(line)),
                Some(InterpreterCommand::ClassPath(elements, class)),
                "{line}"
            );
        }
    }

    #[test]
    fn targets_outlive_a_restart_and_differ_by_script() {
        let process = |exe: &str, line: &str, script: Option<&str>| Process {
            exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
            cmdline: if line.is_empty() { Vec::new() } else { words_of(line) },
            script: script.map(|path| Script { path: path.to_owned(), origin: None, is_program: false }),
            ..Process::unknown(7)
        };
        let target = |text: &str| RunTarget::Target(text.to_owned());
        for (name, exe, line, script, is) in [
            ("script", "/usr/bin/python3", "python3 a.py", Some("/srv/a.py"), target("/srv/a.py")),
            (
                "script of which only the path was kept",
                "/usr/bin/python3",
                "",
                Some("/srv/a.py"),
                target("/srv/a.py"),
            ),
            ("module", "/usr/bin/python3", "python3 -m http.server 80", None, target("-m http.server")),
            ("code", "/usr/bin/python3", "python3 -c f(5,123)", None, target("-c f(#,#)")),
            ("class", "/opt/java/bin/java", "java -cp /a Main x", Some("/a"), target("Main")),
            ("relay", "/usr/bin/socat", "socat TCP-L:80 TCP:db:5432", None, target("TCP-L:80 TCP:db:5432")),
            ("standard input", "/usr/bin/python3", "python3", None, target("")),
            ("unknown", "/usr/bin/python3", "", None, RunTarget::Unknown),
            ("server", "/usr/sbin/nginx", "nginx -g x", None, RunTarget::None),
        ] {
            assert_eq!(RunTarget::of(&process(exe, line, script)), is, "{name}");
        }
        assert!(!target("/srv/a.py").may_be(&target("/srv/evil.py")));
        assert!(target("/srv/a.py").may_be(&RunTarget::Unknown));
        assert!(target("a.py").may_be(&target("/srv/a.py")) && target("/srv/a.py").may_be(&target("./a.py")));
        assert!(!target("a.py").may_be(&target("/srv/extra.py")) && !target("").may_be(&target("/srv/a.py")));
    }
}
