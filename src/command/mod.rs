//! The commands, one file per command.

mod atomic_write;
mod audit;
mod capture;
mod charset;
pub mod completions;
mod diff;
mod explain;
pub mod from;
#[cfg(target_os = "linux")]
mod kill;
mod list;
mod long_error;
mod man;
mod policy;
mod program;
mod progress;
mod registry_source;
pub mod screen;
mod stdout;
mod suggestions;
#[cfg(target_os = "linux")]
mod supervisor;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, LazyLock};

use anyhow::{Error, Result, bail};
use jiff::tz::TimeZone;

use self::charset::Readable;
use self::stdout::Stdout;
use crate::cli::{self, Cli, Color, Command, CommonArgs, HelpArgs, ListArgs, Output, Without};
use crate::judge::{self, Entry, Report};
use crate::model::{Namespaces, Owner, Pid, PortRange, Process, Snapshot, Socket, State};
use crate::observe::{self, Scope, observe};
use crate::registry::Registry;
use crate::render::{Style, Zone, caveats, stderr};

pub use self::program::run;

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Something matched.
    Matched,
    /// Nothing matched.
    Nothing,
    /// An audit found nothing at or above the threshold, or a diff found no change. Everything that matters was
    /// visible.
    Clear,
    /// An audit found something at or above the threshold, or a diff found a change.
    Findings,
    /// A result such as "nothing matched" or "no change" is not certain, because not everything was visible.
    Incomplete,
    /// A usage error or any other error.
    Failed,
}

impl Exit {
    /// Returns the exit code, as listed in the README.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Matched | Exit::Clear => 0,
            Exit::Nothing | Exit::Findings => 1,
            Exit::Failed => 2,
            Exit::Incomplete => 3,
        }
    }
}

/// Runs the command. An error leads to exit code 2, unless [`is_broken_pipe`](stdout::is_broken_pipe) returns true.
fn run_command(cli: &Cli) -> Result<Exit> {
    let common = &cli.common.resolved();
    let ui = Ui::new(common);
    if cli.command.is_some() && cli.list != ListArgs::default() {
        bail!("options and targets of a listing come after the command: portolan list -t 22");
    }
    match (common.output, &cli.command) {
        (Output::Sarif | Output::Metrics | Output::Html, Some(Command::Audit(_)))
        | (Output::Html, Some(Command::Diff(_))) => {}
        (Output::Sarif | Output::Metrics, _) => {
            bail!("-o sarif and -o metrics need audit: portolan audit -o metrics")
        }
        (Output::Html, _) => bail!("-o html needs audit or diff: portolan audit -o html"),
        _ => {}
    }
    let stops_without_reader = matches!(cli.command, Some(Command::Watch(_) | Command::Explain(_)));
    // Programs read these outputs: a policy, completions, manual pages and a stream of events.
    let is_for_people = matches!(common.output, Output::Table | Output::Wide)
        && !matches!(
            cli.command,
            Some(
                Command::Capture
                    | Command::Completions(_)
                    | Command::Man(_)
                    | Command::Policy(_)
                    | Command::Watch(_)
            )
        );
    let out = Stdout::new(stops_without_reader);
    let mut out = Readable::new(out, is_for_people && charset::is_ascii_only());
    let exit = match &cli.command {
        None => list::run(&cli.list, false, common, &ui, &mut out),
        Some(Command::List(args)) => list::run(args, true, common, &ui, &mut out),
        Some(Command::Explain(args)) => explain::run(args, common, &ui, &mut out),
        Some(Command::Watch(args)) => watch::run(args, common, &ui, &mut out),
        Some(Command::Audit(args)) => audit::run(args, common, &ui, &mut out),
        Some(Command::Policy(command)) => policy::run(command, common, &ui, &mut out),
        Some(Command::Diff(args)) => diff::run(args, common, &ui, &mut out),
        #[cfg(target_os = "linux")]
        Some(Command::Kill(args)) => kill::run(args, common, &ui, &mut out),
        #[cfg(not(target_os = "linux"))]
        Some(Command::Kill(_)) => {
            bail!("kill works only on Linux; portolan TARGET shows how to stop a listener")
        }
        Some(Command::Capture) => capture::run(common, &ui, &mut out),
        Some(Command::Completions(args)) => completions::run(args.shell, &mut out),
        Some(Command::Man(args)) => man::run(args.page, &mut out),
        Some(Command::Help(args)) => help(args, &mut out),
        Some(Command::Version) => {
            writeln!(out, "portolan {}", version())?;
            Ok(Exit::Matched)
        }
    }?;
    out.flush()?;
    Ok(exit)
}

fn help(args: &HelpArgs, out: &mut dyn Write) -> Result<Exit> {
    writeln!(out, "{}", cli::help(&args.command).map_err(Error::msg)?.to_string().trim_end())?;
    Ok(Exit::Matched)
}

/// Returns the text of `--version` after the program's name. It has the version, and the sources of the registry, the
/// evidence, the sockets and the processes.
pub fn version() -> String {
    let registry = Registry::embedded();
    format!(
        "{}\nregistry of {}: {}\nevidence: {}\nsources on {}: {}",
        env!("CARGO_PKG_VERSION"),
        registry.date(),
        registry.provenance(),
        registry.evidence_provenance(),
        std::env::consts::OS,
        observe::SOURCES
    )
}

/// The environment and the terminal, read once.
pub(crate) struct Ui {
    pub stdout: Style,
    pub stderr: Style,
    /// The number of rows of the terminal; `None` if it is not known or standard output is not a terminal.
    pub rows: Option<u16>,
    /// Whether standard output is a terminal on which a screen can be drawn.
    pub screen: bool,
}

/// Returns the width of a terminal; `None` if the stream is not a terminal. A terminal that does not report its width
/// counts as 80 columns wide.
fn width(is_terminal: bool, size: Option<(terminal_size::Width, terminal_size::Height)>) -> Option<u16> {
    is_terminal.then(|| size.map_or(80, |(width, _)| width.0))
}

/// Prints a message on standard error. A failed write is ignored.
pub(crate) fn print_message(text: &str) {
    let out = io::stderr();
    let width = width(out.is_terminal(), terminal_size::terminal_size_of(&out));
    let _ = stderr::message(text, width, &mut charset::stderr());
}

/// The time zone of the reader, or UTC if it is not known.
static READERS_ZONE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::try_system().unwrap_or(TimeZone::UTC));

impl Ui {
    fn new(common: &CommonArgs) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = |terminal: bool| match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !dumb && !set("NO_COLOR"),
        };
        let zone = Zone::new(&READERS_ZONE);
        let style = |terminal: bool, size: Option<(terminal_size::Width, terminal_size::Height)>| Style {
            width: width(terminal, size),
            color: color(terminal) && screen::takes_colour(),
            zone,
        };
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let rows = terminal_size::terminal_size_of(&stdout).map(|(_, height)| height.0);
        Ui {
            rows: rows.filter(|_| stdout.is_terminal()),
            stdout: style(stdout.is_terminal(), terminal_size::terminal_size_of(&stdout)),
            stderr: style(stderr.is_terminal(), terminal_size::terminal_size_of(&stderr)),
            screen: stdout.is_terminal() && !dumb,
        }
    }

    /// Prints the gaps that matter for this report on standard error. With `verbose`, prints every gap and note in
    /// full.
    pub(crate) fn print_caveats(&self, report: &Report, verbose: bool) {
        if verbose {
            self.print_notices(&report.snapshot);
            if report.snapshot.used_bpf {
                print_message("note: the owners of the sockets were read with BPF programs");
            }
        } else {
            let caveats = caveats(&report.snapshot, report.entries.iter(), report.question);
            let _ = stderr::caveats(&caveats, &self.stderr, &mut charset::stderr());
        }
    }

    /// Prints all gaps on standard error. A failed write is ignored, because the output of the command also contains
    /// the gaps.
    pub(crate) fn print_notices(&self, snapshot: &Snapshot) {
        let _ = stderr::gaps(&snapshot.gaps, &snapshot.notes, &self.stderr, &mut charset::stderr());
    }
}

/// Returns the saved snapshot that `--from` names. Without this option, scans this machine.
pub(crate) fn take_snapshot(common: &CommonArgs, mut scope: Scope) -> Result<Snapshot> {
    if common.netns.is_some() {
        scope.namespaces = namespaces(common);
        // A published port may lead to any port of another namespace, so all ports are scanned.
        scope.ports = None;
    }
    common.apply_to(&mut scope);
    let mut snapshot = match &common.from {
        Some(_) if common.netns.is_some() => Err(Error::msg(
            "--netns scans this machine, and --from reads a file: use only one of them".to_owned(),
        )),
        Some(path) => from::read_for_scope(path, &scope),
        None => {
            let is_long = scope.packages || scope.namespaces != Namespaces::Own;
            let _progress = is_long.then(progress::Progress::start);
            let mut snapshot = observe(&scope).map_err(Error::msg)?;
            // The service behind a forwarded port or a relay is judged too. If the first scan did not cover its port, a
            // wider scan follows. This is repeated, because a relay may lead to another relay.
            for _ in 0..judge::MOST_RELAYS {
                let Some(wider) = with_forwarded_ports(&snapshot, &scope) else { break };
                scope = wider;
                snapshot = observe(&scope).map_err(Error::msg)?;
            }
            Ok(snapshot)
        }
    }?;
    name_host(common, &mut snapshot);
    Ok(snapshot)
}

/// Returns the scope with the ports to which forwarded ports and relays lead. Returns `None` if the scope already
/// covers these ports.
fn with_forwarded_ports(snapshot: &Snapshot, scope: &Scope) -> Option<Scope> {
    let ports = scope.ports.as_ref()?;
    let forwardings = snapshot.sockets.iter().filter_map(|socket| socket.forwarding.as_ref());
    let targets: BTreeSet<u16> = forwardings
        .map(|forwarding| forwarding.to.port)
        .chain(judge::relay_targets(snapshot))
        .filter(|port| !ports.iter().any(|range| range.contains(*port)))
        .collect();
    let scope = Scope {
        ports: Some(
            ports.iter().copied().chain(targets.iter().map(|port| PortRange::single(*port))).collect(),
        ),
        ..scope.clone()
    };
    (!targets.is_empty()).then_some(scope)
}

/// Applies `--host-id` and `--label` to the host of a snapshot.
pub(crate) fn name_host(common: &CommonArgs, snapshot: &mut Snapshot) {
    if let Some(id) = &common.host_id {
        snapshot.host.id = Some(id.clone());
    }
    snapshot.host.labels.extend(common.label.iter().cloned());
}

/// Judges a snapshot, and then removes the parts that `--without` names. The rules need these parts, so they are
/// removed last.
pub(crate) fn judged(snapshot: Snapshot, registry: Registry, common: &CommonArgs) -> Report {
    let mut report = judge::judge(snapshot, registry);
    report.question.is_saved = common.from.is_some();
    if common.from.is_none() {
        report.rights = observe::rights();
    }
    if common.leaves_out(Without::Cmdline) {
        report.remove_command_lines();
    }
    report
}

/// Reads the details of processes that the scan skipped. Does nothing for a saved snapshot.
pub(crate) fn read_rest(report: &mut Report, pids: &BTreeSet<Pid>, common: &CommonArgs) {
    if common.from.is_some() {
        return;
    }
    let processes = report.entries.iter().flat_map(|entry| &*entry.processes);
    let processes = processes.filter(|process| pids.contains(&process.pid));
    let known: BTreeMap<Pid, Process> =
        processes.map(|process| (process.pid, Process::clone(process))).collect();
    let mut processes: Vec<Process> = known.into_values().collect();
    observe::read_rest(&mut processes);
    report.complete_processes(&processes);
}

/// Counts the connections of each listener, if the scan has not read the connections. If an error occurs, a card shows
/// no count.
pub(crate) fn add_connections(report: &mut Report, common: &CommonArgs) {
    let has_connections = report.snapshot.scope.states.contains(&State::Established);
    if common.from.is_some() || has_connections {
        return;
    }
    let ports = report.entries.iter().filter(|entry| entry.socket.state == State::Listen);
    let ports: Vec<PortRange> = ports.map(|entry| PortRange::single(entry.socket.local.port)).collect();
    if ports.is_empty() {
        return;
    }
    let states = vec![State::Listen, State::Established];
    let scope = Scope { ports: Some(ports), states, processes: false, ..Scope::default() };
    if let Ok(snapshot) = take_snapshot(common, scope) {
        report.add_connections(&judge::judge(snapshot, report.registry));
    }
}

/// Finds the probable owners of the hidden sockets that are shown. Returns whether it found any new owner. A saved
/// snapshot is not changed.
pub(crate) fn infer_owners(
    report: &mut Report,
    is_shown: impl Fn(&Entry) -> bool,
    common: &CommonArgs,
) -> bool {
    if common.from.is_some() {
        return false;
    }
    let is_hidden = |entry: &Entry| entry.socket.owner == Owner::Hidden && entry.inferred_owner().is_none();
    let mut entries: Vec<&mut Entry> =
        report.entries.iter_mut().filter(|entry| is_hidden(entry) && is_shown(entry)).collect();
    if entries.is_empty() {
        return false;
    }
    let sockets: Vec<&Socket> = entries.iter().map(|entry| &entry.socket).collect();
    let mut owners = observe::inferred_owners(&sockets);
    if common.leaves_out(Without::Cmdline) {
        owners.iter_mut().flatten().for_each(|owner| Arc::make_mut(owner).process.cmdline.clear());
    }
    let is_new = owners.iter().any(Option::is_some);
    for (entry, owner) in entries.iter_mut().zip(owners) {
        owner.into_iter().for_each(|owner| entry.set_inferred_owner(owner));
    }
    is_new
}

/// Adds the address of the SSH client to each listener that was started in an SSH session. If an error occurs, a card
/// lacks this address.
pub(crate) fn add_ssh_clients(report: &mut Report, common: &CommonArgs) {
    if common.from.is_some() || !report.has_ssh_sessions() {
        return;
    }
    let scope = Scope { states: vec![State::Listen, State::Established], ..Scope::default() };
    if let Ok(connections) = take_snapshot(common, scope) {
        report.add_ssh_clients(&connections);
    }
}

pub(crate) fn namespaces(common: &CommonArgs) -> Namespaces {
    match common.netns.as_deref() {
        None => Namespaces::Own,
        Some("all") => Namespaces::All,
        Some(name) => Namespaces::Called(name.to_owned()),
    }
}
