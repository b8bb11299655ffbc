//! Which program a process is, who can replace its file, and whether it usually serves its port.
//!
//! A program on its usual port explains the listener, and so does one that commonly serves any port.

use std::collections::HashMap;
use std::rc::Rc;

use crate::join::Entry;
use crate::model::{Exe, ExeState, OriginKind, Pid, Process, Protocol, RestsOn, Usual};
use crate::registry::command_line::CommandLine;
use crate::registry::identity::{self, Identity};
use crate::registry::programs;

/// A process and the program that it is identified as.
pub(super) struct IdentifiedProcess<'o> {
    pub(super) process: &'o Process,
    pub(super) identity: Option<Rc<Identity>>,
}

/// The program file and the user of a process, and for an interpreter its command line.
pub(super) type RunAs<'o> = (Option<&'o str>, Option<u32>, &'o [String]);

impl<'o> IdentifiedProcess<'o> {
    fn file(&self) -> Option<&'o str> {
        self.process.exe.as_ref().map(|exe| exe.path.as_str())
    }

    pub(super) fn program(&self) -> RunAs<'o> {
        let interpreted = self.identity.as_deref().is_some_and(Identity::is_interpreter);
        (self.file(), self.process.uid, if interpreted { &self.process.cmdline } else { &[] })
    }

    /// Returns the name of the program file, else of the process.
    pub(super) fn program_name(&self) -> Option<&'o str> {
        match &self.process.exe {
            Some(exe) => exe.path.rsplit(['/', '\\']).next(),
            None => self.process.name.as_deref(),
        }
    }

    /// Returns the command line in the form that the tables of dangerous services and tools use.
    pub(super) fn command_line(&self) -> Option<CommandLine<'o>> {
        Some(CommandLine::new(self.program_name()?, &self.process.cmdline))
    }

    /// Whether a user who is not root can have put the program file or script there, or there is none.
    pub(super) fn is_replaceable(&self) -> bool {
        placed_by(self.process) != PlacedBy::Root
    }

    /// Whether the name of the program file says which program it is: only root can have put a file of that name there.
    fn has_genuine_file(&self) -> bool {
        file_placed_by(self.process) == PlacedBy::Root
    }

    /// Whether the file has the name of a well-known server, but a user who is not root can have put it there.
    pub(super) fn is_named_like_a_server(&self) -> bool {
        !self.is_interpreted()
            && self.is_replaceable()
            && self.program_name().is_some_and(programs::serves_a_guarded_port)
    }

    /// Returns whether an interpreter runs it.
    pub(super) fn is_interpreted(&self) -> bool {
        self.identity.as_deref().is_some_and(Identity::is_interpreter)
    }

    /// Returns whether the program is known; an interpreter that runs an unknown script is not.
    pub(super) fn is_known(&self) -> bool {
        self.identity.as_deref().is_some_and(|identity| {
            !identity.programs.is_empty()
                && (!identity.is_interpreter() || identity.rests_on == RestsOn::Cmdline)
        })
    }

    fn serves(&self, port: u16, protocol: Protocol) -> bool {
        self.has_genuine_file()
            && self.identity.as_ref().is_some_and(|identity| identity.serving(port, protocol).is_some())
    }
}

/// The programs of the processes seen so far: one process may own a thousand sockets.
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

/// Programs that open sockets and pass them to the services that they start.
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

/// Returns whether a process opened the socket for the other processes to serve: it is the first process of the system,
/// or an ancestor of all the others.
pub(super) fn opens_sockets_for_others(process: &IdentifiedProcess<'_>, owners: &[&Process]) -> bool {
    let pid = process.process.pid;
    let below = |process: &&Process| process.parents.iter().any(|parent| parent.pid == pid);
    process.has_genuine_file()
        && process.identity.as_ref().is_some_and(|identity| OPENERS.contains(&identity.name.as_str()))
        && (pid == 1 || owners.iter().filter(|process| process.pid != pid).all(below))
}

/// Directories that contain programs of many packages.
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

/// Returns whether a process is a worker of its ancestor: it runs the same file, or one of the same suite.
pub(super) fn is_worker_of(
    ancestor: &IdentifiedProcess<'_>,
    process: &IdentifiedProcess<'_>,
    port: u16,
    protocol: Protocol,
) -> bool {
    let Some((file, its)) = ancestor.file().zip(process.file()) else { return false };
    let interpreted = ancestor.identity.as_deref().is_some_and(Identity::is_interpreter);
    file == its
        || (!interpreted && are_of_one_suite(file, its))
        || (ancestor.serves(port, protocol) && process.serves(port, protocol))
}

/// Returns whether the files of a master and its worker are in one directory that is not a common one, or the worker's
/// is below a directory named like the master.
fn are_of_one_suite(master: &str, worker: &str) -> bool {
    let Some(((folder, name), (its_folder, _))) = master.rsplit_once('/').zip(worker.rsplit_once('/')) else {
        return false;
    };
    (folder == its_folder && !COMMON_DIRECTORIES.contains(&folder))
        || (!name.is_empty() && its_folder.split('/').any(|part| part == name))
}

/// Returns the program that belongs on the port; `None` unless every process belongs there.
pub(super) fn usual(listener: &Entry, processes: &[IdentifiedProcess<'_>]) -> Option<Usual> {
    let local = &listener.socket.local;
    if listener.socket.owner.pids().len() != processes.len() {
        return None; // one of them could not be read
    }
    let all = processes.iter().map(|process| belongs(process, local.port, local.protocol));
    let found: Vec<Usual> = all.collect::<Option<_>>()?;
    // A program on its own port is stronger evidence than a program that serves any port.
    found.iter().find(|usual| !usual.any_port).or(found.first()).copied()
}

fn belongs(process: &IdentifiedProcess<'_>, port: u16, protocol: Protocol) -> Option<Usual> {
    let identity = process.identity.as_ref()?;
    // Any user can give a file any name. Words in a command line only make a port less remarkable, so they may count.
    if identity.rests_on != RestsOn::Cmdline && !process.has_genuine_file() {
        return None;
    }
    let usual = |program: programs::Program, any_port| Usual {
        program: program.name,
        product: program.product,
        rests_on: identity.rests_on,
        any_port,
        pid: process.process.pid,
    };
    if let Some(program) = identity.serving(port, protocol) {
        return Some(usual(program, false));
    }
    let anywhere = usual(identity.anywhere()?, true);
    let unit = (process.process.pid == 1).then(|| programs::socket_unit(port, protocol)).flatten();
    Some(unit.map_or(anywhere, |unit| Usual { product: unit, any_port: false, ..anywhere }))
}

/// Directories in which a user who is not root has files.
const USER_DIRECTORIES: [&str; 4] = ["/home/", "/run/user/", "/Users/", r"C:\Users\"];
/// Directories in which every user can create files.
const OPEN_DIRECTORIES: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];

/// Who can have put a file where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PlacedBy {
    /// Only root, as far as is known.
    Root,
    /// A user who is not root.
    User,
    /// Anyone; or no file at its path is the one that runs, so that nothing is known about who made it.
    Anyone,
}

/// Returns who can have put the program file or the script of a process there; the less trustworthy of the two.
pub(super) fn placed_by(process: &Process) -> PlacedBy {
    let script = process.script.as_ref().and_then(|script| script.origin.as_ref());
    let script = script.map_or(PlacedBy::Root, |origin| match origin.kind {
        OriginKind::User => PlacedBy::User,
        OriginKind::Open | OriginKind::Memory => PlacedBy::Anyone,
        _ => PlacedBy::Root,
    });
    file_placed_by(process).max(script)
}

/// Returns who can have put the program file of a process there; by its path if nothing else is known.
fn file_placed_by(process: &Process) -> PlacedBy {
    let Some(exe) = &process.exe else { return PlacedBy::Root };
    if matches!(exe.state, ExeState::Deleted | ExeState::Memfd) {
        return PlacedBy::Anyone;
    }
    match process.origin.as_ref().map(|origin| origin.kind) {
        Some(OriginKind::Package | OriginKind::System) => PlacedBy::Root,
        Some(OriginKind::User) => PlacedBy::User,
        Some(OriginKind::Open | OriginKind::Memory | OriginKind::Elsewhere) => PlacedBy::Anyone,
        // An upgrade replaced the file: its directory says who can have put it there.
        Some(OriginKind::Deleted) | None => placed_by_path(exe),
    }
}

fn placed_by_path(exe: &Exe) -> PlacedBy {
    let is_below = |directories: &[&str]| directories.iter().any(|directory| exe.path.starts_with(directory));
    let has_open = exe.open_folders.as_ref().is_some_and(|directories| !directories.is_empty());
    match () {
        () if has_open || is_below(&OPEN_DIRECTORIES) => PlacedBy::Anyone,
        () if is_below(&USER_DIRECTORIES) => PlacedBy::User,
        () => PlacedBy::Root,
    }
}
