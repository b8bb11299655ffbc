//! `portolan watch`: shows the listeners and their changes, on a screen or as a stream of events.
//!
//! A socket that opens and closes between two scans is not seen.

mod card;
mod explorer;
mod live;
mod marks;
mod on_appear;
pub mod pictured;
mod until;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};

use self::on_appear::OnAppear;
use super::list::MatchMode;
use super::{
    Exit, Ui, infer_owners, judged, list, name_host, namespaces, print_message, registry_source, stdout,
};
use crate::baseline::{Change, difference};
use crate::cli::{CommonArgs, Output, ScanArgs, WatchArgs};
use crate::judge::Report;
use crate::model::{Note, Snapshot, Stage, State};
use crate::observe::{Observer, Scope};
use crate::query::Selection;
use crate::registry::Registry;
use crate::render::events;

/// The number of scans that search again for a probable owner that was not found. A starting unit can contain other
/// programs for some seconds, so a later search can find the owner although no socket has changed.
const OWNER_SEARCHES: u32 = 30;
/// The default time between two scans.
const USUAL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &WatchArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    if common.from.is_some() {
        bail!("watch does not accept --from, because a snapshot does not change");
    }
    if matches!(common.output, Output::Csv | Output::Wide) {
        bail!("watch does not have this output format (expected table, json or ndjson)");
    }
    if let Some(target) = &args.until {
        let target = target.as_deref().unwrap_or("PORT");
        bail!("--until is not an option; type portolan watch {target} --until-listening, or --until-free");
    }
    let waits = args.until_listening || args.until_free;
    if args.timeout.is_some() && !waits {
        bail!("--timeout needs --until-listening or --until-free");
    }
    let mut watch = Watch::of(args, common)?;
    let stream = matches!(common.output, Output::Json | Output::Ndjson);
    if waits {
        return until::run(args, watch, stream, ui, out);
    }
    watch.infers_owners = true;
    let interval = args.interval.unwrap_or(USUAL);
    let on_appear = OnAppear::new(args.on_appear.clone());
    if ui.screen && !stream {
        live::run(watch, interval, (on_appear, args.bell), ui, out)
    } else if args.bell {
        bail!("--bell needs a terminal")
    } else {
        streamed(watch, interval, on_appear, ui, out)
    }
}

/// Waits until the targets are free, without output. Returns `Matched` if they are free, `Nothing` if they did not
/// become free in time, and `Incomplete` if not every socket can be seen.
#[cfg(target_os = "linux")]
pub(super) fn is_free_in_time(args: &WatchArgs, common: &CommonArgs) -> Result<Exit> {
    until::wait(args, &mut Watch::of(args, common)?, false, &mut |_| Ok(()))
}

/// Writes events until the reader closes the output or a signal ends the program.
fn streamed(
    mut watch: Watch,
    interval: Duration,
    mut on_appear: OnAppear,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    let mut ticker = Ticker::new(interval);
    loop {
        let verbose = watch.args.verbose;
        watch.scan_and_report(&mut |update| {
            on_appear.note(&update);
            update.write(ui, verbose, out)
        })?;
        if let Some(trouble) = on_appear.run() {
            print_message(&trouble);
        }
        ticker.sleep_until_next();
        if stdout::has_reader_left() {
            return Ok(Exit::Matched);
        }
    }
}

struct Watch {
    selection: Selection,
    scope: Scope,
    registry: Registry,
    common: CommonArgs,
    observer: Observer,
    last: Option<Report>,
    /// Whether a program must be able to bind the port. If so, sockets in every state matter, not only listeners.
    wants_port: bool,
    /// Whether to search for the probable owners of hidden sockets. A wait does not rely on them.
    infers_owners: bool,
    owner_searches_left: u32,
    /// The number of entries that the last scan left out, because the filters need facts that are not known.
    undecided: usize,
    args: ScanArgs,
}

enum WatchUpdate<'a> {
    /// The first scan.
    Start(&'a Report),
    /// A later scan, with its changes, if any, and whether the gaps changed.
    Next { report: &'a Report, changes: Vec<Change<'a>>, other_gaps: bool },
}

impl Watch {
    fn of(args: &WatchArgs, common: &CommonArgs) -> Result<Self> {
        let registry = registry_source::registry(common)?;
        let selection = list::selection(&args.scan, false, &registry, common)?;
        let mut scope = list::scan_scope(&args.scan, &selection);
        scope.namespaces = namespaces(common);
        common.apply_to(&mut scope);
        // Programs and users are read too. Without them, a restart would look like a change of owner.
        scope.details = true;
        Ok(Watch { args: args.scan.clone(), ..Watch::new(selection, scope, registry, common.clone()) })
    }

    fn new(selection: Selection, scope: Scope, registry: Registry, common: CommonArgs) -> Self {
        let observer = Observer::new(scope.clone());
        Watch {
            selection,
            scope,
            registry,
            common,
            observer,
            last: None,
            wants_port: false,
            infers_owners: false,
            owner_searches_left: 0,
            undecided: 0,
            args: ScanArgs::default(),
        }
    }

    /// Watches the sockets in every state, because a socket in any state can prevent a program from binding a target.
    fn look_at_every_state(&mut self) {
        self.scope.states = State::with_ports();
        self.wants_port = true;
        self.observer = Observer::new(self.scope.clone());
    }

    /// Returns a watch of the connections that the filters select. A target also matches the remote end.
    fn of_connections(&self) -> Result<Self> {
        let args = ScanArgs { all: true, ..self.args.clone() };
        let selection = list::selection(&args, false, &self.registry, &self.common)?;
        let mut scope = list::scan_scope(&args, &selection);
        scope.states = State::with_ports();
        scope.namespaces = self.scope.namespaces.clone();
        scope.part = self.scope.part;
        let watch = Watch::new(selection, scope, self.registry, self.common.clone());
        Ok(Watch { args, infers_owners: self.infers_owners, ..watch })
    }

    /// Skips the process lookup, for a wait that needs only the ports.
    fn scan_sockets_only(&mut self) {
        self.scope.processes = false;
        self.scope.details = false;
        self.observer = Observer::new(self.scope.clone());
    }

    /// Joins and judges a snapshot, and keeps the watched entries.
    fn report(&mut self, mut snapshot: Snapshot) -> Report {
        name_host(&self.common, &mut snapshot);
        if !self.args.no_holders {
            // A wait skips the process lookup by itself. A note about this would mislead the user, who did not request
            // it.
            snapshot.notes.retain(|note| note.remedy.as_deref() != Some(Note::WITH_PROCESSES));
        }
        let mut report = judged(snapshot, self.registry, &self.common);
        if self.infers_owners || self.selection.uses_probable_owners() {
            infer_owners(&mut report, |_| true, &self.common);
            self.owner_searches_left = OWNER_SEARCHES;
        }
        let wanted = if self.wants_port { MatchMode::Port } else { MatchMode::Sockets };
        let matched_entries = list::matched_entries(&report, &self.scope, &self.selection, wanted);
        list::narrow(&mut report, &matched_entries, &self.selection);
        self.undecided = matched_entries.undecided;
        report
    }

    /// Searches again for probable owners that were not found. Returns whether one is found now.
    fn search_owners_again(&mut self) -> bool {
        let Some(last) = self.last.as_mut().filter(|_| self.owner_searches_left > 0) else { return false };
        self.owner_searches_left -= 1;
        infer_owners(last, |_| true, &self.common)
    }

    /// Scans without a comparison. Returns false if nothing has changed since the last scan.
    fn scan(&mut self) -> Result<bool> {
        let Some(seen) = self.observer.scan().map_err(Error::msg)? else {
            return Ok(self.search_owners_again());
        };
        // The old report is dropped first, because two long reports need much memory.
        self.last = None;
        self.last = Some(self.report(seen));
        Ok(true)
    }

    /// Scans, and passes any changes to `on_update`. Returns false if nothing has changed since the last scan.
    fn scan_and_report(&mut self, on_update: &mut dyn FnMut(WatchUpdate<'_>) -> Result<()>) -> Result<bool> {
        let seen = self.observer.scan().map_err(Error::msg)?;
        let Some(seen) = seen else { return Ok(self.search_owners_again()) };
        let report = self.report(seen);
        if let Some(last) = &self.last {
            let changes = difference(last, &report);
            let other_gaps = gaps(&last.snapshot) != gaps(&report.snapshot);
            on_update(WatchUpdate::Next { report: &report, changes, other_gaps })?;
        } else {
            on_update(WatchUpdate::Start(&report))?;
        }
        self.last = Some(report);
        Ok(true)
    }
}

/// Returns the gaps without their counts. A count changes whenever a process starts or ends. This is not a new gap.
fn gaps(snapshot: &Snapshot) -> BTreeSet<(Stage, Option<&str>, &str)> {
    let gaps = snapshot.gaps.iter();
    gaps.map(|gap| (gap.stage, Some(gap.what.as_str()).filter(|_| gap.count.is_none()), gap.why.as_str()))
        .collect()
}

impl WatchUpdate<'_> {
    /// Writes the update as events, one line per event.
    fn write(&self, ui: &Ui, verbose: bool, out: &mut dyn Write) -> Result<()> {
        match self {
            WatchUpdate::Start(report) => {
                events::start(report, out)?;
                out.flush()?;
                ui.print_caveats(report, verbose);
            }
            WatchUpdate::Next { report, changes, other_gaps } => {
                for change in changes {
                    events::change(change, &report.snapshot, out)?;
                }
                if *other_gaps {
                    events::gaps_changed(&report.snapshot, out)?;
                    ui.print_caveats(report, verbose);
                }
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// A clock with fixed intervals. A slow scan does not delay the next scan.
struct Ticker {
    interval: Duration,
    next: Instant,
}

impl Ticker {
    fn new(interval: Duration) -> Self {
        Ticker { interval, next: Instant::now() + interval }
    }

    fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Sets the time of the next scan. Scans whose time has passed are skipped.
    fn advance(&mut self) {
        self.next = (self.next + self.interval).max(Instant::now());
    }

    fn sleep_until_next(&mut self) {
        std::thread::sleep(self.left());
        self.advance();
    }
}
