//! Waiting: until something listens on every target, or until the ports of all targets are free.
//!
//! A port is never reported as free if sockets may be missing from a scan. Waiting makes no connection.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Error, Exit, Ticker, Ui, Watch};
use crate::cli::WatchArgs;
use crate::judge::Report;
use crate::model::Stage;
use crate::query::{Subject, Target};
use crate::render::stderr;

/// The time between two scans unless the user sets one: a scan without the process lookup takes a fraction of a
/// millisecond.
const OFTEN: Duration = Duration::from_millis(100);
/// After this many scans in a row that found no socket but did not see everything, the gap is not temporary.
const BLIND_LOOKS: u32 = 5;

/// Whether a scan shows that the awaited condition is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
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
) -> Result<Exit, Error> {
    let option = if args.until_free { "--until-free" } else { "--until-listening" };
    match watch.selection.targets().iter().find(|target| !target.names_ports()) {
        Some(other) => {
            return Err(Error::msg(format!(
                "{}: not a port ({option} needs ports, such as 3000 or 127.0.0.1:3000)",
                other.text
            )));
        }
        None if watch.selection.targets().is_empty() => {
            return Err(Error::msg(format!("{option} needs a port, such as 3000")));
        }
        None => {}
    }
    if !stream {
        // The owner of a port is not reported.
        watch.scan_sockets_only();
    }
    let given_up = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut ticker = Ticker::new(args.interval.unwrap_or(OFTEN));
    let mut blind = 0;
    loop {
        watch.look(&mut |update| if stream { update.write(ui, out) } else { Ok(()) })?;
        let Some(last) = &watch.last else { return Ok(Exit::Nothing) };
        match answer(&watch, last, args.until_free) {
            Answer::Yes => return Ok(Exit::Matched),
            Answer::No => blind = 0,
            Answer::Blind => blind += 1,
        }
        let late = given_up.is_some_and(|end| end <= Instant::now());
        if blind == BLIND_LOOKS || (late && blind > 0) {
            ui.print_notices(&last.snapshot);
            return Err(Error::msg(
                "not every socket can be seen, so no port can be reported as free".to_owned(),
            ));
        }
        if late {
            let _ =
                stderr::gave_up(&args.scan.filter.targets, args.until_free, &mut std::io::stderr().lock());
            return Ok(Exit::Nothing);
        }
        // The last scan is at the end of the time, not before it.
        let left = given_up.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        if left < ticker.left() { std::thread::sleep(left) } else { ticker.rest() }
    }
}

fn is_served(report: &Report, target: &Target) -> bool {
    report.entries.iter().any(|entry| {
        entry.socket.state.accepts_traffic() && target.test(&Subject::Entry(entry), false).is_yes()
    })
}

fn answer(watch: &Watch, report: &Report, free: bool) -> Answer {
    if !free {
        let all = watch.selection.targets().iter().all(|target| is_served(report, target));
        return if all { Answer::Yes } else { Answer::No };
    }
    let gaps = &report.snapshot.gaps;
    match report.entries.first() {
        Some(_) => Answer::No,
        None if watch.undecided > 0 => Answer::Blind,
        None if gaps.iter().any(|gap| matches!(gap.stage, Stage::Sockets | Stage::Namespaces)) => {
            Answer::Blind
        }
        None => Answer::Yes,
    }
}
