//! The stream of events (`portolan.event/2`): one JSON object per line, written when a listener or a gap changes.
//!
//! The first line is about the host. Every line contains the time and the host, so that lines can be filtered, merged
//! and stored. The caller flushes the output.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::CompactFormatter;

use crate::baseline::Change;
use crate::join::Entry;
use crate::judge::Report;
use crate::model::{Gap, Snapshot};

use super::head::{DocumentHeader, HostLine, LineHeader};
use super::json;

const SCHEMA: &str = "portolan.event/2";

/// The keys of every event except the first.
#[derive(Serialize)]
struct EventHead<'a> {
    schema: &'static str,
    event: &'static str,
    #[serde(flatten)]
    stamp: LineHeader<'a>,
}

impl<'a> EventHead<'a> {
    fn new(event: &'static str, snapshot: &'a Snapshot) -> Self {
        EventHead { schema: SCHEMA, event, stamp: LineHeader::new("event", snapshot) }
    }
}

/// Writes the first line: the host, the number of listeners at the start, and the gaps.
pub fn start(report: &Report, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Counts {
        listeners: usize,
    }
    let counts = Counts { listeners: report.entries.len() };
    line(&HostLine::new(DocumentHeader::new(SCHEMA, report), Some("start"), counts), w)
}

/// Writes the event of a listener. The listener appeared or vanished, changed its owner, or became reachable by more or
/// fewer clients.
pub fn change(change: &Change<'_>, snapshot: &Snapshot, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Changed<'a> {
        #[serde(flatten)]
        head: EventHead<'a>,
        listener: &'a Entry,
        before: Option<&'a Entry>,
    }
    let changed = Changed {
        head: EventHead::new(change.kind.name(), snapshot),
        listener: change.listener,
        before: change.before,
    };
    line(&changed, w)
}

/// Writes an event with all current gaps, because the gaps have changed.
pub fn gaps_changed(snapshot: &Snapshot, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct GapsEvent<'a> {
        #[serde(flatten)]
        head: EventHead<'a>,
        complete: bool,
        gaps: &'a [Gap],
    }
    let complete = snapshot.is_complete();
    let event = if complete { "complete" } else { "incomplete" };
    line(&GapsEvent { head: EventHead::new(event, snapshot), complete, gaps: &snapshot.gaps }, w)
}

/// Writes one object on one line, with a single write.
fn line(event: &impl Serialize, w: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    json::serialize(event, CompactFormatter, &mut bytes)?;
    w.write_all(&bytes)
}
