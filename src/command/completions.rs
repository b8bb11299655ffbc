//! `portolan completions`: the script that a shell loads, and the answers that the script requests at every TAB.
//!
//! A process chooses its own name, and the shell runs the completed command line. Therefore a name that needs quotes in
//! a shell is never offered. If an error occurs, the answer is empty.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;

use anyhow::{Error, Result};

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use super::Exit;
use crate::cli::{Cli, Shell};
use crate::model::Snapshot;
use crate::observe::{Scope, observe};
use crate::query::fields::{FIELDS, Field, Values};
use crate::registry::{Registry, programs};
use crate::render::columns;

/// The environment variable in which the script passes its request.
const ASKED: &str = "PORTOLAN_COMPLETE";
const NAME: &str = "portolan";

type Names = BTreeMap<String, String>;

/// Returns names for the typed text. The caller offers only names that begin with this text.
type Completer = Box<dyn Fn(&str) -> Names + Send + Sync>;

pub(super) fn run(shell: Shell, out: &mut dyn Write) -> Result<Exit> {
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Elvish => "elvish",
    };
    let shells = Shells::builtins();
    let script = shells
        .completer(name)
        .ok_or_else(|| Error::msg(format!("{name}: portolan has no completions for this shell")))?;
    script.write_registration(ASKED, NAME, NAME, NAME, out)?;
    Ok(Exit::Matched)
}

/// Writes completions if a shell requests them. Returns true if it wrote them; the program must then end.
pub fn complete_if_requested() -> Result<bool> {
    if std::env::var_os(ASKED).is_none() {
        return Ok(false);
    }
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(|| with_completers(Cli::command()))
        .var(ASKED)
        .try_complete(std::env::args_os(), directory.as_deref())
        .map_err(|error| {
            let error = error.to_string();
            Error::msg(format!("{ASKED}: {}", error.trim_start_matches("error: ").trim_end()))
        })
}

fn with_completers(command: clap::Command) -> clap::Command {
    let explains = command.get_name() == "explain";
    let command = command.mut_args(|arg| {
        let id = arg.get_id().as_str();
        let Some(names) = names_of(if explains && id == "targets" { "explained" } else { id }) else {
            return arg;
        };
        arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(&names, typed)))
    });
    command.mut_subcommands(with_completers)
}

fn candidates(names: &Completer, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let names = names(typed).into_iter().filter(|(name, _)| name.starts_with(typed));
    names.map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into()))).collect()
}

/// Returns the completer for the argument with this name; `None` if its values cannot be listed.
fn names_of(argument: &str) -> Option<Completer> {
    let names: fn(&str) -> Names = match argument {
        "targets" => targets,
        "explained" => |typed| {
            let known = programs::programs().filter(|_| !typed.is_empty());
            let known = known.map(|program| (program.name, program.product));
            let mut names = targets(typed);
            names.extend(plain(known));
            names
        },
        "columns" => |_| plain(columns::names().map(|name| (name, "column"))),
        "sort" => |typed| {
            let falling = typed.strip_prefix('-').map_or("", |_| "-");
            columns::names().map(|name| (format!("{falling}{name}"), "field".to_owned())).collect()
        },
        "not" => |typed| match typed.split_once('=') {
            None => {
                let keys = FIELDS.iter().map(|field| (format!("{}=", field.name), "leave out".to_owned()));
                targets(typed).into_iter().chain(keys).collect()
            }
            Some((key, _)) => {
                let names = Field::named(key).map(values_of).unwrap_or_default();
                names.into_iter().map(|(name, help)| (format!("{key}={name}"), help)).collect()
            }
        },
        "netns" => |_| plain([("all", "every network namespace that can be found")]),
        other => {
            let field = Field::named(other)?;
            return Some(Box::new(move |_| values_of(field)));
        }
    };
    Some(Box::new(names))
}

fn values_of(field: &Field) -> Names {
    match field.values {
        Values::Fixed(names) => plain(names()),
        Values::Seen(names) => names_on_this_machine(field.details, |seen| {
            let names = names(seen);
            plain(names.iter().map(|(name, help)| (&**name, &**help)))
        }),
    }
}

/// Returns the services and processes in use on this machine, and the registered services whose names begin with the
/// typed text. If nothing is typed, registered services are left out, because there are thousands.
fn targets(typed: &str) -> Names {
    let registry = Registry::embedded();
    let services = if typed.is_empty() { Vec::new() } else { registry.beginning(typed) };
    let mut names = plain(services.into_iter().map(|name| (name, "service")));
    names.extend(names_on_this_machine(false, |seen| {
        let mut names = processes(seen);
        let local = seen.sockets.iter().map(|socket| &socket.local);
        let verdicts = local.map(|local| registry.verdict(local.port, local.protocol));
        let services = verdicts.flat_map(|verdict| verdict.assignments);
        names.extend(plain(services.map(|assignment| (assignment.service, "service"))));
        names
    }));
    names
}

fn processes(seen: &Snapshot) -> Names {
    plain(seen.processes.iter().filter_map(|process| Some((process.name.as_deref()?, "process"))))
}

/// Scans this machine, and returns the names that `names` finds. Returns no names if the scan fails. With `details`,
/// the scan includes the users, units and containers of processes.
fn names_on_this_machine(details: bool, names: impl FnOnce(&Snapshot) -> Names) -> Names {
    observe(&Scope { details, ..Scope::default() }).map_or_else(|_| Names::new(), |seen| names(&seen))
}

/// Keeps only names that are not options and that every shell accepts without quotes.
fn plain<'a>(names: impl IntoIterator<Item = (&'a str, &'a str)>) -> Names {
    let stands = |c: char| c.is_ascii_alphanumeric() || "._-+/@:".contains(c);
    let names = names
        .into_iter()
        .filter(|(name, _)| !name.is_empty() && !name.starts_with('-') && name.chars().all(stands));
    names.map(|(name, help)| (name.to_owned(), help.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_shell_would_obey_are_not_offered() {
        for name in [
            "$(reboot)",
            "`id`",
            "a b",
            "a;b",
            "a|b",
            "*",
            "~",
            "-rf",
            "",
            "a\nb",
            "\u{1b}[2J",
            "é",
            "a'b",
            "a\\b",
        ] {
            assert_eq!(plain([(name, "process")]), Names::new(), "{name:?}");
        }
        for name in ["nginx", "kworker/0:1", "systemd-resolve", "node_exporter", "user@1000.service", "g++"] {
            assert_eq!(plain([(name, "process")]).len(), 1, "{name}");
        }
    }

    /// Every argument with one of these names is completed, in every command.
    #[test]
    fn the_command_line_can_be_completed() {
        let mut command = with_completers(Cli::command());
        command.build();
        let mut completed = 0;
        for command in command.get_subcommands().chain([&command]) {
            for arg in command.get_arguments() {
                let known = names_of(arg.get_id().as_str()).is_some();
                assert_eq!(arg.get::<ArgValueCompleter>().is_some(), known, "{} {arg}", command.get_name());
                completed += usize::from(known);
            }
        }
        assert!(completed > 30, "{completed}");
    }

    #[test]
    fn values_of_not() {
        let not = names_of("not").unwrap();
        assert!(not("flag=orph").contains_key("flag=orphaned"));
        assert!(not("fl").contains_key("flag="));
        assert!(not("commandp").contains_key("commandport"));
        assert_eq!(not("colour=r"), Names::new());
    }
}
