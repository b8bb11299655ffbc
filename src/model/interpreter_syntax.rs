//! The ways in which interpreters read their command lines.

use std::sync::OnceLock;

/// The code or destination in the command line of an interpreter or a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterpreterCommand<'c> {
    /// A script, or a jar.
    File(&'c str),
    /// The directories and jars of a Java class path, and the main class or module.
    ClassPath(Vec<&'c str>, &'c str),
    /// The name of a module, for which the interpreter searches in its module path.
    Module(&'c str),
    /// Code that is on the command line.
    Code(&'c str),
    Relay(&'c [String]),
    /// The command line names no code, for example because the code comes from standard input.
    Nothing,
}

/// The meaning of the first argument that is not an option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Positional {
    File,
    Code,
    /// The argument names no code.
    Other,
}

/// The ways in which short options can be joined in one argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Clusters {
    /// Each option is a separate argument.
    None,
    /// The value of the last option is the next argument (`-ec CODE`).
    Joined,
    /// The value of the last option may be in the same argument (`-cCODE`).
    Attached,
}

/// The options and subcommands of an interpreter.
pub(super) struct Syntax {
    /// The names of the interpreter's programs, without a version.
    pub names: &'static [&'static str],
    /// Options that replace the file: they give code, a module, or standard input.
    pub no_file: &'static [&'static str],
    /// Options that give code that runs before the file.
    pub code_before_file: &'static [&'static str],
    /// Options whose value is the next argument.
    pub with_value: &'static [&'static str],
    /// The letters of short options whose value is always in the same argument (`-MModule`).
    pub attached_only: &'static str,
    /// Options whose value is the file.
    pub file: &'static [&'static str],
    /// Subcommands before the file.
    pub commands: &'static [&'static str],
    pub clusters: Clusters,
    pub positional: Positional,
}

const PLAIN: Syntax = Syntax {
    names: &[],
    no_file: &[],
    code_before_file: &[],
    with_value: &[],
    attached_only: "",
    file: &[],
    commands: &[],
    clusters: Clusters::None,
    positional: Positional::File,
};

/// Returns the syntax of the interpreter with this name, without a version: `python`, not `python3.11`.
pub(super) fn syntax_of(name: &str) -> Option<&'static Syntax> {
    /// The rows are sorted by name, because a listing searches for several names per process.
    static BY_NAME: OnceLock<Vec<(&str, &Syntax)>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        let names = |syntax: &'static Syntax| syntax.names.iter().map(move |name| (*name, syntax));
        let mut by_name: Vec<_> = SYNTAXES.iter().flat_map(names).collect();
        by_name.sort_unstable_by_key(|(name, _)| *name);
        by_name
    });
    let at = by_name.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    by_name.get(at).map(|(_, syntax)| *syntax)
}

/// The source of each row is the manual or the help text of the interpreter. `class_path` parses the command line of
/// Java.
static SYNTAXES: [Syntax; 24] = [
    Syntax {
        names: &["python", "pypy"],
        no_file: &["-c", "-m", "-"],
        with_value: &["-X", "-W", "-Q", "--check-hash-based-pycs"],
        clusters: Clusters::Attached,
        ..PLAIN
    },
    Syntax {
        names: &["node", "nodejs"],
        no_file: &["-e", "--eval", "-p", "-pe", "--print", "-"],
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--allow-fs-read",
            "--allow-fs-write",
            "--build-snapshot-config",
            "--cpu-prof-dir",
            "--cpu-prof-interval",
            "--cpu-prof-name",
            "--diagnostic-dir",
            "--disable-proto",
            "--disable-warning",
            "--dns-result-order",
            "--env-file",
            "--env-file-if-exists",
            "--es-module-specifier-resolution",
            "--experimental-config-file",
            "--experimental-default-type",
            "--experimental-policy",
            "--experimental-sea-config",
            "--heap-prof-dir",
            "--heap-prof-interval",
            "--heap-prof-name",
            "--heapsnapshot-near-heap-limit",
            "--heapsnapshot-signal",
            "--icu-data-dir",
            "--input-type",
            "--inspect-port",
            "--debug-port",
            "--inspect-publish-uid",
            "--localstorage-file",
            "--snapshot-blob",
            "--max-http-header-size",
            "--network-family-autoselection-attempt-timeout",
            "--openssl-config",
            "--policy-integrity",
            "--redirect-warnings",
            "--report-dir",
            "--report-directory",
            "--report-filename",
            "--report-signal",
            "--secure-heap",
            "--secure-heap-min",
            "--snapshot-blob",
            "--stack-trace-limit",
            "--test-concurrency",
            "--test-coverage-exclude",
            "--test-coverage-include",
            "--test-isolation",
            "--test-name-pattern",
            "--test-reporter",
            "--test-reporter-destination",
            "--test-shard",
            "--test-skip-pattern",
            "--test-timeout",
            "--title",
            "--tls-cipher-list",
            "--tls-keylog",
            "--tls-max-version",
            "--tls-min-version",
            "--trace-event-categories",
            "--trace-event-file-pattern",
            "--trace-require-module",
            "--unhandled-rejections",
            "--use-largepages",
            "--v8-pool-size",
            "--watch-path",
        ],
        commands: &["inspect", "debug"],
        ..PLAIN
    },
    Syntax {
        names: &["bun"],
        no_file: &["-e", "--eval", "-p", "--print", "-"],
        with_value: &["-r", "--preload", "--cwd", "-c", "--config"],
        commands: &["run"],
        ..PLAIN
    },
    Syntax {
        names: &["deno"],
        no_file: &["eval", "repl", "-"],
        with_value: &[
            "-c",
            "--config",
            "--import-map",
            "--env-file",
            "--preload",
            "--cert",
            "--location",
            "--seed",
            "--port",
            "--host",
            "-L",
            "--log-level",
        ],
        commands: &["run", "serve"],
        ..PLAIN
    },
    Syntax {
        names: &["perl"],
        no_file: &["-e", "-E", "-"],
        with_value: &["-I"],
        attached_only: "MmiFCDxV",
        clusters: Clusters::Attached,
        ..PLAIN
    },
    Syntax {
        names: &["ruby"],
        no_file: &["-e", "-"],
        with_value: &[
            "-I",
            "-r",
            "-C",
            "-X",
            "-E",
            "--encoding",
            "--external-encoding",
            "--internal-encoding",
        ],
        attached_only: "FxTWKi",
        clusters: Clusters::Attached,
        ..PLAIN
    },
    Syntax {
        names: &["php", "php-cgi"],
        no_file: &["-r", "-B", "-R", "-E", "--run", "--process-begin", "--process-code", "--process-end"],
        with_value: &[
            "-S",
            "-t",
            "-c",
            "-d",
            "-z",
            "-b",
            "--server",
            "--docroot",
            "--php-ini",
            "--define",
            "--zend-extension",
            "--bindpath",
        ],
        file: &["-f", "-F", "--file", "--process-file"],
        clusters: Clusters::Attached,
        ..PLAIN
    },
    Syntax {
        names: &["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash"],
        no_file: &["-c", "-s", "-"],
        with_value: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        clusters: Clusters::Joined,
        ..PLAIN
    },
    Syntax {
        names: &["lua", "luajit"],
        no_file: &["-"],
        code_before_file: &["-e"],
        with_value: &["-l"],
        clusters: Clusters::Attached,
        ..PLAIN
    },
    Syntax { names: &["tclsh", "wish"], no_file: &["-e"], with_value: &["-encoding"], ..PLAIN },
    Syntax {
        names: &["julia"],
        no_file: &["-e", "-E", "--eval", "--print"],
        with_value: &[
            "-L",
            "--load",
            "-J",
            "--sysimage",
            "-C",
            "--cpu-target",
            "-p",
            "--procs",
            "-t",
            "--threads",
        ],
        ..PLAIN
    },
    Syntax { names: &["Rscript"], no_file: &["-e"], ..PLAIN },
    Syntax {
        names: &["R"],
        no_file: &["-e"],
        file: &["-f", "--file"],
        positional: Positional::Other,
        ..PLAIN
    },
    Syntax { names: &["mono", "mono-sgen"], ..PLAIN },
    Syntax {
        names: &["dotnet"],
        with_value: &[
            "--depsfile",
            "--runtimeconfig",
            "--additionalprobingpath",
            "--fx-version",
            "--roll-forward",
        ],
        commands: &["exec", "fsi"],
        ..PLAIN
    },
    Syntax {
        names: &["gjs", "gjs-console"],
        no_file: &["-c", "--command"],
        with_value: &["-C", "--coverage-prefix", "--coverage-output", "-I", "--include-path"],
        ..PLAIN
    },
    Syntax {
        names: &["guile"],
        no_file: &["-c", "-"],
        with_value: &["-L", "-C", "-x", "-e", "-l"],
        file: &["-s"],
        ..PLAIN
    },
    Syntax {
        names: &["racket"],
        no_file: &["-e", "--eval", "-"],
        with_value: &[
            "-l",
            "--lib",
            "-p",
            "-S",
            "--search",
            "-X",
            "--collects",
            "-G",
            "--config",
            "-A",
            "--addon",
        ],
        file: &["-f", "--load", "-t", "--require", "-u", "--require-script", "-r", "--script"],
        ..PLAIN
    },
    Syntax { names: &["ocamlrun"], with_value: &["-I"], ..PLAIN },
    Syntax {
        names: &["expect"],
        no_file: &["-"],
        code_before_file: &["-c"],
        file: &["-f", "-b"],
        clusters: Clusters::Attached,
        ..PLAIN
    },
    Syntax {
        names: &["awk", "gawk", "mawk", "original-awk", "nawk"],
        no_file: &["-e", "--source"],
        with_value: &["-v", "-F", "--assign", "--field-separator", "-i", "--include", "-l", "--load", "-W"],
        file: &["-f", "--file", "-E", "--exec"],
        clusters: Clusters::Attached,
        positional: Positional::Code,
        ..PLAIN
    },
    Syntax {
        names: &["sbcl"],
        no_file: &["--eval"],
        with_value: &["--core", "--userinit", "--sysinit", "--dynamic-space-size", "--control-stack-size"],
        file: &["--script", "--load"],
        positional: Positional::Other,
        ..PLAIN
    },
    Syntax {
        names: &["emacs", "emacs-nox", "emacs-gtk", "emacs-lucid", "emacs-pgtk"],
        no_file: &["--eval", "-eval", "--execute", "-execute"],
        with_value: &["-f", "--funcall", "-funcall", "-u", "--user", "-L", "--directory", "-d", "--display"],
        file: &["--script", "-script", "-x", "-l", "--load", "-load"],
        positional: Positional::Other,
        ..PLAIN
    },
    Syntax {
        names: &["uwsgi", "uwsgi-core"],
        file: &["--wsgi-file", "--file"],
        positional: Positional::Other,
        ..PLAIN
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument<'c> {
    /// An option and its value, if the value is part of the argument.
    Option(&'static str, Option<&'c str>),
    /// Any other option: it gives no code, and the next argument is not its value.
    Flag,
    Positional,
}

impl Syntax {
    /// Returns the option in an argument, if this syntax lists the option; `Flag` for any other option.
    pub(super) fn read<'c>(&self, argument: &'c str) -> Argument<'c> {
        let known = [self.no_file, self.code_before_file, self.with_value, self.file].concat();
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
        let (Some(letters), false) = (letters, self.clusters == Clusters::None) else {
            return Argument::Flag;
        };
        for (at, letter) in letters.char_indices() {
            if self.attached_only.contains(letter) || !letter.is_ascii_alphanumeric() {
                return Argument::Flag;
            }
            let mut short = known.iter().filter(|option| option.len() == 2 && option.starts_with('-'));
            if let Some(option) = short.find(|option| option.ends_with(letter)) {
                let rest = letters.get(at + 1..).filter(|rest| !rest.is_empty());
                return Argument::Option(option, rest.filter(|_| self.clusters == Clusters::Attached));
            }
        }
        Argument::Flag
    }
}
