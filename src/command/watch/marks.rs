//! The marks of recent changes on rows, and the vanished listeners that stay visible for a few scans.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use super::WatchUpdate;
use crate::baseline::{Change, ChangeKind, Fingerprint};
use crate::judge::{Entry, Listener, Report};
use crate::render::kill::named;
use crate::render::merged_rows;
use crate::render::screen::{LoggedChange, Mark};

/// A mark is shown for at least this many scans, and for at least the time `AT_LEAST`.
const LOOKS: u32 = 5;
const AT_LEAST: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) enum RowEntry {
    /// The index of an entry in the report.
    At(usize),
    /// A copy of an entry, because the report does not contain it.
    Own(Box<Entry>),
}

impl RowEntry {
    /// Returns the entry; `None` if the row belongs to an earlier report.
    pub(super) fn of<'e>(&'e self, report: &'e Report) -> Option<&'e Entry> {
        match self {
            RowEntry::At(at) => report.entries.get(*at),
            RowEntry::Own(entry) => Some(entry),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct EntryRow {
    pub(super) entry: RowEntry,
    pub(super) mark: Option<Mark>,
    /// The identity of the row, which stays the same in the next scans.
    pub(super) key: u64,
}

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The number of scans for which a mark is shown.
    lasts: u32,
    /// The mark of each fingerprint, with the number of remaining scans.
    marks: HashMap<u64, (ChangeKind, u32)>,
    /// The vanished listeners, each with the number of remaining scans for which it is shown.
    gone: Vec<(Entry, u32)>,
    /// The latest changes since the start, oldest first.
    log: Vec<LoggedChange>,
    /// The number of changes that were removed from the log.
    forgotten: usize,
}

impl Marks {
    pub(super) fn new(interval: Duration) -> Self {
        let looks = AT_LEAST.as_millis().div_ceil(interval.as_millis().max(1));
        Marks { lasts: LOOKS.max(u32::try_from(looks).unwrap_or(LOOKS)), ..Marks::default() }
    }

    /// Reduces the number of remaining scans of every mark by one. Returns whether a mark has faded or disappeared.
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

    /// Adds changes to the log. Changed sockets of one server are logged as one change.
    fn log(&mut self, changes: &[Change<'_>], time: Timestamp) {
        for kind in ChangeKind::ALL {
            let of_kind = changes.iter().filter(|change| change.kind == kind);
            for listener in Listener::all(of_kind.map(|change| change.listener)) {
                let sockets = listener.sockets.iter().map(|entry| (*entry).clone()).collect();
                self.log.push(LoggedChange { time, kind, what: named(&listener), sockets });
            }
        }
        let more = self.log.len().saturating_sub(LONGEST_LOG);
        self.forgotten += self.log.drain(..more).count();
    }

    /// Returns the latest changes, oldest first, and the number of changes that were removed from the log.
    pub(super) fn logged(&self) -> (&[LoggedChange], usize) {
        (&self.log, self.forgotten)
    }

    /// Returns the vanished listeners of the log. The columns stay wide enough for them, so that no column shrinks when
    /// a listener vanishes.
    pub(super) fn past(&self) -> impl Iterator<Item = &Entry> + Clone {
        let vanished = self.log.iter().filter(|change| change.kind == ChangeKind::Vanished);
        vanished.flat_map(|change| &change.sockets)
    }

    /// Returns the rows for which `keep` returns true. They are the current listeners, and the listeners that vanished
    /// recently and have not returned.
    pub(super) fn rows(&self, report: &Report, keep: &dyn Fn(&Entry) -> bool) -> Vec<EntryRow> {
        let mark = |kind, left: u32| Mark { kind, fading: left <= faint(self.lasts) };
        let mut shown = HashSet::new();
        // Sockets of one server share a row only if they have the same mark.
        let mut by_mark: HashMap<Option<Mark>, Vec<(&Entry, RowEntry, u64)>> = HashMap::new();
        for (at, entry) in report.entries.iter().enumerate() {
            let print = fingerprint_hash(entry);
            shown.insert(print);
            if keep(entry) {
                let mark = self.marks.get(&print).map(|(kind, left)| mark(*kind, *left));
                by_mark.entry(mark).or_default().push((entry, RowEntry::At(at), print));
            }
        }
        // The latest copy comes first, so a listener that vanished twice is shown once.
        for (entry, left) in self.gone.iter().rev() {
            let print = fingerprint_hash(entry);
            if shown.insert(print) && keep(entry) {
                let mark = Some(mark(ChangeKind::Vanished, *left));
                let own = RowEntry::Own(Box::new(entry.clone()));
                by_mark.entry(mark).or_default().push((entry, own, print));
            }
        }
        let mut rows = Vec::with_capacity(report.entries.len());
        for (mark, mut entries) in by_mark {
            entries.sort_by(|(a, ..), (b, ..)| a.order(b));
            let refs: Vec<&Entry> = entries.iter().map(|(entry, ..)| *entry).collect();
            for row in merged_rows(&refs) {
                let Some((_, first, key)) = entries.get(row.first) else { continue };
                let merged = row.into_merged().map(|merged| RowEntry::Own(Box::new(merged)));
                rows.push(EntryRow { entry: merged.unwrap_or_else(|| first.clone()), mark, key: *key });
            }
        }
        rows.sort_by(|a, b| match (a.entry.of(report), b.entry.of(report)) {
            (Some(a), Some(b)) => a.order(b),
            _ => std::cmp::Ordering::Equal,
        });
        rows
    }
}

const LONGEST_LOG: usize = 1000;

/// Returns the number of remaining scans at which a mark begins to fade.
const fn faint(lasts: u32) -> u32 {
    lasts / 2
}

fn fingerprint_hash(listener: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    Fingerprint::of(listener).hash(&mut hasher);
    hasher.finish()
}
