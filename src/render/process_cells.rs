//! The cells with the processes of an entry. A cell has one value per process, in ascending order of pid.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;

use jiff::Timestamp;

use super::cells::{CellFormat, Field, joined};
use super::{Emphasis, owner_mark, process_name, sanitize};
use crate::join::Entry;
use crate::model::interpreter::{InterpreterCommand, parse_command};
use crate::model::{Pid, Process, file_name};

/// Returns the process IDs. For people, the ID of the probable owner of a hidden socket has a mark.
pub(super) fn pid(entry: &Entry, form: CellFormat) -> Field {
    if let Some(owner) = entry.inferred_owner().filter(|_| form != CellFormat::Data) {
        return Field::new(format!("{}?", owner.process.pid), Emphasis::Quiet);
    }
    Field::plain(pids(entry.socket.owner.pids(), form))
}

pub(super) fn process_names(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.name.as_deref())
}

pub(super) fn exe(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.exe.as_ref().map(|exe| exe.path.as_str()))
}

pub(super) fn exe_deleted(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.exe.as_ref().map(|exe| exe.is_deleted().to_string()))
}

pub(super) fn exe_state(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.exe.as_ref().map(|exe| exe.state.name()))
}

/// Returns the command line of each process in the notation of a shell, because a word may contain a comma. People see
/// only the first command line, and the number of the others.
pub(super) fn cmdline(entry: &Entry, form: CellFormat) -> Field {
    let mut lines = entry.processes.iter().filter(|process| !process.cmdline.is_empty());
    if form == CellFormat::Data {
        return Field::list(lines.map(|process| shell_words(&process.cmdline)));
    }
    let first = lines.next().map(|process| &process.cmdline);
    let others: HashSet<&[String]> = lines.map(|process| &*process.cmdline).collect();
    let others = others.iter().filter(|line| first.is_some_and(|first| first != *line)).count();
    let first = first.and_then(|words| command_line(words));
    let others = if others > 0 { format!(" (+{others} more)") } else { String::new() };
    Field::text(first.map(|first| first + &others).as_deref())
}

/// Returns a command line in the notation of a shell. Some programs replace their command line with a single text, which
/// is shown unchanged. `None` for an empty command line.
pub(super) fn command_line(words: &[String]) -> Option<String> {
    match words {
        [] => None,
        [text] => Some(text.clone()),
        words => Some(shell_words(words)),
    }
}

pub(super) fn shell_words(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(is_plain) {
            Cow::Borrowed(&**word)
        } else {
            Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
        }
    });
    joined(quoted, " ")
}

pub(super) fn process_uids(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.uid.map(|uid| uid.to_string()))
}

pub(super) fn process_users(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.user.as_deref())
}

/// Returns the start time of each process. People see only the earliest start time, without fractions of a second. The
/// start time of the probable owner of a hidden socket has a mark.
pub(super) fn started(entry: &Entry, form: CellFormat) -> Field {
    if form != CellFormat::Data {
        let time = |start: Timestamp| start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        if let Some(owner) = entry.inferred_owner() {
            let start = owner.process.started.map(|start| format!("{}?", time(start)));
            return Field::new(start.unwrap_or_default(), Emphasis::Quiet);
        }
        let first = entry.processes.iter().filter_map(|process| process.started).min();
        return Field::plain(first.map(time).unwrap_or_default());
    }
    Field::of_processes(entry, |process| process.started.map(|started| started.to_string()))
}

pub(super) fn parents(entry: &Entry, _: CellFormat) -> Field {
    Field::list(entry.processes.iter().flat_map(|process| &process.parents).map(|parent| &parent.name))
}

pub(super) fn parent_pids(entry: &Entry, _: CellFormat) -> Field {
    let parents = entry.processes.iter().flat_map(|process| &process.parents);
    Field::list(parents.map(|parent| parent.pid.to_string()))
}

pub(super) fn process_units(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.unit.as_deref())
}

pub(super) fn process_containers(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.container_name())
}

pub(super) fn origin(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.origin.as_ref().map(|origin| origin.kind.name()))
}

pub(super) fn package(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.origin.as_ref()?.package.as_deref())
}

pub(super) fn package_version(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.origin.as_ref()?.version.as_deref())
}

pub(super) fn script(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.script.as_ref().map(|script| script.path.as_str()))
}

pub(super) fn parent_uids(entry: &Entry, _: CellFormat) -> Field {
    let parents = entry.processes.iter().flat_map(|process| &process.parents);
    Field::list(parents.filter_map(|parent| parent.uid).map(|uid| uid.to_string()))
}

pub(super) fn parent_users(entry: &Entry, _: CellFormat) -> Field {
    let parents = entry.processes.iter().flat_map(|process| &process.parents);
    Field::list(parents.filter_map(|parent| parent.user.as_deref()))
}

pub(super) fn cwd(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.cwd.as_deref())
}

pub(super) fn project(entry: &Entry, _: CellFormat) -> Field {
    Field::of_processes(entry, |process| process.project.as_deref())
}

/// Returns each process name once, with the number of its processes: `nginx ×4, sh`.
pub(super) fn process(entry: &Entry, form: CellFormat) -> Field {
    if form == CellFormat::Data {
        return process_names(entry, form);
    }
    let owner = &entry.socket.owner;
    if let Some(owner) = entry.inferred_owner().filter(|owner| owner.process.name.is_some()) {
        return Field::new(format!("{}?", shown_name(&owner.process, form)), Emphasis::Quiet);
    }
    if let Some(mark) = owner_mark(&entry.socket) {
        return Field::new(mark, Emphasis::Quiet);
    }
    let mut names: Vec<(Cow<'_, str>, usize)> = Vec::new();
    for pid in owner.pids() {
        let process = entry.processes.iter().find(|process| process.pid == *pid);
        let name = process.map_or_else(|| process_name(None), |process| certain(shown_name(process, form)));
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }
    // docker-proxy runs one process for each address family, so a count of 2 is normal and not shown.
    let shows_count = form != CellFormat::WithoutUnit || entry.forward_target().is_none();
    let names = names.into_iter().map(|(name, count)| match count {
        1 => name,
        _ if !shows_count => name,
        _ => format!("{name} ×{count}").into(),
    });
    Field::plain(joined(names, ", "))
}

/// Returns the name of a process that was seen with the socket. A question mark at the end of the name is escaped,
/// because it would look like the mark of a probable owner.
fn certain(name: Cow<'_, str>) -> Cow<'_, str> {
    match name.strip_suffix('?') {
        Some(start) if !start.is_empty() => format!("{start}\\x3f").into(),
        _ => name,
    }
}

/// Returns the name of a process. The short form of an interpreter is the name of its script (`server.js`) or module.
pub(super) fn shown_name(process: &Process, form: CellFormat) -> Cow<'_, str> {
    let name = what_runs(process);
    let script = match &process.script {
        Some(script) if form.is_short() && process.state != Some('T') => script.path.rsplit('/').next(),
        _ => None,
    };
    let script = script.map(sanitize).filter(|script| name.ends_with(&**script));
    script.or_else(|| module(process, form)).unwrap_or(name)
}

/// Returns the module that an interpreter runs (`http.server`), for the short form. For a script, returns its name if
/// the program file could not be read. `None` in all other cases, and for a stopped process.
fn module(process: &Process, form: CellFormat) -> Option<Cow<'_, str>> {
    if !form.is_short() || process.state == Some('T') {
        return None;
    }
    let exe = process.exe.as_ref().map(|exe| file_name(&exe.path));
    match parse_command(exe.or(process.name.as_deref())?, &process.cmdline)? {
        InterpreterCommand::Module(module) => Some(Cow::Owned(sanitize(module).into_owned())),
        // The program file of another user's process is not readable, so the command line gives the script.
        InterpreterCommand::File(path) if process.exe.is_none() => {
            Some(Cow::Owned(sanitize(file_name(path)).into_owned()))
        }
        _ => None,
    }
}

/// The mark of a stopped process (for example after Ctrl-Z), which does not answer its clients.
const STOPPED: &str = "(stopped)";

/// Returns the name of a process, sanitized. A name that the kernel has cut is completed. The script of an interpreter
/// (`node server.js`) and the mark of a stopped process are added.
pub(super) fn what_runs(process: &Process) -> Cow<'_, str> {
    let mut shown = match process.what_runs() {
        Some(Cow::Borrowed(name)) => process_name(Some(name)),
        Some(Cow::Owned(name)) => sanitize(&name).into_owned().into(),
        None => return process_name(None),
    };
    if shown.contains(STOPPED) {
        shown = shown.replace(STOPPED, "\\x28stopped)").into();
    }
    match process.state {
        Some('T') => format!("{shown} {STOPPED}").into(),
        _ => shown,
    }
}

/// Returns as many pids as fit a small column, and the number of further pids.
pub(super) fn pids(pids: &[Pid], form: CellFormat) -> String {
    let space = match form {
        CellFormat::Data | CellFormat::Complete => usize::MAX,
        CellFormat::Long => 15,
        CellFormat::Short | CellFormat::WithoutUnit => 0,
    };
    let mut text = String::new();
    for (shown, pid) in pids.iter().enumerate() {
        let pid = pid.to_string();
        // In the short form, PROCESS already shows the number of processes.
        if shown > 0 && form.is_short() {
            break;
        }
        if shown > 0 && text.len() + 1 + pid.len() > space {
            let _ = write!(text, " +{}", pids.len() - shown);
            break;
        }
        if shown > 0 {
            text.push(',');
        }
        text.push_str(&pid);
    }
    text
}
