//! Draws the screen from two snapshots, without a terminal, for the documentation and the tests.

use std::time::Duration;

use super::explorer::{Effect, Explorer, Panel, Source};
use super::{WatchUpdate, card};
use crate::baseline::difference;
use crate::command::screen::{Input, Key};
use crate::judge::{Report, judge};
use crate::model::Snapshot;
use crate::query::Selection;
use crate::registry::Registry;
use crate::render::Style;
use crate::render::screen::Size;

/// Returns the screen of a watch that has seen two snapshots, after some keys.
pub fn pictured(before: Snapshot, after: Snapshot, keys: &[Key], size: Size, style: &Style) -> Vec<String> {
    let [before, after] = [before, after].map(|seen| judge(seen, Registry::embedded()));
    let mut explorer = explored(&before, &after, size, style);
    press(&mut explorer, &after, keys);
    explorer.frame(source(&after), after.snapshot.taken)
}

pub(super) fn source(report: &Report) -> Source<'_> {
    Source { report, connections: Some(report) }
}

pub(super) fn explored(before: &Report, after: &Report, size: Size, style: &Style) -> Explorer {
    let mut explorer = Explorer::new(Duration::from_secs(1), size, *style, false);
    explorer.note(&WatchUpdate::Start(before));
    let changes = difference(before, after);
    explorer.note(&WatchUpdate::Next { report: after, changes, other_gaps: false });
    explorer.make_rows(source(after));
    explorer
}

/// Passes keys to the explorer, and executes those actions that need no scan.
pub(super) fn press(explorer: &mut Explorer, report: &Report, keys: &[Key]) {
    for key in keys {
        match explorer.handle(&Input::Key(*key)) {
            Effect::Rows => explorer.make_rows(source(report)),
            Effect::Filter => {
                explorer.read_filter(|args, either_end| {
                    Selection::new(&args.typed_filters(either_end), &report.registry)
                });
                explorer.make_rows(source(report));
            }
            Effect::Card => {
                let first = explorer.selected(source(report)).first().map(|entry| (*entry).clone());
                let Some(entry) = first else { continue };
                let report = report.clone();
                explorer.show(Panel::Card, Box::new(move |style| card::lines(&entry, &report, style)));
            }
            _ => {}
        }
    }
}
