//! The differences between two snapshots: a table, JSON (`portolan.diff/2`), JSON lines, CSV.
//!
//! Every format shows the listeners that could not be compared, at least their number. If something was not visible, no
//! format says that nothing changed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::CompactFormatter;

use crate::baseline::{Comparison, NotCompared, NotComparedReason, ReportedChange, since};
use crate::findings::FindingFacts;
use crate::findings::change::{BaselineChange, ChangeKind, ListenerState, owners};
use crate::findings::text::plural;
use crate::join::Entry;
use crate::judge::Report;
use crate::model::{Gap, Host, Note, Snapshot};
use crate::registry::Registry;

use super::caveats::parts_of_caveats;
use super::cells::{CellFormat, exposure_text};
use super::head::{JudgedBy, LineHeader};
use super::json;
use super::merge::twin;
use super::wrap::wrap;
use super::{Emphasis, Style, Zone, csv, sanitize, table};

#[derive(Serialize)]
struct SnapshotHead<'a> {
    taken: Timestamp,
    host: &'a Host,
    complete: bool,
    gaps: &'a [Gap],
    notes: &'a [Note],
}

impl<'a> SnapshotHead<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        SnapshotHead {
            taken: snapshot.taken,
            host: &snapshot.host,
            complete: snapshot.is_complete(),
            gaps: &snapshot.gaps,
            notes: &snapshot.notes,
        }
    }
}

#[derive(Serialize)]
struct Changed<'a> {
    change: ChangeKind,
    passing: bool,
    sure: bool,
    /// The listener as it is now. A vanished listener is shown as it was before.
    listener: &'a Entry,
    before: Option<&'a Entry>,
    text: String,
}

impl<'a> Changed<'a> {
    fn new(reported: &'a ReportedChange<'_>, comparison: &Comparison<'_>) -> Self {
        Changed {
            change: reported.change.kind,
            passing: reported.passing,
            sure: reported.sure,
            listener: reported.change.listener,
            before: reported.change.before,
            text: since(reported, comparison).sentence(),
        }
    }
}

#[derive(Serialize)]
struct NotComparable<'a> {
    why: &'static str,
    before: Option<&'a Entry>,
    after: Option<&'a Entry>,
    text: &'static str,
}

impl<'a> NotComparable<'a> {
    fn new(not_compared: &'a NotCompared<'_>) -> Self {
        NotComparable {
            why: not_compared.why.name(),
            before: not_compared.before,
            after: not_compared.after,
            text: why(not_compared.why),
        }
    }
}

const SCHEMA: &str = "portolan.diff/2";

pub fn document(comparison: &Comparison<'_>, registry: &Registry, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        #[serde(flatten)]
        judged_by: JudgedBy<'a>,
        before: SnapshotHead<'a>,
        after: SnapshotHead<'a>,
        complete: bool,
        changed: bool,
        compared: usize,
        changes: Vec<Changed<'a>>,
        not_comparable: Vec<NotComparable<'a>>,
    }
    let document = Document {
        schema: SCHEMA,
        judged_by: JudgedBy::new(registry),
        before: SnapshotHead::new(comparison.before),
        after: SnapshotHead::new(comparison.after),
        complete: comparison.is_complete(),
        changed: comparison.changed(),
        compared: comparison.compared,
        changes: comparison.changes.iter().map(|reported| Changed::new(reported, comparison)).collect(),
        not_comparable: comparison.not_compared.iter().map(NotComparable::new).collect(),
    };
    json::write(&document, w)
}

/// Writes the host and the result, then one change per line, and then one line for each listener that could not be
/// compared.
pub fn lines(comparison: &Comparison<'_>, registry: &Registry, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct First<'a> {
        schema: &'static str,
        #[serde(flatten)]
        stamp: LineHeader<'a>,
        since: Timestamp,
        #[serde(flatten)]
        judged_by: JudgedBy<'a>,
        complete: bool,
        changed: bool,
        /// The gaps of the earlier snapshot, followed by the gaps of the later snapshot.
        gaps: Vec<Gap>,
        counts: Counts,
    }
    #[derive(Serialize)]
    struct Counts {
        compared: usize,
        changes: usize,
        not_comparable: usize,
    }
    #[derive(Serialize)]
    struct Line<'a, T> {
        schema: &'static str,
        #[serde(flatten)]
        stamp: LineHeader<'a>,
        since: Timestamp,
        complete: bool,
        #[serde(flatten)]
        what: T,
    }
    #[derive(Serialize)]
    struct Unknown<'a> {
        change: (),
        #[serde(flatten)]
        what: NotComparable<'a>,
    }
    let Comparison { before, after, changes, not_compared, compared } = comparison;
    let (since, complete) = (before.taken, comparison.is_complete());
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let on_side = |(side, snapshot): (&str, &Snapshot)| {
        snapshot.gaps.iter().map(|gap| on(side, gap)).collect::<Vec<_>>()
    };
    let first = First {
        schema: SCHEMA,
        stamp: LineHeader::new("host", after),
        since,
        judged_by: JudgedBy::new(registry),
        complete,
        changed: comparison.changed(),
        gaps: [("before", *before), ("after", *after)].into_iter().flat_map(on_side).collect(),
        counts: Counts { compared: *compared, changes: changes.len(), not_comparable: not_compared.len() },
    };
    json::serialize(&first, CompactFormatter, &mut w)?;
    for reported in changes {
        let (stamp, what) = (LineHeader::new("change", after), Changed::new(reported, comparison));
        json::serialize(&Line { schema: SCHEMA, stamp, since, complete, what }, CompactFormatter, &mut w)?;
    }
    for one in not_compared {
        let stamp = LineHeader::new("not-comparable", after);
        let what = Unknown { change: (), what: NotComparable::new(one) };
        json::serialize(&Line { schema: SCHEMA, stamp, since, complete, what }, CompactFormatter, &mut w)?;
    }
    w.flush()
}

pub fn csv(comparison: &Comparison<'_>, w: &mut dyn Write) -> io::Result<()> {
    let names = [
        "change", "passing", "sure", "protocol", "address", "port", "device", "netns", "before", "after",
        "text",
    ];
    let rows = comparison.changes.iter().map(|reported| {
        let since = since(reported, comparison);
        let held = since.after.as_ref().or(since.before.as_ref());
        let of = |text: &dyn Fn(&ListenerState) -> String| held.map(text).unwrap_or_default();
        let who =
            |held: &Option<ListenerState>| held.as_ref().map(ListenerState::processes).unwrap_or_default();
        [
            since.change.name().to_owned(),
            since.passing.to_string(),
            since.sure.to_string(),
            of(&|held| held.protocol.to_string()),
            of(&|held| held.address.to_string()),
            of(&|held| held.port.to_string()),
            of(&|held| held.device.as_deref().unwrap_or_default().to_owned()),
            of(&|held| {
                let netns = held.netns.as_ref();
                netns.map(|n| n.name.clone().unwrap_or_else(|| n.inode.to_string())).unwrap_or_default()
            }),
            who(&since.before),
            who(&since.after),
            since.sentence(),
        ]
    });
    csv::rows(names, rows, w)
}

/// Writes one row or one block of lines per change, for people. On a terminal, the last line is the summary.
pub fn table(comparison: &Comparison<'_>, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<_> = merged(comparison).iter().map(row).collect();
    if !rows.is_empty() && !table::written_if_it_fits(HEADINGS, &rows, style, w)? {
        rows.iter().try_for_each(|row| block(row, style, w))?;
    }
    if style.width.is_some() {
        for line in wrap("", &summary(comparison, true, style.zone), style.width) {
            writeln!(w, "{}", style.paint(Emphasis::Quiet, &line))?;
        }
    }
    Ok(())
}

/// The maximum number of earlier changes that are searched for a twin: the same change of the other address family. The
/// twin is close, because it has the same exposure and port.
const NEAR: usize = 8;

/// Returns the changes for people. If an IPv4 and an IPv6 socket of one server have changed in the same way, they count
/// as one change.
fn merged(comparison: &Comparison<'_>) -> Vec<BaselineChange> {
    let mut changes: Vec<BaselineChange> = Vec::with_capacity(comparison.changes.len());
    for change in comparison.changes.iter().map(|reported| since(reported, comparison)) {
        match changes.iter_mut().rev().take(NEAR).find(|earlier| are_twins(earlier, &change)) {
            Some(earlier) => {
                for (own, other) in
                    [(&mut earlier.before, &change.before), (&mut earlier.after, &change.after)]
                {
                    if let (Some(own), Some(other)) = (own, other) {
                        own.other_address = Some(other.address);
                    }
                }
            }
            None => changes.push(change),
        }
    }
    changes
}

/// Returns whether two changes differ only in the address family of their listeners.
fn are_twins(one: &BaselineChange, other: &BaselineChange) -> bool {
    let are_listeners_twins = |one: &Option<ListenerState>, other: &Option<ListenerState>| match (one, other)
    {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let kind = |state: &ListenerState| state.reach.as_ref().map(|reach| reach.kind);
            let is_known = !one.programs.is_empty() || one.unit.is_some();
            let ListenerState { address, v6only, ref reach, .. } = *other;
            let moved = ListenerState { address, v6only, reach: reach.clone(), ..one.clone() };
            is_known && twin(one.address) == Some(address) && kind(one) == kind(other) && moved == *other
        }
        _ => false,
    };
    (one.change, one.passing, one.sure, one.is_probable)
        == (other.change, other.passing, other.sure, other.is_probable)
        && are_listeners_twins(&one.before, &other.before)
        && are_listeners_twins(&one.after, &other.after)
}

fn block(row: &[(String, Emphasis); 4], style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let [(change, tone), (place, tone_of_text), (before, _), (after, _)] = row;
    writeln!(w, "{} {}", style.paint(*tone, change), style.paint(*tone_of_text, place))?;
    for (label, text) in
        [("  before  ", before), ("  after   ", after)].into_iter().filter(|(_, text)| *text != ABSENT)
    {
        for line in wrap(label, text, style.width) {
            writeln!(w, "{}", style.paint(*tone_of_text, &line))?;
        }
    }
    Ok(())
}

pub(super) const HEADINGS: [&str; 4] = ["CHANGE", "WHERE", "BEFORE", "AFTER"];

const ABSENT: &str = "-";

/// Returns the cells of a change, sanitized: the kind, the place, the processes before and now.
pub(super) fn row(since: &BaselineChange) -> [(String, Emphasis); 4] {
    let held = since.after.as_ref().or(since.before.as_ref());
    let safe = |text: String| sanitize(&text).into_owned();
    let doubt = if since.sure { "" } else { "?" };
    let (word, tone) = match since.change {
        kind if since.passing => (format!("({}{doubt})", kind.name()), Emphasis::Quiet),
        kind @ (ChangeKind::Appeared | ChangeKind::Changed | ChangeKind::Weakened) => {
            (format!("{}{doubt}", kind.name()), Emphasis::Warning)
        }
        kind @ ChangeKind::Widened => (kind.name().to_owned(), Emphasis::Critical),
        kind => (format!("{}{doubt}", kind.name()), Emphasis::Notice),
    };
    // If more or fewer clients can reach the listener, the cells show its clients before and now. If its address has
    // changed too, the cells show the address, the exposure and the processes.
    let moved = matches!(since.change, ChangeKind::Widened | ChangeKind::Narrowed);
    let is_same_place = match (&since.before, &since.after) {
        (Some(was), Some(is)) => was.endpoint() == is.endpoint(),
        _ => false,
    };
    let side = |held: &Option<ListenerState>| match held {
        None => ABSENT.to_owned(),
        Some(held) if moved && is_same_place => safe(held.clients()),
        Some(held) if moved => {
            let reach = exposure_text(held.exposure, held.reach.as_deref(), false, CellFormat::Complete);
            safe(format!("{}, {reach}, {}", held.endpoint(), held.processes()))
        }
        Some(held) if since.change == ChangeKind::Weakened => safe(held.findings()),
        Some(held) => safe(held.processes()),
    };
    let [before, mut after] = match (&since.before, &since.after) {
        (was, is) if since.change == ChangeKind::Weakened => [side(was), side(is)],
        (Some(was), Some(is)) if !moved => owners(was, is).map(safe),
        (was, is) => [side(was), side(is)],
    };
    if let Some(evidence) = since.match_evidence() {
        after.push_str(&safe(format!("; {evidence}")));
    }
    let place = held.map(|held| safe(held.place())).unwrap_or_default();
    let tone_of_text = if since.passing { Emphasis::Quiet } else { Emphasis::Plain };
    [(word, tone), (place, tone_of_text), (before, tone_of_text), (after, tone_of_text)]
}

/// Returns one line with three numbers: the changes, the changed sockets that probably belong to clients, and the
/// listeners that could not be compared. If `is_merged`, an IPv4 and an IPv6 socket of one server count once, as in the
/// table.
pub fn summary(comparison: &Comparison<'_>, is_merged: bool, zone: Zone) -> String {
    let when = zone.time(comparison.before.taken, "%Y-%m-%d %H:%M");
    let (reported, passing) = if is_merged {
        let (passing, reported): (Vec<_>, Vec<_>) =
            merged(comparison).into_iter().partition(|change| change.passing);
        (reported.len(), passing.len())
    } else {
        let reported = comparison.changes.iter().filter(|reported| !reported.passing).count();
        (reported, comparison.changes.len() - reported)
    };
    let not_compared = comparison.not_compared.len();
    let complete = comparison.is_complete();
    let mut said = vec![match (reported, complete) {
        (0, true) => {
            format!("No changes since {when} ({} compared).", plural(comparison.compared, "socket"))
        }
        (0, false) => format!("No change seen since {when}, but not everything could be compared."),
        _ => format!("{} since {when}.", plural(reported, "change")),
    }];
    if passing > 0 {
        said.push(format!(
            "{} appeared or vanished (probably sockets of clients).",
            plural(passing, "short-lived socket")
        ));
    }
    if not_compared > 0 {
        let in_place = comparison.not_compared.iter().filter(|one| is_in_place(one)).count();
        let sockets = plural(not_compared, "socket");
        said.push(match in_place {
            0 => format!("{sockets} cannot be compared."),
            _ if in_place == not_compared => {
                let has = if not_compared == 1 { "has" } else { "have" };
                format!("{sockets} {has} the same address and port as before, but cannot be fully compared.")
            }
            _ => format!(
                "{sockets} cannot be fully compared ({in_place} with the same address and port as before)."
            ),
        });
    }
    for (side, snapshot) in [("earlier", comparison.before), ("later", comparison.after)] {
        if !snapshot.is_complete() {
            said.push(format!("The {side} snapshot is incomplete ({}).", plural(snapshot.gaps.len(), "gap")));
        }
    }
    if !complete {
        said.push("This is not an all-clear.".to_owned());
    }
    said.join(" ")
}

/// Returns the caveats of both snapshots, each with the name of its snapshot. A caveat of both snapshots appears only
/// once, and so does a remedy of several caveats.
pub fn caveats(before: &Report, after: &Report) -> Vec<String> {
    let of = |report: &Report| parts_of_caveats(&report.snapshot, report.entries.iter(), report.question);
    let (before, mut after) = (of(before), of(after));
    let mut lines: Vec<(&str, String, Option<String>)> = Vec::with_capacity(before.len() + after.len());
    for (caveat, remedy) in before {
        // The two snapshots can have different remedies for one caveat. The remedy of the later snapshot is shown,
        // because only the later scan can be repeated.
        let of_after = after.iter().position(|(other, _)| *other == caveat);
        let (side, remedy) = match of_after.map(|at| after.remove(at)) {
            Some((_, remedy_now)) => ("Before and after", remedy_now.or(remedy)),
            None => ("Before", remedy),
        };
        lines.push((side, caveat, remedy));
    }
    lines.extend(after.into_iter().map(|(caveat, remedy)| ("After", caveat, remedy)));
    let last_of = |remedy: &Option<String>| lines.iter().rposition(|(_, _, other)| other == remedy);
    let text = |(at, (side, caveat, remedy)): (usize, &(&str, String, Option<String>))| {
        let remedy = remedy.as_ref().filter(|_| last_of(remedy) == Some(at));
        format!("{side}: {caveat}{}", remedy.map(|remedy| format!(" {remedy}")).unwrap_or_default())
    };
    lines.iter().enumerate().map(text).collect()
}

/// Returns the gaps of both snapshots, each with the name of its snapshot. A gap of both snapshots appears once.
pub fn gaps(comparison: &Comparison<'_>) -> Vec<Gap> {
    let (before, after) = (&comparison.before.gaps, &comparison.after.gaps);
    let of_before = before.iter().map(|gap| match after.contains(gap) {
        true => on("before and after", gap),
        false => on("before", gap),
    });
    let of_after = after.iter().filter(|gap| !before.contains(gap)).map(|gap| on("after", gap));
    of_before.chain(of_after).collect()
}

/// Returns a gap with the name of its snapshot: before, after, or both.
pub fn on(side: &str, gap: &Gap) -> Gap {
    Gap { what: format!("{} ({side})", gap.what), ..gap.clone() }
}

const fn why(why: NotComparedReason) -> &'static str {
    match why {
        NotComparedReason::Process => "the process was not visible in one or both snapshots",
        NotComparedReason::Processes => "some processes were not visible in one or both snapshots",
        NotComparedReason::Program => "the program file was not visible in one or both snapshots",
        NotComparedReason::User => "the user was not visible in one or both snapshots",
        NotComparedReason::Namespace => "the network namespace was not scanned in one or both snapshots",
        NotComparedReason::Rules => {
            "the firewall or NAT rules were not read or not understood in one or both snapshots"
        }
    }
}

/// Returns whether a listener that could not be compared has the same address and port in both snapshots.
fn is_in_place(one: &NotCompared<'_>) -> bool {
    matches!((one.before, one.after), (Some(was), Some(is)) if was.socket.local == is.socket.local)
}

/// Returns the number of listeners that could not be compared, for each reason.
pub(super) fn reasons(comparison: &Comparison<'_>) -> Vec<String> {
    let mut reasons: BTreeMap<_, usize> = BTreeMap::new();
    for not_compared in &comparison.not_compared {
        *reasons.entry((not_compared.why, !is_in_place(not_compared))).or_default() += 1;
    }
    let line = |((reason, has_moved), count)| {
        let why = why(reason).trim_end_matches(" in one or both snapshots");
        let place = if has_moved { "" } else { " with the same address and port as before" };
        format!("{}{place} ({why})", plural(count, "socket"))
    };
    reasons.into_iter().map(line).collect()
}

pub fn not_comparable(comparison: &Comparison<'_>, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let reasons = reasons(comparison);
    if reasons.is_empty() {
        return Ok(());
    }
    for line in wrap("portolan: ", &format!("not comparable: {}", reasons.join("; ")), style.width) {
        writeln!(w, "{}", style.paint(Emphasis::Warning, &line))?;
    }
    Ok(())
}
