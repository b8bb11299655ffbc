//! Parses the command line, runs the command, prints an error, and maps the result to an exit code.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use super::stdout::is_broken_pipe;
use super::{Exit, completions, run_command, version};
use crate::cli::{self, Cli};
use crate::render::sanitize;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Runs the program with the arguments of this process; returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    match completions::answered() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return complain(&format!("{error:#}")),
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if error.kind() == ErrorKind::DisplayVersion && env::args_os().any(|a| a == "--version") =>
        {
            return written(writeln!(io::stdout(), "portolan {}", version()));
        }
        Err(error) if !error.use_stderr() => return written(error.print()),
        Err(error) => {
            return complain(
                &list_option_error(&error).unwrap_or_else(|| one_line(&error.render().to_string())),
            );
        }
    };
    match run_command(&cli) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}")),
    }
}

/// Returns the exit code after help or version was written to standard output, which may be closed.
fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn complain(line: &str) -> ExitCode {
    // If standard error cannot be written to either, the exit code alone reports the error.
    let _ = writeln!(io::stderr().lock(), "portolan: {}", sanitize(line));
    ExitCode::from(Exit::Failed.code())
}

/// Returns an error message for an option of a listing that this command does not accept: the similar option that the
/// parser suggests would mislead.
fn list_option_error(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option))
            if error.kind() == ErrorKind::UnknownArgument && cli::is_list_option(option) =>
        {
            Some(format!(
                "unexpected argument '{option}': it is an option of portolan list, not of this command"
            ))
        }
        _ => None,
    }
}

/// Returns the error of the parser as one line: what is wrong, and the parser's tip if there is one.
fn one_line(rendered: &str) -> String {
    let mut lines = rendered.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    for more in lines.filter(|line| ["tip:", "[", "<", "--"].iter().any(|start| line.starts_with(start))) {
        line.push_str(if more.starts_with("tip:") { "; " } else { " " });
        line.push_str(more.strip_prefix("tip: ").unwrap_or(more));
    }
    line.push_str(" (see portolan --help)");
    line
}
