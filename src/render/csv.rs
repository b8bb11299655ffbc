//! CSV (RFC 4180) for spreadsheets: one row per entry and process. An apostrophe is put before a cell that a
//! spreadsheet would read as a formula.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use crate::join::Entry;
use crate::judge::Report;
use crate::model::Owner;

use super::cells::CellFormat;
use super::columns::Column;
use super::sanitize;

pub fn listing(report: &Report, columns: &[&Column], header: bool, w: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(w);
    if header {
        csv.write_record(columns.iter().map(|column| column.name))?;
    }
    for entry in &report.entries {
        for row in rows_of(entry) {
            let cell = |column: &&Column| {
                harmless(column.cell(&row, &report.snapshot, CellFormat::Data).text.into_owned())
            };
            csv.write_record(columns.iter().map(cell))?;
        }
    }
    csv.flush()
}

pub(super) fn rows_of(entry: &Entry) -> Vec<Cow<'_, Entry>> {
    let pids = entry.socket.owner.pids();
    if pids.len() < 2 {
        return vec![Cow::Borrowed(entry)];
    }
    let rows = pids.iter().map(|pid| {
        let mut row = entry.clone();
        row.socket.owner = Owner::Held(Arc::new(vec![*pid]));
        let processes = entry.processes.iter().filter(|process| process.pid == *pid);
        row.processes = Arc::new(processes.cloned().collect());
        Cow::Owned(row)
    });
    rows.collect()
}

/// Writes rows of unsanitized text, and sanitizes each cell.
pub(super) fn rows<const N: usize>(
    names: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    w: &mut dyn Write,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(w);
    csv.write_record(names)?;
    for row in rows {
        csv.write_record(row.map(|cell| harmless(sanitize(&cell).into_owned())))?;
    }
    csv.flush()
}

/// Puts an apostrophe before a text that begins like a formula. Tabs and line breaks at the beginning are already
/// escaped.
pub(super) fn harmless(mut cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@']) {
        cell.insert(0, '\'');
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::columns::named;
    use crate::render::fixtures::{report, scene, text};

    #[test]
    fn one_row_per_process_and_no_formula() {
        let mut scene = scene();
        scene.sockets.retain(|socket| [8003, 4913].contains(&socket.local.port));
        let attributes = Arc::make_mut(&mut scene.sockets[0].attributes);
        attributes.user = Some("=cmd|' /C calc'!A0,\"b\"\n".to_owned());
        let columns = ["port", "user", "pid", "process"].map(|name| named(name).unwrap());
        let csv = text(|w| listing(&report(&scene), &columns, true, w));
        assert_eq!(
            csv,
            "port,user,pid,process\n\
             4913,\"'=cmd|' /C calc'!A0,\"\"b\"\"\\x0a\",,\n\
             8003,\\x1b[2J\\x0aevil\\u{202e},1000,\\x1b[2J\\x0aevil\\u{202e}\n\
             8003,\\x1b[2J\\x0aevil\\u{202e},1001,(kernel)\n"
        );
        for first in ['=', '+', '-', '@'] {
            assert_eq!(harmless(format!("{first}x")), format!("'{first}x"));
        }
    }
}
