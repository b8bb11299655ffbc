//! A text of tab-separated lines, sorted by the port at the start of each line. It is searched in place.
//!
//! Nothing is parsed in advance, and errors are not reported. Tests check the form of the embedded texts.

#[cfg(not(target_arch = "x86_64"))]
use memchr::arch::all::memchr::One;
#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::memchr::One;

#[derive(Clone, Copy)]
pub(super) struct Table {
    body: &'static str,
}

/// Returns the position of the first occurrence of a byte.
///
/// The ordinary `memchr` first queries the features of the processor. In a virtual machine, the hypervisor answers
/// these queries, which takes 2% of the time of a short listing. This search uses only instructions that every x86-64
/// processor has, so it needs no query.
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    one(byte)?.find(bytes)
}

fn find_last(byte: u8, bytes: &[u8]) -> Option<usize> {
    one(byte)?.rfind(bytes)
}

#[cfg(target_arch = "x86_64")]
fn one(byte: u8) -> Option<One> {
    One::new(byte) // never `None`, because every x86-64 processor has SSE2
}

#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::unnecessary_wraps, reason = "the x86-64 version returns an Option, so this one does too")]
fn one(byte: u8) -> Option<One> {
    Some(One::new(byte))
}

pub(super) fn parts(text: &'static str, separator: u8) -> impl Iterator<Item = &'static str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = find(separator, text.as_bytes()).unwrap_or(text.len());
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

pub(super) fn line_at(text: &'static str, position: u32) -> &'static str {
    let rest = usize::try_from(position).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    rest.get(..find(b'\n', rest.as_bytes()).unwrap_or(rest.len())).unwrap_or_default()
}

impl Table {
    /// Makes a table from `text`, without the lines that begin with `#`.
    pub(super) fn new(text: &'static str) -> Self {
        let mut body = text;
        while body.starts_with('#') {
            body = body.split_once('\n').map_or("", |(_, rest)| rest);
        }
        Table { body }
    }

    pub(super) fn lines(self) -> impl Iterator<Item = &'static str> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let end = find(b'\n', rest.as_bytes()).unwrap_or(rest.len());
            let (line, after) = rest.split_at_checked(end).filter(|_| !rest.is_empty())?;
            rest = after.get(1..).unwrap_or_default();
            Some(line)
        })
    }

    pub(super) fn at(self, port: u16) -> impl Iterator<Item = &'static str> {
        self.body
            .get(self.begin_of(port)..)
            .unwrap_or_default()
            .lines()
            .take_while(move |line| first_port(line.as_bytes()) == u32::from(port))
    }

    /// Returns the lines whose first port is at most `reach` below `port`, the nearest first. If no range is wider than
    /// `reach`, all ranges that contain `port` are among these lines.
    pub(super) fn reaching(self, port: u16, reach: u16) -> impl Iterator<Item = &'static str> {
        let end = port.checked_add(1).map_or(self.body.len(), |next| self.begin_of(next));
        let lines = self.body.get(..end).unwrap_or_default().lines().rev();
        lines.take_while(move |line| first_port(line.as_bytes()) + u32::from(reach) >= u32::from(port))
    }

    /// Returns the lines of ports below `port`, the nearest first.
    pub(super) fn before(self, port: u16) -> impl Iterator<Item = &'static str> {
        self.body.get(..self.begin_of(port)).unwrap_or_default().lines().rev()
    }

    /// Returns the lines of ports above `port`, the nearest first.
    pub(super) fn after(self, port: u16) -> impl Iterator<Item = &'static str> {
        let rest = port.checked_add(1).and_then(|next| self.body.get(self.begin_of(next)..));
        rest.unwrap_or_default().lines()
    }

    /// Returns the position of the first line whose first port is not below `port`.
    fn begin_of(self, port: u16) -> usize {
        let bytes = self.body.as_bytes();
        // Lines before `low` are for ports below `port`. Lines from `high` on are for `port` and above. `low` and
        // `high` are always the beginning of a line or the end of the text.
        let (mut low, mut high) = (0, bytes.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let begin = find_last(b'\n', &bytes[low..middle]).map_or(low, |at| low + at + 1);
            if first_port(&bytes[begin..high]) < u32::from(port) {
                low = find(b'\n', &bytes[middle..high]).map_or(high, |at| middle + at + 1);
            } else {
                high = begin;
            }
        }
        low
    }
}

fn first_port(line: &[u8]) -> u32 {
    line.iter()
        .take(5) // a port has at most as many digits as 65535
        .take_while(|b| b.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_port_are_found_wherever_they_lie() {
        let table =
            Table::new("# a header\n# more\n0\ta\n1\tb\n1\tc\n7-9\td\n22\te\n22\tf\n22\tg\n65535\th\n");
        for (port, found) in [
            (0, vec!["0\ta"]),
            (1, vec!["1\tb", "1\tc"]),
            (2, vec![]),
            (7, vec!["7-9\td"]),
            (8, vec![]),
            (22, vec!["22\te", "22\tf", "22\tg"]),
            (65534, vec![]),
            (65535, vec!["65535\th"]),
        ] {
            assert_eq!(table.at(port).collect::<Vec<_>>(), found, "{port}");
        }
    }

    #[test]
    fn lines_to_either_side() {
        let table = Table::new("# a header\n1\ta\n1\tb\n7\tc\n9\td\n65535\te\n");
        for (port, before, after) in [
            (0, vec![], vec!["1\ta", "1\tb", "7\tc", "9\td", "65535\te"]),
            (1, vec![], vec!["7\tc", "9\td", "65535\te"]),
            (8, vec!["7\tc", "1\tb", "1\ta"], vec!["9\td", "65535\te"]),
            (65535, vec!["9\td", "7\tc", "1\tb", "1\ta"], vec![]),
        ] {
            assert_eq!(table.before(port).collect::<Vec<_>>(), before, "{port}");
            assert_eq!(table.after(port).collect::<Vec<_>>(), after, "{port}");
        }
    }

    #[test]
    fn texts_of_any_length_agree_with_a_scan() {
        for lines in 0..60u16 {
            let text: String = (0..lines)
                .map(|n| format!("{}\t{}\n", n / 2 * 3, "é".repeat(usize::from(n * 7 % 13))))
                .collect();
            let table = Table::new(text.leak());
            for port in 0..100 {
                let scanned: Vec<_> =
                    table.lines().filter(|l| l.split('\t').next() == Some(&port.to_string())).collect();
                assert_eq!(table.at(port).collect::<Vec<_>>(), scanned, "{port} of {lines} lines");
            }
        }
    }

    #[test]
    fn an_empty_table_has_no_lines() {
        for text in ["", "# only a header", "# only a header\n"] {
            assert_eq!(Table::new(text).at(0).count(), 0, "{text:?}");
        }
    }
}
