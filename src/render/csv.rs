//! CSV (RFC 4180): one row a listener and holder, for spreadsheets.
//!
//! A cell that a spreadsheet would take for a formula gets an apostrophe before it, which makes it text there.

use std::io::{self, Write};

use serde_json::Value;

use super::fields::Field;
use super::sanitize;

/// Writes the rows; every listener is one for each of its holders, or one where it has none.
pub fn listing(
    listeners: impl Iterator<Item = Value>,
    columns: &[Field],
    header: bool,
    w: &mut dyn Write,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(w);
    if header {
        csv.write_record(columns.iter().map(|column| column.name))?;
    }
    for listener in listeners {
        for row in by_holder(listener) {
            csv.write_record(columns.iter().map(|column| harmless(column.text(&row))))?;
        }
    }
    csv.flush()
}

/// Writes rows of text that nobody has escaped yet.
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

fn by_holder(listener: Value) -> Vec<Value> {
    match listener.get("processes").and_then(Value::as_array) {
        Some(processes) if processes.len() > 1 => processes
            .iter()
            .map(|process| {
                let mut row = listener.clone();
                row["processes"] = Value::Array(vec![process.clone()]);
                row
            })
            .collect(),
        _ => vec![listener],
    }
}

/// What begins like a formula no longer does. Tabs and line breaks, which count as well, are escaped already.
fn harmless(mut cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@']) {
        cell.insert(0, '\'');
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_a_holder_and_no_formula() {
        let listeners = [
            json!({"port": 1, "user": "=cmd|' /C calc'!A0", "processes": [{"pid": 2}, {"pid": 3}]}),
            json!({"port": 4, "user": "a,\"b\"\n", "processes": []}),
        ];
        let columns: Vec<Field> = ["port", "user", "pid"].map(|name| Field::named(name).unwrap()).into();
        let mut out = Vec::new();
        listing(listeners.into_iter(), &columns, true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "port,user,pid\n1,'=cmd|' /C calc'!A0,2\n1,'=cmd|' /C calc'!A0,3\n4,\"a,\"\"b\"\"\\x0a\",\n"
        );
        for first in ['=', '+', '-', '@'] {
            assert_eq!(harmless(format!("{first}x")), format!("'{first}x"));
        }
    }
}
