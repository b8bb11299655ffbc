//! Messages about names that match nothing, with suggestions.
//!
//! Call these functions before the filters are applied, because the report must still have every entry.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::take_snapshot;
use crate::cli::{self, CommonArgs};
use crate::findings::text::{FEW, first_of, plural};
use crate::judge::Report;
use crate::model::{Container, Owner, Pid, Process, RunTarget};
use crate::observe::{self, Scope};
use crate::query::fields::FIELDS;
use crate::query::{Answer, Selection, Subject, names};
use crate::render::sanitize;

pub(super) fn unknown_names(
    selection: &Selection,
    matched: &HashSet<usize>,
    report: &Report,
    common: &CommonArgs,
) -> Vec<String> {
    let is_running = |name: &str| common.from.is_none() && observe::is_running(name);
    let unknown = selection.unknown_names(matched, is_running);
    unknown.into_iter().map(|name| unknown_name(name, report, common)).collect()
}

pub(super) fn unknown_name(name: &str, report: &Report, common: &CommonArgs) -> String {
    let name = name.trim_end_matches('?');
    let verb = form_of_verb(name).map(|form| form.replace("{}", "TARGET"));
    let meant = match (option_for(name, report, common), verb) {
        (Some(option), _) => format!("; did you mean --{option} {name}?"),
        (None, Some(command)) => format!("; did you mean portolan {command}?"),
        (None, None) => ports_of_project(name, report, common)
            .map(|ports| format!("; did you mean portolan {ports} (project {})?", last_name(name)))
            .unwrap_or_else(|| suggestion(name, report)),
    };
    let is_hidden = report.entries.iter().any(|entry| entry.socket.owner == Owner::Hidden);
    match is_hidden {
        // A hidden process may have this name, so the message says only that nothing visible has it.
        true => {
            format!("{name}: no such port, service, program, container or running process is visible{meant}")
        }
        false => format!("{name}: no such port, service, program, container or running process{meant}"),
    }
}

/// Returns the last name of a path. A name without a path stays unchanged.
fn last_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the first ports on which processes of a project listen, separated by spaces. Returns `None` if no process of
/// the project listens. `name` is the name of the project or the path of its directory.
fn ports_of_project(name: &str, report: &Report, common: &CommonArgs) -> Option<String> {
    let listeners = || report.entries.iter().filter(|entry| entry.socket.state.holds_port());
    let mut processes: BTreeMap<Pid, Process> = BTreeMap::new();
    for process in listeners().flat_map(|entry| &*entry.processes) {
        processes.entry(process.pid).or_insert_with(|| Process::clone(process));
    }
    let mut processes: Vec<Process> = processes.into_values().collect();
    if common.from.is_none() {
        // A scan for a name does not read working directories, so they are read now.
        observe::read_rest(&mut processes);
    }
    let is_there = |cwd: &str| !name.starts_with('/') || Path::new(cwd).starts_with(name);
    let is_of_project = |process: &&Process| {
        process.project.as_deref() == Some(last_name(name)) && process.cwd.as_deref().is_some_and(is_there)
    };
    let pids: HashSet<Pid> = processes.iter().filter(is_of_project).map(|process| process.pid).collect();
    let of_project =
        listeners().filter(|entry| entry.socket.owner.pids().iter().any(|pid| pids.contains(pid)));
    let ports: BTreeSet<u16> = of_project.map(|entry| entry.socket.local.port).collect();
    let ports: Vec<String> = ports.iter().take(FEW).map(u16::to_string).collect();
    (!ports.is_empty()).then(|| ports.join(" "))
}

/// Returns the error about a target. A number that is too large for a port may be the ID of a listening process. The
/// error then names this process.
pub(super) fn with_pid(error: &str, targets: &[String], common: &CommonArgs) -> String {
    let pids =
        targets.iter().filter(|target| error.contains(&***target)).filter_map(|target| target.parse().ok());
    match pids.filter(|pid| *pid > Pid::from(u16::MAX)).find_map(|pid| meant_process(pid, common)) {
        Some(meant) => format!("{error}; {meant}"),
        None => error.to_owned(),
    }
}

/// Returns a text with the ports of a process, and with the command that shows the process. Returns `None` if the
/// process does not listen.
pub(super) fn meant_process(pid: Pid, common: &CommonArgs) -> Option<String> {
    // Most processes have no socket, and need no scan.
    if common.from.is_some() || !observe::has_socket(pid) {
        return None;
    }
    let snapshot = take_snapshot(common, Scope::default()).ok()?;
    let mut listeners = snapshot.sockets.iter().filter(|socket| socket.state.holds_port());
    let listener = listeners.find(|socket| socket.owner.pids().contains(&pid))?;
    let process = snapshot.processes.iter().find(|process| process.pid == pid)?;
    let name = sanitize(process.name.as_deref().unwrap_or("?"));
    Some(format!("process {pid} ({name}) listens on {}: portolan --pid {pid}", listener.local))
}

/// Returns a message for each value of `--not` that excludes nothing.
pub(super) fn unused_exclusions(selection: &Selection, report: &Report, common: &CommonArgs) -> Vec<String> {
    let unused = selection.unused_exclusions(&report.entries);
    let message = |typed: &str| {
        let meant = option_for(typed, report, common);
        let meant = meant.map(|option| format!("; did you mean --not {option}={typed}?")).unwrap_or_default();
        format!("--not {typed}: matches no socket{meant}")
    };
    unused.into_iter().map(message).collect()
}

/// Returns a message for each value of `--unit` and `--container` that no socket has. The message lists the existing
/// values.
pub(super) fn unknown_values(selection: &Selection, report: &Report) -> Vec<String> {
    let mut messages = Vec::new();
    for (name, known) in [("unit", units(report)), ("container", containers(report))] {
        let field = FIELDS.iter().find(|field| field.name == name);
        for typed in selection.values(name) {
            let test = field.and_then(|field| (field.parse)(typed).ok());
            let may_have =
                |entry| test.as_ref().is_none_or(|test| test(&Subject::Entry(entry)) != Answer::No);
            if report.entries.iter().any(may_have) {
                continue;
            }
            let meant = match names::near(typed, known.iter().copied().collect(), 1).first() {
                Some(near) => format!("; did you mean {near}?"),
                None if known.is_empty() => String::new(),
                None => {
                    let known: Vec<String> = known.iter().map(|&known| known.to_owned()).collect();
                    format!(" (expected one of {})", first_of(&known, FEW))
                }
            };
            messages.push(format!("--{name} {typed}: no socket here has this {name}{meant}"));
        }
    }
    messages
}

fn units(report: &Report) -> BTreeSet<&str> {
    let of_sockets = report.entries.iter().filter_map(|entry| entry.socket.unit.as_deref());
    let processes = report.entries.iter().flat_map(|entry| &*entry.processes);
    of_sockets.chain(processes.filter_map(|process| process.unit.as_deref())).collect()
}

fn containers(report: &Report) -> BTreeSet<&str> {
    let of_sockets = report.entries.iter().filter_map(|entry| entry.socket.container.as_deref());
    let processes = || report.entries.iter().flat_map(|entry| &*entry.processes);
    let ids = processes().filter_map(|process| process.container.as_deref());
    let details = processes().filter_map(|process| process.container_details.as_deref());
    of_sockets.chain(ids).chain(details.flat_map(Container::names)).collect()
}

/// Returns a note about sockets that other machines can reach, but that a filter such as `--exposure public` leaves
/// out. A listener on `0.0.0.0` is an example. `None` if there are no such sockets.
pub(super) fn also_reachable(selection: &Selection, report: &Report) -> Option<String> {
    let count = selection.also_reachable(&report.entries);
    let them = if count == 1 { "it" } else { "them" };
    (count > 0).then(|| {
        format!(
            "note: --exposure leaves out {} that other machines can also reach; to include {them}, use --reachable instead",
            plural(count, "socket")
        )
    })
}

/// The options for a listing in which the process that started last comes first.
pub(super) const NEWEST: &str = "--sort -since --columns port,process,since";
/// The commands that show what has changed. The listing is named first, because a comparison needs a snapshot.
const CHANGED: &str = "--sort -since --columns port,process,since (what started last), or portolan diff FILE (FILE is a snapshot that portolan capture saved earlier)";
/// Portolan's commands, each with the words that users may try instead. `{}` stands for the targets.
const VERBS: [(&str, &str); 10] = [
    ("audit {}", "check verify"),
    ("capture", "dump export save snapshot"),
    (CHANGED, "changed changes compare"),
    (NEWEST, "history last latest new newer newest recent since started"),
    ("explain {}", "describe info inspect lookup search what whatis whois"),
    ("kill {}", "close end free quit stop terminate"),
    ("list {}", "find get ls open ps scan show status test which who whose"),
    ("--reachable", "exposed external outside public reachable"),
    ("watch {}", "follow monitor tail"),
    ("watch {} --until-listening", "await wait wait-for wait-until waitfor"),
];

/// Returns the command that users mean by this word; `None` if the word is not in `VERBS`.
fn form_of_verb(word: &str) -> Option<&'static str> {
    let form = VERBS.iter().find(|(_, words)| words.split(' ').any(|verb| verb == word));
    form.map(|(form, _)| *form)
}

/// Returns the command line that the user probably means: the command for the first word, and the `targets`. `None` if
/// the first word is neither in `VERBS` nor similar to a command.
fn meant_command(word: &str, targets: &str) -> Option<String> {
    let word = word.to_lowercase();
    let commands = cli::commands();
    let form = form_of_verb(&word).map(str::to_owned).or_else(|| {
        let name = *names::near(&word, commands.iter().map(String::as_str).collect(), SHORTEST).first()?;
        let takes_targets = ["list", "explain", "watch", "audit", "kill"].contains(&name);
        Some(if takes_targets { format!("{name} {{}}") } else { name.to_owned() })
    })?;
    Some(form.replace("{}", targets))
}

/// The minimum length of a word that can be a mistyped command.
const SHORTEST: usize = 3;

/// Returns a message if the first word looks like a command and targets follow it, as in `portolan stop 3000`. Returns
/// `None` if the word matched something, or if a running program has this name.
pub(super) fn misplaced_command(
    targets: &[String],
    selection: &Selection,
    matched: &HashSet<usize>,
    common: &CommonArgs,
) -> Option<String> {
    let [word, rest @ ..] = targets else { return None };
    let is_name = selection.targets().first().is_some_and(|target| target.is_name() && target.text == *word);
    if rest.is_empty()
        || !is_name
        || matched.contains(&0)
        || (common.from.is_none() && observe::is_running(word))
    {
        return None;
    }
    // In "what changed?" and "what is new", a word after the first says what the user means.
    let about = rest.iter().filter_map(|word| form_of_verb(word.trim_end_matches('?')));
    let about = about.filter(|form| [CHANGED, NEWEST].contains(form)).map(str::to_owned).next();
    let meant = about.or_else(|| meant_command(word, &rest.join(" ")))?;
    Some(format!("{word}: no such command; did you mean portolan {meant}?"))
}

/// Returns the option that accepts this name, if it is the name of a user, a systemd unit or a container.
fn option_for(name: &str, report: &Report, common: &CommonArgs) -> Option<&'static str> {
    let sockets = || report.entries.iter().map(|entry| &entry.socket);
    let processes = || report.entries.iter().flat_map(|entry| &*entry.processes);
    let is_user = sockets().filter_map(|socket| socket.user.as_deref()).any(|user| user == name)
        || processes().filter_map(|process| process.user.as_deref()).any(|user| user == name)
        || (common.from.is_none() && observe::is_user(name));
    let is_name = |group: &&str| *group == name || group.rsplit('/').next() == Some(name);
    // `--unit` also accepts the name of a unit without its ending, such as `nginx` for `nginx.service`.
    let is_unit = |unit: &&str| {
        let last = unit.rsplit('/').next().unwrap_or(unit);
        is_name(unit) || last.rsplit_once('.').is_some_and(|(stem, _)| stem == name)
    };
    if is_user {
        Some("user")
    } else if containers(report).iter().any(is_name) {
        Some("container")
    } else if units(report).iter().any(is_unit) {
        Some("unit")
    } else {
        None
    }
}

/// Returns the end of a message about an unknown name. It lists similar commands, running programs and scripts,
/// services in use, and registered names. Returns an empty text if no name is similar.
fn suggestion(name: &str, report: &Report) -> String {
    let commands = cli::commands();
    let listeners = || report.entries.iter().filter(|entry| entry.socket.state.holds_port());
    let running = || listeners().flat_map(|entry| &*entry.processes);
    let scripts: Vec<String> = running()
        .filter_map(|process| match RunTarget::of(process) {
            RunTarget::Target(text) => text.rsplit('/').next().map(str::to_owned),
            _ => None,
        })
        .collect();
    let programs = running().filter_map(|process| process.name.as_deref());
    let services =
        listeners().flat_map(|entry| &entry.verdict.assignments).map(|assignment| assignment.service);
    let in_use = programs.chain(scripts.iter().map(String::as_str)).chain(services);
    names::suggestion(name, commands.iter().map(String::as_str), in_use, &report.registry)
}
