//! Plans how to end the named listeners, or finds the reasons why a listener must not be ended.

use std::collections::{BTreeMap, BTreeSet};

use super::how_to_stop::{HowToStop, processes};
use super::listener::Listener;
use crate::join::Entry;
use crate::model::{Owner, Pid, Snapshot, Stage};

/// One way to stop listeners, and every listener that it stops.
#[derive(Clone, Debug)]
pub struct KillStep<'r> {
    /// The way to stop the listeners.
    pub how: HowToStop<'r>,
    /// The listeners that the targets named.
    pub named: Vec<Listener<'r>>,
    /// The listeners that no target named, but that end too.
    pub others: Vec<Listener<'r>>,
}

impl KillStep<'_> {
    /// Returns all owners of the named listeners. Some of them may end only because another owner ends.
    #[must_use]
    pub fn owners(&self) -> BTreeSet<Pid> {
        let sockets = self.named.iter().flat_map(|listener| &listener.sockets);
        sockets.flat_map(|entry| entry.socket.owner.pids()).copied().collect()
    }
}

/// The reason why a listener is not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillRefusal<'r> {
    /// No process of the listener is visible.
    Hidden {
        /// Whether the caller is root.
        as_root: bool,
    },
    /// A hidden process may also own the socket. Not every process could be read, and no visible owner runs as the user
    /// who created the socket.
    PartlyHidden,
    /// Every command would also end something else.
    NoCommand(HowToStop<'r>),
    /// Only the user of the unit or container can give the command.
    OtherUser(HowToStop<'r>),
    /// Only root can give the command.
    NeedsRoot(HowToStop<'r>),
    /// This program, or a process that started it, would end.
    Own(Pid),
}

/// The caller of `kill`, and facts about processes that only `kill` needs.
#[derive(Clone, Debug, Default)]
pub struct KillCaller {
    /// The effective user ID.
    pub uid: u32,
    /// This program and its ancestors.
    pub pids: BTreeSet<Pid>,
    /// The units and containers of this program and its ancestors.
    pub groups: BTreeSet<String>,
    /// The processes that the caller may not signal.
    pub protected: BTreeSet<Pid>,
    /// The processes with a terminal. A person started these processes, not a service manager.
    pub on_terminals: BTreeSet<Pid>,
    /// The processes in a container that runs inside another container. The container managers of this machine do not
    /// know the inner container.
    pub nested: BTreeSet<Pid>,
    /// The processes of each pid namespace, by the first process of the namespace. When the first process ends, the
    /// kernel ends all others. Portolan's own namespace is left out.
    pub namespaces: BTreeMap<Pid, BTreeSet<Pid>>,
}

/// Returns the steps that end the listeners among `entries` for which `is_named` is true.
///
/// # Errors
///
/// Returns the listeners that must not be ended, with the reasons. In this case there is no plan.
pub fn kill_plan<'r>(
    entries: &'r [Entry],
    is_named: impl Fn(usize) -> bool,
    snapshot: &Snapshot,
    caller: &KillCaller,
) -> Result<Vec<KillStep<'r>>, Vec<(Listener<'r>, KillRefusal<'r>)>> {
    let select = |named: bool| {
        let entries = entries.iter().enumerate().filter(|(at, _)| is_named(*at) == named);
        Listener::all(entries.map(|(_, entry)| entry))
    };
    let (named, others) = (select(true), select(false));
    let mut steps: Vec<KillStep<'r>> = Vec::new();
    let mut refused = Vec::new();
    for listener in named {
        match how(&listener, snapshot, caller) {
            Err(refusal) => refused.push((listener, refusal)),
            Ok(how) => match steps.iter_mut().find(|step| step.how == how) {
                Some(step) => step.named.push(listener),
                None => steps.push(KillStep { how, named: vec![listener], others: Vec::new() }),
            },
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    for step in &mut steps {
        let signalled = with_namespaces(&step.owners(), caller);
        step.others = others.iter().filter(|other| ends_with(step, other, &signalled)).cloned().collect();
    }
    Ok(steps)
}

/// Returns how to end only this listener, or the reason why it must not be ended.
fn how<'r>(
    listener: &Listener<'r>,
    snapshot: &Snapshot,
    caller: &KillCaller,
) -> Result<HowToStop<'r>, KillRefusal<'r>> {
    let socket = &listener.first().socket;
    let hidden = KillRefusal::Hidden { as_root: caller.uid == 0 };
    let how = HowToStop::of(listener, &snapshot.host.os).ok_or_else(|| hidden.clone())?;
    let how = if stops_too_much(&how, listener, caller) {
        processes(listener, None).ok_or_else(|| hidden.clone())?
    } else {
        how
    };
    let pids: BTreeSet<Pid> =
        listener.sockets.iter().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
    if let Some(pid) = pids.iter().find(|pid| caller.pids.contains(pid)) {
        return Err(KillRefusal::Own(*pid));
    }
    // Pid 1 (systemd) closes a socket only if its socket unit is stopped.
    let is_of_socket_unit =
        matches!(&how, HowToStop::Units(units) if units.iter().any(|unit| unit.ends_with(".socket")));
    if pids.contains(&1) && !is_of_socket_unit {
        return Err(KillRefusal::NoCommand(HowToStop::FirstProcess));
    }
    let unit = listener.unit().unwrap_or_default();
    match how {
        HowToStop::Kernel
        | HowToStop::FirstProcess
        | HowToStop::UserManager(_)
        | HowToStop::Rule(_)
        | HowToStop::PublishedPort(_)
        | HowToStop::WindowsService(_) => Err(KillRefusal::NoCommand(how)),
        // The service manager and the containers of a user accept commands only from that user.
        HowToStop::UserUnit { .. } if !is_of_user(unit, caller.uid) => Err(KillRefusal::OtherUser(how)),
        HowToStop::Container { name, .. } if name.contains('/') && !is_of_user(name, caller.uid) => {
            Err(KillRefusal::OtherUser(how))
        }
        HowToStop::Units(_) if caller.uid != 0 => Err(KillRefusal::NeedsRoot(how)),
        HowToStop::Kill { ref pids, .. } if pids.iter().any(|pid| caller.protected.contains(pid)) => {
            Err(KillRefusal::NeedsRoot(how))
        }
        _ if !matches!(socket.owner, Owner::Held(_)) && matches!(how, HowToStop::Kill { .. }) => Err(hidden),
        HowToStop::Kill { .. } if is_partly_hidden(listener, snapshot) => Err(KillRefusal::PartlyHidden),
        how => Ok(how),
    }
}

/// Returns whether stopping the unit or container would end too much, such as the caller's own session.
fn stops_too_much(how: &HowToStop<'_>, listener: &Listener<'_>, caller: &KillCaller) -> bool {
    let processes = listener.processes();
    let main = processes.first().filter(|main| main.pid != 1);
    let is_among = |pids: &BTreeSet<Pid>| main.is_some_and(|main| pids.contains(&main.pid));
    let group_of_caller = |group: Option<&str>| group.is_some_and(|group| caller.groups.contains(group));
    match how {
        HowToStop::Units(units) => {
            is_among(&caller.on_terminals)
                || units.iter().any(|unit| caller.groups.contains(*unit) || !is_unit_name(unit))
                // The unit contains another service manager, which started the process and perhaps other processes.
                || listener.unit().is_some_and(|unit| unit.contains('/'))
        }
        HowToStop::UserUnit { name, .. } => {
            is_among(&caller.on_terminals) || group_of_caller(listener.unit()) || !is_unit_name(name)
        }
        HowToStop::Container { name, .. } => {
            let of_user = |(unit, _): (&str, _)| unit.starts_with("user@");
            let is_in_unit = name.contains('/') && !name.split_once('/').is_some_and(of_user);
            let group = main.and_then(|main| main.container.as_deref());
            is_in_unit || is_among(&caller.nested) || group_of_caller(group)
        }
        _ => false,
    }
}

/// Returns whether the name has only characters of unit names (systemd.unit(5)). `systemctl` may treat any other name
/// as a pattern that matches several units.
fn is_unit_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

fn is_of_user(name: &str, uid: u32) -> bool {
    name.split('/').next() == Some(&format!("user@{uid}.service"))
}

/// Returns whether [`KillRefusal::PartlyHidden`] applies.
fn is_partly_hidden(listener: &Listener<'_>, snapshot: &Snapshot) -> bool {
    let processes = listener.processes();
    let creator = listener.first().socket.uid;
    let is_creator = |uid: Option<u32>| uid.is_some() && uid == creator;
    !snapshot.host.privileged
        && snapshot.gaps.iter().any(|gap| gap.stage == Stage::Owners)
        && !processes.iter().any(|process| is_creator(process.uid))
}

/// Returns whether a step also ends this listener. `signalled` contains all processes that end because of signals of
/// the step.
fn ends_with(step: &KillStep<'_>, listener: &Listener<'_>, signalled: &BTreeSet<Pid>) -> bool {
    let processes = listener.processes();
    match &step.how {
        HowToStop::Units(units) => {
            let of_processes = processes.iter().filter_map(|process| process.unit.as_deref());
            let own = of_processes.chain(listener.unit()).chain(listener.socket_unit());
            let mut outermost = own.map(|unit| unit.split('/').next().unwrap_or(unit));
            outermost.any(|unit| units.contains(&unit))
        }
        HowToStop::UserUnit { .. } => {
            let stopped = step.named.first().and_then(Listener::unit);
            stopped.is_some() && processes.iter().any(|process| process.unit.as_deref() == stopped)
        }
        HowToStop::Container { id, .. } => {
            let published = listener.first().forward_target().and_then(|to| to.container.as_ref());
            listener.container_id() == Some(id) || published.is_some_and(|container| container.id == *id)
        }
        HowToStop::Kill { .. } => {
            listener.first().socket.owner.pids().iter().any(|pid| signalled.contains(pid))
        }
        _ => false,
    }
}

/// Returns `pids`, and the processes of pid namespaces that the kernel ends together with a process in `pids`.
fn with_namespaces(pids: &BTreeSet<Pid>, caller: &KillCaller) -> BTreeSet<Pid> {
    let in_namespaces = pids.iter().filter_map(|pid| caller.namespaces.get(pid)).flatten();
    pids.iter().chain(in_namespaces).copied().collect()
}
