//! `portolan kill`: plans how to end the listeners of a target, asks the user, ends the listeners, and checks that the
//! ports are free.
//!
//! The first scan finds the processes. Each process is then opened as a pidfd. A second scan gives the plan. If both
//! scans show the same processes, each pidfd refers to a process that owns the socket, even if a pid is reused later.

mod dependents;
mod managers;
mod signals;
mod tree;

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail};
use rustix::process::Signal;

use self::managers::run_command;
use self::signals::Processes;
use self::tree::{around, caller};
use super::list::{self, MatchMode, MatchedEntries};
use super::long_error::LongError;
use super::progress::Progress;
use super::{
    Exit, Ui, infer_owners, judged, print_message, read_rest, registry_source, suggestions, take_snapshot,
    watch,
};
use crate::cli::{CommonArgs, FieldArgs, FilterArgs, KillArgs, Output, ScanArgs, WatchArgs};
use crate::judge::{Entry, HowToStop, KillCaller, KillRefusal, KillStep, Listener, Report, kill_plan};
use crate::model::{Endpoint, Owner, Pid, Rights, Stage};
use crate::observe::{self, Scope};
use crate::query::Selection;
use crate::registry::Registry;
use crate::render::Style;
use crate::render::kill::{self as text, Around};

/// The time that processes have to end after a signal.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that the children of an ended process have to end, if they also own the port.
const CHILDREN: Duration = Duration::from_secs(1);
/// The maximum number of scans before `kill` gives up. A plan requires two consecutive scans that show the same
/// processes.
const SCANS: usize = 4;

pub(super) fn run(args: &KillArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    if common.output != Output::Table {
        bail!("kill does not have this output format (expected table)");
    }
    if common.from.is_some() {
        bail!("kill does not accept --from: it cannot end the processes of a snapshot");
    }
    if args.nine {
        bail!(
            "kill does not accept -9, because it always sends SIGTERM first; with --force, kill sends SIGKILL to processes \
             that have not ended after 10 s"
        );
    }
    if args.filter.targets.is_empty() {
        bail!("kill needs a target, such as 3000 (see portolan kill --help)");
    }
    let registry = registry_source::registry(common)?;
    match prepare(&args.filter, registry, common)? {
        Ok(prepared) => end(args, &prepared, common, ui, out),
        Err(nothing) => Ok(nothing.exit(&args.filter, common)),
    }
}

/// The listeners of a target, and their processes. Each process is open as a pidfd, so a signal never reaches another
/// process.
pub(super) struct Prepared {
    filter: FilterArgs,
    registry: Registry,
    report: Report,
    /// The caller of `kill`, and the processes that must not be ended.
    caller: KillCaller,
    matched: MatchedEntries,
    processes: Processes,
    /// The addresses that must be free afterwards.
    places: Vec<String>,
    /// For each step, the units that systemd also stops because they depend on the units of the step.
    dependents: OnceLock<Vec<Vec<String>>>,
}

struct NothingListens {
    selection: Selection,
    report: Report,
    matched: MatchedEntries,
}

fn prepare(
    filter: &FilterArgs,
    registry: Registry,
    common: &CommonArgs,
) -> Result<Result<Box<Prepared>, Box<NothingListens>>> {
    let selection = selection(filter, registry, common)?;
    let mut processes = Processes::default();
    for _ in 0..SCANS {
        let (mut report, matched) = scan(&selection, registry, common)?;
        let named =
            report.entries.iter().zip(&matched.keep).filter(|(_, keep)| **keep).map(|(entry, _)| entry);
        let owners: BTreeSet<Pid> =
            named.clone().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
        if named.clone().next().is_none() {
            return Ok(Err(Box::new(NothingListens { selection, report, matched })));
        }
        let caller = caller(&report, &observe::process_tree());
        if owners.iter().all(|pid| processes.is_alive(*pid)) {
            let places: Vec<String> = named.map(|entry| entry.socket.local.to_string()).collect();
            read_rest(&mut report, &owners, common);
            let filter = filter.clone();
            let dependents = OnceLock::new();
            let prepared =
                Prepared { filter, registry, report, caller, matched, processes, places, dependents };
            return Ok(Ok(Box::new(prepared)));
        }
        // The plan is checked before the processes are opened. An error of the plan names the listener, but an error of
        // `open` names only a pid.
        plan(&report, &matched, &caller)?;
        processes.open(owners)?;
    }
    bail!("the processes kept changing during {SCANS} scans; nothing was ended; run kill again");
}

pub(super) fn prepare_row(entry: &Entry, registry: Registry, common: &CommonArgs) -> Result<Box<Prepared>> {
    let local = &entry.socket.local;
    let other = entry.other_address().map(|address| Endpoint { address, ..local.clone() });
    let targets = [Some(local), other.as_ref()].into_iter().flatten().map(ToString::to_string).collect();
    // Another program may now listen at the same address. So the filter also names the processes.
    let pids: Vec<String> = entry.socket.owner.pids().iter().map(ToString::to_string).collect();
    let values = if pids.is_empty() { Vec::new() } else { vec![("pid", pids)] };
    let filter = FilterArgs { targets, fields: FieldArgs { values }, ..FilterArgs::default() };
    let Ok(prepared) = prepare(&filter, registry, common)? else {
        bail!("{local}: nothing listens there any more");
    };
    prepared.steps()?;
    Ok(prepared)
}

impl Prepared {
    /// Returns the steps of the plan, which say what is ended and how. The error names each listener that must not be
    /// ended.
    fn steps(&self) -> Result<Vec<KillStep<'_>>> {
        plan(&self.report, &self.matched, &self.caller)
    }

    /// Scans again, because the user may have taken some time to answer. Returns this scan if nothing listens any more,
    /// and otherwise `None`.
    fn check_again(&self, common: &CommonArgs) -> Result<Option<Box<NothingListens>>> {
        let selection = selection(&self.filter, self.registry, common)?;
        let (report, matched) = scan(&selection, self.registry, common)?;
        if !matched.keep.contains(&true) {
            return Ok(Some(Box::new(NothingListens { selection, report, matched })));
        }
        let now = plan(&report, &matched, &caller(&report, &observe::process_tree()))?;
        let then = self.steps()?;
        let is_alive = |step: &KillStep<'_>| step.owners().iter().all(|pid| self.processes.is_alive(*pid));
        let is_same = now.len() == then.len()
            && now.iter().zip(&then).all(|(now, then)| {
                now.how == then.how && named_sockets(now) == named_sockets(then) && is_alive(now)
            });
        if !is_same {
            bail!("the listeners have changed since portolan asked; nothing was ended; run kill again");
        }
        Ok(None)
    }

    /// Writes the steps of the plan. `run` is the label before the command.
    pub(super) fn write_plan(&self, run: &str, style: &Style, out: &mut dyn Write) -> Result<()> {
        let tree = observe::process_tree();
        let steps = self.steps()?;
        let dependents = self.dependents.get_or_init(|| steps.iter().map(dependents::dependents).collect());
        for (step, dependents) in steps.iter().zip(dependents) {
            let around = Around { dependents: dependents.clone(), ..around(step, &tree, &self.caller) };
            text::step(step, &around, run, session_port(), &self.report, style, out)?;
        }
        Ok(())
    }

    fn carry_out(&self, force: Force, is_quiet: bool) -> Result<()> {
        for step in &self.steps()? {
            match &step.how {
                HowToStop::Kill { pids, .. } => end_processes(pids, step, &self.processes, force)?,
                _ if force == Force::AtOnce => {}
                how => run_command(how, is_quiet)?,
            }
        }
        Ok(())
    }

    /// Executes the plan without output, and returns the result in one or two sentences. The error has the processes
    /// that have not ended after SIGTERM. Only SIGKILL can end them.
    pub(super) fn end_quietly(&self, force: Force, common: &CommonArgs) -> Result<String, StillRunning> {
        let free = |places: &[String]| watch::is_free_in_time(&until_free(places), common);
        let named = self.named().unwrap_or_default();
        if force == Force::Never {
            match self.check_again(common) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    return Ok("The listener no longer exists; nothing was ended.".to_owned());
                }
                Err(error) => return Ok(format!("{error:#}")),
            }
        }
        let ended = self.carry_out(force, true).and_then(|()| free(&self.places));
        let ports = if self.places.len() == 1 { "port" } else { "ports" };
        Ok(match ended {
            Ok(Exit::Matched) => format!("Ended: {named}. The {ports} can be used again."),
            Ok(Exit::Incomplete) => {
                format!("Ended: {named}. Not every socket can be seen, so the {ports} may still be in use.")
            }
            Ok(_) => format!("Ended: {named}. The {ports} cannot be used yet."),
            Err(error) => match error.downcast::<StillRunning>() {
                Ok(left) => return Err(left),
                Err(error) => format!("{error:#}"),
            },
        })
    }

    pub(super) fn question(&self) -> String {
        format!("End {}?", self.named().unwrap_or_else(|_| "this".to_owned()))
    }

    /// Returns the question whether to send SIGKILL to processes that have not ended after SIGTERM. Returns `None` if
    /// all have ended.
    pub(super) fn question_of_force(&self, left: &StillRunning) -> Option<String> {
        let left = StillRunning(self.processes.alive(&left.0));
        let named = self.named().ok().filter(|_| !left.0.is_empty())?;
        let pids = listed(&left.0);
        Some(format!(
            "Force {named} to end?\n{left}. F sends SIGKILL to pid {pids}. SIGKILL ends a process at once: it cannot save data or remove temporary files."
        ))
    }

    fn named(&self) -> Result<String> {
        let steps = self.steps()?;
        let named: Vec<String> = steps.iter().flat_map(|step| &step.named).map(text::named).collect();
        Ok(named.join("; "))
    }
}

fn selection(filter: &FilterArgs, registry: Registry, common: &CommonArgs) -> Result<Selection> {
    let mut selection = list::parsed(&filter.typed_filters(false), &registry, common)?;
    selection.mean_bound_sockets();
    Ok(selection)
}

fn plan<'r>(report: &'r Report, matched: &MatchedEntries, caller: &KillCaller) -> Result<Vec<KillStep<'r>>> {
    kill_plan(&report.entries, |at| matched.keep[at], &report.snapshot, caller)
        .map_err(|all| refused(&all, report.rights))
}

/// Returns the sockets that a step ends, with their owners.
fn named_sockets(step: &KillStep<'_>) -> BTreeSet<(String, Vec<Pid>)> {
    let sockets = step.named.iter().flat_map(|listener| &listener.sockets);
    sockets.map(|entry| (entry.socket.local.to_string(), entry.socket.owner.pids().to_vec())).collect()
}

fn scan(selection: &Selection, registry: Registry, common: &CommonArgs) -> Result<(Report, MatchedEntries)> {
    // Every listener is scanned, because other listeners may end too.
    let scope = Scope { details: true, ..Scope::default() };
    let snapshot = take_snapshot(common, scope.clone())?;
    list::check_users(selection, &snapshot)?;
    let mut report = judged(snapshot, registry, common);
    let matched = list::matched_entries(&report, &scope, selection, MatchMode::Listeners);
    let mut named = report.entries.iter().zip(&matched.keep).filter(|(_, keep)| **keep);
    if named.any(|(entry, _)| entry.socket.owner == Owner::Hidden) {
        // With the probable owner, the refusal can name a program.
        infer_owners(&mut report, |_| true, common);
    }
    Ok((report, matched))
}

impl NothingListens {
    /// Prints why nothing was ended.
    fn exit(&self, filter: &FilterArgs, common: &CommonArgs) -> Exit {
        let NothingListens { selection, report, matched } = self;
        let unknown = suggestions::unknown_names(selection, &matched.matched, report, common);
        if unknown.is_empty() {
            print_message(&format!("{}: no listener; nothing was ended", filter.targets.join(" ")));
        }
        unknown.iter().for_each(|line| print_message(line));
        let is_gap = |stage| matches!(stage, Stage::Sockets | Stage::Namespaces);
        let is_blind = matched.undecided > 0 || report.snapshot.gaps.iter().any(|gap| is_gap(gap.stage));
        if is_blind { Exit::Incomplete } else { Exit::Nothing }
    }
}

/// Returns the port of this machine through which the user has logged in with SSH; `None` without SSH.
fn session_port() -> Option<u16> {
    // The variable contains the address and the port of the client, then those of the server: "192.0.2.7 50412
    // 192.0.2.1 22".
    env::var("SSH_CONNECTION").ok()?.split(' ').nth(3)?.parse().ok()
}

fn refused(refused: &[(Listener<'_>, KillRefusal<'_>)], rights: Rights) -> Error {
    let text = |(listener, why): &(Listener<'_>, KillRefusal<'_>)| text::refusal(listener, why, rights);
    LongError { messages: refused.iter().map(text).collect(), ..LongError::default() }.into()
}

fn end(
    args: &KillArgs,
    prepared: &Prepared,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    let steps = prepared.steps()?;
    let run = match (args.dry_run, args.yes) {
        (true, _) => "Would run",
        (false, true) => "Runs",
        (false, false) => "y will run",
    };
    prepared.write_plan(run, &ui.stdout, out)?;
    out.flush()?;
    if args.dry_run {
        print_message("dry run: nothing was ended");
        return Ok(Exit::Matched);
    }
    let count = steps.iter().map(|step| step.named.len()).sum();
    if !args.yes && !confirmed(count)? {
        print_message("nothing was ended");
        return Ok(Exit::Nothing);
    }
    if !args.yes
        && let Some(nothing) = prepared.check_again(common)?
    {
        return Ok(nothing.exit(&args.filter, common));
    }
    let named = prepared.named()?;
    let force = if args.force { Force::AfterSigterm } else { Force::Never };
    prepared.carry_out(force, false).map_err(|error| match error.downcast::<StillRunning>() {
        Ok(left) => anyhow!("{left}; add --force to send SIGKILL"),
        Err(error) => error,
    })?;
    let exit = watch::run(&until_free(&prepared.places), common, ui, out)?;
    if exit == Exit::Matched {
        let are = if prepared.places.len() == 1 { " is" } else { "s are" };
        writeln!(out, "Ended: {named}. The port{are} free.")?;
    }
    Ok(exit)
}

fn confirmed(listeners: usize) -> Result<bool> {
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        bail!(
            "kill asks before it ends something, but there is no terminal for the question; to skip the question, add --yes"
        );
    }
    let question = match listeners {
        0 | 1 => "End this? [y/N] ".to_owned(),
        count => format!("End these {count} listeners? [y/N] "),
    };
    stderr.write_all(question.as_bytes())?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Whether and when processes get SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    Never,
    /// After SIGTERM, if the processes have not ended in time.
    AfterSigterm,
    /// At once, because the processes already received SIGTERM.
    AtOnce,
}

/// The processes that have not ended after SIGTERM.
#[derive(Debug)]
pub(super) struct StillRunning(Vec<Pid>);

impl std::error::Error for StillRunning {}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}: has not ended {} s after SIGTERM", listed(&self.0), PATIENCE.as_secs())
    }
}

/// Ends processes with SIGTERM. Sends SIGKILL afterwards only if the user requested it.
fn end_processes(pids: &[Pid], step: &KillStep<'_>, processes: &Processes, force: Force) -> Result<()> {
    let owners: Vec<Pid> = step.owners().into_iter().collect();
    if force != Force::AtOnce && have_ended_after_sigterm(pids, &owners, processes)? {
        return Ok(());
    }
    let left = processes.alive(&owners);
    if force == Force::Never {
        return Err(StillRunning(left).into());
    }
    processes.signal(&left, Signal::KILL)?;
    if !processes.wait(&left, Instant::now() + PATIENCE) {
        bail!(
            "pid {}: has not ended {} s after SIGKILL; a process cannot end before its current system call returns",
            listed(&processes.alive(&left)),
            PATIENCE.as_secs()
        );
    }
    Ok(())
}

fn listed(pids: &[Pid]) -> String {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Sends SIGTERM to the parent processes first, and then to the remaining owners. Returns whether all owners have ended
/// in time.
fn have_ended_after_sigterm(pids: &[Pid], owners: &[Pid], processes: &Processes) -> Result<bool> {
    let end = Instant::now() + PATIENCE;
    let terminate = |pids: &[Pid]| {
        processes.signal(pids, Signal::TERM)?;
        // A stopped process receives the signal only when it continues, so it is continued.
        processes.signal(pids, Signal::CONT)
    };
    terminate(pids)?;
    let all = listed(owners);
    let _progress =
        Progress::showing(move |time| format!("Waiting until pid {all} has ended ({} s)", time.as_secs()));
    if processes.wait(pids, end) && !processes.wait(owners, (Instant::now() + CHILDREN).min(end)) {
        terminate(&processes.alive(owners))?;
    }
    Ok(processes.wait(owners, end))
}

/// Returns the arguments of a wait until these addresses are free.
fn until_free(places: &[String]) -> WatchArgs {
    let filter = FilterArgs { targets: places.to_vec(), ..FilterArgs::default() };
    let scan = ScanArgs { filter, ..ScanArgs::default() };
    WatchArgs { scan, until_free: true, timeout: Some(PATIENCE), ..WatchArgs::default() }
}
