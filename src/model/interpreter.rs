//! The script, module or arguments that an interpreter or a relay runs. The program file alone does not identify such
//! a program.

use super::Process;

/// The code or destination in the command line of an interpreter or a relay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InterpreterCommand<'c> {
    /// A script, or a jar.
    File(&'c str),
    /// The directories and jars of a Java class path, and the class or module that starts.
    ClassPath(Vec<&'c str>, &'c str),
    /// A module of the interpreter's own path.
    Module(&'c str),
    /// Code on the command line.
    Code(&'c str),
    /// The arguments of a relay.
    Relay(&'c [String]),
    /// Nothing in the command line, for example because the code comes from standard input.
    Nothing,
}

/// Programs whose arguments name the service behind them: another program, or another address.
const RELAYS: [&str; 19] = [
    "socat",
    "socat1",
    "socat2",
    "nc",
    "nc.traditional",
    "nc.openbsd",
    "ncat",
    "netcat",
    "websocat",
    "redir",
    "simpleproxy",
    "systemd-socket-proxyd",
    "ssh",
    "busybox",
    "toybox",
    "tcpserver",
    "tcpsvd",
    "udpsvd",
    "systemd-socket-activate",
];

/// The code that a process runs in addition to its program file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunTarget {
    /// The program is neither an interpreter nor a relay.
    None,
    /// The program is an interpreter or a relay, but its command line is not known.
    Unknown,
    /// The script, module, class, code or destination; empty if the command line names none. Parts that change with
    /// each start are left out.
    Target(String),
}

impl RunTarget {
    /// Returns the code that a process runs in addition to its program file.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        let path = process.exe.as_ref().map(|exe| exe.path.as_str()).or(process.name.as_deref());
        let name = path.and_then(|path| path.rsplit(['/', '\\']).next()).unwrap_or_default();
        let name = name.strip_suffix(".exe").unwrap_or(name);
        if !is_interpreter_or_relay(name) {
            return RunTarget::None;
        }
        let script = process.script.as_ref().map(|script| script.path.as_str());
        let text = match parse_command(name, &process.cmdline) {
            None => script.map(str::to_owned),
            Some(InterpreterCommand::File(file)) => Some(script.unwrap_or(file).to_owned()),
            Some(InterpreterCommand::ClassPath(_, class)) => Some(class.to_owned()),
            Some(InterpreterCommand::Module(module)) => Some(format!("-m {module}")),
            Some(InterpreterCommand::Code(code)) => Some(format!("-c {}", without_numbers(code))),
            Some(InterpreterCommand::Relay(arguments)) => Some(arguments.join(" ")),
            Some(InterpreterCommand::Nothing) => Some(String::new()),
        };
        text.map_or(RunTarget::Unknown, RunTarget::Target)
    }

    /// Returns whether two processes with the same program file may run the same code. A path is relative if the
    /// snapshot did not record scripts.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let (RunTarget::Target(one), RunTarget::Target(another)) = (self, other) else {
            return self == other || [self, other].contains(&&RunTarget::Unknown);
        };
        one == another || is_end_of(one, another) || is_end_of(another, one)
    }

    /// Returns the text, if there is one.
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

/// Returns the code with `#` in place of each number: descriptors and process IDs in the code differ at each start.
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
pub(super) fn without_version(program: &str) -> &str {
    without_build(program).trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'))
}

/// Returns the name of an interpreter without the suffix that Debian or Python appends for a build: the name of an
/// architecture, `-dbg`, or the letters of an ABI after the version (`python3.13t`).
pub(crate) fn without_build(program: &str) -> &str {
    let architecture = ["-linux-gnu", "-linux-musl"].iter().find_map(|system| program.find(system));
    let program =
        architecture.and_then(|at| program.get(..at)?.rsplit_once('-')).map_or(program, |(name, _)| name);
    let program =
        ["-dbg", "-debug", "-nogil"].iter().find_map(|end| program.strip_suffix(end)).unwrap_or(program);
    let version = program.trim_end_matches(['d', 'm', 't', 'u']);
    if version.ends_with(|c: char| c.is_ascii_digit()) { version } else { program }
}

/// Returns whether the program with this name runs code that its command line names.
pub(crate) fn is_interpreter_or_relay(program: &str) -> bool {
    let name = without_version(program);
    name == "java" || RELAYS.contains(&program) || SYNTAXES.iter().any(|syntax| syntax.names.contains(&name))
}

/// The way in which an interpreter reads its command line.
struct Syntax {
    /// The names of the interpreter's programs, without a version.
    names: &'static [&'static str],
    /// Options after which no file follows: they give code, a module, or standard input. A short option may end a
    /// cluster (`-Sc`).
    no_file: &'static [&'static str],
    /// Options whose value is the next argument.
    with_value: &'static [&'static str],
    /// Options whose value is the file.
    file: &'static [&'static str],
    /// Subcommands before the file.
    commands: &'static [&'static str],
}

const NONE: &[&str] = &[];

/// The source is the manual of each interpreter; [`class_path`] reads the command line of `java`.
const SYNTAXES: [Syntax; 11] = [
    Syntax {
        names: &["python", "pypy"],
        no_file: &["-c", "-m", "-"],
        with_value: &["-X", "-W", "-Q", "--check-hash-based-pycs"],
        file: NONE,
        commands: NONE,
    },
    Syntax {
        names: &["node", "nodejs"],
        no_file: &["-e", "--eval", "-p", "--print", "-"],
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
        ],
        file: NONE,
        commands: &["inspect"],
    },
    Syntax {
        names: &["bun"],
        no_file: &["-e", "--eval", "-p", "--print", "-"],
        with_value: &["-r", "--preload", "--cwd", "-c", "--config"],
        file: NONE,
        commands: &["run"],
    },
    Syntax {
        names: &["deno"],
        no_file: &["eval", "repl", "-"],
        with_value: &["-c", "--config", "--import-map", "--env-file"],
        file: NONE,
        commands: &["run", "serve"],
    },
    Syntax { names: &["perl"], no_file: &["-e", "-E", "-"], with_value: &["-I"], file: NONE, commands: NONE },
    Syntax {
        names: &["ruby"],
        no_file: &["-e", "-"],
        with_value: &["-I", "-r", "-C", "-E"],
        file: NONE,
        commands: NONE,
    },
    Syntax {
        names: &["php", "php-cgi"],
        no_file: &["-r", "-B", "-R", "-E"],
        with_value: &["-S", "-t", "-c", "-d", "-z"],
        file: &["-f", "-F"],
        commands: NONE,
    },
    Syntax {
        names: &["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash"],
        no_file: &["-c", "-s", "-"],
        with_value: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        file: NONE,
        commands: NONE,
    },
    Syntax {
        names: &["lua", "luajit"],
        no_file: &["-e", "-"],
        with_value: &["-l"],
        file: NONE,
        commands: NONE,
    },
    Syntax {
        names: &["tclsh", "wish", "Rscript", "julia"],
        no_file: &["-e"],
        with_value: NONE,
        file: NONE,
        commands: NONE,
    },
    Syntax { names: &["mono", "dotnet"], no_file: NONE, with_value: NONE, file: NONE, commands: &["exec"] },
];

/// Returns the code that the interpreter or relay `program` (the name of its file) runs; `None` if the program is
/// neither, or if its command line is not known.
pub(crate) fn parse_command<'c>(program: &str, cmdline: &'c [String]) -> Option<InterpreterCommand<'c>> {
    let arguments = cmdline.get(1..)?;
    if RELAYS.contains(&program) {
        return Some(InterpreterCommand::Relay(arguments));
    }
    let name = without_version(program);
    if name == "java" {
        return Some(class_path(arguments));
    }
    let syntax = SYNTAXES.iter().find(|syntax| syntax.names.contains(&name))?;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        let file = |next: Option<&'c str>| next.map_or(InterpreterCommand::Nothing, InterpreterCommand::File);
        if syntax.file.contains(&argument) {
            return Some(file(rest.next()));
        }
        if syntax.no_file.contains(&argument) || ends_cluster(argument, syntax.no_file) {
            return Some(match rest.next() {
                _ if matches!(argument, "-" | "-s" | "repl") => InterpreterCommand::Nothing,
                Some(module) if argument.ends_with('m') => InterpreterCommand::Module(module),
                Some(code) => InterpreterCommand::Code(code),
                None => InterpreterCommand::Nothing,
            });
        }
        let assigned = argument.split_once('=').filter(|(option, _)| syntax.no_file.contains(option));
        if let Some((_, code)) = assigned {
            return Some(InterpreterCommand::Code(code));
        }
        if syntax.with_value.contains(&argument) {
            rest.next();
        } else if argument == "--" {
            return Some(file(rest.next()));
        } else if !argument.starts_with(['-', '+']) && !syntax.commands.contains(&argument) {
            return Some(file(Some(argument).filter(|file| !file.is_empty())));
        }
    }
    Some(InterpreterCommand::Nothing)
}

/// Returns the words of an interpreter's command line after its own name, up to the script, module or class. The
/// arguments of the script are left out, because only the words before them identify the code. Without a script,
/// module or class, the options are returned. `None` if `program` is not a known interpreter, or its command line is
/// not known.
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
    let end = cmdline.iter().position(|word| std::ptr::eq(word.as_str(), target))?;
    cmdline.get(1..=end)
}

/// Returns whether a cluster of short options ends in one of `options`: `-Ec` ends in `-c`.
fn ends_cluster(argument: &str, options: &[&str]) -> bool {
    let letters =
        argument.strip_prefix('-').filter(|letters| letters.chars().all(|c| c.is_ascii_alphabetic()));
    letters.is_some_and(|letters| {
        letters.len() > 1
            && letters.len() < 5
            && options
                .iter()
                .any(|option| option.len() == 2 && letters.ends_with(option.trim_start_matches('-')))
    })
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

/// Returns the jar of `java -jar`, or else the class path: the working directory if the command line gives no class
/// path.
fn class_path(arguments: &[String]) -> InterpreterCommand<'_> {
    let mut elements = vec!["."];
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "-jar" => return rest.next().map_or(InterpreterCommand::Nothing, InterpreterCommand::File),
            "-cp" | "-classpath" | "--class-path" | "-p" | "--module-path" => {
                // A class path element `lib/*` stands for every jar in `lib`.
                let parts = rest.next().unwrap_or_default().split(':');
                let parts = parts.map(|part| part.strip_suffix("/*").unwrap_or(part));
                elements = parts.map(|part| if part.is_empty() { "." } else { part }).collect();
            }
            _ if JAVA_OPTIONS_WITH_VALUE.contains(&argument) => drop(rest.next()),
            "-m" | "--module" => {
                return InterpreterCommand::ClassPath(elements, rest.next().unwrap_or_default());
            }
            _ if argument.starts_with('-') || argument.starts_with('@') => {}
            _ if argument.ends_with(".java") => return InterpreterCommand::File(argument),
            _ => return InterpreterCommand::ClassPath(elements, argument),
        }
    }
    InterpreterCommand::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{Exe, ExeState, Script};

    fn words_of(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
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
