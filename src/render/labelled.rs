//! A paragraph with a label in front, as in a card.

use unicode_width::UnicodeWidthStr;

use super::wrap::{clip, prose};
use super::{Emphasis, Style};

const INDENT: usize = 14;
/// The width of prose without a terminal, in columns. Redirected prose is wrapped too, because people read it.
pub(super) const MEASURE: u16 = 80;

/// Returns the lines of a label and a paragraph of sanitized text. An empty label continues the paragraph above.
pub(super) fn labelled(label: &str, text: &str, style: &Style) -> Vec<String> {
    with_label(label, paragraph(text, style), style)
}

pub(super) fn paragraph(text: &str, style: &Style) -> Vec<String> {
    let lines = prose(&" ".repeat(INDENT), text, MEASURE, style);
    lines.into_iter().map(|line| line.trim().to_owned()).collect()
}

/// Puts a label in front of the first line, and spaces in front of the other lines.
pub(super) fn with_label(label: &str, lines: Vec<String>, style: &Style) -> Vec<String> {
    let label = format!("{:<INDENT$}", format!("  {label}"));
    let mut before = style.paint(Emphasis::Quiet, &label);
    let mut labelled = Vec::with_capacity(lines.len());
    for line in lines {
        labelled.push(format!("{before}{line}").trim_end().to_owned());
        before = " ".repeat(INDENT);
    }
    labelled
}

/// Returns the first `most` lines of a text. If more lines follow, the last line ends with `…`.
pub(super) fn first_lines(mut lines: Vec<String>, most: usize, style: &Style) -> Vec<String> {
    if lines.len() <= most {
        return lines;
    }
    lines.truncate(most);
    if let Some(last) = lines.pop() {
        let wider = format!("{last} …");
        let kept = paragraph(&wider, style).into_iter().next().unwrap_or_default();
        // The text ends after the last complete sentence that fits, because a part of a sentence says little. If no
        // sentence is complete, `…` follows the last word. If there is no space for `…`, it replaces the last word.
        lines.push(match (last.rsplit_once(". "), last.rsplit_once(' ')) {
            (Some((sentences, _)), _) => format!("{sentences}. …"),
            _ if kept == wider => wider,
            (None, Some((before, _))) => format!("{before} …"),
            (None, None) => clip(&last, last.width().saturating_sub(1)).into_owned(),
        });
    }
    lines
}

/// Returns `text` and `end` on one line. If the line would be too long, `text` is cut, because `end` must stay visible.
/// An `end` that is longer than half of the line may be cut too.
pub(super) fn one_line(text: &str, end: &str, style: &Style) -> String {
    let space = style.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(INDENT).max(20));
    if text.width() + end.width() <= space {
        return format!("{text}{end}");
    }
    let end = clip(end, space.saturating_sub(text.width()).max(space / 2));
    format!("{}{end}", clip(text, space.saturating_sub(end.width())))
}
