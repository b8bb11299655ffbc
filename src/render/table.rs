//! The table. Only this module uses `comfy_table`; the content of the columns is in `cells.rs`.
//!
//! The table has one row per entry, in the given order. This module decides only which columns fit.
//!
//! **On a terminal** that is too narrow, columns shrink step by step until the table fits (`STEPS`). First long texts
//! shrink (a `…` marks a cut) and UNIT is hidden. Then cells take their short form (`CellFormat::Short`), texts
//! shrink further and USER is hidden. At 80 columns EXPOSURE is still there. Below that EXPOSURE is hidden (ADDRESS
//! and the order of the rows still show it), then PID. Down to 60 columns PROTO, ADDRESS, PORT, SERVICE, PROCESS and
//! FLAGS stay. Below that SERVICE, ADDRESS, PROCESS and PROTO are hidden, in this order; PORT and FLAGS stay. Columns
//! that shrank more than necessary get the free space back. The summary comes after the table.
//!
//! **In all other outputs** the table is plain aligned text: every column, no cuts, one line per row, no summary.
//! Text without colour is written without `comfy_table`.

use std::io::{self, BufWriter, Write};

use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, LineStyle, Row, Table, TableStyle, Width,
};

use unicode_width::UnicodeWidthStr;

use crate::join::Entry;
use crate::judge::Report;
use crate::model::Snapshot;

use super::cells::{CellFormat, Field};
use super::columns::{self, Column};
use super::{Emphasis, Style, write_summary};

/// The gap between two columns.
const GAP: u16 = 2;

/// The steps in which columns shrink until the table fits: each step cuts a column to this width, and 0 hides the
/// column.
const STEPS: [(&str, u16); 41] = [
    ("unit", 20),
    ("process", 24),
    ("unit", 0),
    ("service", 16),
    ("process", 16),
    ("user", 12),
    // From this step on, cells are in their short form.
    ("address", 28),
    ("flags", 19),
    ("service", 12),
    ("process", 12),
    ("user", 8),
    ("address", 22),
    ("peer", 22),
    ("user", 6),
    ("address", 15),
    ("user", 0),
    ("process", 9),
    ("service", 9),
    ("netns", 8),
    ("netns", 0),
    ("peer", 15),
    ("exposure", 8),
    ("flags", 16),
    ("service", 8),
    ("process", 8),
    ("service", 7),
    ("process", 7),
    ("address", 13),
    ("flags", 14),
    // The columns that are left at this step fit 80 columns for the usual protocols.
    ("state", 0),
    ("connections", 0),
    ("exposure", 0),
    ("pid", 0),
    ("flags", 13),
    ("peer", 0),
    ("address", 11),
    // The columns that are left at this step fit 60 columns: PROTO, ADDRESS, PORT, SERVICE, PROCESS, FLAGS.
    ("service", 0),
    ("address", 9),
    ("address", 0),
    ("process", 0),
    ("protocol", 0),
    // 20 columns hold PORT and FLAGS, which stay on any terminal.
];

/// The number of steps that are tried before cells take their short form.
const LONG_STEPS: usize = 6;

/// The number of rows that are passed to `comfy_table` at once: it stores every cell several times, and a listing may
/// be long.
const LOT: usize = 256;

/// Writes a listing; on a terminal the summary follows.
pub fn listing(report: &Report, header: bool, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let TableLayout { columns, form, widths } = &TableLayout::of(report, style);
    let names = columns.iter().map(|column| Field::new(column.heading, Emphasis::Heading));
    let row = |entry| columns.iter().map(move |column| shown(column, entry, &report.snapshot, *form));
    // A listing without entries has no header either.
    let header = header && !report.entries.is_empty();
    draw(header.then_some(names), report.entries.iter().map(row), widths, style, &mut w)?;
    if style.width.is_some() {
        write_summary(report, style, &mut w)?;
    }
    w.flush()
}

/// Writes the named columns in full, regardless of the width of the terminal.
///
/// # Errors
/// If a row cannot be written.
pub fn grid(
    report: &Report,
    columns: &[&Column],
    header: bool,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let widths = natural(report, columns, Column::form_by_name);
    let names = columns.iter().map(|column| Field::new(column.heading, Emphasis::Heading));
    let row = |entry| {
        let cell = move |column: &Column| Field {
            tone: Emphasis::Plain,
            ..shown(column, entry, &report.snapshot, column.form_by_name())
        };
        columns.iter().copied().map(cell)
    };
    draw(header.then_some(names), report.entries.iter().map(row), &widths, style, &mut w)?;
    w.flush()
}

/// Returns a cell for the table: a dash if the value is unknown.
fn shown(column: &Column, entry: &Entry, snapshot: &Snapshot, form: CellFormat) -> Field {
    let field = column.cell(entry, snapshot, form);
    if field.text.is_empty() { Field::new("-", Emphasis::Quiet) } else { field }
}

/// Writes rows of cells in columns of these widths; 0 hides a column.
fn draw<R: Iterator<Item = Field>>(
    mut header: Option<impl Iterator<Item = Field>>,
    rows: impl Iterator<Item = R>,
    widths: &[u16],
    style: &Style,
    w: &mut impl Write,
) -> io::Result<()> {
    if style.width.is_none() && !style.color {
        // No text is cut or coloured and there are no rules, so spaces are enough, even for thousands of rows.
        let mut text = String::new();
        if let Some(header) = header {
            plain(header, widths, &mut text, w)?;
        }
        return rows.into_iter().try_for_each(|row| plain(row, widths, &mut text, w));
    }
    let mut rows = rows.peekable();
    while header.is_some() || rows.peek().is_some() {
        let header = header.take().map(|header| line(header.map(cell), style));
        let lot = rows.by_ref().take(LOT).map(|row| line(row.map(cell), style));
        for line in grid_of(header, lot, widths, style).lines() {
            writeln!(w, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

fn plain(
    cells: impl Iterator<Item = Field>,
    widths: &[u16],
    text: &mut String,
    w: &mut impl Write,
) -> io::Result<()> {
    text.clear();
    for (field, column) in cells.zip(widths).filter(|(_, column)| **column > 0) {
        text.push_str(&field.text);
        let rest = column.saturating_add(GAP).saturating_sub(width(&field.text));
        text.extend(std::iter::repeat_n(' ', rest.into()));
    }
    writeln!(w, "{}", text.trim_end())
}

/// Writes complete rows of a few columns: on a terminal cells are wrapped to its width, elsewhere a row is one line.
pub(super) fn wrapped<const N: usize>(
    names: [&'static str; N],
    rows: &[[(String, Emphasis); N]],
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let mut widths: Vec<u16> = names.iter().map(|name| width(name)).collect();
    for row in rows {
        for (widest, (text, _)) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(text));
        }
    }
    let header = names.map(|name| Field::new(name, Emphasis::Heading)).into_iter();
    let rows = rows.iter().map(|row| row.iter().map(|(text, tone)| Field::new(text.clone(), *tone)));
    match style.width.filter(|space| taken(&widths) > usize::from(*space)) {
        None => draw(Some(header), rows, &widths, style, &mut w)?,
        Some(space) => {
            let cells = |row: &mut dyn Iterator<Item = Field>| Row::from(row.map(cell).collect::<Vec<_>>());
            let rows = rows.map(|mut row| cells(&mut row));
            let mut table = grid_of(Some(cells(&mut header.into_iter())), rows, &widths, style);
            table.set_delimiter(' ').set_content_arrangement(ContentArrangement::Dynamic).set_width(space);
            table.column_iter_mut().for_each(|column| _ = column.remove_constraint());
            for line in table.lines() {
                writeln!(w, "{}", line.trim_end())?;
            }
        }
    }
    w.flush()
}

/// The settings that all rows share.
struct TableLayout {
    columns: Vec<&'static Column>,
    form: CellFormat,
    /// One width per column; 0 hides it.
    widths: Vec<u16>,
}

impl TableLayout {
    fn of(report: &Report, style: &Style) -> Self {
        let columns = columns::of_table(&report.entries);
        let form = style.width.map_or(CellFormat::Complete, |_| CellFormat::Long);
        let mut layout = TableLayout { widths: natural(report, &columns, |_| form), columns, form };
        if let Some(space) = style.width.map(usize::from) {
            fit(&layout.columns, &mut layout.widths, space, &STEPS[..LONG_STEPS]);
            if taken(&layout.widths) > space {
                layout.form = CellFormat::Short;
                layout.widths = natural(report, &layout.columns, |_| CellFormat::Short);
                fit(&layout.columns, &mut layout.widths, space, &STEPS);
            }
        }
        layout
    }
}

fn grid_of(header: Option<Row>, rows: impl Iterator<Item = Row>, widths: &[u16], style: &Style) -> Table {
    let mut table = Table::new();
    // `comfy_table` must not look for a terminal by itself: the caller has done so, and the style has the result.
    table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    if style.color {
        table.enforce_styling().style_text_only();
        crossterm::style::force_color_output(true);
    }
    let rule = style.width.map_or(LineStyle::none(), |_| LineStyle::none().fill('─'));
    table.load_style(TableStyle::new().header_separator(rule));
    // No text contains a NUL, so cells are cut at any character instead of being wrapped at spaces.
    table.set_delimiter('\0');
    if let Some(header) = header {
        table.set_header(header);
    }
    table.add_rows(rows);
    let last = widths.iter().rposition(|width| *width > 0);
    for (at, (column, width)) in table.column_iter_mut().zip(widths).enumerate() {
        let gap = if Some(at) == last { 0 } else { GAP };
        column.set_padding((0, gap)).set_constraint(match width {
            0 => ColumnConstraint::Hidden,
            width => ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(gap))),
        });
    }
    table
}

fn width(text: &str) -> u16 {
    // Most texts are ASCII; controls have been escaped.
    u16::try_from(if text.is_ascii() { text.len() } else { text.width() }).unwrap_or(u16::MAX)
}

/// Returns the width of the longest text of each column, including the column's name.
fn natural(report: &Report, columns: &[&Column], form: impl Fn(&Column) -> CellFormat) -> Vec<u16> {
    let mut widths: Vec<u16> = columns.iter().map(|column| width(column.heading)).collect();
    for entry in &report.entries {
        for (widest, column) in widths.iter_mut().zip(columns) {
            *widest = (*widest).max(width(&shown(column, entry, &report.snapshot, form(column)).text));
        }
    }
    widths
}

/// Returns a row that takes one line on a terminal, however long its cells are.
fn line(cells: impl Iterator<Item = Cell>, style: &Style) -> Row {
    let mut row: Row = cells.collect::<Vec<_>>().into();
    if style.width.is_some() {
        row.max_height(1);
    }
    row
}

fn cell(field: Field) -> Cell {
    let cell = Cell::new_owned(field.text.into_owned());
    match field.tone {
        Emphasis::Plain => cell,
        Emphasis::Heading => cell.add_attribute(Attribute::Bold),
        Emphasis::Quiet => cell.add_attribute(Attribute::Dim),
        Emphasis::Good => cell.fg(Color::DarkGreen),
        Emphasis::Notice => cell.fg(Color::DarkCyan),
        Emphasis::Warning => cell.fg(Color::DarkYellow),
        Emphasis::Critical => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
    }
}

/// Cuts `widths` down to `space` as far as `steps` go, and distributes the remaining space; 0 hides a column.
fn fit(columns: &[&Column], widths: &mut [u16], space: usize, steps: &[(&str, u16)]) {
    let natural = widths.to_vec();
    for &(name, limit) in steps {
        if taken(widths) <= space {
            break;
        }
        if let Some(at) = columns.iter().position(|column| column.name == name) {
            widths[at] = widths[at].min(limit);
        }
    }
    loop {
        let before = taken(widths);
        for at in 0..widths.len() {
            if widths[at] > 0 && widths[at] < natural[at] && taken(widths) < space {
                widths[at] += 1;
            }
        }
        if taken(widths) == before {
            break;
        }
    }
}

/// Returns the width of a table with these columns.
fn taken(widths: &[u16]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown.map(|width| usize::from(*width) + usize::from(GAP)).sum::<usize>().saturating_sub(GAP.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_names_a_column() {
        for (name, _) in STEPS {
            assert!(columns::named(name).is_some(), "{name}");
        }
    }
}
