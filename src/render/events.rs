//! The stream of events (`portolan.event/1`): one JSON object per line, written when something changes.
//!
//! The listener in an event is the complete object of the listing. Every line contains the time and the host, so that
//! lines can be filtered, merged and stored. A gap is an event too. The caller flushes the output.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::CompactFormatter;

use crate::baseline::Change;
use crate::join::Entry;
use crate::judge::Report;
use crate::model::{Gap, Host, Note, Snapshot};

use super::json;

const SCHEMA: &str = "portolan.event/1";

/// The keys of every event.
#[derive(Serialize)]
struct Head<'a> {
    schema: &'static str,
    event: &'static str,
    taken: Timestamp,
    host: &'a Host,
}

impl<'a> Head<'a> {
    const fn new(event: &'static str, observation: &'a Snapshot) -> Self {
        Head { schema: SCHEMA, event, taken: observation.taken, host: &observation.host }
    }
}

/// Writes the first line: how many listeners there are at the start, and the gaps.
///
/// # Errors
/// If the line cannot be written.
pub fn start(report: &Report, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Start<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        count: usize,
        complete: bool,
        gaps: &'a [Gap],
        notes: &'a [Note],
    }
    let observation = &report.snapshot;
    let start = Start {
        head: Head::new("start", observation),
        count: report.entries.len(),
        complete: observation.is_complete(),
        gaps: &observation.gaps,
        notes: &observation.notes,
    };
    line(&start, w)
}

/// Writes the event of a listener that appeared, vanished, changed its owner, or became reachable by more or fewer
/// clients.
///
/// # Errors
/// If the line cannot be written.
pub fn change(change: &Change<'_>, observation: &Snapshot, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Changed<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        listener: &'a Entry,
        before: Option<&'a Entry>,
    }
    let changed = Changed {
        head: Head::new(change.kind.name(), observation),
        listener: change.listener,
        before: change.before,
    };
    line(&changed, w)
}

/// Writes the event of changed gaps, with all current gaps, possibly none.
///
/// # Errors
/// If the line cannot be written.
pub fn view(observation: &Snapshot, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct View<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        complete: bool,
        gaps: &'a [Gap],
    }
    let complete = observation.is_complete();
    let event = if complete { "complete" } else { "incomplete" };
    line(&View { head: Head::new(event, observation), complete, gaps: &observation.gaps }, w)
}

/// Writes one object on one line, in one write.
fn line(event: &impl Serialize, w: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    json::serialize(event, CompactFormatter, &mut bytes)?;
    w.write_all(&bytes)
}
