//! Finds the file that an interpreter runs, by its command line.

/// The files that an interpreter runs, by its command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Runs<'c> {
    /// A script, or a jar.
    File(&'c str),
    /// The directories and jars of a Java class path.
    ClassPath(Vec<&'c str>),
}

/// The way in which an interpreter reads its command line.
struct Syntax {
    /// Names of its programs, without a version.
    names: &'static [&'static str],
    /// Options after which no file follows: code, a module, or standard input. A short option may end a cluster (`-Sc`).
    no_file: &'static [&'static str],
    /// Options whose value is the next argument.
    with_value: &'static [&'static str],
    /// Options whose value is the file.
    file: &'static [&'static str],
    /// Subcommands before the file.
    commands: &'static [&'static str],
}

const NONE: &[&str] = &[];

/// Taken from the manual of each interpreter; `java` is read by [`class_path`].
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

/// Returns what the interpreter `program` (the name of its file) runs; `None` if it is not a known interpreter, or its
/// command line names no file.
pub(super) fn runs<'c>(program: &str, cmdline: &'c [String]) -> Option<Runs<'c>> {
    let name = program.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let arguments = cmdline.get(1..)?;
    if name == "java" {
        return class_path(arguments);
    }
    let syntax = SYNTAXES.iter().find(|syntax| syntax.names.contains(&name))?;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if syntax.file.contains(&argument) {
            return rest.next().map(Runs::File);
        }
        if syntax.no_file.contains(&argument) || ends_cluster(argument, syntax.no_file) {
            return None;
        }
        if syntax.with_value.contains(&argument) {
            rest.next();
        } else if argument == "--" {
            return rest.next().map(Runs::File);
        } else if !argument.starts_with(['-', '+']) && !syntax.commands.contains(&argument) {
            return (!argument.is_empty()).then_some(Runs::File(argument));
        }
    }
    None
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

/// Returns the jar of `java -jar`, or else the class path: the working directory if none is given.
fn class_path(arguments: &[String]) -> Option<Runs<'_>> {
    let mut elements = vec!["."];
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "-jar" => return rest.next().map(Runs::File),
            "-cp" | "-classpath" | "--class-path" | "-p" | "--module-path" => {
                // A class path element `lib/*` stands for every jar in `lib`.
                let parts = rest.next()?.split(':').map(|part| part.strip_suffix("/*").unwrap_or(part));
                elements = parts.map(|part| if part.is_empty() { "." } else { part }).collect();
            }
            "-m" | "--module" => return Some(Runs::ClassPath(elements)),
            _ if argument.starts_with('-') || argument.starts_with('@') => {}
            _ if argument.ends_with(".java") => return Some(Runs::File(argument)),
            _ => return Some(Runs::ClassPath(elements)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_interpreters_run() {
        for (program, line, file) in [
            ("python3.11", "python3 server.py --port 80", Some("server.py")),
            ("python3", "python3 -u -X dev /srv/app.py", Some("/srv/app.py")),
            ("python3", "python3 -m http.server", None),
            ("python3", "python3 -Im http.server", None),
            ("python3", "python3 -c import", None),
            ("python3", "python3 - x", None),
            ("python3", "python3", None),
            ("node", "node --inspect=0.0.0.0 server.js", Some("server.js")),
            ("node", "node -r dotenv/config server.js", Some("server.js")),
            ("node", "node -e code", None),
            ("deno", "deno run --allow-net x.ts", Some("x.ts")),
            ("perl5.36", "perl -w -I lib x.pl", Some("x.pl")),
            ("perl", "perl -we code", None),
            ("php8.2", "php -S 0.0.0.0:80 -t /srv router.php", Some("router.php")),
            ("php8.2", "php -S 0.0.0.0:80 -t /srv", None),
            ("php", "php -f x.php", Some("x.php")),
            ("bash", "bash -e run.sh", Some("run.sh")),
            ("bash", "bash -ec run", None),
            ("bash", "bash -- run.sh", Some("run.sh")),
            ("java", "java -Xmx1g -jar app.jar", Some("app.jar")),
            ("java", "java Main.java", Some("Main.java")),
            ("nginx", "nginx -c x", None),
        ] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(runs(program, &line), file.map(Runs::File), "{line:?}");
        }
    }

    #[test]
    fn class_paths() {
        for (line, elements) in [
            ("java -cp /a:/lib/*:x.jar Main", vec!["/a", "/lib", "x.jar"]),
            ("java -server Main arg -jar", vec!["."]),
            ("java -p mods -m m/Main", vec!["mods"]),
        ] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(runs("java", &line), Some(Runs::ClassPath(elements)), "{line:?}");
        }
    }
}
