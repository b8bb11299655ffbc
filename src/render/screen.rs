//! The frame that `watch` shows on a terminal: a status line, a line of recent changes, the table, and the gaps.
//!
//! A frame is lines of text for a given size, and never larger than the terminal. `command/screen.rs` controls the
//! terminal. Every mark is a sign and a colour, so that it can be read without colour. If not all rows fit, changed
//! rows come first, and the number of omitted rows is shown.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

use crate::baseline::ChangeKind;
use crate::findings::text::plural;
use crate::judge::{Entry, Report};

use super::caveats::caveats;
use super::wrap::clip;
use super::{Emphasis, Style, Zone, stderr, table};

/// A recent change of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The kind of change.
    pub kind: ChangeKind,
    /// Whether the mark will fade soon.
    pub fading: bool,
}

/// A change since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedChange {
    /// The time of the scan that found the change.
    pub time: Timestamp,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The listener, sanitized: `nginx on tcp *:80`.
    pub what: String,
}

/// Returns the changes since the start, one line each; `earlier` is the number of changes before them.
#[must_use]
pub fn log_lines(changes: &[LoggedChange], earlier: usize, style: &Style) -> Vec<String> {
    if changes.is_empty() {
        return vec!["No change was seen.".to_owned()];
    }
    let mut lines = Vec::with_capacity(changes.len() + 1);
    if earlier > 0 {
        lines.push(format!("{} before these:", plural(earlier, "change")));
    }
    lines.extend(changes.iter().map(|change| logged(change, style)));
    lines
}

/// Returns a change with its time: `12:00:00 UTC + appeared: nginx on tcp *:80`.
fn logged(change: &LoggedChange, style: &Style) -> String {
    let LoggedChange { time, kind, what } = change;
    let (sign, tone) = sign(*kind);
    let time = style.zone.time(*time, "%H:%M:%S");
    format!("{time} {} {}: {what}", style.paint(tone, sign), kind.name())
}

/// The content of a frame.
#[derive(Debug)]
pub struct FrameContent<'a> {
    /// The current report.
    pub report: &'a Report,
    /// The rows with their marks, including the listeners that vanished, in the order of listings. The sockets of one
    /// server are one row.
    pub rows: Vec<(Entry, Option<Mark>)>,
    /// Listeners that are no longer shown, but keep the columns as wide as before.
    pub past: &'a [Entry],
    /// The latest changes since the start, the latest one last.
    pub log: &'a [LoggedChange],
    /// Whether every gap is shown in full.
    pub verbose: bool,
}

/// The numbers in the status line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanCounts {
    /// The number of watched listeners.
    pub listeners: usize,
    /// The number of gaps.
    pub gaps: usize,
}

impl FrameContent<'_> {
    /// Counts the rows that listen, and the gaps.
    #[must_use]
    pub fn counts(&self) -> ScanCounts {
        let has_vanished = |mark: &Option<Mark>| mark.is_some_and(|mark| mark.kind == ChangeKind::Vanished);
        ScanCounts {
            listeners: self.rows.iter().filter(|(_, mark)| !has_vanished(mark)).count(),
            gaps: self.report.snapshot.gaps.len(),
        }
    }
}

/// The size of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The columns.
    pub width: u16,
    /// The lines.
    pub height: u16,
}

/// The number of columns of a mark, before its row.
const MARK: u16 = 2;
/// The status line, the line of changes, the table's header and its rule.
const HEAD: usize = 4;
/// The maximum number of lines with gaps at the bottom, if they fit.
const GAPS: usize = 4;

const fn sign(kind: ChangeKind) -> (&'static str, Emphasis) {
    match kind {
        ChangeKind::Appeared => ("+", Emphasis::Good),
        ChangeKind::Vanished => ("-", Emphasis::Warning),
        ChangeKind::Changed => ("~", Emphasis::Notice),
        ChangeKind::Replaced => ("=", Emphasis::Notice),
        ChangeKind::Widened => ("^", Emphasis::Critical),
        ChangeKind::Narrowed => ("v", Emphasis::Notice),
    }
}

/// Returns the frame, line by line.
///
/// # Errors
/// Never returns an error in practice, because the frame is made in memory.
pub fn frame(
    scene: &FrameContent<'_>,
    now: Timestamp,
    interval: Duration,
    size: Size,
    style: &Style,
) -> io::Result<Vec<String>> {
    let style = Style { width: Some(size.width.saturating_sub(MARK)), ..*style };
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let mut lines =
        vec![status(scene.counts(), now, interval, (size.width, style.zone)), changes(scene, &style)];
    // If nothing listens, the table shows its summary, which contains the caveats.
    let gaps = if height >= 12 && !scene.rows.is_empty() { gaps(scene, &style)? } else { Vec::new() };
    let space = height.saturating_sub(HEAD + gaps.len());
    let chosen = chosen(scene, space);
    let shown = Report {
        snapshot: scene.report.snapshot.clone(),
        seen: scene.report.seen,
        entries: chosen.iter().map(|(judged, _)| judged.clone()).collect(),
        registry: scene.report.registry,
        question: scene.report.question,
    };
    let widest = scene.rows.iter().map(|(entry, _)| entry).chain(scene.past).cloned().collect();
    let widest = Report { entries: widest, snapshot: shown.snapshot.clone(), ..shown };
    let mut bytes = Vec::new();
    table::listing_like(&shown, &widest, &style, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if chosen.is_empty() && scene.rows.is_empty() {
        lines.extend(text.lines().map(str::to_owned));
    } else if !chosen.is_empty() {
        // The table has a header, a rule, and one line per row; a frame has no summary.
        let marks = [None, None].into_iter().chain(chosen.iter().map(|(_, mark)| *mark));
        for (at, (line, mark)) in text.lines().zip(marks).enumerate() {
            lines.push(match mark {
                None if at == 1 => {
                    format!("{}{line}", line.chars().take(1).collect::<String>().repeat(MARK.into()))
                }
                None => format!("  {line}"),
                Some(mark) => {
                    let (sign, tone) = sign(mark.kind);
                    let line = match mark.kind {
                        // Nothing listens there any more.
                        ChangeKind::Vanished => style.paint(Emphasis::Quiet, &without_colour(line)),
                        _ => line.to_owned(),
                    };
                    format!("{} {line}", style.paint(if mark.fading { Emphasis::Quiet } else { tone }, sign))
                }
            });
        }
    }
    let left_out = scene.rows.len() - chosen.len();
    if left_out > 0 {
        lines.push(style.paint(
            Emphasis::Warning,
            &format!("{} not shown: the terminal has too few lines", plural(left_out, "row")),
        ));
    }
    lines.extend(gaps);
    lines.truncate(height);
    Ok(lines.iter().map(|line| crop(line, width)).collect())
}

/// Returns as many rows as fit, in their order. Rows with a mark come first.
fn chosen<'s>(scene: &'s FrameContent<'_>, space: usize) -> Vec<&'s (Entry, Option<Mark>)> {
    if scene.rows.len() <= space {
        return scene.rows.iter().collect();
    }
    let space = space.saturating_sub(1); // one line for the number of hidden rows
    let marked = scene.rows.iter().filter(|(_, mark)| mark.is_some()).count();
    let (mut marks, mut others) = (space.min(marked), space.saturating_sub(marked));
    let mut fits = |(_, mark): &&(Entry, Option<Mark>)| {
        let left = if mark.is_some() { &mut marks } else { &mut others };
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        fits
    };
    scene.rows.iter().filter(|row| fits(row)).collect()
}

/// Returns the first line: the time, the number of listeners, whether the view is complete, the interval, and how to
/// quit. If the line is too long, the least important parts are left out; the word "incomplete" is left out last.
#[must_use]
pub fn status(counts: ScanCounts, now: Timestamp, interval: Duration, (width, zone): (u16, Zone)) -> String {
    let ScanCounts { listeners, gaps } = counts;
    let mut parts = [
        Some(zone.time(now, "%H:%M:%S")),
        Some(plural(listeners, "listener")),
        (gaps > 0).then(|| format!("view incomplete ({})", plural(gaps, "gap"))),
        Some(format!("every {} s", interval.as_secs_f64())),
        Some("q quits".to_owned()),
    ];
    let width = usize::from(width);
    let joined = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join("  ");
    for missed in [3, 0, 4, 1] {
        if joined(&parts).width() <= width {
            break;
        }
        if let Some(part) = parts.get_mut(missed) {
            *part = None;
        }
    }
    clip(&joined(&parts), width).into_owned()
}

/// Returns the second line: the latest changes with their times, the latest one first.
fn changes(scene: &FrameContent<'_>, style: &Style) -> String {
    const FEW: usize = 5;
    let latest = scene.log.iter().rev().take(FEW).map(|change| logged(change, style));
    latest.collect::<Vec<_>>().join("; ")
}

/// Returns the last lines: as many gaps as fit.
fn gaps(scene: &FrameContent<'_>, style: &Style) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    let report = scene.report;
    if scene.verbose {
        stderr::unseen(&report.snapshot.gaps, style, &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        return Ok(text.lines().take(GAPS).map(str::to_owned).collect());
    }
    // The rows matter more than the reasons: one line has those that fit, and -v shows them all.
    let caveats = caveats(&report.snapshot, report.entries.iter(), report.question);
    let width = style.width.map_or(usize::MAX, usize::from);
    let mut texts = caveats.iter();
    let Some(first) = texts.next() else { return Ok(Vec::new()) };
    let mut line = clip(first, width).into_owned();
    for text in texts {
        if line.width() + 1 + text.width() <= width {
            line = format!("{line} {text}");
        }
    }
    Ok(vec![style.paint(Emphasis::Warning, &line)])
}

/// Returns `line` without escape sequences for colours.
fn without_colour(line: &str) -> String {
    let mut is_escape = false;
    let mut is_text = |c: char| {
        let was_escape = is_escape || c == '\x1b';
        is_escape = was_escape && c != 'm';
        !was_escape
    };
    line.chars().filter(|c| is_text(*c)).collect()
}

/// Returns `line` cut to `width` columns. Escape sequences for colours take no columns, and are all kept.
fn crop(line: &str, width: usize) -> String {
    let mut kept = String::with_capacity(line.len());
    let (mut used, mut escape) = (0, false);
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            kept.push(c);
            continue;
        }
        used += c.width().unwrap_or(0);
        if used <= width {
            kept.push(c);
        }
    }
    kept
}
