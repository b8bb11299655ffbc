//! Runs the program: parses the command line, runs the command, and maps the result to an exit code.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use super::long_error::LongError;
use super::stdout::is_broken_pipe;
use super::{Exit, charset, completions, print_message, run_command, version};
use crate::cli::{self, Cli};
use crate::query::pid_refusal;
use clap::error::{ContextKind, ContextValue, ErrorKind};

const SUCCESS: u8 = 0;

/// Runs the program with the arguments of this process, and returns its exit code.
pub fn run() -> ExitCode {
    #[cfg(target_os = "linux")]
    let code = super::supervisor::supervised(run_here);
    #[cfg(not(target_os = "linux"))]
    let code = run_here();
    ExitCode::from(code)
}

fn run_here() -> u8 {
    match completions::complete_if_requested() {
        Ok(false) => {}
        Ok(true) => return SUCCESS,
        Err(error) => return complain(&format!("{error:#}")),
    }
    let cli = match command_line() {
        Ok(cli) => cli,
        Err(error)
            if error.kind() == ErrorKind::DisplayVersion && env::args_os().any(|a| a == "--version") =>
        {
            return written(writeln!(io::stdout(), "portolan {}", version()));
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return written(write!(io::stdout(), "{}", error.render()));
        }
        Err(error) if !error.use_stderr() && charset::is_ascii_only() => {
            let help = error.render().to_string();
            return written(write!(io::stdout(), "{}", charset::readable(&help)));
        }
        Err(error) if !error.use_stderr() => return written(error.print()),
        Err(error) => {
            return complain(
                &habit_error(&error)
                    .or_else(|| list_option_error(&error))
                    .unwrap_or_else(|| one_line(&error.render().to_string())),
            );
        }
    };
    match run_command(&cli) {
        Ok(exit) => exit.code(),
        Err(error) if is_broken_pipe(&error) => SUCCESS,
        Err(error) => match error.downcast_ref::<LongError>() {
            Some(long) => {
                long.print();
                Exit::Failed.code()
            }
            None => complain(&format!("{error:#}")),
        },
    }
}

/// Parses the command line. Without arguments the parser is skipped, because it takes a large part of the time of a
/// listing.
fn command_line() -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = env::args_os().collect();
    if words.len() <= 1 { Ok(Cli::default()) } else { cli::parse(&words) }
}

/// Returns the exit code after the help or the version was written. If the reader has closed the output, this is a
/// success.
fn written(result: io::Result<()>) -> u8 {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => SUCCESS,
    }
}

fn complain(line: &str) -> u8 {
    print_message(line);
    Exit::Failed.code()
}

/// Returns an error message for an option that `portolan list` accepts but this command does not. Returns `None` for
/// any other error. Without this message, the parser would wrongly suggest a similar option.
fn list_option_error(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option))
            if error.kind() == ErrorKind::UnknownArgument && cli::is_list_option(option) =>
        {
            Some(format!(
                "unexpected argument '{option}': this option belongs to portolan list, not to this command"
            ))
        }
        _ => None,
    }
}

const REACHABLE: &str = "to list what other machines can reach, type portolan --reachable";
const STARTED: &str = "to list what started last, type portolan --sort -since --columns port,process,since";
/// Options that users expect from other programs, each with the equivalent command.
const HABITS: [(&str, &str); 15] = [
    ("--exposed", REACHABLE),
    ("--external", REACHABLE),
    ("--open", REACHABLE),
    ("--public", REACHABLE),
    ("--recent", STARTED),
    ("--since", STARTED),
    ("--wait", "to wait for a port, type portolan watch PORT --until-listening"),
    ("--until-up", "to wait for a port, type portolan watch PORT --until-listening"),
    ("--until-down", "to wait until a port is free, type portolan watch PORT --until-free"),
    ("-c", "to list the sockets of a program, type portolan NAME"),
    ("-g", "to list the sockets of a user, type portolan --user NAME"),
    ("-k", "to end the listeners of a port, type portolan kill 3000"),
    ("-r", "addresses and ports are always numbers; leave out -r"),
    ("-w", "to list raw and packet sockets, type portolan --raw"),
    ("-x", "Unix sockets are not listed; type ss -x"),
];

/// Returns an error message with the equivalent command for an option of ss, lsof, netstat or fuser. Returns `None` for
/// any other error.
fn habit_error(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let pid = env::args_os().skip(1).find_map(|arg| {
        let (letters, pid) = arg.to_str()?.strip_prefix('-')?.split_once('p')?;
        let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        (is_pid && letters.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| pid.to_owned())
    });
    if let Some(pid) = pid {
        return Some(pid_refusal(&pid));
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let (option, remedy) = HABITS.iter().find(|(habit, _)| habit == option)?;
    Some(format!("{option}: {remedy}"))
}

/// Returns the error of the parser as one line: the problem, the tip of the parser (if any), and the command that shows
/// the help.
fn one_line(rendered: &str) -> String {
    let mut lines = rendered.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let mut command = "portolan".to_owned();
    for more in lines {
        if let Some(usage) = more.strip_prefix("Usage: ") {
            let words = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-']));
            command = words.collect::<Vec<_>>().join(" ");
        } else if let Some(tip) = more.strip_prefix("tip: ") {
            // The tip "to pass …" is left out. It suggests putting the word after `--`, which makes the word a target.
            // But no target begins with a hyphen.
            if !tip.starts_with("to pass") {
                line.push_str("; ");
                line.push_str(tip);
            }
        } else if ["[", "<", "--"].iter().any(|start| more.starts_with(start)) {
            line.push(' ');
            line.push_str(more);
        }
    }
    format!("{line} (for help, type {command} --help)")
}
