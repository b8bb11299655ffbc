//! The screen of `watch`. It has a status line, the names of the views, the rows of one view, the latest change, the
//! gaps and the keys. A text such as a card can replace the rows.
//!
//! A frame is a list of lines that fits the terminal. Every mark has a sign in addition to its colour, so that it can
//! be read without colour.
//!
//! The screen is drawn without a framework such as ratatui, because rows and cards are lines of text already. With a
//! framework, the table would need a second implementation with its own rules for narrow terminals, and the program
//! would be 150 kB larger (measured).

mod bars;
mod card;
mod help;
mod lines;
mod rows;

use std::time::Duration;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use crate::baseline::ChangeKind;
use crate::findings::text::plural;
use crate::judge::Entry;

pub use self::bars::{Keys, Status, caveat_lines, tab_at};
pub use self::card::{card, connection_card, port_lines, vanished_card};
pub use self::help::{help, message_lines};
use self::lines::{crop, without_colour};
pub use self::rows::{FoundRow, changes, findings, listeners, row_text};
use super::wrap::clip;
use super::{Emphasis, Style};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The listeners, with the marks of recent changes.
    #[default]
    Listeners,
    Connections,
    /// The changes since the start, with their times.
    Changes,
    Findings,
}

impl View {
    pub const ALL: [Self; 4] = [View::Listeners, View::Connections, View::Changes, View::Findings];

    const fn name(self) -> &'static str {
        match self {
            View::Listeners => "Listeners",
            View::Connections => "Connections",
            View::Changes => "Changes",
            View::Findings => "Findings",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub kind: ChangeKind,
    /// Whether the mark will disappear soon.
    pub fading: bool,
}

#[derive(Clone, Debug)]
pub struct LoggedChange {
    /// The time of the scan that found the change.
    pub time: Timestamp,
    pub kind: ChangeKind,
    /// The listener, sanitized: `nginx on tcp *:80`.
    pub what: String,
    /// The sockets of the listener after the change. If the listener vanished, the sockets as they were last seen.
    pub sockets: Vec<Entry>,
}

/// Returns the changes since the start, one line each. `earlier` is the number of older changes that are no longer
/// stored.
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
    let LoggedChange { time, kind, what, .. } = change;
    let (sign, tone) = sign(*kind);
    let time = style.zone.time(*time, "%H:%M:%S");
    format!("{time} {} {}: {what}", style.paint(tone, sign), kind.name())
}

const fn sign(kind: ChangeKind) -> (&'static str, Emphasis) {
    match kind {
        ChangeKind::Appeared => ("+", Emphasis::Good),
        ChangeKind::Vanished => ("-", Emphasis::Warning),
        ChangeKind::Changed => ("~", Emphasis::Notice),
        ChangeKind::Replaced => ("=", Emphasis::Notice),
        ChangeKind::Widened => ("^", Emphasis::Critical),
        ChangeKind::Narrowed => ("v", Emphasis::Notice),
        ChangeKind::Weakened => ("!", Emphasis::Warning),
    }
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The columns.
    pub width: u16,
    /// The lines.
    pub height: u16,
}

/// The number of columns before each row: for the mark, and for the sign of the selected row.
pub const MARK: u16 = 2;
/// The number of lines of the header: the names of the columns, and the horizontal line below.
const HEAD: usize = 2;

/// The positions and heights of the parts of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// The position of the line with the names of the views, if there is space for it.
    pub tabs: Option<usize>,
    pub first_row: usize,
    pub rows: usize,
    /// The number of lines for a text that replaces the rows and their header.
    pub text: usize,
    has_latest: bool,
    caveats: usize,
    has_keys: bool,
}

/// The minimum heights of a terminal for the optional parts of the screen.
const WITH_KEYS: usize = 5;
const WITH_TABS: usize = 9;
const WITH_CAVEATS: usize = 10;
const WITH_LATEST: usize = 18;
const CAVEATS: usize = 4;

impl Areas {
    pub fn of(height: u16, caveats: usize, has_changes: bool) -> Self {
        let height = usize::from(height);
        let tabs = (height >= WITH_TABS).then_some(1);
        let caveats = if height >= WITH_CAVEATS { caveats.min(CAVEATS) } else { 0 };
        let has_latest = has_changes && height >= WITH_LATEST;
        let has_keys = height >= WITH_KEYS;
        let above = 1 + usize::from(tabs.is_some());
        let below = caveats + usize::from(has_latest) + usize::from(has_keys);
        let text = height.saturating_sub(above + below);
        Areas {
            tabs,
            first_row: above + HEAD,
            rows: text.saturating_sub(HEAD),
            text,
            has_latest,
            caveats,
            has_keys,
        }
    }
}

#[derive(Debug)]
pub enum Body<'a> {
    Rows {
        /// The header, the horizontal line below it, and the visible rows. If there are no rows, a text.
        lines: Vec<String>,
        /// The text at the end of the horizontal line: the range of the visible rows, and the filter.
        position: String,
    },
    /// The visible lines of a text, such as a card.
    Text(&'a [String]),
}

#[derive(Debug)]
pub struct Frame<'a> {
    pub status: Status,
    pub view: View,
    /// The number of rows of each view, if it is shown next to the view's name.
    pub counts: [Option<usize>; 4],
    pub body: Body<'a>,
    /// The changes, the latest one last.
    pub log: &'a [LoggedChange],
    pub caveats: &'a [String],
    pub keys: Keys<'a>,
}

pub fn frame(
    frame: &Frame<'_>,
    now: Timestamp,
    interval: Duration,
    size: Size,
    style: &Style,
) -> Vec<String> {
    let width = usize::from(size.width);
    let areas = Areas::of(size.height, frame.caveats.len(), !frame.log.is_empty());
    let mut lines = vec![frame.status.line(now, interval, (size.width, style.zone))];
    if areas.tabs.is_some() {
        lines.push(bars::tabs(frame.view, frame.counts, width, style));
    }
    let above = lines.len();
    match &frame.body {
        Body::Rows { lines: rows, position } => {
            lines.extend(rows.iter().take(areas.text).cloned());
            if let Some(rule) = lines.get_mut(above + 1).filter(|rule| rule.starts_with('─')) {
                *rule = bars::rule(position, width, style);
            }
        }
        Body::Text(text) => lines.extend(text.iter().take(areas.text).cloned()),
    }
    lines.resize(above + areas.text, String::new());
    if areas.has_latest {
        lines.push(latest(frame.log, width, style));
    }
    lines.extend(
        frame.caveats.iter().take(areas.caveats).map(|gap| style.paint(Emphasis::Warning, &clip(gap, width))),
    );
    if areas.has_keys {
        lines.push(frame.keys.line(width, style));
    }
    lines.truncate(size.height.into());
    lines.iter().map(|line| crop(line, width)).collect()
}

/// Returns the line with as many of the latest changes as fit, the latest one first.
fn latest(log: &[LoggedChange], width: usize, style: &Style) -> String {
    let mut line = String::new();
    for change in log.iter().rev() {
        let gap = if line.is_empty() { "" } else { "; " };
        let longer = format!("{line}{gap}{}", logged(change, style));
        if !line.is_empty() && without_colour(&longer).width() > width {
            break;
        }
        line = longer;
    }
    line
}
