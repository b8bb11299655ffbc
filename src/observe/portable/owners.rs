//! Reads the processes that own sockets from sysinfo.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use crate::model::{Exe, ExeState, Parent, Pid, Process, Socket};
use crate::observe::Scope;

/// Returns the processes that own the sockets, in ascending order of pid. On Windows, `user` is an SID. The caller
/// replaces it with a name.
pub(super) fn processes(scope: &Scope, sockets: &[Socket]) -> Vec<Process> {
    let pids: BTreeSet<Pid> = sockets.iter().flat_map(|socket| socket.owner.pids()).copied().collect();
    let mut system = match System::new() {
        Ok(system) if !pids.is_empty() => system,
        _ => return pids.into_iter().map(Process::unknown).collect(),
    };
    let mut wanted: Vec<sysinfo::Pid> = pids.iter().copied().map(sysinfo::Pid::from_u32).collect();
    let kind = ProcessRefreshKind::nothing()
        .without_tasks()
        .with_user(UpdateKind::OnlyIfNotSet)
        .with_exe(UpdateKind::OnlyIfNotSet)
        .with_cmd(UpdateKind::OnlyIfNotSet);
    // Each pass finds one more generation of parents. Real processes have far fewer than 32.
    for _ in 0..32 {
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), false, kind);
        wanted = wanted
            .iter()
            .filter_map(|pid| system.process(*pid)?.parent())
            .filter(|parent| system.process(*parent).is_none())
            .collect();
        if wanted.is_empty() || !scope.details {
            break;
        }
    }
    #[cfg(unix)]
    let users = sysinfo::Users::new_with_refreshed_list().ok();
    let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    let read = |pid: Pid| {
        let Some(process) = system.process(sysinfo::Pid::from_u32(pid)) else { return Process::unknown(pid) };
        let id = process.effective_user_id().or(process.user_id());
        Process {
            name: Some(text(process.name())).filter(|name| !name.is_empty()),
            exe: process.exe().filter(|path| !path.as_os_str().is_empty()).map(|path| Exe {
                path: text(path.as_os_str()),
                state: ExeState::Present,
                open_directories: None,
            }),
            cmdline: process.cmd().iter().map(|argument| text(argument)).collect(),
            #[cfg(unix)]
            uid: id.map(|uid| **uid),
            #[cfg(unix)]
            user: id.and_then(|id| users.as_ref()?.get_user_by_id(id)).map(|user| user.name().to_owned()),
            #[cfg(windows)]
            user: id.map(|sid| (**sid).to_string()),
            // For a process that may not be opened, sysinfo returns a start in 1970.
            started: i64::try_from(process.start_time())
                .ok()
                .filter(|seconds| *seconds > 0)
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            parents: parents(&system, process),
            ..Process::unknown(pid)
        }
    };
    pids.into_iter().map(read).collect()
}

/// Returns the ancestors. The list ends at a parent that started after its child, because the pid of the parent was
/// reused.
fn parents(system: &System, process: &sysinfo::Process) -> Vec<Parent> {
    let mut parents: Vec<Parent> = Vec::new();
    let mut child = process;
    while let Some(parent) = child.parent().and_then(|pid| system.process(pid)) {
        let pid = parent.pid().as_u32();
        if parent.start_time() > child.start_time() || parents.iter().any(|known| known.pid == pid) {
            break;
        }
        parents.push(Parent::new(pid, parent.name().to_string_lossy().into_owned()));
        child = parent;
    }
    parents
}

/// Gives each socket without a user the user of its first process.
pub(super) fn users(sockets: &mut [Socket], processes: &[Process]) {
    for socket in sockets {
        let first = socket.owner.pids().first();
        let process = first.and_then(|pid| {
            processes.binary_search_by_key(pid, |process| process.pid).ok().and_then(|at| processes.get(at))
        });
        let attributes = Arc::make_mut(&mut socket.attributes);
        attributes.uid = attributes.uid.or(process.and_then(|process| process.uid));
        if attributes.user.is_none() {
            attributes.user = process.and_then(|process| process.user.clone());
        }
    }
}

pub(super) fn is_running(name: &str) -> bool {
    let Ok(mut system) = System::new() else { return false };
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        true,
        ProcessRefreshKind::nothing().without_tasks(),
    );
    system.processes().values().any(|process| {
        let own = process.name().to_string_lossy();
        own == name || own.strip_suffix(".exe") == Some(name)
    })
}

#[cfg(unix)]
pub(super) fn is_user(name: &str) -> bool {
    sysinfo::Users::new_with_refreshed_list().is_ok_and(|users| users.iter().any(|user| user.name() == name))
}
