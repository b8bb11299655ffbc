//! The table: one row per entry, in the given order. This module decides which columns fit, and only this module uses
//! `comfy_table`.
//!
//! **On a terminal** that is too narrow, columns shrink step by step (`LONG_STEPS` first) until the table fits. Then
//! columns that shrank more than necessary get the free space back. The summary comes after the table.
//!
//! At 80 columns, EXPOSURE and USER are still visible. A table of connections still shows PEER and STATE, because
//! without STATE a closed connection looks like an established one. PORT and FLAGS are never hidden.
//!
//! **In all other outputs** the table is plain aligned text with every column. No text is cut, and there is no summary.

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
use super::legend::legend;
use super::service_cells::{WIDEST_SERVICE, shortened};
use super::table_steps::{
    LONG_STEPS, NARROW_STEPS, SCREEN_STEPS, SHORT_STEPS, STATE_STEPS, Step, WITHOUT_UNIT_STEPS,
};
use super::wrap::clip;
use super::{Emphasis, Style, write_summary};

/// The gap between two columns.
const GAP: u16 = 2;
/// The gap between two columns in a table that would be too wide with `GAP`.
const NARROW_GAP: u16 = 1;

/// The number of rows that are passed to `comfy_table` at once. `comfy_table` stores every cell several times, so a
/// long listing in one piece would need much memory.
const LOT: usize = 256;

/// Writes a listing; on a terminal the summary follows. Returns the explanations of words in the listing.
pub fn listing(report: &Report, header: bool, style: &Style, w: &mut dyn Write) -> io::Result<String> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let layout = TableLayout::of(&report.entries.iter(), &report.snapshot, style);
    rows(report.entries.iter(), &report.snapshot, header, &layout, style, &mut w)?;
    let columns = layout.columns.iter().zip(&layout.widths).filter(|(_, width)| **width > 0);
    let columns = columns.map(|(column, _)| (*column, layout.form));
    let legend = legend(&report.entries.iter(), &report.snapshot, &columns);
    if style.width.is_some() {
        write_summary(report, &legend, style, &mut w)?;
    }
    w.flush()?;
    Ok(legend)
}

/// Returns the header, the horizontal line below it, and one line per entry. Without entries, returns an empty list.
/// `layout` may have been made for more entries than these.
pub(super) fn lines<'e>(
    entries: impl Iterator<Item = &'e Entry> + Clone,
    snapshot: &Snapshot,
    layout: &TableLayout,
    style: &Style,
) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    rows(entries, snapshot, true, layout, style, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

fn rows<'e>(
    entries: impl Iterator<Item = &'e Entry> + Clone,
    snapshot: &Snapshot,
    header: bool,
    layout: &TableLayout,
    style: &Style,
    mut w: &mut impl Write,
) -> io::Result<()> {
    let TableLayout { columns, form, widths, gap } = layout;
    let names = columns.iter().map(|column| Field::new(column.heading_of(*form), Emphasis::Heading));
    let row = |entry| {
        let cells = columns.iter().zip(widths);
        cells.map(move |(column, width)| fitting(shown(column, entry, snapshot, *form), column, *width))
    };
    let header = header && entries.clone().next().is_some();
    draw(header.then_some(names), entries.map(row), (widths, *gap), style, &mut w)
}

/// Writes the columns that the user chose. Returns the explanations of words in these columns.
pub fn grid(
    report: &Report,
    columns: &[&'static Column],
    header: bool,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<String> {
    let form = |column: &Column| column.form_by_name(style.width.is_some());
    in_full(report, columns, form, u16::MAX, (header, style), w)
}

/// Writes the table of a wide terminal, with the start time and the command line. Returns the explanations of words in
/// the table.
pub fn wide(report: &Report, header: bool, style: &Style, w: &mut dyn Write) -> io::Result<String> {
    let columns = columns::of_wide(&report.entries.iter());
    let widest = style.width.map_or(u16::MAX, |_| WIDEST_SERVICE);
    in_full(report, &columns, |_| CellFormat::Complete, widest, (header, style), w)
}

/// Writes columns in full, even if they are wider than the terminal; only SERVICE has a limit.
fn in_full(
    report: &Report,
    columns: &[&'static Column],
    form: impl Fn(&Column) -> CellFormat + Copy,
    widest_service: u16,
    (header, style): (bool, &Style),
    w: &mut dyn Write,
) -> io::Result<String> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let mut widths = natural(report.entries.iter(), &report.snapshot, columns, form);
    for (column, width) in columns.iter().zip(&mut widths).filter(|(column, _)| column.name == "service") {
        *width = (*width).min(widest_service.max(self::width(column.heading)));
    }
    let names = columns.iter().map(|column| Field::new(column.heading, Emphasis::Heading));
    let row = |entry| {
        let cell = move |(column, width): (&&Column, &u16)| Field {
            tone: Emphasis::Plain,
            ..fitting(shown(column, entry, &report.snapshot, form(column)), column, *width)
        };
        columns.iter().zip(&widths).map(cell)
    };
    draw(header.then_some(names), report.entries.iter().map(row), (&widths, GAP), style, &mut w)?;
    w.flush()?;
    let columns = columns.iter().map(|column| (*column, form(column)));
    Ok(legend(&report.entries.iter(), &report.snapshot, &columns))
}

fn shown(column: &Column, entry: &Entry, snapshot: &Snapshot, form: CellFormat) -> Field {
    let field = column.shown(entry, snapshot, form);
    if field.text.is_empty() { Field::new("-", Emphasis::Quiet) } else { field }
}

/// Writes rows of cells in columns of these widths; the width 0 hides a column.
fn draw<R: Iterator<Item = Field>>(
    mut header: Option<impl Iterator<Item = Field>>,
    rows: impl Iterator<Item = R>,
    (widths, gap): (&[u16], u16),
    style: &Style,
    w: &mut impl Write,
) -> io::Result<()> {
    if style.width.is_none() && !style.color {
        // No text is cut or coloured here, so the texts are written directly, with spaces between them. This is faster
        // than `comfy_table`.
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
        for line in grid_of(header, lot, (widths, gap), style).lines() {
            writeln!(w, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

/// Returns a cell that fits its column. A product is cut between two words. If there are several flags, the first one
/// is cut, so that the number of further flags (`+2`) stays visible. Other cells are cut later, at the end of the
/// column.
fn fitting(field: Field, column: &Column, space: u16) -> Field {
    if space == 0 || width(&field.text) <= space {
        return field;
    }
    let text = match (column.name, field.text.rsplit_once(" +")) {
        ("service", _) => shortened(&field.text, space.into()).into_owned(),
        ("flags", Some((first, more))) => {
            let space = usize::from(space).saturating_sub(more.len() + 2);
            format!("{} +{more}", clip(first, space))
        }
        _ => return field,
    };
    Field { text: text.into(), ..field }
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
        text.push_str(&" ".repeat(rest.into()));
    }
    writeln!(w, "{}", text.trim_end())
}

/// Writes rows of a few columns in full if the terminal is wide enough. Returns whether the rows were written.
pub(super) fn written_if_it_fits<const N: usize>(
    names: [&'static str; N],
    rows: &[[(String, Emphasis); N]],
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<bool> {
    let mut widths: Vec<u16> = names.iter().map(|name| width(name)).collect();
    for row in rows {
        for (widest, (text, _)) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(text));
        }
    }
    if style.width.is_some_and(|space| taken(&widths, GAP) > usize::from(space)) {
        return Ok(false);
    }
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let header = names.map(|name| Field::new(name, Emphasis::Heading)).into_iter();
    let rows = rows.iter().map(|row| row.iter().map(|(text, tone)| Field::new(text.clone(), *tone)));
    draw(Some(header), rows, (&widths, GAP), style, &mut w)?;
    w.flush()?;
    Ok(true)
}

/// The columns and their widths, which all rows share.
#[derive(Clone, Debug)]
pub struct TableLayout {
    columns: Vec<&'static Column>,
    form: CellFormat,
    /// The width of each column; 0 hides the column.
    widths: Vec<u16>,
    gap: u16,
}

impl TableLayout {
    /// Returns the layout in which these entries fit the width of the terminal.
    pub fn of<'e>(
        entries: &(impl Iterator<Item = &'e Entry> + Clone),
        snapshot: &Snapshot,
        style: &Style,
    ) -> Self {
        Self::with_steps(entries, snapshot, style, &NARROW_STEPS)
    }

    /// Returns the layout in which these entries fit the screen of `watch`, which has steps of its own
    /// (`SCREEN_STEPS`).
    pub fn of_screen<'e>(
        entries: &(impl Iterator<Item = &'e Entry> + Clone),
        snapshot: &Snapshot,
        style: &Style,
    ) -> Self {
        Self::with_steps(entries, snapshot, style, &[&SCREEN_STEPS[..], &NARROW_STEPS].concat())
    }

    /// Returns the layout in which these entries fit the width. For a table without the column STATE, `narrow` has the
    /// last steps.
    fn with_steps<'e>(
        entries: &(impl Iterator<Item = &'e Entry> + Clone),
        snapshot: &Snapshot,
        style: &Style,
        narrow: &[Step],
    ) -> Self {
        let columns = columns::of_table(entries);
        let natural = |columns: &[&Column], form| natural(entries.clone(), snapshot, columns, |_| form);
        let Some(space) = style.width.map(usize::from) else {
            let form = CellFormat::Complete;
            return TableLayout { widths: natural(&columns, form), columns, form, gap: GAP };
        };
        let mut widths = natural(&columns, CellFormat::Long);
        fit(&columns, &mut widths, (space, GAP), &LONG_STEPS);
        if taken(&widths, GAP) <= space {
            return TableLayout { widths, columns, form: CellFormat::Long, gap: GAP };
        }
        let form = CellFormat::Short;
        let mut widths = natural(&columns, form);
        fit(&columns, &mut widths, (space, GAP), &SHORT_STEPS);
        if taken(&widths, GAP) <= space {
            return TableLayout { widths, columns, form, gap: GAP };
        }
        let form = CellFormat::WithoutUnit;
        let columns: Vec<&Column> = columns.into_iter().filter(|column| column.name != "unit").collect();
        let natural = natural(&columns, form);
        let mut widths = natural.clone();
        fit(&columns, &mut widths, (space, GAP), &WITHOUT_UNIT_STEPS);
        if taken(&widths, GAP) <= space {
            return TableLayout { widths, columns, form, gap: GAP };
        }
        let mut widths = natural;
        let has_state = columns.iter().any(|column| column.name == "state");
        let steps = if has_state { &STATE_STEPS[..] } else { narrow };
        fit(&columns, &mut widths, (space, NARROW_GAP), steps);
        TableLayout { widths, columns, form, gap: NARROW_GAP }
    }

    /// Returns the names of the visible columns, from left to right.
    pub fn visible(&self) -> impl Iterator<Item = &'static str> {
        let shown = self.columns.iter().zip(&self.widths).filter(|(_, width)| **width > 0);
        shown.map(|(column, _)| column.name)
    }
}

fn grid_of(
    header: Option<Row>,
    rows: impl Iterator<Item = Row>,
    (widths, gap): (&[u16], u16),
    style: &Style,
) -> Table {
    let mut table = Table::new();
    // The style already says whether there is a terminal.
    table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    if style.color {
        table.enforce_styling().style_text_only();
        crossterm::style::force_color_output(true);
    }
    let rule = style.width.map_or(LineStyle::none(), |_| LineStyle::none().fill('─'));
    table.load_style(TableStyle::new().header_separator(rule));
    // `comfy_table` wraps cells at this delimiter. No text contains a NUL, so a cell is cut at any character instead.
    table.set_delimiter('\0');
    if let Some(header) = header {
        table.set_header(header);
    }
    table.add_rows(rows);
    let last = widths.iter().rposition(|width| *width > 0);
    for (at, (column, width)) in table.column_iter_mut().zip(widths).enumerate() {
        let gap = if Some(at) == last { 0 } else { gap };
        column.set_padding((0, gap)).set_constraint(match width {
            0 => ColumnConstraint::Hidden,
            width => ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(gap))),
        });
    }
    table
}

fn width(text: &str) -> u16 {
    // For ASCII text, the number of bytes is the width. Control characters have been escaped.
    u16::try_from(if text.is_ascii() { text.len() } else { text.width() }).unwrap_or(u16::MAX)
}

/// Returns the width of the longest text of each column, including its heading.
fn natural<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    snapshot: &Snapshot,
    columns: &[&Column],
    form: impl Fn(&Column) -> CellFormat,
) -> Vec<u16> {
    let mut widths: Vec<u16> = columns.iter().map(|column| width(column.heading_of(form(column)))).collect();
    for entry in entries {
        for (widest, column) in widths.iter_mut().zip(columns) {
            *widest = (*widest).max(width(&shown(column, entry, snapshot, form(column)).text));
        }
    }
    widths
}

/// Returns a row that takes one line on a terminal, even if its cells are long.
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

/// Applies the steps to `widths` until the columns fit `space`, and then distributes the remaining space.
fn fit(columns: &[&Column], widths: &mut [u16], (space, gap): (usize, u16), steps: &[Step]) {
    let natural = widths.to_vec();
    for &(name, limit) in steps {
        if taken(widths, gap) <= space {
            break;
        }
        if let Some(at) = columns.iter().position(|column| column.name == name) {
            widths[at] = widths[at].min(limit);
        }
    }
    loop {
        let before = taken(widths, gap);
        for at in 0..widths.len() {
            if widths[at] > 0 && widths[at] < natural[at] && taken(widths, gap) < space {
                widths[at] += 1;
            }
        }
        if taken(widths, gap) == before {
            break;
        }
    }
}

fn taken(widths: &[u16], gap: u16) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown.map(|width| usize::from(*width) + usize::from(gap)).sum::<usize>().saturating_sub(gap.into())
}
