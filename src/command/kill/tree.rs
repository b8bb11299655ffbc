//! Finds the other processes that matter to `kill`:
//!
//! - this program and its ancestors
//! - processes that end together with an owner of a listener
//! - descendants of an owner that continue to run

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use rustix::process::test_kill_process;

use crate::judge::{HowToStop, KillCaller, KillStep, Listener, Report};
use crate::model::Pid;
use crate::observe::TreeProcess;
use crate::render::kill::Around;

/// Returns the facts about processes that a plan needs, such as the ancestors of this program. Pid 1 does not count as
/// an ancestor, because it owns the sockets of many services and never gets a signal.
pub(super) fn caller(report: &Report, tree: &[TreeProcess]) -> KillCaller {
    let by_pid: BTreeMap<Pid, &TreeProcess> = tree.iter().map(|process| (process.pid, process)).collect();
    let mut pids = BTreeSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid > 1 && pids.insert(*pid)) {
        next = by_pid.get(&pid).map(|process| process.parent);
    }
    let units = pids.iter().filter_map(|pid| by_pid.get(pid)?.unit.as_deref());
    let outermost = units.clone().filter_map(|unit| unit.split('/').next());
    let containers = pids.iter().filter_map(|pid| by_pid.get(pid)?.container.as_deref());
    let groups = units.chain(outermost).chain(containers).map(str::to_owned).collect();
    let owners: BTreeSet<Pid> =
        report.entries.iter().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
    let with = |has: fn(&TreeProcess) -> bool| {
        tree.iter().filter(|process| has(process)).map(|process| process.pid).collect::<BTreeSet<_>>()
    };
    let (on_terminals, nested) =
        (with(|process| process.has_terminal), with(|process| process.is_in_nested_container));
    let namespaces = owners.iter().filter_map(|pid| namespace_of_first(by_pid.get(pid)?, tree)).collect();
    let protected = owners.into_iter().filter(|pid| may_not_signal(*pid)).collect();
    let uid = rustix::process::geteuid().as_raw();
    KillCaller { uid, pids, groups, protected, on_terminals, nested, namespaces }
}

/// Returns the pid of `first`, and the other processes of its pid namespace and of nested namespaces. The kernel ends
/// them together with `first`. `None` if `first` is not the first process of a pid namespace.
fn namespace_of_first(first: &TreeProcess, tree: &[TreeProcess]) -> Option<(Pid, BTreeSet<Pid>)> {
    let namespace = first.pid_namespace.as_ref().filter(|_| first.is_first_in_namespace)?;
    let members = tree.iter().filter(|process| process.pid_namespace.as_ref() == Some(namespace));
    let mut members = with_descendants(members.map(|process| process.pid).collect(), tree);
    members.remove(&first.pid);
    Some((first.pid, members))
}

fn with_descendants(mut pids: BTreeSet<Pid>, tree: &[TreeProcess]) -> BTreeSet<Pid> {
    // Each round adds one generation.
    loop {
        let next = tree.iter().filter(|process| pids.contains(&process.parent)).map(|process| process.pid);
        let next: Vec<Pid> = next.filter(|pid| !pids.contains(pid)).collect();
        if next.is_empty() {
            return pids;
        }
        pids.extend(next);
    }
}

fn may_not_signal(pid: Pid) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM))
}

/// Returns the processes that the plan shows in addition to the owners of the listeners:
///
/// - surviving descendants of the processes that get a signal
/// - processes that end with the unit, the container or the pid namespace
pub(super) fn around(step: &KillStep<'_>, tree: &[TreeProcess], caller: &KillCaller) -> Around {
    let (children, with_group) = (children(step, tree, caller), with_group(step, tree, caller));
    Around { children, with_group, ..Around::default() }
}

/// Returns the processes that continue to run, although an ancestor gets a signal. They own no listener of the step,
/// and do not end with a pid namespace. If the step sends no signal, the list is empty.
fn children(step: &KillStep<'_>, tree: &[TreeProcess], caller: &KillCaller) -> Vec<(Pid, String)> {
    let HowToStop::Kill { pids, .. } = &step.how else { return Vec::new() };
    let ended = step.owners();
    let in_namespaces: BTreeSet<Pid> =
        ended.iter().filter_map(|pid| caller.namespaces.get(pid)).flatten().copied().collect();
    let family = with_descendants(pids.iter().copied().collect(), tree);
    let child = |pid: Pid| family.contains(&pid) && !ended.contains(&pid) && !in_namespaces.contains(&pid);
    names_of(tree, |process| child(process.pid))
}

/// Returns the processes that own no listener of the step, but end with the unit, the container or the pid namespace.
fn with_group(step: &KillStep<'_>, tree: &[TreeProcess], caller: &KillCaller) -> Vec<(Pid, String)> {
    let owners = step.owners();
    let stopped = step.named.first();
    let is_with = |process: &TreeProcess| match &step.how {
        HowToStop::Units(units) => {
            let unit = process.unit.as_deref().and_then(|unit| unit.split('/').next());
            unit.is_some_and(|unit| units.contains(&unit))
        }
        HowToStop::UserUnit { .. } => {
            process.unit.is_some() && process.unit.as_deref() == stopped.and_then(Listener::unit)
        }
        HowToStop::Container { id, .. } => {
            process.container.as_deref().is_some_and(|container| container.ends_with(id))
        }
        HowToStop::Kill { .. } => {
            let mut in_namespaces = owners.iter().filter_map(|pid| caller.namespaces.get(pid));
            in_namespaces.any(|members| members.contains(&process.pid))
        }
        _ => false,
    };
    names_of(tree, |process| process.pid != 1 && !owners.contains(&process.pid) && is_with(process))
}

fn names_of(tree: &[TreeProcess], is_named: impl Fn(&TreeProcess) -> bool) -> Vec<(Pid, String)> {
    let named = tree.iter().filter(|process| is_named(process));
    named.map(|process| (process.pid, process.name.clone())).collect()
}
