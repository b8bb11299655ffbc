//! The short help (`-h`) of the commands with many options, as text that fits a screen of 80 columns and 24 rows. The
//! long help (`--help`) explains every option in a paragraph of its own.

use clap::Command;

/// Returns the text about the filters. `$more` is the text about the filters that only some commands have.
macro_rules! filters {
    ($more:literal) => {
        concat!(
            "Filters:\n",
            "  -t TCP, -u UDP, -4 for IPv4 clients, --reachable by other machines,\n",
            "  --process REGEX, --user NAME|UID, --unit NAME, --container NAME|ID,\n",
            "  --not FILTER to exclude (--not user=root)",
            $more,
            "\n",
        )
    };
}

const PROGRAM: &str = concat!(
    "\
Lists what listens on this machine, and flags what should not be there

Usage: portolan [OPTIONS] [TARGET]... [COMMAND]
TARGET: a port, range, address, interface, service, program or script
Commands:
  explain, why    what a port is for, and who uses it here
  watch           show changes on a screen; --until-listening waits for a port
  audit, policy   check every listener; write or check the rules for an audit
  capture, diff   save a snapshot; show what changed since
  kill            end what listens on a port, after asking (Linux)
  list (the default), completions, man; help COMMAND shows all options
",
    filters!(", --flag CODE, -a connections too"),
    "\
Output:  -o table|wide|json|ndjson|csv, --columns A,B, --sort COLUMN, --pids, -v
Source:  --from FILE, --netns NAME|all
Examples:
  portolan 3000                          the process that listens on port 3000
  portolan --reachable                   what other machines can reach
  portolan watch 3000 --until-listening  wait for port 3000
  sudo portolan audit                    check every listener
More: portolan --help; -V, --version
"
);

const LIST: &str = concat!(
    "\
List listeners (the default)

Usage: portolan list [OPTIONS] [TARGET]...
TARGET: a port, range, address, interface, service, program or script

",
    filters!(", --flag CODE, -a connections too"),
    "\
Output:
  -o FORMAT      table (default), wide, json, ndjson or csv
  --columns A,B  columns to show, for example port,user,processes.exe
  --sort COLUMN  sort by this column; a minus before it reverses the order
  --pids         print only process IDs: kill $(portolan --pids 3000)
  -v             show every gap and note in full
Source:
  --from FILE, --netns NAME|all (Linux)

More: portolan list --help
"
);

const EXPLAIN: &str = "\
Explain a port, service or program

Usage: portolan explain [OPTIONS] [TARGET]...
TARGET: a port, range, service, program or words: 3416, tcp/3416, ssh, postgres

Options:
  --full        also show protocols and registrations without a listener
  --evidence    show the evidence for the status of each port
  --free RANGE  propose free ports for a new service: --free 8000-9000
  --map         show the listeners on a map of all ports
  --stats       show totals of the registry
Output:  -o table|json, -v every gap in full
Source:  --from FILE, --netns NAME|all (Linux)
Examples:
  portolan explain 3416   the process on this port, and the registration
  portolan why sshd       the ports of a running program, and why it runs
  portolan explain kazaa  every registration that mentions a word

More: portolan explain --help
";

const WATCH: &str = concat!(
    "\
Watch listeners change, or wait for a port

Usage: portolan watch [OPTIONS] [TARGET]...
TARGET: a port, range, address, interface, service, program or script
Options:
  --until-listening    wait until something listens on every target
  --until-free         wait until the ports of all targets are free
  --timeout SECONDS    stop waiting after this time, with exit code 1 or 3
  --interval SECONDS   time between two scans (1, or 0.1 with --until-...)
  --on-appear PROGRAM  run this program for each new listener
  --bell               ring the bell of the terminal for each new listener
",
    filters!(", --flag CODE, -a connections too"),
    "\
Output:  -o table|json|ndjson, -v every gap in full
Source:  --from FILE, --netns NAME|all (Linux)
Examples:
  portolan watch                           every listener, on a screen
  portolan watch 5432 --until-listening    wait for port 5432
More: portolan watch --help
"
);

const AUDIT: &str = concat!(
    "\
Check every listener; the exit code is the verdict

Usage: portolan audit [OPTIONS] [TARGET]...
Options:
  --fail-on SEVERITY  info, notice, warning (default) or critical
  --policy FILE       compare with a policy: unexpected and missing listeners
  --baseline FILE     also report what changed since this snapshot
  --other-host        accept a baseline of another host
  --deep              also search for hidden sockets (Linux, root)
  --allow-incomplete  exit with 0 instead of 3 if the verdict is 'incomplete'
  --write FILE        write to this file instead of standard output
  --rules             only list the rules, with reason and remedy
",
    filters!(""),
    "\
Output:  -o table|json|ndjson|sarif|metrics|html
Source:  --from FILE, --netns NAME|all (Linux)
Examples:
  sudo portolan audit                                check every listener
  sudo portolan audit -o html --write report.html    a page for a browser
More: portolan audit --help
"
);

const DIFF: &str = "\
Show what changed since a saved snapshot

Usage: portolan diff [OPTIONS] [BEFORE] [AFTER]
BEFORE: the earlier snapshot, written by portolan capture (- for standard input)
AFTER: the later snapshot (default: this machine now)

Options:
  --other-host        accept snapshots of two different hosts
  --allow-incomplete  exit with 0 instead of 3 if no change was seen, but a
                      snapshot is incomplete
Output:  -o table|json|ndjson|csv|html, -v every gap in full
Source:  --netns NAME|all (Linux)
Examples:
  sudo portolan capture >before.json    take a snapshot
  sudo portolan diff before.json        what changed since, on this machine
  portolan diff before.json after.json  compare two files

More: portolan diff --help
";

const KILL: &str = concat!(
    "\
End what listens on a port, after asking (Linux)

Usage: portolan kill [OPTIONS] [TARGET]...
TARGET: a port, range, address, interface, service, program or script

Options:
  --dry-run  show what would be ended, and end nothing
  -y, --yes  do not ask for confirmation
  --force    send SIGKILL to processes that ignore SIGTERM for 10 seconds
",
    filters!(", --flag CODE"),
    "\
Source:
  --netns NAME|all
Examples:
  portolan kill 3000             end the listener on port 3000
  portolan kill 3000 --dry-run   only show what would be ended

More: portolan kill --help
"
);

/// The commands that have a short help, each with its text.
const COMMANDS: [(&str, &str); 6] = [
    ("list", LIST),
    ("explain", EXPLAIN),
    ("watch", WATCH),
    ("audit", AUDIT),
    ("diff", DIFF),
    ("kill", KILL),
];

/// Replaces the help of these commands with their short help.
pub(super) fn shortened(program: Command) -> Command {
    COMMANDS.iter().fold(program.override_help(PROGRAM), |program, (name, text)| {
        program.mut_subcommand(name, |command| command.override_help(*text))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Arg, CommandFactory};

    use super::*;
    use crate::cli::Cli;

    fn all() -> Vec<(Command, String)> {
        let mut program = Cli::command();
        program.build();
        let mut all: Vec<(Command, String)> = COMMANDS
            .iter()
            .map(|(name, text)| (program.find_subcommand(name).unwrap().clone(), (*text).to_owned()))
            .collect();
        all.push((program, PROGRAM.to_owned()));
        all
    }

    fn options(text: &str) -> BTreeSet<&str> {
        let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        let words = text.split(is_end).filter(|word| word.starts_with('-'));
        words.filter(|word| word.len() > 1 && !word.ends_with("...")).collect()
    }

    /// One row of the screen is left for the prompt.
    #[test]
    fn every_short_help_fits_a_screen() {
        for (command, text) in all() {
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.len() <= 23, "{}: {} lines", command.get_name(), lines.len());
            for line in lines {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{}", command.get_name());
        }
    }

    /// The text names every option that the short help must have. Each option in the text is an option of the command.
    #[test]
    fn every_short_help_names_the_options_of_its_command() {
        for (command, text) in all() {
            let name = command.get_name();
            let accepted = |word: &&str| {
                let is_it = |arg: &Arg| {
                    arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
                        || arg.get_short().is_some_and(|short| **word == format!("-{short}"))
                };
                command.get_arguments().any(is_it)
            };
            let named = options(&text);
            // The texts also contain options of other commands (in examples), and the common prefix of
            // `--until-listening` and `--until-free`.
            let foreign = ["--until-listening", "--until-"];
            for word in named.iter().filter(|word| !foreign.contains(word)) {
                assert!(accepted(word), "{name}: {word}");
            }
            let hidden = |arg: &Arg| {
                arg.is_hide_set()
                    || arg.is_hide_short_help_set()
                    || arg.is_positional()
                    || arg.get_id() == "help"
            };
            for arg in command.get_arguments().filter(|arg| !hidden(arg)) {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                let is_named = [long, short].into_iter().flatten().any(|option| named.contains(&*option));
                let is_refused = matches!(
                    (name, &*arg.get_id().to_string()),
                    ("diff" | "kill", "from") | ("kill", "output")
                );
                assert!(is_named || is_refused, "{name}: {}", arg.get_id());
            }
        }
    }

    #[test]
    fn the_short_help_names_every_command() {
        let program = Cli::command();
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let is_named = PROGRAM.split(|c: char| !c.is_alphabetic()).any(|word| word == command.get_name());
            assert!(is_named, "{}", command.get_name());
        }
    }
}
