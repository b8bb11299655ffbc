//! Recent changes: the marks on the screen, and the vanished listeners that are still shown.
//!
//! A mark is stored under the fingerprint of its listener, and fades after a few scans and at least some seconds. A
//! vanished listener is shown in its last known state.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use super::WatchUpdate;
use crate::baseline::{Change, ChangeKind, Fingerprint};
use crate::judge::{Entry, Listener, Report};
use crate::render::kill::named;
use crate::render::merge;
use crate::render::screen::{LoggedChange, Mark};

/// The number of scans and the shortest time that a mark lasts.
const LOOKS: u32 = 5;
const AT_LEAST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Marks {
    /// How many scans a mark lasts.
    lasts: u32,
    /// The mark of each fingerprint, with the number of remaining scans.
    marks: HashMap<u64, (ChangeKind, u32)>,
    /// The vanished listeners, each with the number of remaining scans for which it is shown.
    gone: Vec<(Entry, u32)>,
    /// The latest changes since the start, the latest one last.
    log: Vec<LoggedChange>,
    /// The number of changes that the log no longer has.
    forgotten: usize,
    /// Listeners that are no longer shown. They keep the columns as wide as before.
    past: Vec<Entry>,
}

impl Marks {
    pub(super) fn new(interval: Duration) -> Self {
        let looks = AT_LEAST.as_millis().div_ceil(interval.as_millis().max(1));
        Marks {
            lasts: LOOKS.max(u32::try_from(looks).unwrap_or(LOOKS)),
            marks: HashMap::new(),
            gone: Vec::new(),
            log: Vec::new(),
            forgotten: 0,
            past: Vec::new(),
        }
    }

    /// Counts down every mark by one scan. Returns whether the screen must change.
    pub(super) fn fade(&mut self) -> bool {
        let mut changed = false;
        let lasts = self.lasts;
        let mut left = |left: &mut u32| {
            *left = left.saturating_sub(1);
            changed |= *left == 0 || *left == faint(lasts);
            *left > 0
        };
        self.marks.retain(|_, (_, looks)| left(looks));
        self.gone.retain_mut(|(_, looks)| left(looks));
        changed
    }

    /// Marks the changes of a scan.
    pub(super) fn note(&mut self, update: &WatchUpdate<'_>) {
        let WatchUpdate::Next { report, changes, .. } = update else { return };
        self.log(changes, report.snapshot.taken);
        for Change { kind, listener, .. } in
            changes.iter().filter(|change| change.kind != ChangeKind::Vanished)
        {
            self.marks.insert(fingerprint_hash(listener), (*kind, self.lasts));
        }
        let vanished = changes.iter().filter(|change| change.kind == ChangeKind::Vanished);
        self.gone.extend(vanished.map(|change| (change.listener.clone(), self.lasts)));
    }

    /// Adds changes to the log. The sockets of one server are one change.
    fn log(&mut self, changes: &[Change<'_>], time: Timestamp) {
        for kind in ChangeKind::ALL {
            let of_kind = changes.iter().filter(|change| change.kind == kind);
            for listener in Listener::all(of_kind.map(|change| change.listener)) {
                self.log.push(LoggedChange { time, kind, what: named(&listener) });
            }
        }
        let vanished = changes.iter().filter(|change| change.kind == ChangeKind::Vanished);
        self.past.extend(vanished.map(|change| change.listener.clone()));
        self.forgotten += drop_first(&mut self.log);
        drop_first(&mut self.past);
    }

    /// Returns the latest changes, the latest one last, and the number of earlier changes.
    pub(super) fn logged(&self) -> (&[LoggedChange], usize) {
        (&self.log, self.forgotten)
    }

    /// Returns listeners that are no longer shown.
    pub(super) fn past(&self) -> &[Entry] {
        &self.past
    }

    /// Returns the rows to show: the current listeners, and recently vanished listeners that have not returned.
    pub(super) fn rows(&self, report: &Report) -> Vec<(Entry, Option<Mark>)> {
        let mark = |kind, left: u32| Mark { kind, fading: left <= faint(self.lasts) };
        let mut shown = HashSet::new();
        let mut rows = Vec::with_capacity(report.entries.len() + self.gone.len());
        for entry in &report.entries {
            let print = fingerprint_hash(entry);
            shown.insert(print);
            rows.push((entry.clone(), self.marks.get(&print).map(|(kind, left)| mark(*kind, *left))));
        }
        // The latest copy comes first, so a listener that vanished twice is shown once.
        for (entry, left) in self.gone.iter().rev() {
            if shown.insert(fingerprint_hash(entry)) {
                rows.push((entry.clone(), Some(mark(ChangeKind::Vanished, *left))));
            }
        }
        rows.sort_by(|(a, _), (b, _)| a.order(b));
        // Sockets of one server are one row, if they have the same mark.
        let mut by_mark: HashMap<Option<Mark>, Vec<Entry>> = HashMap::new();
        for (entry, mark) in rows {
            by_mark.entry(mark).or_default().push(entry);
        }
        let merged = by_mark
            .into_iter()
            .flat_map(|(mark, entries)| merge(entries).into_iter().map(move |entry| (entry, mark)));
        let mut rows: Vec<_> = merged.collect();
        rows.sort_by(|(a, _), (b, _)| a.order(b));
        rows
    }
}

/// The maximum number of changes in the log, and of listeners that keep the columns wide.
const LONGEST_LOG: usize = 200;

/// Removes the oldest elements of a list that is too long. Returns their number.
fn drop_first<T>(list: &mut Vec<T>) -> usize {
    let more = list.len().saturating_sub(LONGEST_LOG);
    list.drain(..more).count()
}

/// Returns the number of remaining scans at which a mark starts to fade.
const fn faint(lasts: u32) -> u32 {
    lasts / 2
}

fn fingerprint_hash(listener: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    Fingerprint::of(listener).hash(&mut hasher);
    hasher.finish()
}
