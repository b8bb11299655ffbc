//! Identifies the program of a process, and decides whether the program is expected on a guarded port.
//!
//! A process is identified by its program file, or by its name if the file is not known. If several programs have this
//! name, all of them count.

use super::program_names::selected_program;
use super::programs::{self, GuardStrictness, Guarded, ListedProgram, Match, pairs, stem};
use crate::model::interpreter::{InterpreterCommand, command_words, parse_command, without_build};
use crate::model::{OriginKind, PortRange, Process, Protocol, RestsOn};

/// The kernel cuts process names to this many bytes (`TASK_COMM_LEN` of linux/sched.h, without its terminator).
const COMM: usize = 15;

/// The directories of installed scripts. A script is identified by its file name only in these directories, because
/// elsewhere any user can give a file any name.
const INSTALLED: [&str; 9] =
    ["/usr/", "/bin/", "/sbin/", "/lib/", "/opt/", "/snap/", "/app/", "/nix/store/", "/gnu/store/"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecognisedProgram {
    pub rests_on: RestsOn,
    /// The name of the program file or script, or the name of the process.
    pub name: String,
    /// The programs that the process may run. The list is empty if the program is unknown. It has several items if
    /// several programs have the same name.
    pub programs: Vec<ListedProgram>,
    /// Further programs that the command line names, each by a shorter text than the programs in `programs`. An option
    /// that opens a port, such as a debugger option, is also in this list.
    also: Vec<ListedProgram>,
    /// The interpreters that the file can be, as named in `programs.tsv`. If the file is not an interpreter, the list
    /// is empty.
    interpreter: Vec<&'static str>,
    /// Whether the process is a self-contained Erlang or Elixir release.
    is_release: bool,
    rests_on_title: bool,
}

impl RecognisedProgram {
    /// Returns the program, if `port` is one of its own ports.
    pub fn serving(&self, port: u16, protocol: Protocol) -> Option<ListedProgram> {
        self.programs.iter().chain(&self.also).find(|program| program.serves(port, protocol)).copied()
    }

    /// Returns the range from which the program picks further ports at each start, if `port` is in the range. The
    /// program explains the port, although the port is not one of its own.
    pub fn picks_from(&self, port: u16, protocol: Protocol) -> Option<PortRange> {
        self.programs.iter().chain(&self.also).find_map(|program| program.picks_from(port, protocol))
    }

    /// Returns the first possible program, if every possible program commonly serves any port. `None` for an
    /// interpreter with an unknown script.
    pub fn anywhere(&self) -> Option<ListedProgram> {
        let first = self.programs.first()?;
        (!self.is_bare() && self.programs.iter().all(|program| program.any_port)).then_some(*first)
    }

    /// Returns the first possible program; `None` for an unknown program or script.
    pub fn program(&self) -> Option<ListedProgram> {
        self.programs.first().copied().filter(|_| !self.is_bare())
    }

    /// Returns whether the process was identified by a title that replaced its command line. A title is not evidence of
    /// the running code.
    pub const fn rests_on_title(&self) -> bool {
        self.rests_on_title
    }

    /// Returns whether the program is an interpreter. The file of an interpreter does not identify the script that
    /// runs.
    pub const fn is_interpreter(&self) -> bool {
        !self.interpreter.is_empty()
    }

    /// Returns whether the program is in no row of the table and is not an interpreter.
    pub const fn is_unknown(&self) -> bool {
        self.programs.is_empty() && self.interpreter.is_empty()
    }

    fn is_bare(&self) -> bool {
        !self.interpreter.is_empty()
            && self
                .programs
                .iter()
                .all(|program| self.interpreter.contains(&program.name) && !program.is_arg())
    }

    fn goes_by(&self, name: &str) -> bool {
        (self.interpreter.is_empty() || self.rests_on == RestsOn::Cmdline)
            && (self.name == name || cut(&self.name) == name)
            || self.programs.iter().any(|program| program.name == name && !self.interpreter.contains(&name))
    }

    /// Returns whether the program owns sockets for other programs, as docker-proxy does. The audit must then judge the
    /// program behind the socket.
    pub fn is_forwarder(&self) -> bool {
        programs::forwarders().any(|name| self.goes_by(name))
    }

    /// Returns whether the program is expected on the port of the guarded service. `None` if only the name of the
    /// process is known, and no table lists this name.
    pub fn is_expected_on(&self, guarded: &Guarded) -> Option<bool> {
        if guarded.programs().any(|name| self.goes_by(name) || self.is_run_by(name, guarded)) {
            return Some(true);
        }
        if guarded.strictness == GuardStrictness::Interpreters {
            return Some(!self.is_bare());
        }
        if self.rests_on == RestsOn::Name && self.is_unknown() {
            return None;
        }
        Some(false)
    }

    /// Returns whether the interpreter `name` runs a program that is expected on a guarded port. If the table lists no
    /// script of this interpreter for the port, every script is expected.
    fn is_run_by(&self, name: &str, guarded: &Guarded) -> bool {
        if !self.interpreter.contains(&name) {
            return false;
        }
        // The command line of an Erlang or Elixir release names no program. The file of its runtime is enough, because
        // only the owner of a release can change its files.
        if self.is_release {
            return true;
        }
        let on_port = |program: &ListedProgram| {
            pairs(guarded.ports)
                .any(|(range, p)| program.serves(range.low, p) || program.serves(range.high, p))
        };
        let rows = programs::scripts();
        self.programs.iter().chain(&self.also).any(|program| program.is_arg() && on_port(program))
            || !rows.iter().any(|program| program.name == name && on_port(program))
    }
}

/// Cuts a name as the kernel does, but never inside a character.
fn cut(name: &str) -> &str {
    let end = (0..=COMM.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Returns the file name of a Unix or Windows path, without the extension of a Windows or .NET program.
fn file_name(path: &str) -> &str {
    let file = crate::model::file_name(path);
    let file = file.strip_suffix(".dll").unwrap_or(file);
    file.strip_suffix(".exe").or_else(|| file.strip_suffix(".EXE")).unwrap_or(file)
}

fn interpreter(file: &str) -> Vec<&'static str> {
    let stem = stem(without_build(file));
    programs::interpreters().iter().filter(|(_, begin)| *begin == stem).map(|(name, _)| *name).collect()
}

/// Identifies the program of a process; returns `None` if neither its file nor its name could be read.
pub fn identify(process: &Process) -> Option<RecognisedProgram> {
    let own = process.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let file = process.exe.as_ref().map(|exe| file_name(&exe.path));
    let interpreter = match file {
        Some(file) => interpreter(file),
        None => {
            let named = process.cmdline.first().map(|first| interpreter(file_name(first)));
            named.filter(|found| !found.is_empty()).or_else(|| own.map(interpreter)).unwrap_or_default()
        }
    };
    if !interpreter.is_empty() {
        return Some(interpreted(process, own, file, interpreter));
    }
    let (name, rests_on) = match (file, own) {
        (Some(file), _) => (file, RestsOn::Exe),
        (None, Some(own)) => (own, RestsOn::Name),
        (None, None) => return None,
    };
    let programs = match rests_on {
        RestsOn::Exe if name.starts_with(BUSYBOX) => {
            by_applet(selected_program(name, &process.cmdline).or(own))
        }
        RestsOn::Exe => {
            let selected = selected_program(name, &process.cmdline).map(|program| by_file(program, own));
            selected.filter(|found| !found.is_empty()).unwrap_or_else(|| by_file(name, own))
        }
        _ => programs::by_name(name).collect(),
    };
    Some(RecognisedProgram {
        rests_on,
        name: name.to_owned(),
        programs,
        also: Vec::new(),
        interpreter,
        is_release: false,
        rests_on_title: false,
    })
}

/// The file name of BusyBox, which contains many programs (applets). Some distributions add a suffix.
const BUSYBOX: &str = "busybox";

/// Returns the listed server that BusyBox contains as the applet with this name. If no listed server is this applet,
/// returns BusyBox itself.
fn by_applet(applet: Option<&str>) -> Vec<ListedProgram> {
    let is_server = |program: &ListedProgram| program.matches == Match::Exe(BUSYBOX);
    let servers: Vec<_> = applet.into_iter().flat_map(programs::by_name).filter(is_server).collect();
    let is_any = |program: &ListedProgram| program.matches == Match::Comm;
    if servers.is_empty() { programs::by_name(BUSYBOX).filter(is_any).collect() } else { servers }
}

/// Returns the programs with this file name. If the file contains several programs, the name of the process selects
/// one.
fn by_file(file: &str, own: Option<&str>) -> Vec<ListedProgram> {
    let whole = |program: &ListedProgram| match program.matches {
        Match::Exe(name) => file_name(name) == file,
        Match::Comm => {
            program.name == cut(file) && (file.len() <= COMM || !is_cut_of_another(program.name, file))
        }
        Match::Arg(_) => false,
    };
    let look = |key: &str| programs::programs_named(key).filter(whole).collect::<Vec<_>>();
    let mut found = look(file);
    found.extend(look(&format!("{file}.exe")));
    if cut(file) != file {
        found.extend(look(cut(file)));
    }
    found.dedup();
    if found.is_empty() && stem(file) != file {
        found = programs::programs_named(stem(file)).filter(|p| p.matches == Match::Comm).collect();
    }
    let named: Vec<ListedProgram> = found.iter().filter(|p| Some(p.name) == own).copied().collect();
    if named.is_empty() { found } else { named }
}

/// Returns whether the table has a row with the process name `name` and the file name `file`. If so, this row describes
/// the program. A row with the same process name but without a file name describes another program.
fn is_cut_of_another(name: &str, file: &str) -> bool {
    programs::programs_named(name).any(|row| matches!(row.matches, Match::Exe(whole) if whole == file))
}

/// Identifies the script of an interpreter by the command line. If the command line is not enough, an installed script
/// is identified by its file name. Otherwise only the interpreter is identified.
fn interpreted(
    process: &Process,
    own: Option<&str>,
    file: Option<&str>,
    interpreter: Vec<&'static str>,
) -> RecognisedProgram {
    let line = LineThatRuns::of(process, file);
    let is_interpreter = |name: &str| programs::interpreters().iter().any(|(known, _)| *known == name);
    let hits: Vec<(usize, ListedProgram)> = programs::scripts()
        .iter()
        .filter(|program| {
            interpreter.contains(&program.name)
                || (!is_interpreter(program.name) && own == Some(program.name))
        })
        .filter_map(|program| match program.matches {
            Match::Arg(text) if line.names(text) => Some((text.len(), *program)),
            _ => None,
        })
        .collect();
    // An option that opens a port for a debugger explains this port. But it does not identify the code that runs.
    let is_option = |program: &ListedProgram| !program.any_port && program.mark().starts_with("-");
    let (options, mut hits): (Vec<_>, Vec<_>) =
        hits.into_iter().partition(|(_, program)| is_option(program) && program.ports().next().is_some());
    let options = || options.iter().map(|(_, program)| *program);
    let of_words = |name: String, programs, also| RecognisedProgram {
        rests_on: RestsOn::Cmdline,
        name,
        programs,
        also,
        interpreter: interpreter.clone(),
        is_release: false,
        rests_on_title: line.is_title,
    };
    if let Some(longest) = hits.iter().map(|(length, _)| *length).max() {
        hits.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        let (programs, also): (Vec<_>, Vec<_>) = hits.into_iter().partition(|(length, _)| *length == longest);
        let programs: Vec<ListedProgram> = programs.into_iter().map(|(_, program)| program).collect();
        let name = programs.first().map(ListedProgram::shown).unwrap_or_default().to_owned();
        let also = also.into_iter().map(|(_, program)| program).chain(options()).collect();
        return of_words(name, programs, also);
    }
    if let Some(script) = installed_script(process, file) {
        let programs = by_file(file_name(script), own);
        if !programs.is_empty() {
            return of_words(file_name(script).to_owned(), programs, options().collect());
        }
    }
    let (name, rests_on) = match (file, own) {
        (Some(file), _) => (file, RestsOn::Exe),
        (None, own) => (own.unwrap_or_default(), RestsOn::Name),
    };
    let programs = interpreter.first().map(|name| programs::by_name(name).collect()).unwrap_or_default();
    let is_release = is_release(process);
    let name = name.to_owned();
    RecognisedProgram {
        rests_on,
        name,
        programs,
        also: options().collect(),
        interpreter,
        is_release,
        rests_on_title: false,
    }
}

struct LineThatRuns {
    line: String,
    /// The position of the script's arguments. They are ignored, because anyone can start a program with any arguments.
    end: usize,
    is_title: bool,
}

impl LineThatRuns {
    fn of(process: &Process, file: Option<&str>) -> Self {
        let cmdline = &process.cmdline;
        let is_title = cmdline.get(1..).is_some_and(|rest| rest.iter().all(String::is_empty));
        let line = match cmdline.get(1..) {
            Some(arguments) if !is_title => arguments.join(" "),
            _ => cmdline.first().cloned().unwrap_or_default(),
        };
        let words = command_words(program_of(process, file), cmdline).filter(|_| !is_title);
        let end = words.map_or(line.len(), |words| words.join(" ").len());
        LineThatRuns { line, end, is_title }
    }

    /// Returns whether `text` occurs as whole words before the arguments of the script: `flask` does not name
    /// `flaskapp.py`.
    fn names(&self, text: &str) -> bool {
        self.line.match_indices(text).any(|(at, _)| at < self.end && is_whole(&self.line, at, text))
    }
}

/// Returns whether the occurrence of `text` at `at` consists of whole words. A version may follow the text. The `-D` of
/// a Java option may precede it, as in `-Dsolr.solr.home`.
fn is_whole(line: &str, at: usize, text: &str) -> bool {
    let before = line.get(..at).unwrap_or_default();
    let after = line.get(at + text.len()..).unwrap_or_default();
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    let joins = |inside: Option<&u8>, outside: Option<&u8>| is_word(inside) && is_word(outside);
    (before.ends_with("-D") || !joins(text.as_bytes().first(), before.as_bytes().last()))
        && !joins(text.as_bytes().last(), after.as_bytes().first())
}

/// Returns the name of the interpreter's file or, if it is unknown, the name with which the interpreter was started.
fn program_of<'p>(process: &'p Process, file: Option<&'p str>) -> &'p str {
    file.or_else(|| process.cmdline.first().map(|first| file_name(first))).unwrap_or_default()
}

/// Returns the path of the script that an interpreter runs. `None` if the script is not installed, or if a user other
/// than root can replace it.
fn installed_script<'p>(process: &'p Process, file: Option<&str>) -> Option<&'p str> {
    let named = match parse_command(program_of(process, file), &process.cmdline) {
        Some(InterpreterCommand::File(script)) => script,
        Some(_) => return None,
        None => process.cmdline.iter().skip(1).find(|argument| !argument.starts_with('-'))?,
    };
    let is_installed =
        INSTALLED.iter().any(|directory| named.starts_with(directory)) && !named.contains("/../");
    // If the system does not report the file of a script, the path of the script decides.
    let is_roots = process.script.as_ref().is_none_or(|script| {
        let kind = script.origin.as_ref().map(|origin| origin.kind);
        matches!(kind, Some(OriginKind::Package | OriginKind::System)) && !script.is_program
    });
    (is_installed && is_roots).then_some(named)
}

/// Returns whether a process is an Erlang or Elixir release. The runtime (`ROOT/erts-14.2/bin/beam.smp`) and the boot
/// file (`-boot ROOT/releases/1.0/start`) of a release are below the same directory.
fn is_release(process: &Process) -> bool {
    let boot = process.cmdline.iter().skip_while(|argument| *argument != "-boot").nth(1);
    let root = boot.and_then(|boot| boot.split_once("/releases/")).map(|(root, _)| root);
    let runtime = process.exe.as_ref().and_then(|exe| exe.path.split_once("/erts-")).map(|(root, _)| root);
    root.is_some_and(|root| !root.is_empty() && runtime == Some(root))
}
