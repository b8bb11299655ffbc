//! The rows of each view, with the selected row and the marks.

use std::io;

use super::lines::{reversed, without_colour};
use super::{LoggedChange, MARK, Mark, logged, sign};
use crate::baseline::ChangeKind;
use crate::judge::{Entry, Finding, Listener};
use crate::model::{Severity, Snapshot};
use crate::render::cells::CellFormat;
use crate::render::columns;
use crate::render::kill::named;
use crate::render::table::{self, TableLayout};
use crate::render::{Emphasis, Style, sanitize};

/// Returns the header, the horizontal line below it, and the visible rows. If there are no rows, returns an empty list.
pub fn listeners(
    rows: &[(&Entry, Option<Mark>)],
    selected: Option<usize>,
    (snapshot, layout): (&Snapshot, &TableLayout),
    style: &Style,
) -> io::Result<Vec<String>> {
    let inner = Style { width: style.width.map(|width| width.saturating_sub(MARK)), ..*style };
    let lines = table::lines(rows.iter().map(|(entry, _)| *entry), snapshot, layout, &inner)?;
    let marks = [None, None].into_iter().chain(rows.iter().map(|(_, mark)| Some(*mark)));
    let marked = lines.iter().zip(marks).enumerate().map(|(at, (line, mark))| match mark {
        None if at == 1 => format!("──{line}"),
        None => format!("  {line}"),
        Some(mark) => row(line, mark, selected.is_some_and(|selected| selected + 2 == at), style),
    });
    Ok(marked.collect())
}

/// Returns a row with its mark. The selected row has a sign, and reverse colours.
fn row(line: &str, mark: Option<Mark>, is_selected: bool, style: &Style) -> String {
    let selected = if is_selected { ">" } else { " " };
    let Some(mark) = mark else {
        let line = format!(" {selected}{line}");
        return if is_selected { in_reverse(&line, style) } else { line };
    };
    let (sign, tone) = sign(mark.kind);
    let line = match mark.kind {
        // The row of a vanished listener is grey, because nothing listens there now.
        ChangeKind::Vanished => style.paint(Emphasis::Quiet, &without_colour(line)),
        _ => line.to_owned(),
    };
    let sign = style.paint(if mark.fading { Emphasis::Quiet } else { tone }, sign);
    let line = format!("{sign}{selected}{line}");
    if is_selected { in_reverse(&line, style) } else { line }
}

fn in_reverse(line: &str, style: &Style) -> String {
    reversed(line, style.width.unwrap_or(0).into(), style)
}

/// Returns the header, the horizontal line below it, and the visible changes, the latest one first.
pub fn changes(rows: &[&LoggedChange], selected: Option<usize>, style: &Style) -> Vec<String> {
    let lines = rows.iter().map(|change| logged(change, style));
    with_head("TIME AND CHANGE", lines, selected, style)
}

/// Returns the header, the horizontal line below it, and `lines`, in which the selected line has a sign.
fn with_head(
    head: &str,
    lines: impl Iterator<Item = String>,
    selected: Option<usize>,
    style: &Style,
) -> Vec<String> {
    let width = style.width.unwrap_or(0).into();
    let mut all = vec![format!("  {}", style.paint(Emphasis::Heading, head)), "─".repeat(width)];
    all.extend(lines.enumerate().map(|(at, line)| row(&line, None, selected == Some(at), style)));
    all
}

#[derive(Clone, Debug)]
pub struct FoundRow<'r> {
    pub listener: Listener<'r>,
    pub finding: &'r Finding,
}

/// Returns the header, the horizontal line below it, and the visible findings.
pub fn findings(rows: &[FoundRow<'_>], selected: Option<usize>, style: &Style) -> Vec<String> {
    let severities = [Severity::Info, Severity::Notice, Severity::Warning, Severity::Critical];
    let severity = severities.iter().map(|severity| severity.name().len()).max().unwrap_or(0);
    let code = rows.iter().map(|row| row.finding.flag().code().len()).max().unwrap_or(0).max("FLAG".len());
    let lines = rows.iter().map(|FoundRow { listener, finding }| {
        let name = format!("{:<severity$}", finding.severity.name());
        let tone = finding.severity.into();
        let text = sanitize(&finding.sentence()).into_owned();
        format!("{} {:<code$} {}: {text}", style.paint(tone, &name), finding.flag().code(), named(listener))
    });
    let head = format!("{:<severity$} {:<code$} LISTENER AND EVIDENCE", "SEVERITY", "FLAG");
    with_head(&head, lines, selected, style)
}

/// Returns a row as one line of plain text, in which no value is cut.
pub fn row_text(entry: &Entry, snapshot: &Snapshot) -> String {
    let cells = columns::of_wide(&std::iter::once(entry)).into_iter().chain(columns::named("exe"));
    let cells = cells.map(|column| column.cell(entry, snapshot, CellFormat::Complete).text);
    cells.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("  ")
}
