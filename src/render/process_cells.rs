//! The cells that show the processes of an entry. A cell has one value per process, in rising order of pid.

use std::borrow::Cow;
use std::fmt::Write;

use super::cells::{Field, Form, joined};
use super::{Tone, owner_mark, process_name};
use crate::join::Entry;
use crate::model::Pid;

pub(super) fn pid(entry: &Entry, form: Form) -> Field {
    Field::plain(pids(entry.socket.owner.pids(), form))
}

pub(super) fn process_names(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.name.as_deref())
}

pub(super) fn exe(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.exe.as_ref().map(|exe| exe.path.as_str()))
}

pub(super) fn exe_deleted(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.exe.as_ref().map(|exe| exe.is_deleted().to_string()))
}

pub(super) fn exe_state(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.exe.as_ref().map(|exe| exe.state.name()))
}

/// Returns the command line of each process as a shell takes it: a word may contain a comma.
pub(super) fn cmdline(entry: &Entry, _: Form) -> Field {
    let lines = entry.processes.iter().filter(|process| !process.cmdline.is_empty());
    Field::list(lines.map(|process| shell_words(&process.cmdline)))
}

/// Returns a command line in the notation of a shell, so that it can be pasted and each word is recognisable.
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

pub(super) fn process_uids(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.uid.map(|uid| uid.to_string()))
}

pub(super) fn process_users(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.user.as_deref())
}

pub(super) fn started(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.started.map(|started| started.to_string()))
}

pub(super) fn parents(entry: &Entry, _: Form) -> Field {
    Field::list(entry.processes.iter().flat_map(|process| &process.parents).map(|parent| &parent.name))
}

pub(super) fn parent_pids(entry: &Entry, _: Form) -> Field {
    let parents = entry.processes.iter().flat_map(|process| &process.parents);
    Field::list(parents.map(|parent| parent.pid.to_string()))
}

pub(super) fn process_units(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.unit.as_deref())
}

pub(super) fn process_containers(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.container_name())
}

pub(super) fn origin(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.origin.as_ref().map(|origin| origin.kind.name()))
}

pub(super) fn package(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.origin.as_ref()?.package.as_deref())
}

pub(super) fn package_version(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.origin.as_ref()?.version.as_deref())
}

pub(super) fn script(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.script.as_ref().map(|script| script.path.as_str()))
}

pub(super) fn parent_uids(entry: &Entry, _: Form) -> Field {
    let parents = entry.processes.iter().flat_map(|process| &process.parents);
    Field::list(parents.filter_map(|parent| parent.uid).map(|uid| uid.to_string()))
}

pub(super) fn parent_users(entry: &Entry, _: Form) -> Field {
    let parents = entry.processes.iter().flat_map(|process| &process.parents);
    Field::list(parents.filter_map(|parent| parent.user.as_deref()))
}

pub(super) fn cwd(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.cwd.as_deref())
}

pub(super) fn project(entry: &Entry, _: Form) -> Field {
    Field::of_processes(entry, |process| process.project.as_deref())
}

/// Returns the names of the processes, each once, with how many have it: `nginx ×4, sh`.
pub(super) fn process(entry: &Entry, form: Form) -> Field {
    if form == Form::Data {
        return process_names(entry, form);
    }
    let owner = &entry.socket.owner;
    if let Some(mark) = owner_mark(owner) {
        return Field::new(mark, Tone::Quiet);
    }
    let mut names: Vec<(Option<&str>, usize)> = Vec::new();
    for pid in owner.pids() {
        let process = entry.processes.iter().find(|process| process.pid == *pid);
        let name = process.and_then(|process| process.name.as_deref());
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }
    let names = names.into_iter().map(|(name, count)| match count {
        1 => process_name(name),
        _ => format!("{} ×{count}", process_name(name)).into(),
    });
    Field::plain(joined(names, ", "))
}

/// Returns as many pids as fit a small column, and how many more there are.
pub(super) fn pids(pids: &[Pid], form: Form) -> String {
    let space = match form {
        Form::Data | Form::Complete => usize::MAX,
        Form::Long => 15,
        Form::Short => 0,
    };
    let mut text = String::new();
    for (shown, pid) in pids.iter().enumerate() {
        let pid = pid.to_string();
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
