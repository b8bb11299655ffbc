//! Rules about the identity of the process.

use super::program_identity::IdentifiedProcess;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::identity::{FittingName, HiddenProcess, Impostor, Unfamiliar, UnknownProcess};
use crate::join::{Entry, RunningUser};
use crate::model::{OriginKind, Pid, Process, ReachKind, ReplaceableBy, RestsOn, Severity, State};
use crate::registry::programs::{self, GuardStrictness};

pub(super) fn hidden_process(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let processes = subject.listener.processes.iter();
    let pids: Vec<Pid> = processes.filter(|process| process.is_hidden).map(|process| process.pid).collect();
    (!pids.is_empty()).then(|| HiddenProcess { pids }.into())
}

/// Returns the evidence of `impostor`: no process on a guarded port is a known server of the port. Unidentified
/// processes are not flagged, and neither are programs that open sockets for others. An unknown program of root that
/// other machines can reach gets the finding `unfamiliar` instead.
pub(super) fn impostor(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (listener, processes) = (subject.listener, subject.processes);
    let local = &listener.socket.local;
    if matches!(listener.socket.state, State::Bound) || listener.socket.owner.pids().len() != processes.len()
    {
        // If a socket is only bound, it may belong to a client that is about to connect. If a process could not be
        // read, it may be the server.
        return None;
    }
    let guards = programs::guarded(local.port, local.protocol);
    let rows: Vec<_> = guards.filter(|row| row.strictness == GuardStrictness::Anything).collect();
    let first = rows.first()?;
    let is_reachable = subject.is_reachable_from_outside();
    let (mut found, mut replaceable_by, mut names) = (Vec::new(), ReplaceableBy::Root, Vec::new());
    for process in processes {
        let identity = process.identity.as_ref()?;
        let by = ReplaceableBy::of(process.process);
        let is_roots = by == ReplaceableBy::Root;
        let is_identified = process.is_identified_by_what_runs();
        if is_named_as_a_tool(process) || (is_reachable && is_roots && is_identified && identity.is_unknown())
        {
            continue;
        }
        // A program that forwards ports, such as sshd, may have opened this port for one of its clients.
        let is_forwarder = identity.is_forwarder() && identity.serving(local.port, local.protocol).is_none();
        if is_forwarder && is_roots && is_identified {
            continue;
        }
        let answers: Vec<_> = rows.iter().map(|row| identity.is_expected_on(row)).collect();
        let is_server = answers.contains(&Some(true));
        let is_proven = identity.rests_on != RestsOn::Cmdline || is_of_the_system(listener, process.process);
        if is_server && is_roots && is_identified && is_proven {
            return None; // a socket may be inherited; the rule about shared ports covers this case
        }
        if is_server || answers.contains(&Some(false)) || !is_roots || !is_identified {
            found.push(unknown_process(process));
            replaceable_by = replaceable_by.max(by);
            names.push(match (is_server, is_forwarder) {
                _ if !is_identified => FittingName::None,
                (true, _) => FittingName::Server,
                (_, true) => FittingName::Forwarder,
                _ => FittingName::None,
            });
        }
    }
    let evidence = Impostor {
        service: first.service,
        expected: rows.iter().flat_map(programs::Guarded::programs).collect(),
        found,
        why: first.why,
        file: replaceable_by,
        fitting_name: names.into_iter().min()?,
        code: processes.iter().find_map(loaded_code),
    };
    Some(evidence.into())
}

/// On most systems, users who log in have an ID of at least this number (`UID_MIN` of login.defs(5)).
const FIRST_USER: u32 = 1000;

/// Returns whether a system user, a system service, a container of root, or an unknown user created the socket. Any
/// other user can start an interpreter and rewrite its command line.
pub(super) fn is_of_the_system(listener: &Entry, process: &Process) -> bool {
    let home = &listener.socket.attributes;
    let is_roots = |group: &Option<String>| group.as_deref().is_some_and(|name| !name.contains('/'));
    let is_service = |unit: &Option<String>| {
        is_roots(unit) && unit.as_deref().is_some_and(|unit| unit.ends_with(".service"))
    };
    home.uid.or(process.uid).is_none_or(|uid| uid < FIRST_USER)
        || is_service(&home.unit)
        || is_service(&process.unit)
        || is_roots(&home.container)
        || is_roots(&process.container)
}

/// Returns whether `ad-hoc` or `shell-listener` already flags the process. If a user can replace the program, a flag
/// below warning does not count.
fn is_named_as_a_tool(process: &IdentifiedProcess<'_>) -> bool {
    process.ad_hoc_tool().is_some_and(|tool| {
        !process.is_interpreted() && (!process.is_replaceable() || tool.beyond_loopback >= Severity::Warning)
    })
}

/// Returns the evidence of `unfamiliar` for a program that other machines can reach. The program has this finding in
/// three cases:
/// - The program is unknown, and a user can replace it.
/// - The program is unknown, and the port is guarded.
/// - The program has the name of a well-known server, and a user can replace it.
pub(super) fn unfamiliar(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (listener, processes) = (subject.listener, subject.processes);
    if !subject.is_reachable_from_outside()
        || !listener.socket.state.accepts_traffic()
        || impostor(subject).is_some()
    {
        return None;
    }
    let local = &listener.socket.local;
    let guard = programs::guarded(local.port, local.protocol).next();
    let is_strange = |process: &&IdentifiedProcess<'_>| {
        let on_guarded_port = guard.is_some_and(|guard| match guard.strictness {
            GuardStrictness::Anything | GuardStrictness::Soft => true,
            GuardStrictness::Interpreters => process.is_interpreted(),
        });
        let is_unknown = !process.is_known() && (on_guarded_port || process.is_replaceable());
        is_unknown || process.is_named_like_a_server()
    };
    let service = guard.map(|row| row.service);
    let unknown = processes.iter().filter(is_strange);
    let unknown: Vec<_> = unknown.collect();
    if unknown.is_empty()
        || (subject.usual.is_some() && !unknown.iter().any(|one| one.is_named_like_a_server()))
    {
        return None;
    }
    let evidence = Unfamiliar {
        found: unknown.iter().map(|process| unknown_process(process)).collect(),
        service,
        is_replaceable: unknown.iter().any(|process| process.is_replaceable()),
        replaceable_script: unknown.iter().find(|process| process.is_replaceable()).and_then(|process| {
            let is_file_safe = ReplaceableBy::of_file(process.process) < ReplaceableBy::User;
            script(process).filter(|_| is_file_safe)
        }),
        own_user: unknown.iter().find(|process| process.is_replaceable()).and_then(own_user),
        is_named_like_a_server: unknown.iter().any(|process| process.is_named_like_a_server()),
        code: unknown.iter().find_map(|process| loaded_code(process)),
        is_firewall_unknown: subject.reach.is_some_and(|reach| reach.kind == ReachKind::Unknown),
    };
    Some(evidence.into())
}

/// Returns the user of a process, if only this user and root can replace the program file and the script.
fn own_user(process: &&IdentifiedProcess<'_>) -> Option<String> {
    let process = process.process;
    let script = process.script.as_ref().and_then(|script| script.origin.as_ref());
    let writers = process.origin.iter().chain(script).filter(|origin| origin.kind == OriginKind::User);
    let mut writers = writers.map(|origin| origin.uid).peekable();
    let is_own = writers.peek().is_some() && writers.all(|uid| uid.is_some() && uid == process.uid);
    let user = RunningUser { uid: process.uid, name: process.user.as_deref() };
    (is_own && ReplaceableBy::of(process) == ReplaceableBy::User).then(|| user.text())?
}

/// Returns another file of code that the process runs, if a user can replace the file.
fn loaded_code(process: &IdentifiedProcess<'_>) -> Option<String> {
    process.process.code.first().map(|file| file.path.clone())
}

fn unknown_process(process: &IdentifiedProcess<'_>) -> UnknownProcess {
    let identity = process.identity.as_deref();
    UnknownProcess {
        pid: process.process.pid,
        program: identity
            .map(|identity| identity.name.clone())
            .or_else(|| process.program_name().map(str::to_owned))
            .unwrap_or_else(|| "?".to_owned()),
        products: identity.map(|one| one.programs.iter().map(|p| p.product).collect()).unwrap_or_default(),
        rests_on: identity.map_or(RestsOn::Name, |identity| identity.rests_on),
        script: script(process),
    }
}

fn script(process: &IdentifiedProcess<'_>) -> Option<String> {
    process.process.script.as_ref().map(|script| script.path.clone())
}

#[cfg(test)]
mod tests;
