//! The frame that `watch` shows on a terminal: a status line, a line of what just changed, the table, what is not seen.
//!
//! It is lines of text for a given size, none wider and no more of them than fit; the terminal itself is driven
//! elsewhere. Marks are signs before colours, so that they can be read without any. Where not all rows fit, those that
//! changed are shown before the others, and how many are left out is said.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

use crate::baseline::Kind;
use crate::judge::{Entry, Report};

use super::summary::plural;
use super::wrap::clip;
use super::{Style, Tone, table, talk};

/// What happened to a row lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What.
    pub kind: Kind,
    /// Whether it is about to fade.
    pub fading: bool,
}

/// What there is to show.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What listens now.
    pub report: &'a Report,
    /// The rows and their marks, those that vanished among them, in the order of listings.
    pub rows: Vec<(Entry, Option<Mark>)>,
}

/// What the status line counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The listeners that are watched.
    pub listeners: usize,
    /// What is out of sight.
    pub gaps: usize,
}

impl Tally {
    /// Counts a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        Tally { listeners: report.entries.len(), gaps: report.snapshot.gaps.len() }
    }
}

/// The place a frame is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// The columns that a mark takes before its row.
const MARK: u16 = 2;
/// The status, the line of changes, the table's header and its rule.
const HEAD: usize = 4;
/// The lines of gaps that are told at the foot, where there is room.
const GAPS: usize = 4;

const fn sign(kind: Kind) -> (&'static str, Tone) {
    match kind {
        Kind::Appeared => ("+", Tone::Good),
        Kind::Vanished => ("-", Tone::Warning),
        Kind::Changed => ("~", Tone::Notice),
        Kind::Replaced => ("=", Tone::Notice),
        Kind::Widened => ("^", Tone::Critical),
        Kind::Narrowed => ("v", Tone::Notice),
    }
}

/// The frame, line by line.
///
/// # Errors
/// Never in practice: it is made in memory.
pub fn frame(
    scene: &Scene<'_>,
    now: Timestamp,
    interval: Duration,
    size: Size,
    color: bool,
) -> io::Result<Vec<String>> {
    let style = Style { width: Some(size.width.saturating_sub(MARK)), color };
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let mut lines = vec![status(Tally::of(scene.report), now, interval, size.width), changes(scene, &style)];
    let gaps = if height >= 12 { gaps(scene.report, &style)? } else { Vec::new() };
    let room = height.saturating_sub(HEAD + gaps.len());
    let chosen = chosen(scene, room);
    let shown = Report {
        snapshot: scene.report.snapshot.clone(),
        seen: scene.report.seen,
        entries: chosen.iter().map(|(judged, _)| judged.clone()).collect(),
        registry: scene.report.registry,
    };
    let mut bytes = Vec::new();
    table::listing(&shown, true, &style, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if chosen.is_empty() && scene.rows.is_empty() {
        lines.extend(text.lines().map(str::to_owned));
    } else if !chosen.is_empty() {
        // A header, a rule, and a line a row; the summary below is the business of a listing.
        let marks = [None, None].into_iter().chain(chosen.iter().map(|(_, mark)| *mark));
        for (at, (line, mark)) in text.lines().zip(marks).enumerate() {
            lines.push(match mark {
                None if at == 1 => {
                    format!("{}{line}", line.chars().take(1).collect::<String>().repeat(MARK.into()))
                }
                None => format!("  {line}"),
                Some(mark) => {
                    let (sign, tone) = sign(mark.kind);
                    format!("{} {line}", style.paint(if mark.fading { Tone::Quiet } else { tone }, sign))
                }
            });
        }
    }
    let left_out = scene.rows.len() - chosen.len();
    if left_out > 0 {
        lines.push(style.paint(
            Tone::Warning,
            &format!("{} not shown: the terminal is too low", plural(left_out, "row")),
        ));
    }
    lines.extend(gaps);
    lines.truncate(height);
    Ok(lines.iter().map(|line| crop(line, width)).collect())
}

/// As many rows as there is room for, in their order: those with a mark before the others.
fn chosen<'s>(scene: &'s Scene<'_>, room: usize) -> Vec<&'s (Entry, Option<Mark>)> {
    if scene.rows.len() <= room {
        return scene.rows.iter().collect();
    }
    let room = room.saturating_sub(1); // to say so
    let marked = scene.rows.iter().filter(|(_, mark)| mark.is_some()).count();
    let (mut marks, mut others) = (room.min(marked), room.saturating_sub(marked));
    let mut fits = |(_, mark): &&(Entry, Option<Mark>)| {
        let left = if mark.is_some() { &mut marks } else { &mut others };
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        fits
    };
    scene.rows.iter().filter(|row| fits(row)).collect()
}

/// The first line: the time, how many listeners, whether that is all, how often it is looked, how to leave. Where it is
/// too long, the parts that can be missed give way; that the view is incomplete is said to the last.
#[must_use]
pub fn status(tally: Tally, now: Timestamp, interval: Duration, width: u16) -> String {
    let Tally { listeners, gaps } = tally;
    let mut parts = [
        Some(now.strftime("%H:%M:%S UTC").to_string()),
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

/// The second line: the signs in use, with what they mean and how often.
fn changes(scene: &Scene<'_>, style: &Style) -> String {
    let told = Kind::ALL.into_iter().filter_map(|kind| {
        let count = scene.rows.iter().filter(|(_, mark)| mark.is_some_and(|mark| mark.kind == kind)).count();
        let (sign, tone) = sign(kind);
        (count > 0).then(|| format!("{} {count} {}", style.paint(tone, sign), kind.name()))
    });
    told.collect::<Vec<_>>().join("  ")
}

/// The last lines: what is not seen, as far as there is room.
fn gaps(report: &Report, style: &Style) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    let observation = &report.snapshot;
    talk::unseen(&observation.gaps, style, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().take(GAPS).map(str::to_owned).collect())
}

/// `line` cut to `width` columns; escape sequences of our own colours take none and are all kept.
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
