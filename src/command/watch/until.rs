//! Waits until something listens on every target, or until the ports of all targets are free.
//!
//! A port is never reported as free if sockets may be missing from a scan. The wait opens no connection.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use jiff::Timestamp;

use super::{Exit, Ticker, Ui, Watch, WatchUpdate};
use crate::cli::WatchArgs;
use crate::command::progress::Progress;
use crate::command::{infer_owners, print_message};
use crate::judge::{Entry, Listener, Report};
use crate::model::{Gap, Owner, Stage};
use crate::query::{Subject, Target};
use crate::render::kill::named;
use crate::render::stderr;

/// The default time between two scans. A scan without the process lookup takes less than a millisecond.
const OFTEN: Duration = Duration::from_millis(100);
/// If this many consecutive scans are incomplete and show no socket, the gap counts as permanent.
const BLIND_LOOKS: u32 = 5;
/// The number of searches for the probable owner of an awaited listener.
const OWNER_SEARCHES: u32 = 5;

/// The result of a scan: whether the awaited condition is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitStatus {
    Yes,
    No,
    /// No socket was found, but sockets may be missing from the scan.
    Blind,
}

/// Waits, and returns whether the condition became true in time.
pub(super) fn run(
    args: &WatchArgs,
    mut watch: Watch,
    stream: bool,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    check(args, &watch)?;
    let needs_processes = !args.until_free && watch.selection.targets().iter().any(|t| t.ports().is_none());
    let names_listeners = !stream && !args.until_free && ui.stdout.width.is_some();
    // Processes are needed in three cases: for events, for a target that is a name, and to name the listener at the
    // end.
    let needs_processes = stream || needs_processes || names_listeners;
    let verbose = watch.args.verbose;
    // No progress is shown with events, because an event would appear in the middle of the progress line.
    let (targets, free) = (args.scan.filter.targets.clone(), args.until_free);
    let (since, zone) = (Timestamp::now(), ui.stderr.zone);
    let line = move |time| stderr::awaited(&targets, free, (since, time), zone);
    let progress = if stream { None } else { Progress::showing(line) };
    let exit = wait(args, &mut watch, needs_processes, &mut |update| {
        if stream { update.write(ui, verbose, out) } else { Ok(()) }
    })?;
    drop(progress);
    if exit == Exit::Matched && names_listeners {
        find_probable_owners(&mut watch);
    }
    let Some(last) = &watch.last else { return Ok(exit) };
    match exit {
        Exit::Matched if names_listeners => {
            let awaited = last.entries.iter().filter(|entry| is_awaited(&watch, entry));
            for listener in Listener::all(awaited) {
                writeln!(out, "Listening: {}", named(&listener))?;
            }
            out.flush()?;
        }
        Exit::Incomplete => {
            ui.print_caveats(last, verbose);
            let (targets, free) = (&args.scan.filter.targets, args.until_free);
            print_message(&stderr::blind(targets, free, lacks_only_rules(&watch, last)));
        }
        Exit::Nothing => {
            let taken_by = if args.until_free { &last.entries[..] } else { &[] };
            print_message(&stderr::gave_up(&args.scan.filter.targets, taken_by));
        }
        _ => {}
    }
    Ok(exit)
}

/// Searches for the probable owners of the awaited listeners, so that a message can name them. The search is repeated a
/// few times, because a starting unit can contain other programs for a moment.
fn find_probable_owners(watch: &mut Watch) {
    let Some(mut last) = watch.last.take() else { return };
    for _ in 0..OWNER_SEARCHES {
        infer_owners(&mut last, |_| true, &watch.common);
        let is_unknown =
            |entry: &Entry| entry.socket.owner == Owner::Hidden && entry.inferred_owner().is_none();
        if !last.entries.iter().any(|entry| is_awaited(watch, entry) && is_unknown(entry)) {
            break;
        }
        std::thread::sleep(OFTEN);
    }
    watch.last = Some(last);
}

/// Waits without output. Returns `Matched` if the condition is true, `Nothing` if it did not become true in time, and
/// `Incomplete` if it cannot be decided.
pub(super) fn wait(
    args: &WatchArgs,
    watch: &mut Watch,
    needs_processes: bool,
    on_update: &mut dyn FnMut(WatchUpdate<'_>) -> Result<()>,
) -> Result<Exit> {
    if args.until_free {
        watch.look_at_every_state();
    }
    if !needs_processes {
        watch.scan_sockets_only();
    }
    let given_up = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut ticker = Ticker::new(args.interval.unwrap_or(OFTEN));
    let mut blind = 0;
    loop {
        watch.scan_and_report(on_update)?;
        let Some(last) = &watch.last else { return Ok(Exit::Nothing) };
        match answer(watch, last, args.until_free) {
            WaitStatus::Yes => return Ok(Exit::Matched),
            WaitStatus::No => blind = 0,
            WaitStatus::Blind => blind += 1,
        }
        let late = given_up.is_some_and(|end| end <= Instant::now());
        // Only a wait for a free port gives up early, because no port is certainly free while sockets are hidden. A
        // wait for a listener continues, because a visible listener may still appear.
        let is_hopeless = args.until_free && blind == BLIND_LOOKS;
        if is_hopeless || (late && blind > 0) {
            return Ok(Exit::Incomplete);
        }
        if late {
            return Ok(Exit::Nothing);
        }
        // The last scan is made exactly at the end of the time limit.
        let left = given_up.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        if left < ticker.left() { std::thread::sleep(left) } else { ticker.sleep_until_next() }
    }
}

/// Refuses a wait that cannot work. A wait needs a target. `--until-free` accepts only ports, because a misspelt name
/// would match nothing and look like a free port.
fn check(args: &WatchArgs, watch: &Watch) -> Result<()> {
    let targets = watch.selection.targets();
    let without_port = targets.iter().find(|target| args.until_free && !target.names_ports());
    match without_port {
        Some(other) => Err(Error::msg(format!(
            "{}: not a port (--until-free needs ports, such as 3000 or 127.0.0.1:3000)",
            other.text
        ))),
        None if targets.is_empty() && args.until_free => {
            bail!("--until-free needs a port, such as 3000")
        }
        None if targets.is_empty() => {
            bail!("--until-listening needs a target, such as 3000 or postgres")
        }
        None => Ok(()),
    }
}

/// Returns whether the only gaps are about rules that may forward a port. If so, every socket was seen.
fn lacks_only_rules(watch: &Watch, report: &Report) -> bool {
    let mut hiding = report.snapshot.gaps.iter().filter(|gap| gap.hides_listeners());
    watch.undecided == 0 && hiding.all(|gap| gap.stage == Stage::Rules)
}

fn is_served(report: &Report, target: &Target) -> bool {
    report.entries.iter().any(|entry| serves(entry, target))
}

fn serves(entry: &Entry, target: &Target) -> bool {
    entry.socket.state.accepts_traffic() && target.test(&Subject::Entry(entry), false).is_yes()
}

fn is_awaited(watch: &Watch, entry: &Entry) -> bool {
    watch.selection.targets().iter().any(|target| serves(entry, target))
}

fn answer(watch: &Watch, report: &Report, free: bool) -> WaitStatus {
    let gaps = &report.snapshot.gaps;
    // A rule that forwards a port does not prevent a program from binding the port. So unread rules do not matter to a
    // wait for a free port.
    let hides = |gap: &Gap| gap.hides_listeners() && !(free && gap.stage == Stage::Rules);
    let is_blind = watch.undecided > 0 || gaps.iter().any(hides);
    let is_true = if free {
        report.entries.is_empty()
    } else {
        watch.selection.targets().iter().all(|target| is_served(report, target))
    };
    match (is_true, free) {
        // A visible listener is enough, even if other sockets are not visible.
        (true, false) => WaitStatus::Yes,
        (false, true) => WaitStatus::No,
        _ if is_blind => WaitStatus::Blind,
        (is_true, _) => {
            if is_true {
                WaitStatus::Yes
            } else {
                WaitStatus::No
            }
        }
    }
}
