//! The rows of each view: filtered, merged and sorted.
//!
//! A listing may be long, so most rows only refer to an entry of the report. A merged row and the row of a vanished
//! listener have their own entry.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::marks::{EntryRow, Marks, RowEntry};
use crate::judge::{Entry, Listener, Report};
use crate::query::{Answer, Selection, Subject};
use crate::render::columns;
use crate::render::kill::named;
use crate::render::screen::{FoundRow, View, row_text};

/// A row of the view of findings. `sockets` has the indices of the listener's entries in the report, and `entry` is the
/// index of the entry with the finding. `finding` is the index of the finding in this entry.
#[derive(Clone, Debug)]
pub(super) struct FindingRow {
    sockets: Vec<usize>,
    entry: usize,
    finding: usize,
    key: u64,
}

impl FindingRow {
    /// Returns the row; `None` if the row belongs to an earlier report.
    pub(super) fn of<'r>(&self, report: &'r Report) -> Option<FoundRow<'r>> {
        let finding = report.entries.get(self.entry)?.findings().get(self.finding)?;
        let sockets: Vec<&Entry> = self.sockets.iter().filter_map(|at| report.entries.get(*at)).collect();
        (!sockets.is_empty()).then_some(FoundRow { listener: Listener { sockets }, finding })
    }
}

#[derive(Debug)]
pub(super) enum Rows {
    /// Listeners or connections.
    Entries(Vec<EntryRow>),
    /// The indices of changes in the log, the latest one first.
    Changes(Vec<(usize, u64)>),
    Findings(Vec<FindingRow>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) report: &'a Report,
    /// The connections, if they were scanned.
    pub(crate) connections: Option<&'a Report>,
}

impl<'a> Source<'a> {
    pub(super) fn of(self, view: View) -> &'a Report {
        match view {
            View::Connections => self.connections.unwrap_or(self.report),
            View::Listeners | View::Changes | View::Findings => self.report,
        }
    }
}

/// The filter that the user typed, and the order of the rows.
#[derive(Default)]
pub(super) struct Narrowing<'f> {
    /// The filter, if one was typed and can be used.
    pub(super) selection: Option<&'f Selection>,
    pub(super) text: &'f str,
    pub(super) sort: Option<&'static str>,
    pub(super) is_reversed: bool,
}

impl Narrowing<'_> {
    fn test(&self, entry: &Entry) -> Answer {
        let test = |selection: &Selection| selection.test(&Subject::Entry(entry), &mut HashSet::new());
        self.selection.map_or(Answer::Yes, test)
    }

    /// Returns the number of entries that are left out because the filter needs facts that are not known.
    pub(super) fn undecided(&self, report: &Report) -> usize {
        let unknown = |entry: &&Entry| self.test(entry) == Answer::Unknown;
        if self.selection.is_none() { 0 } else { report.entries.iter().filter(unknown).count() }
    }
}

impl Rows {
    /// Returns the rows of a view that the filter selects. If the filter selects no row, returns the rows whose text
    /// contains every word of the filter.
    pub(super) fn of(view: View, source: Source<'_>, marks: &Marks, narrowing: &Narrowing<'_>) -> Self {
        let by_filter = |entry: &Entry| narrowing.test(entry).is_yes();
        let mut rows = Self::kept(view, source, marks, &by_filter);
        if rows.len() == 0 && !narrowing.text.trim().is_empty() {
            rows = Self::kept(view, source, marks, &|_| true);
            rows.retain_with_text(narrowing.text, source.of(view), marks);
        }
        rows.sort(source.of(view), narrowing);
        rows
    }

    fn kept(view: View, source: Source<'_>, marks: &Marks, keep: &dyn Fn(&Entry) -> bool) -> Self {
        let report = source.of(view);
        match view {
            View::Listeners => Rows::Entries(marks.rows(report, keep)),
            View::Connections => Rows::Entries(connections(source.connections, keep)),
            View::Findings => Rows::Findings(findings(report, keep)),
            View::Changes => {
                let log = marks.logged().0.iter().enumerate().rev();
                let kept = log.filter(|(_, change)| change.sockets.iter().any(keep));
                Rows::Changes(kept.map(|(at, change)| (at, hash(&(change.time, &change.what)))).collect())
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Rows::Entries(rows) => rows.len(),
            Rows::Changes(rows) => rows.len(),
            Rows::Findings(rows) => rows.len(),
        }
    }

    pub(super) fn keys(&self) -> Vec<u64> {
        match self {
            Rows::Entries(rows) => rows.iter().map(|row| row.key).collect(),
            Rows::Changes(rows) => rows.iter().map(|(_, key)| *key).collect(),
            Rows::Findings(rows) => rows.iter().map(|row| row.key).collect(),
        }
    }

    fn retain_with_text(&mut self, text: &str, report: &Report, marks: &Marks) {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let has = |text: &str| {
            let text = text.to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        match self {
            Rows::Entries(rows) => rows.retain(|row| {
                row.entry.of(report).is_some_and(|entry| has(&row_text(entry, &report.snapshot)))
            }),
            Rows::Changes(rows) => {
                let log = marks.logged().0;
                rows.retain(|(at, _)| {
                    log.get(*at).is_some_and(|change| has(&format!("{} {}", change.kind.name(), change.what)))
                });
            }
            Rows::Findings(rows) => rows.retain(|row| {
                row.of(report).is_some_and(|FoundRow { listener, finding }| {
                    let code = format!("{} {}", finding.severity.name(), finding.flag().code());
                    has(&format!("{code} {} {}", named(&listener), finding.sentence()))
                })
            }),
        }
    }

    fn sort(&mut self, report: &Report, narrowing: &Narrowing<'_>) {
        match self {
            Rows::Entries(rows) => {
                if let Some(column) = narrowing.sort.and_then(columns::named) {
                    let key = |row: &EntryRow| row.entry.of(report).map(|entry| column.key(entry));
                    if narrowing.is_reversed {
                        rows.sort_by_cached_key(|row| Reverse(key(row)));
                    } else {
                        rows.sort_by_cached_key(key);
                    }
                } else if narrowing.is_reversed {
                    rows.reverse();
                }
            }
            Rows::Changes(rows) if narrowing.is_reversed => rows.reverse(),
            Rows::Findings(rows) if narrowing.is_reversed => rows.reverse(),
            Rows::Changes(_) | Rows::Findings(_) => {}
        }
    }
}

fn connections(report: Option<&Report>, keep: &dyn Fn(&Entry) -> bool) -> Vec<EntryRow> {
    let entries = report.into_iter().flat_map(|report| report.entries.iter().enumerate());
    let kept = entries.filter(|(_, entry)| entry.socket.peer.is_some() && keep(entry));
    let row = |(at, entry): (usize, &Entry)| {
        let socket = &entry.socket;
        let key = hash(&(&socket.local, socket.peer, socket.cookie));
        EntryRow { entry: RowEntry::At(at), mark: None, key }
    };
    kept.map(row).collect()
}

/// Returns each finding of each listener once, most severe first.
fn findings(report: &Report, keep: &dyn Fn(&Entry) -> bool) -> Vec<FindingRow> {
    let at: HashMap<*const Entry, usize> =
        report.entries.iter().enumerate().map(|(at, entry)| (std::ptr::from_ref(entry), at)).collect();
    let index = |entry: &Entry| at.get(&std::ptr::from_ref(entry)).copied();
    let mut rows = Vec::new();
    for listener in Listener::all(report.entries.iter().filter(|entry| keep(entry))) {
        let sockets: Vec<usize> = listener.sockets.iter().filter_map(|entry| index(entry)).collect();
        for (entry, found) in listener.findings() {
            let place = index(entry).zip(entry.findings().iter().position(|one| std::ptr::eq(one, found)));
            let Some((entry, finding)) = place else { continue };
            let key = hash(&(&listener.first().socket.local, found.flag().code()));
            rows.push((found.severity, FindingRow { sockets: sockets.clone(), entry, finding, key }));
        }
    }
    rows.sort_by_key(|(severity, _)| Reverse(*severity));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
