//! An index of the ports in one column of a table, built at compile time. `explain` uses it to find the rows of a port
//! without reading the table.

use super::name_index::{column_at, end, first_line};
use super::table::line_at;
use crate::model::{PortRange, Protocol};

pub(super) struct PortIndex<const N: usize> {
    text: &'static str,
    ports: [IndexedPorts; N],
}

/// One `PROTOCOL/PORT` or `PROTOCOL/LOW-HIGH` of the column.
#[derive(Clone, Copy)]
struct IndexedPorts {
    low: u16,
    high: u16,
    line: u32,
    protocol: u32,
    /// Whether these are the first ports of the line.
    is_first: bool,
}

#[derive(Clone, Copy)]
pub(super) struct PortRow {
    pub line: &'static str,
    /// The range of the row that contains the port.
    pub ports: PortRange,
    /// Whether the row lists this range first.
    pub is_first: bool,
}

impl PortRow {
    /// Returns whether the port is in a wide range and not its first port. The row rarely explains such a port.
    pub(super) const fn is_in_wide_range(&self, port: u16) -> bool {
        const FEW: u16 = 32;
        self.ports.low != port && self.ports.high - self.ports.low >= FEW
    }
}

impl<const N: usize> PortIndex<N> {
    /// Makes the index of a column. `column` counts from zero, and `N` is the result of [`count`].
    pub(super) const fn new(text: &'static str, column: usize) -> Self {
        let none = IndexedPorts { low: 0, high: 0, line: 0, protocol: 0, is_first: false };
        let mut ports = [none; N];
        let mut cursor = Cursor::new(text.as_bytes(), column);
        let mut number = 0;
        while let Some(found) = cursor.next(text.as_bytes(), column) {
            ports[number] = found;
            number += 1;
        }
        PortIndex { text, ports }
    }

    pub(super) fn rows(&self, port: u16, protocol: Protocol) -> impl Iterator<Item = PortRow> + use<'_, N> {
        let protocol = protocol.registered_as().name();
        let listed = self.ports.iter().filter(move |ports| (ports.low..=ports.high).contains(&port));
        let of_protocol = listed.filter(move |ports| {
            let from = usize::try_from(ports.protocol).ok().and_then(|at| self.text.get(at..));
            from.and_then(|text| text.strip_prefix(protocol)).is_some_and(|rest| rest.starts_with('/'))
        });
        of_protocol.filter_map(|ports| {
            Some(PortRow {
                line: line_at(self.text, ports.line),
                ports: PortRange::new(ports.low, ports.high)?,
                is_first: ports.is_first,
            })
        })
    }
}

/// Returns the number of ports in a column; a range counts as one.
pub(super) const fn count(text: &str, column: usize) -> usize {
    let mut cursor = Cursor::new(text.as_bytes(), column);
    let mut count = 0;
    while cursor.next(text.as_bytes(), column).is_some() {
        count += 1;
    }
    count
}

struct Cursor {
    line: usize,
    at: usize,
    is_first: bool,
}

impl Cursor {
    /// Returns the start of the column in the first line that is not a comment.
    const fn new(text: &[u8], column: usize) -> Self {
        Cursor::in_line(text, first_line(text), column)
    }

    const fn in_line(text: &[u8], line: usize, column: usize) -> Self {
        Cursor { line, at: column_at(text, line, column), is_first: true }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "`try_from` cannot be called in a constant function, so the size is checked first"
    )]
    const fn next(&mut self, text: &[u8], column: usize) -> Option<IndexedPorts> {
        assert!(text.len() < u32::MAX as usize, "the table is too large");
        while self.line < text.len() {
            if self.at >= text.len() || text[self.at] == b'\t' || text[self.at] == b'\n' {
                *self = Cursor::in_line(text, end(text, self.line, b"\n") + 1, column);
                continue;
            }
            let (protocol, is_first) = (self.at, self.is_first);
            let (mut low, mut port) = (None, 0);
            let mut at = end(text, protocol, b"/") + 1;
            while at < text.len() && text[at] != b',' && text[at] != b'\t' && text[at] != b'\n' {
                if text[at].is_ascii_digit() {
                    port = port * 10 + (text[at] - b'0') as u16;
                } else {
                    assert!(text[at] == b'-', "a character that is not part of a port");
                    (low, port) = (Some(port), 0);
                }
                at += 1;
            }
            let is_last = at >= text.len() || text[at] != b',';
            (self.at, self.is_first) = (if is_last { at } else { at + 1 }, false);
            let low = if let Some(low) = low { low } else { port };
            return Some(IndexedPorts {
                low,
                high: port,
                line: self.line as u32,
                protocol: protocol as u32,
                is_first,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# tcp/1\na\ttcp/80,udp/80-90\tx\nb\t\ttcp/80\nc\ttcp/1-65535,tcp/80,sctp/80\nd\tudp/0";
    static INDEX: PortIndex<{ count(TEXT, 1) }> = PortIndex::new(TEXT, 1);

    #[test]
    fn the_rows_of_a_port_are_found_with_their_range() {
        let found = |port, protocol| {
            let rows = INDEX.rows(port, protocol);
            let rows = rows.map(|row| (&row.line[..1], row.ports.low, row.ports.high, row.is_first));
            rows.collect::<Vec<_>>()
        };
        let wide = ("c", 1, 65535, true);
        assert_eq!(found(80, Protocol::Tcp), [("a", 80, 80, true), wide, ("c", 80, 80, false)]);
        assert_eq!(found(65535, Protocol::Tcp), [wide]);
        assert_eq!(found(0, Protocol::Tcp), []);
        assert_eq!(found(90, Protocol::Udp), [("a", 80, 90, false)]);
        assert_eq!(found(80, Protocol::Udplite), [("a", 80, 90, false)]);
        assert_eq!(found(0, Protocol::Udp), [("d", 0, 0, true)]);
        assert_eq!(found(80, Protocol::Sctp), [("c", 80, 80, false)]);
        assert_eq!(count(TEXT, 1), 6);
    }
}
