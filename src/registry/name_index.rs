//! An index of the names in one column of a table, built at compile time. A listing uses it to find the rows of a
//! program without reading the table.

use super::table::line_at;

#[derive(Clone, Copy)]
pub(super) enum Column {
    /// A column that lists programs, separated by commas. The head of `dangers.tsv` describes the notation. The number
    /// is the number of the column, counted from zero.
    Programs(usize),
    /// The first two columns of `programs.tsv`: the name of a process, and the name of its file after `exe=`. Rows with
    /// `arg=` are left out.
    ProcessAndFile,
}

pub(super) struct NameIndex<const N: usize> {
    names: [IndexedName; N],
    /// The number of the first name of each bucket, counted from one; zero if the bucket is empty.
    first: [u16; BUCKETS],
}

#[derive(Clone, Copy)]
struct IndexedName {
    place: NamePlace,
    length: u16,
    /// The number of the next name in the same bucket, counted from one; zero if there is none.
    next: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamePlace {
    /// The position of the line. The rows of a table are sorted by this position.
    pub line: u32,
    pub name: u32,
}

impl NamePlace {
    pub(super) fn line(self, text: &'static str) -> &'static str {
        line_at(text, self.line)
    }

    /// Splits `text` into the part before the name and the part that begins with the name.
    pub(super) fn split(self, text: &'static str) -> (&'static str, &'static str) {
        let at = usize::try_from(self.name).unwrap_or(usize::MAX);
        text.split_at_checked(at).unwrap_or_default()
    }
}

const BUCKETS: usize = 256;

const fn bucket(text: &[u8], at: usize, length: usize) -> usize {
    let mut letters: u64 = 0;
    let mut index = 0;
    while index < length && index < 8 {
        letters = letters << 8 | text[at + index] as u64;
        index += 1;
    }
    // The number is 2⁶⁴ divided by the golden ratio. Multiplying by it spreads similar names over the upper bits.
    letters.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0] as usize
}

impl<const N: usize> NameIndex<N> {
    /// Makes the index of a text. `N` is the number of its names, from [`count`].
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`try_from` cannot be called in a constant function, so the size is checked first"
    )]
    pub(super) const fn new(text: &str, column: Column) -> Self {
        let text = text.as_bytes();
        assert!(text.len() < u32::MAX as usize && N < u16::MAX as usize, "the table is too large");
        let place = NamePlace { line: 0, name: 0 };
        let mut index =
            NameIndex { names: [IndexedName { place, length: 0, next: 0 }; N], first: [0; BUCKETS] };
        let mut cursor = Cursor::new(text);
        let mut number = 0;
        while let Some(name) = cursor.next(text, column) {
            index.names[number] = name;
            number += 1;
        }
        while number > 0 {
            let name = &mut index.names[number - 1];
            let first = &mut index.first[bucket(text, name.place.name as usize, name.length as usize)];
            name.next = *first;
            *first = number as u16;
            number -= 1;
        }
        index
    }

    /// Returns every place of a name in `text`, in order. The index must be made from this text.
    pub(super) fn find<'n>(
        &self,
        text: &'static str,
        name: &'n str,
    ) -> impl Iterator<Item = NamePlace> + use<'_, 'n, N> {
        let mut next = self.first[bucket(name.as_bytes(), 0, name.len())];
        std::iter::from_fn(move || {
            loop {
                let entry = self.names.get(usize::from(next).checked_sub(1)?)?;
                next = entry.next;
                if usize::from(entry.length) == name.len() && entry.place.split(text).1.starts_with(name) {
                    return Some(entry.place);
                }
            }
        })
    }
}

pub(super) const fn count(text: &str, column: Column) -> usize {
    let text = text.as_bytes();
    let mut cursor = Cursor::new(text);
    let mut count = 0;
    while cursor.next(text, column).is_some() {
        count += 1;
    }
    count
}

struct Cursor {
    line: usize,
    /// The position after the last name that was read from the line; `None` if no name was read yet.
    at: Option<usize>,
}

impl Cursor {
    const fn new(text: &[u8]) -> Self {
        Cursor { line: first_line(text), at: None }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "`try_from` cannot be called in a constant function, so the size is checked first"
    )]
    const fn next(&mut self, text: &[u8], column: Column) -> Option<IndexedName> {
        while self.line < text.len() {
            let found = match column {
                Column::Programs(column) => self.program(text, column),
                Column::ProcessAndFile => self.process_or_file(text),
            };
            if let Some((name, end)) = found {
                assert!(
                    text.len() < u32::MAX as usize && end - name < u16::MAX as usize,
                    "the table is too large"
                );
                let place = NamePlace { line: self.line as u32, name: name as u32 };
                return Some(IndexedName { place, length: (end - name) as u16, next: 0 });
            }
            *self = Cursor { line: end(text, self.line, b"\n") + 1, at: None };
        }
        None
    }

    /// Returns the beginning and the end of the next program in the line.
    const fn program(&mut self, text: &[u8], column: usize) -> Option<(usize, usize)> {
        let mut at = match self.at {
            Some(at) => at,
            None => column_at(text, self.line, column),
        };
        if at >= text.len() || text[at] == b'\t' || text[at] == b'\n' {
            return None;
        }
        if text[at] == b'@' {
            at += 1;
        }
        let name = (at, end(text, at, b":,\t"));
        let part = end(text, name.1, b",\t");
        self.at = Some(if part < text.len() && text[part] == b',' { part + 1 } else { part });
        Some(name)
    }

    /// Returns the beginning and the end of the next name in the line. The process comes first, then its file, if the
    /// file has another name.
    const fn process_or_file(&mut self, text: &[u8]) -> Option<(usize, usize)> {
        let first = end(text, self.line, b"\t");
        let second = (first + 1, end(text, first + 1, b"\t"));
        match self.at {
            None if !is_at(text, second.0, b"arg=") => {
                self.at = Some(first);
                Some((self.line, first))
            }
            Some(at) if at == first && is_at(text, second.0, b"exe=") => {
                self.at = Some(second.1);
                let file = (second.0 + 4, second.1);
                let process = text.split_at(first).0.split_at(self.line).1;
                let is_same = file.1 - file.0 == process.len() && is_at(text, file.0, process);
                if is_same { None } else { Some(file) }
            }
            _ => None,
        }
    }
}

/// Returns the beginning of the first line that is not a comment.
pub(super) const fn first_line(text: &[u8]) -> usize {
    let mut line = 0;
    while line < text.len() && text[line] == b'#' {
        line = end(text, line, b"\n") + 1;
    }
    line
}

/// Returns the beginning of a column in the line at `line`. Columns count from zero.
pub(super) const fn column_at(text: &[u8], line: usize, column: usize) -> usize {
    let (mut at, mut left) = (line, column);
    while left > 0 {
        at = end(text, at, b"\t") + 1;
        left -= 1;
    }
    at
}

/// Returns the position of the first of these bytes, or of the end of the line.
pub(super) const fn end(text: &[u8], from: usize, bytes: &[u8]) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != b'\n' {
        let mut index = 0;
        while index < bytes.len() {
            if text[at] == bytes[index] {
                return at;
            }
            index += 1;
        }
        at += 1;
    }
    at
}

const fn is_at(text: &[u8], at: usize, wanted: &[u8]) -> bool {
    let mut index = 0;
    while index < wanted.len() {
        if at + index >= text.len() || text[at + index] != wanted[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<const N: usize>(
        text: &'static str,
        column: Column,
        name: &str,
    ) -> Vec<(&'static str, &'static str)> {
        let index = NameIndex::<N>::new(text, column);
        let places = index.find(text, name);
        places
            .map(|place| (place.line(text), place.split(text).1.lines().next().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn programs_of_a_column() {
        const TEXT: &str =
            "# a comment\nx\tred,@blue:-a b,green:/x/\ty\nz\t\tw\nu\tred:-b,longer-than-eight\tv\n";
        const COLUMN: Column = Column::Programs(1);
        const N: usize = count(TEXT, COLUMN);
        assert_eq!(N, 5);
        let first = "x\tred,@blue:-a b,green:/x/\ty";
        let last = "u\tred:-b,longer-than-eight\tv";
        for (name, places) in [
            ("red", vec![(first, "red,@blue:-a b,green:/x/\ty"), (last, "red:-b,longer-than-eight\tv")]),
            ("blue", vec![(first, "blue:-a b,green:/x/\ty")]),
            ("green", vec![(first, "green:/x/\ty")]),
            ("longer-than-eight", vec![(last, "longer-than-eight\tv")]),
            ("longer-than-eigh", vec![]),
            ("-b", vec![]),
            ("", vec![]),
            ("x", vec![]),
        ] {
            assert_eq!(found::<N>(TEXT, COLUMN, name), places, "{name}");
        }
    }

    #[test]
    fn processes_and_their_files() {
        const TEXT: &str =
            "# c\nnginx\t\tx\nsshd\texe=sshd\tx\nnode\texe=nodejs\tx\npython\targ=http.server\tx\n";
        const COLUMN: Column = Column::ProcessAndFile;
        const N: usize = count(TEXT, COLUMN);
        assert_eq!(N, 4);
        for (name, lines) in [
            ("nginx", vec!["nginx\t\tx"]),
            ("sshd", vec!["sshd\texe=sshd\tx"]),
            ("node", vec!["node\texe=nodejs\tx"]),
            ("nodejs", vec!["node\texe=nodejs\tx"]),
            ("python", vec![]),
            ("http.server", vec![]),
        ] {
            let found: Vec<_> = found::<N>(TEXT, COLUMN, name).into_iter().map(|(line, _)| line).collect();
            assert_eq!(found, lines, "{name}");
        }
    }
}
