//! The steps that end the listeners named by a person, and the reasons not to end a listener.

use std::collections::BTreeSet;

use super::how_to_stop::HowToStop;
use super::listener::Listener;
use crate::join::Entry;
use crate::model::{Owner, Pid, Snapshot, Stage};

/// One way to stop listeners, and all listeners that end with it.
#[derive(Clone, Debug)]
pub struct KillStep<'r> {
    /// The way to stop the listeners.
    pub how: HowToStop<'r>,
    /// The listeners that the targets named.
    pub named: Vec<Listener<'r>>,
    /// The listeners that end too, although no target named them.
    pub others: Vec<Listener<'r>>,
}

/// The reason why a listener is not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillRefusal<'r> {
    /// No process of the listener is visible.
    Hidden,
    /// A process of the listener is visible, but another process may also own its socket: the user who created the
    /// socket has no visible process, and not every process could be read.
    PartlyHidden,
    /// No command ends only this listener.
    NoCommand(HowToStop<'r>),
    /// Only this user can stop the listener in this way.
    OtherUser(HowToStop<'r>),
    /// Only root can stop it in this way.
    NeedsRoot(HowToStop<'r>),
    /// This program, or a process that started it, would end.
    Own(Pid),
}

/// The caller of `kill`.
#[derive(Clone, Debug)]
pub struct KillCaller {
    /// The effective user ID.
    pub uid: u32,
    /// This program and its ancestors.
    pub pids: BTreeSet<Pid>,
    /// The processes that this user may not signal.
    pub protected: BTreeSet<Pid>,
}

/// Returns the steps that end the listeners among `entries` for which `is_named` is true.
///
/// # Errors
/// Returns the listeners that must not be ended, with the reasons. No listener is then ended.
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
        step.others = others.iter().filter(|other| ends_with(&step.how, other)).cloned().collect();
    }
    Ok(steps)
}

/// Returns the command that ends a listener without ending a process that must live.
fn how<'r>(
    listener: &Listener<'r>,
    snapshot: &Snapshot,
    caller: &KillCaller,
) -> Result<HowToStop<'r>, KillRefusal<'r>> {
    let socket = &listener.first().socket;
    let how = HowToStop::of(listener, &snapshot.host.os).ok_or(KillRefusal::Hidden)?;
    let pids = listener.sockets.iter().flat_map(|entry| entry.socket.owner.pids());
    if let Some(pid) = pids.copied().find(|pid| caller.pids.contains(pid)) {
        return Err(KillRefusal::Own(pid));
    }
    match how {
        HowToStop::Kernel
        | HowToStop::FirstProcess
        | HowToStop::Rule(_)
        | HowToStop::PublishedPort(_)
        | HowToStop::WindowsService(_) => Err(KillRefusal::NoCommand(how)),
        // The service manager and the containers of a user accept commands only from that user.
        HowToStop::UserUnit { .. } if listener.main().and_then(|main| main.uid) != Some(caller.uid) => {
            Err(KillRefusal::OtherUser(how))
        }
        HowToStop::Container { name, .. } if name.contains('/') && caller.uid == 0 => {
            Err(KillRefusal::OtherUser(how))
        }
        HowToStop::Units(_) if caller.uid != 0 => Err(KillRefusal::NeedsRoot(how)),
        HowToStop::Kill { ref pids, .. } if pids.iter().any(|pid| caller.protected.contains(pid)) => {
            Err(KillRefusal::NeedsRoot(how))
        }
        _ if !matches!(socket.owner, Owner::Held(_)) && matches!(how, HowToStop::Kill { .. }) => {
            Err(KillRefusal::Hidden)
        }
        HowToStop::Kill { .. } if is_partly_hidden(listener, snapshot) => Err(KillRefusal::PartlyHidden),
        how => Ok(how),
    }
}

/// Returns whether an invisible process may have opened the socket, and may open it again. The user who created the
/// socket has no visible process among its owners, and not every process could be read.
fn is_partly_hidden(listener: &Listener<'_>, snapshot: &Snapshot) -> bool {
    let processes = listener.processes();
    let creator = listener.first().socket.uid;
    let is_creator = |uid: Option<u32>| uid.is_some() && uid == creator;
    !snapshot.host.privileged
        && snapshot.gaps.iter().any(|gap| gap.stage == Stage::Owners)
        && !processes.iter().any(|process| is_creator(process.uid))
}

/// Returns whether a listener ends too if other listeners are stopped in this way.
fn ends_with(how: &HowToStop<'_>, listener: &Listener<'_>) -> bool {
    match how {
        HowToStop::Units(units) => {
            let own = [listener.unit(), listener.socket_unit()];
            own.into_iter().flatten().any(|unit| units.contains(&unit))
        }
        HowToStop::UserUnit { .. } => HowToStop::of(listener, "linux").as_ref() == Some(how),
        HowToStop::Container { name, .. } => listener.container() == Some(name),
        HowToStop::Kill { pids, .. } => {
            let owners = listener.first().socket.owner.pids();
            owners.iter().any(|pid| pids.contains(pid))
        }
        _ => false,
    }
}
