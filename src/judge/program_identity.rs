//! Which program a process is, and whether it belongs on its port: `usual` and `impostor`.
//!
//! A program on its usual port explains the listener, and so does one that commonly serves any port.

use std::collections::HashMap;
use std::rc::Rc;

use super::rules::Subject;
use super::severity;
use crate::findings::Evidence;
use crate::findings::identity::{Impostor, Stranger, Unfamiliar};
use crate::join::Entry;
use crate::model::{Pid, Process, Protocol, RestsOn, State, Usual};
use crate::registry::command_line::CommandLine;
use crate::registry::identity::{self, Identity};
use crate::registry::programs::{self, Strangers};
use crate::registry::tools;

/// A process and the program that it is taken for.
pub(super) struct IdentifiedProcess<'o> {
    /// The process.
    pub(super) process: &'o Process,
    identity: Option<Rc<Identity>>,
}

/// What a process runs and as which user; for an interpreter its command line too.
pub(super) type RunAs<'o> = (Option<&'o str>, Option<u32>, &'o [String]);

impl<'o> IdentifiedProcess<'o> {
    fn file(&self) -> Option<&'o str> {
        self.process.exe.as_ref().map(|exe| exe.path.as_str())
    }

    pub(super) fn program(&self) -> RunAs<'o> {
        let interpreted = self.identity.as_deref().is_some_and(Identity::is_interpreter);
        (self.file(), self.process.uid, if interpreted { &self.process.cmdline } else { &[] })
    }

    /// The name of the program file, else of the process.
    pub(super) fn program_name(&self) -> Option<&'o str> {
        match &self.process.exe {
            Some(exe) => exe.path.rsplit(['/', '\\']).next(),
            None => self.process.name.as_deref(),
        }
    }

    /// What the tables of dangerous services and of tools look at.
    pub(super) fn command_line(&self) -> Option<CommandLine<'o>> {
        Some(CommandLine::new(self.program_name()?, &self.process.cmdline))
    }

    /// Whether a user who is not root can replace the program file, or there is none.
    fn is_replaceable(&self) -> bool {
        severity::is_replaceable(self.process)
    }

    /// Whether the file has the name of a well-known server, but a user who is not root can have put it there.
    fn is_named_like_a_server(&self) -> bool {
        !self.is_interpreted()
            && self.is_replaceable()
            && self.program_name().is_some_and(programs::serves_a_guarded_port)
    }

    /// Whether an interpreter runs it.
    pub(super) fn is_interpreted(&self) -> bool {
        self.identity.as_deref().is_some_and(Identity::is_interpreter)
    }

    /// Whether the program is known; an interpreter that runs an unknown script is not.
    pub(super) fn is_known(&self) -> bool {
        self.identity.as_deref().is_some_and(|identity| {
            !identity.programs.is_empty()
                && (!identity.is_interpreter() || identity.rests_on == RestsOn::Cmdline)
        })
    }

    fn serves(&self, port: u16, protocol: Protocol) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.serving(port, protocol).is_some())
    }
}

/// The programs of the processes seen so far: one process may hold a thousand sockets.
#[derive(Default)]
pub(super) struct Identities(HashMap<Pid, Option<Rc<Identity>>>);

impl Identities {
    pub(super) fn identify<'o>(&mut self, process: &'o Process) -> IdentifiedProcess<'o> {
        let identity = self.0.entry(process.pid).or_insert_with(|| identity::identify(process).map(Rc::new));
        IdentifiedProcess { process, identity: identity.clone() }
    }

    /// Returns the processes of a listener; none for a connection.
    pub(super) fn processes<'o>(&mut self, listener: &'o Entry) -> Vec<IdentifiedProcess<'o>> {
        if !listener.socket.state.holds_port() {
            return Vec::new();
        }
        listener.processes.iter().map(|process| self.identify(process)).collect()
    }
}

/// Programs that open sockets and give them to the services they start.
const OPENERS: [&str; 8] = [
    "systemd",
    "systemd-socket-activate",
    "init",
    "launchd",
    "inetd",
    "inetutils-inetd",
    "xinetd",
    "rlinetd",
];

/// Whether a process opened the socket for the others to serve: the first process of the system, or an ancestor of all
/// the others.
pub(super) fn opens_for_others(tenant: &IdentifiedProcess<'_>, holders: &[&Process]) -> bool {
    let pid = tenant.process.pid;
    let below = |process: &&Process| process.parents.iter().any(|parent| parent.pid == pid);
    tenant.identity.as_ref().is_some_and(|identity| OPENERS.contains(&identity.name.as_str()))
        && (pid == 1 || holders.iter().filter(|process| process.pid != pid).all(below))
}

/// Directories that hold programs of every package.
const COMMON_DIRECTORIES: [&str; 10] = [
    "",
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/games",
    "/usr/lib",
    "/usr/libexec",
];

/// Whether a process is a worker of its ancestor: it runs the same file, or one of the same suite.
pub(super) fn belong_together(
    ancestor: &IdentifiedProcess<'_>,
    tenant: &IdentifiedProcess<'_>,
    port: u16,
    protocol: Protocol,
) -> bool {
    let Some((file, its)) = ancestor.file().zip(tenant.file()) else { return false };
    let interpreted = ancestor.identity.as_deref().is_some_and(Identity::is_interpreter);
    file == its
        || (!interpreted && are_of_one_suite(file, its))
        || (ancestor.serves(port, protocol) && tenant.serves(port, protocol))
}

/// Whether the files of a master and its worker are in one directory that is not a common one, or the worker's is below
/// a directory named like the master.
fn are_of_one_suite(master: &str, worker: &str) -> bool {
    let Some(((folder, name), (its_folder, _))) = master.rsplit_once('/').zip(worker.rsplit_once('/')) else {
        return false;
    };
    (folder == its_folder && !COMMON_DIRECTORIES.contains(&folder))
        || (!name.is_empty() && its_folder.split('/').any(|part| part == name))
}

/// Returns the program that belongs on the port; `None` unless every process belongs there.
pub(super) fn usual(listener: &Entry, tenants: &[IdentifiedProcess<'_>]) -> Option<Usual> {
    let local = &listener.socket.local;
    if listener.socket.owner.pids().len() != tenants.len() {
        return None; // one of them could not be read
    }
    let all = tenants.iter().map(|tenant| belongs(tenant, local.port, local.protocol));
    let found: Vec<Usual> = all.collect::<Option<_>>()?;
    // A program on its own port says more than one that serves any port.
    found.iter().find(|usual| !usual.any_port).or(found.first()).copied()
}

fn belongs(tenant: &IdentifiedProcess<'_>, port: u16, protocol: Protocol) -> Option<Usual> {
    let identity = tenant.identity.as_ref()?;
    let usual = |program: programs::Program, any_port| Usual {
        program: program.name,
        product: program.product,
        rests_on: identity.rests_on,
        any_port,
        pid: tenant.process.pid,
    };
    if let Some(program) = identity.serving(port, protocol) {
        return Some(usual(program, false));
    }
    let anywhere = usual(identity.anywhere()?, true);
    let unit = (tenant.process.pid == 1).then(|| programs::socket_unit(port, protocol)).flatten();
    Some(unit.map_or(anywhere, |unit| Usual { product: unit, any_port: false, ..anywhere }))
}

/// Decides `impostor`: no process on a guarded port is known to serve it. A program that holds sockets for others is not
/// accused, nor is a process whose file could not be read and whose name is not known.
pub(super) fn impostor(subject: &Subject<'_>) -> Option<Evidence> {
    let (listener, tenants) = (subject.listener, subject.processes);
    let local = &listener.socket.local;
    if matches!(listener.socket.state, State::Bound) || listener.socket.owner.pids().len() != tenants.len() {
        return None; // a client may bind before it connects; a holder that was not read may be the right one
    }
    let guards = programs::guarded(local.port, local.protocol);
    let rows: Vec<_> = guards.filter(|row| row.strangers == Strangers::Anything).collect();
    let first = rows.first()?;
    let mut found = Vec::new();
    for tenant in tenants {
        let IdentifiedProcess { process, identity } = tenant;
        let identity = identity.as_ref()?;
        // Netcat and other tools for the moment are named as that.
        if tenant.command_line().is_some_and(|command| tools::ad_hoc(&command).is_some()) {
            continue;
        }
        // sshd holds ports for others and its own.
        if identity.holds_for_others() && identity.serving(local.port, local.protocol).is_none() {
            continue;
        }
        let answers: Vec<_> = rows.iter().map(|row| identity.belongs(row)).collect();
        let is_replaceable = severity::is_replaceable(process);
        if answers.contains(&Some(true)) && !is_replaceable {
            return None; // a socket may be inherited; that it is shared is another question
        }
        // A fitting name on a file that a user can replace proves nothing.
        if answers.contains(&Some(false)) || is_replaceable {
            found.push(Stranger {
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
    let is_replaceable = tenants
        .iter()
        .filter(|tenant| found.iter().any(|stranger| stranger.pid == tenant.process.pid))
        .any(|tenant| severity::is_replaceable(tenant.process));
    let has_fitting_name = found.iter().all(|stranger| {
        rows.iter().flat_map(programs::Guarded::programs).any(|program| program == stranger.program)
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
pub(super) fn unfamiliar(subject: &Subject<'_>) -> Option<Evidence> {
    let (listener, processes) = (subject.listener, subject.processes);
    if !listener.exposure.beyond() || !listener.socket.state.accepts_traffic() || impostor(subject).is_some()
    {
        return None;
    }
    let local = &listener.socket.local;
    let guard = programs::guarded(local.port, local.protocol).next();
    let is_strange = |process: &&IdentifiedProcess<'_>| {
        let on_guarded_port = guard.is_some_and(|guard| match guard.strangers {
            Strangers::Soft => true,
            Strangers::Interpreters => process.is_interpreted(),
            Strangers::Anything => false,
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
        found: unknown.iter().map(|process| stranger(process)).collect(),
        service,
        is_replaceable: unknown.iter().any(|process| process.is_replaceable()),
        is_named_like_a_server: unknown.iter().any(|process| process.is_named_like_a_server()),
    };
    Some(evidence.into())
}

fn stranger(process: &IdentifiedProcess<'_>) -> Stranger {
    let identity = process.identity.as_deref();
    Stranger {
        pid: process.process.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        products: identity.map(|one| one.programs.iter().map(|p| p.product).collect()).unwrap_or_default(),
        rests_on: identity.map_or(RestsOn::Name, |identity| identity.rests_on),
    }
}
