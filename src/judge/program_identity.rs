//! Identifies the program of a process, the users who can replace its file, and whether the program usually serves the
//! port.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::join::Entry;
use crate::model::{
    Owner, Pid, PortRange, Process, Protocol, ReplaceableBy, RestsOn, UsualProgram, file_name,
};
use crate::registry::command_line::CommandLine;
use crate::registry::identity::{self, RecognisedProgram};
use crate::registry::programs;
use crate::registry::tools::{self, AdHocTool, DualUseRow, DualUseTool};

pub(super) struct IdentifiedProcess<'o> {
    pub(super) process: &'o Process,
    pub(super) identity: Option<Rc<RecognisedProgram>>,
    command_line: OnceCell<Option<CommandLine<'o>>>,
    tools: Rc<ToolsOfProgram>,
}

/// The rows about a program in the tables of tools. They are looked up on first use.
#[derive(Default)]
struct ToolsOfProgram {
    ad_hoc: OnceCell<Option<AdHocTool>>,
    dual_use: OnceCell<Vec<DualUseRow>>,
}

/// The program file and the user of a process. For an interpreter, the command line follows.
pub(super) type RunAs<'o> = (Option<&'o str>, Option<u32>, &'o [String]);

/// Returns the name of the program file, or the name of the process if the file is not known.
pub(super) fn program_name(process: &Process) -> Option<&str> {
    match &process.exe {
        Some(exe) => Some(file_name(&exe.path)),
        None => process.name.as_deref(),
    }
}

impl<'o> IdentifiedProcess<'o> {
    fn file(&self) -> Option<&'o str> {
        self.process.exe.as_ref().map(|exe| exe.path.as_str())
    }

    pub(super) fn program(&self) -> RunAs<'o> {
        let interpreted = self.identity.as_deref().is_some_and(RecognisedProgram::is_interpreter);
        (self.file(), self.process.uid, if interpreted { &self.process.cmdline } else { &[] })
    }

    pub(super) fn program_name(&self) -> Option<&'o str> {
        program_name(self.process)
    }

    /// Returns the command line, parsed for the tables of dangerous services and tools.
    pub(super) fn command_line(&self) -> Option<&CommandLine<'o>> {
        let read = || Some(CommandLine::new(self.program_name()?, &self.process.cmdline));
        self.command_line.get_or_init(read).as_ref()
    }

    /// Returns the use of the process, if its program is a tool for a short task.
    pub(super) fn ad_hoc_tool(&self) -> Option<AdHocTool> {
        *self.tools.ad_hoc.get_or_init(|| tools::ad_hoc(self.command_line()?))
    }

    /// Returns the purpose of the process, if its program is a dual-use tool on this port.
    pub(super) fn dual_use_tool(&self, port: u16, protocol: Protocol) -> Option<DualUseTool> {
        let find = || self.command_line().map(tools::dual_use_rows).unwrap_or_default();
        tools::dual_use(self.tools.dual_use.get_or_init(find), port, protocol)
    }

    /// Returns whether a user other than root can replace the program file or the script. Also true for a program
    /// without a file, unless only root could have created the file.
    pub(super) fn is_replaceable(&self) -> bool {
        ReplaceableBy::of(self.process) >= ReplaceableBy::User
    }

    /// Returns whether the program was identified by the code that runs. Arguments and titles do not count, because any
    /// user can choose arguments, and a process chooses its own title.
    pub(super) fn is_identified_by_what_runs(&self) -> bool {
        self.identity.as_deref().is_some_and(|identity| !identity.rests_on_title())
    }

    fn has_genuine_file(&self) -> bool {
        ReplaceableBy::of_file(self.process) == ReplaceableBy::Root
    }

    /// Returns whether a replaceable program has the name of a server that has a guarded port of its own. A web server
    /// has no port of its own, because it may be a proxy for a guarded service.
    pub(super) fn is_named_like_a_server(&self) -> bool {
        self.has_a_name_that_proves_nothing()
            && self.program_name().is_some_and(programs::owns_a_guarded_port)
    }

    /// Returns whether a replaceable program has the name of a server of a guarded port. The name of such a program
    /// proves nothing. Returns false for an interpreter.
    fn has_a_name_that_proves_nothing(&self) -> bool {
        !self.is_interpreted()
            && self.is_replaceable()
            && self.program_name().is_some_and(programs::serves_a_guarded_port)
    }

    pub(super) fn is_interpreted(&self) -> bool {
        self.identity.as_deref().is_some_and(RecognisedProgram::is_interpreter)
    }

    /// Returns whether the program is known. An interpreter that runs an unknown script is not known.
    pub(super) fn is_known(&self) -> bool {
        self.identity.as_deref().is_some_and(|identity| {
            !identity.programs.is_empty()
                && (!identity.is_interpreter() || identity.rests_on == RestsOn::Cmdline)
                && !self.has_a_name_that_proves_nothing()
        })
    }

    fn serves(&self, port: u16, protocol: Protocol) -> bool {
        self.has_genuine_file()
            && self.identity.as_ref().is_some_and(|identity| identity.serving(port, protocol).is_some())
    }
}

/// The programs of the processes that were identified so far. They are stored, because one process may own a thousand
/// sockets.
#[derive(Default)]
pub(super) struct Identities {
    known: HashMap<Pid, Identity>,
    /// The last identified program, with its command line and tools. The next process is often another worker of the
    /// same server.
    last: Option<(Option<String>, Vec<String>, Rc<ToolsOfProgram>)>,
}

struct Identity {
    program: Option<Rc<RecognisedProgram>>,
    tools: Rc<ToolsOfProgram>,
}

impl Identities {
    pub(super) fn identify<'o>(&mut self, process: &'o Process) -> IdentifiedProcess<'o> {
        let last = &mut self.last;
        let Identity { program, tools } = self.known.entry(process.pid).or_insert_with(|| Identity {
            program: identity::identify(process).map(Rc::new),
            tools: tools_of(process, last),
        });
        IdentifiedProcess {
            process,
            identity: program.clone(),
            command_line: OnceCell::new(),
            tools: Rc::clone(tools),
        }
    }

    /// Returns the processes of a listener, or of a socket without a port. A connection has none.
    pub(super) fn processes<'o>(&mut self, listener: &'o Entry) -> Vec<IdentifiedProcess<'o>> {
        if !listener.socket.state.is_judged() {
            return Vec::new();
        }
        listener.processes.iter().map(|process| self.identify(process)).collect()
    }
}

/// Returns the tools of a process. They are reused if the last process had the same program and command line.
fn tools_of(
    process: &Process,
    last: &mut Option<(Option<String>, Vec<String>, Rc<ToolsOfProgram>)>,
) -> Rc<ToolsOfProgram> {
    let name = program_name(process);
    let last = match last {
        Some(last) if (last.0.as_deref(), &last.1) == (name, &process.cmdline) => last,
        last => last.insert((name.map(str::to_owned), process.cmdline.clone(), Rc::default())),
    };
    Rc::clone(&last.2)
}

/// Programs that open sockets and pass them to services.
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

pub(super) fn is_opener(process: &IdentifiedProcess<'_>) -> bool {
    process.identity.as_ref().is_some_and(|identity| OPENERS.contains(&identity.name.as_str()))
}

/// Returns whether a program such as systemd opened the socket for the other processes. The program must be pid 1, or
/// an ancestor of all other processes.
pub(super) fn opens_sockets_for_others(process: &IdentifiedProcess<'_>, owners: &[&Process]) -> bool {
    let pid = process.process.pid;
    let below = |process: &&Process| process.parents.iter().any(|parent| parent.pid == pid);
    process.has_genuine_file()
        && is_opener(process)
        && (pid == 1 || owners.iter().filter(|process| process.pid != pid).all(below))
}

/// Directories with the programs of many packages.
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

/// Returns whether a process is a worker of its ancestor. Both must run the same file, files of the same suite, or
/// known servers of the port.
pub(super) fn is_worker_of(
    ancestor: &IdentifiedProcess<'_>,
    process: &IdentifiedProcess<'_>,
    port: u16,
    protocol: Protocol,
) -> bool {
    let Some((file, its)) = ancestor.file().zip(process.file()) else { return false };
    let interpreted = ancestor.identity.as_deref().is_some_and(RecognisedProgram::is_interpreter);
    file == its
        || (!interpreted && are_of_one_suite(file, its))
        || (ancestor.serves(port, protocol) && process.serves(port, protocol))
}

/// Returns whether two program files belong to the same suite. This is so in two cases:
/// - Both files are in one directory, but not in a directory of many packages, such as `/usr/bin`.
/// - The worker's file is below a directory with the name of the master.
fn are_of_one_suite(master: &str, worker: &str) -> bool {
    let Some(((directory, name), (its_directory, _))) = master.rsplit_once('/').zip(worker.rsplit_once('/'))
    else {
        return false;
    };
    (directory == its_directory && !COMMON_DIRECTORIES.contains(&directory))
        || (!name.is_empty() && its_directory.split('/').any(|part| part == name))
}

/// Returns the usual program of the port, if every process runs such a program. If the owner is hidden, the name of the
/// unit decides.
pub(super) fn usual(listener: &Entry, processes: &[IdentifiedProcess<'_>]) -> Option<UsualProgram> {
    if listener.socket.owner == Owner::Hidden {
        return by_unit(listener).map(|program| UsualProgram {
            program: program.name,
            product: program.product,
            rests_on: RestsOn::Unit,
            any_port: false,
            pid: None,
        });
    }
    if listener.socket.owner.pids().len() != processes.len() {
        return None; // one of the processes could not be read
    }
    let all = processes.iter().map(|process| usual_program(process, listener));
    let found: Vec<UsualProgram> = all.collect::<Option<_>>()?;
    // A program on its own port is stronger evidence than a program that serves any port.
    found.iter().find(|usual| !usual.any_port).or(found.first()).copied()
}

/// Returns the program that usually serves the port, if the listener's system unit has the name of this program. The
/// name can be trusted, because only root can start a system service, and no process can choose its control group.
pub(super) fn by_unit(listener: &Entry) -> Option<programs::ListedProgram> {
    let socket = &listener.socket;
    let unit = socket.unit.as_deref().filter(|unit| !unit.contains('/') && socket.container.is_none())?;
    let name = unit.strip_suffix(".service").or_else(|| unit.strip_suffix(".socket"))?;
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let mut programs = programs::serving(socket.local.port, socket.local.protocol).into_iter();
    programs.find(|program| program.is_named_by_unit(name))
}

/// Returns the program for which systemd opened the socket, according to the name of the socket unit. `None` if the
/// process is not systemd, or if no known program has this name.
pub(super) fn by_socket_unit(
    process: &IdentifiedProcess<'_>,
    listener: &Entry,
) -> Option<programs::ListedProgram> {
    (process.process.pid == 1 && process.has_genuine_file() && is_opener(process))
        .then(|| by_unit(listener))
        .flatten()
}

fn usual_program(process: &IdentifiedProcess<'_>, listener: &Entry) -> Option<UsualProgram> {
    let (port, protocol) = (listener.socket.local.port, listener.socket.local.protocol);
    let identity = process.identity.as_ref()?;
    // Any user can give a file any name, so the file must be genuine. A match by the command line needs no check,
    // because it only makes a port less suspicious.
    if identity.rests_on != RestsOn::Cmdline && !process.has_genuine_file() {
        return None;
    }
    let usual = |program: programs::ListedProgram, any_port| UsualProgram {
        program: program.name,
        product: program.product,
        rests_on: identity.rests_on,
        any_port,
        pid: Some(process.process.pid),
    };
    if let Some(program) = identity.serving(port, protocol) {
        return Some(usual(program, false));
    }
    let anywhere = usual(identity.anywhere()?, true);
    if let Some(program) = by_socket_unit(process, listener) {
        return Some(UsualProgram { product: program.product, any_port: false, ..anywhere });
    }
    let unit = (process.process.pid == 1).then(|| programs::socket_unit(port, protocol)).flatten();
    Some(unit.map_or(anywhere, |unit| UsualProgram { product: unit, any_port: false, ..anywhere }))
}

/// Returns the range from which every process of a listener picks a new port at each start. `None` if the processes
/// have no common range, or if a process could not be read.
#[must_use]
pub fn picked_from(listener: &Entry) -> Option<PortRange> {
    let local = &listener.socket.local;
    if listener.processes.is_empty() || listener.socket.owner.pids().len() != listener.processes.len() {
        return None;
    }
    let mut identities = Identities::default();
    let processes = identities.processes(listener);
    let mut ranges = processes.iter().map(|process| {
        let identity = process.identity.as_deref().filter(|_| process.has_genuine_file())?;
        identity.picks_from(local.port, local.protocol)
    });
    let first = ranges.next().flatten()?;
    ranges.all(|range| range == Some(first)).then_some(first)
}
