//! What happened lately: the marks of a screen, and the listeners that are gone but still shown.
//!
//! A mark is kept by the fingerprint of its listener, so that it stays with it; it fades after a few looks and at least
//! some seconds. What is kept of a listener that vanished is its last observation, cut down to it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::News;
use crate::baseline::{Change, Fingerprint, Kind};
use crate::join::Listener;
use crate::judge::{Judged, Report, judge};
use crate::model::{Pid, Snapshot};
use crate::render::screen::Mark;

/// How many looks a mark lasts, and how long at least.
const LOOKS: u32 = 5;
const AT_LEAST: Duration = Duration::from_secs(5);

/// The marks of a screen.
#[derive(Debug)]
pub(super) struct Marks {
    /// How many looks a mark lasts.
    lasts: u32,
    /// The mark of each fingerprint, and how many looks it has left.
    marks: HashMap<u64, (Kind, u32)>,
    /// What vanished, and how many looks it has left.
    gone: Vec<(Snapshot, u32)>,
}

impl Marks {
    pub(super) fn new(interval: Duration) -> Self {
        let looks = AT_LEAST.as_millis().div_ceil(interval.as_millis().max(1));
        Marks {
            lasts: LOOKS.max(u32::try_from(looks).unwrap_or(LOOKS)),
            marks: HashMap::new(),
            gone: Vec::new(),
        }
    }

    /// Lets a look go by; whether anything on the screen is other than before.
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

    /// Takes note of what a look brought.
    pub(super) fn note(&mut self, news: &News<'_, '_>) {
        let News::Next { report, changes, .. } = news else { return };
        for Change { kind, listener, .. } in changes.iter().filter(|change| change.kind != Kind::Vanished) {
            self.marks.insert(print(&listener.listener), (*kind, self.lasts));
        }
        let vanished =
            changes.iter().filter(|change| change.kind == Kind::Vanished).map(|change| change.listener);
        let vanished: Vec<&Judged<'_>> = vanished.collect();
        if !vanished.is_empty() {
            self.gone.push((cut(&vanished, report.observation), self.lasts));
        }
    }

    /// The rows to show: what listens now, and what vanished lately and has not come back.
    pub(super) fn rows<'o>(&'o self, report: &Report<'o>) -> Vec<(Judged<'o>, Option<Mark>)> {
        let mark = |kind, left: u32| Some(Mark { kind, fading: left <= faint(self.lasts) });
        let mut shown = std::collections::HashSet::new();
        let mut rows: Vec<_> = report
            .listeners
            .iter()
            .map(|judged| {
                let print = print(&judged.listener);
                shown.insert(print);
                let known = self.marks.get(&print);
                (judged.clone(), known.and_then(|(kind, left)| mark(*kind, *left)))
            })
            .collect();
        // The latest first: what vanished twice is shown once.
        for (observation, left) in self.gone.iter().rev() {
            for judged in judge(observation, report.registry).listeners {
                if shown.insert(print(&judged.listener)) {
                    rows.push((judged, mark(Kind::Vanished, *left)));
                }
            }
        }
        rows.sort_by(|(a, _), (b, _)| a.listener.order(&b.listener));
        rows
    }
}

/// From how many looks before its end a mark is shown as fading.
const fn faint(lasts: u32) -> u32 {
    lasts / 2
}

fn print(listener: &Listener<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    Fingerprint::of(listener).hash(&mut hasher);
    hasher.finish()
}

/// An observation of these listeners alone, on the machine as it is now.
fn cut(listeners: &[&Judged<'_>], now: &Snapshot) -> Snapshot {
    let mut processes: Vec<_> =
        listeners.iter().flat_map(|judged| judged.listener.processes.iter().copied().cloned()).collect();
    processes.sort_by_key(|process| process.pid);
    processes.dedup_by_key(|process| -> Pid { process.pid });
    Snapshot {
        schema: now.schema.clone(),
        taken: now.taken,
        host: now.host.clone(),
        extent: now.extent.clone(),
        sockets: listeners.iter().map(|judged| judged.listener.socket.clone()).collect(),
        processes,
        asked: now.asked.clone(),
        namespaces: now.namespaces.clone(),
        gaps: Vec::new(),
        notes: Vec::new(),
    }
}
