//! Rules about who the process is.

use super::program_identity::{IdentifiedProcess, is_replaceable};
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::identity::{Impostor, Unfamiliar, UnknownProcess};
use crate::model::{RestsOn, State};
use crate::registry::programs::{self, GuardStrictness};
use crate::registry::tools;

/// Decides `impostor`: no process on a guarded port is known to serve it. A program that holds sockets for others is not
/// accused, nor is a process whose file could not be read and whose name is not known.
pub(super) fn impostor(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (listener, processes) = (subject.listener, subject.processes);
    let local = &listener.socket.local;
    if matches!(listener.socket.state, State::Bound) || listener.socket.owner.pids().len() != processes.len()
    {
        return None; // a client may bind before it connects; a process that was not read may be the right one
    }
    let guards = programs::guarded(local.port, local.protocol);
    let rows: Vec<_> = guards.filter(|row| row.strictness == GuardStrictness::Anything).collect();
    let first = rows.first()?;
    let mut found = Vec::new();
    for identified in processes {
        let IdentifiedProcess { process, identity } = identified;
        let identity = identity.as_ref()?;
        // Netcat and other tools for the moment are named as that.
        if identified.command_line().is_some_and(|command| tools::ad_hoc(&command).is_some()) {
            continue;
        }
        // sshd holds ports for others and its own.
        if identity.holds_for_others() && identity.serving(local.port, local.protocol).is_none() {
            continue;
        }
        let answers: Vec<_> = rows.iter().map(|row| identity.belongs(row)).collect();
        let is_replaceable = is_replaceable(process);
        if answers.contains(&Some(true)) && !is_replaceable {
            return None; // a socket may be inherited; that it is shared is another question
        }
        // A fitting name on a file that a user can replace proves nothing.
        if answers.contains(&Some(false)) || is_replaceable {
            found.push(UnknownProcess {
                pid: process.pid,
                program: identity.name.clone(),
                products: identity.programs.iter().map(|program| program.product).collect(),
                rests_on: identity.rests_on,
            });
        }
    }
    if found.is_empty() {
        return None;
    }
    let is_replaceable = processes
        .iter()
        .filter(|identified| found.iter().any(|unknown| unknown.pid == identified.process.pid))
        .any(|identified| is_replaceable(identified.process));
    let has_fitting_name = found.iter().all(|unknown| {
        rows.iter().flat_map(programs::Guarded::programs).any(|program| program == unknown.program)
    });
    let evidence = Impostor {
        service: first.service,
        expected: rows.iter().flat_map(programs::Guarded::programs).collect(),
        found,
        why: first.why,
        is_replaceable,
        has_fitting_name,
    };
    Some(evidence.into())
}

/// Decides `unfamiliar`: other machines can reach an unknown program on a port of a guarded service, or one whose file a
/// user who is not root can replace, whatever name that file has.
pub(super) fn unfamiliar(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (listener, processes) = (subject.listener, subject.processes);
    if !listener.exposure.beyond() || !listener.socket.state.accepts_traffic() || impostor(subject).is_some()
    {
        return None;
    }
    let local = &listener.socket.local;
    let guard = programs::guarded(local.port, local.protocol).next();
    let is_strange = |process: &&IdentifiedProcess<'_>| {
        let on_guarded_port = guard.is_some_and(|guard| match guard.strictness {
            GuardStrictness::Soft => true,
            GuardStrictness::Interpreters => process.is_interpreted(),
            GuardStrictness::Anything => false,
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
        is_named_like_a_server: unknown.iter().any(|process| process.is_named_like_a_server()),
    };
    Some(evidence.into())
}

fn unknown_process(process: &IdentifiedProcess<'_>) -> UnknownProcess {
    let identity = process.identity.as_deref();
    UnknownProcess {
        pid: process.process.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        products: identity.map(|one| one.programs.iter().map(|p| p.product).collect()).unwrap_or_default(),
        rests_on: identity.map_or(RestsOn::Name, |identity| identity.rests_on),
    }
}
