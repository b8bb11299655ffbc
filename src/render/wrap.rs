//! Breaks prose at spaces, with a hanging indent.
//!
//! On a terminal, a word longer than a line continues on the next line, below the indent. Otherwise the rest of a web
//! address would look like a new paragraph. In all other outputs such a word stays in one piece, so that it can be
//! copied.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Style;

const NARROWEST: usize = 20;

/// Returns `text` in lines of at most `width` columns, or in one line without a width. The first line begins with
/// `first`, and the other lines with as many spaces.
pub(super) fn wrap(first: &str, text: &str, width: Option<u16>) -> Vec<String> {
    lines(first, text, width, true)
}

/// Returns prose in lines. Without a terminal, the lines have `measure` columns, because people read redirected output
/// too.
pub(super) fn prose(first: &str, text: &str, measure: u16, style: &Style) -> Vec<String> {
    lines(first, text, style.width.or(Some(measure)), style.width.is_some())
}

fn lines(first: &str, text: &str, width: Option<u16>, breaks_words: bool) -> Vec<String> {
    let indent = first.width();
    let space = width.map_or(usize::MAX, |w| usize::from(w).saturating_sub(indent).max(NARROWEST));
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let (mut used, mut spaces) = (0, 0);
    for word in text.split(' ') {
        // Several spaces in a row are kept, because a command line or a path may contain them.
        spaces += 1;
        if word.is_empty() {
            continue;
        }
        let gap = if used > 0 { std::mem::take(&mut spaces) } else { 0 };
        spaces = 0;
        if used + gap + word.width() > space && used > 0 {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = 0;
        } else {
            line.push_str(&" ".repeat(gap));
            used += gap;
        }
        let mut rest = word;
        while breaks_words && rest.width() > space {
            let (piece, after) = rest.split_at(end_of_piece(rest, space));
            line.push_str(piece);
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            rest = after;
        }
        line.push_str(rest);
        used += rest.width();
    }
    lines.push(line);
    lines
}

/// Returns the length in bytes of the part of a word that fits `space` columns. If possible, the part ends after a
/// separator of a path, a web address or a list.
fn end_of_piece(word: &str, space: usize) -> usize {
    let (mut end, mut separated, mut used) = (0, 0, 0);
    for (at, c) in word.char_indices() {
        used += c.width().unwrap_or(0);
        // At least one character is taken, because the loop of the caller would never end otherwise.
        if used > space && at > 0 {
            break;
        }
        end = at + c.len_utf8();
        if used * 2 > space && "/,;:&?=|".contains(c) {
            separated = end;
        }
    }
    if separated > 0 { separated } else { end }
}

/// Returns `text` cut to `width` columns, with `…` if a part was cut off.
pub(crate) fn clip(text: &str, width: usize) -> std::borrow::Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if kept.width() >= width {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_at_spaces_and_hangs() {
        assert_eq!(
            wrap("Key  ", "one two three four five six seven", Some(25)),
            ["Key  one two three four", "     five six seven"]
        );
        assert_eq!(wrap("", "one two three four five six seven", None).len(), 1);
        assert_eq!(
            prose("", "see https://example.org/a/very/long/path now", 20, &Style::default()),
            ["see", "https://example.org/a/very/long/path", "now"]
        );
        assert_eq!(wrap("", "kill 35   (again)", Some(30)), ["kill 35   (again)"]);
        // Each character takes two columns.
        assert_eq!(wrap("", "数据数据数 据数据数据", Some(20)), ["数据数据数", "据数据数据"]);
    }

    /// A terminal would continue a long word in its first column.
    #[test]
    fn continues_long_words_below_the_indent() {
        for (text, expected) in [
            (
                "see https://example.org/a/very/long/path now",
                &["Key  see", "     https://example.org/", "     a/very/long/path now"][..],
            ),
            ("0123456789012345678901234 b", &["Key  01234567890123456789", "     01234 b"]),
            ("数据数据数据数据数据数据 b", &["Key  数据数据数据数据数据", "     数据 b"]),
            ("", &["Key  "]),
        ] {
            assert_eq!(wrap("Key  ", text, Some(25)), expected, "{text}");
        }
        let marks = "e".to_owned() + &"\u{301}".repeat(99);
        assert_eq!(wrap("", &marks.repeat(50), Some(20)).len(), 3);
    }

    #[test]
    fn clips_by_columns() {
        assert_eq!(clip("nginx", 5), "nginx");
        assert_eq!(clip("nginx!", 5), "ngin…");
        assert_eq!(clip("数据数据", 5), "数据…");
        assert_eq!(clip("数据数据", 4), "数…");
    }
}
