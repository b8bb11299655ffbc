//! Breaks prose at spaces so that it fits a width, with a hanging indent.
//!
//! Words are never broken. A web address that is longer than the line stays in one piece, so that it can be copied.
//! Without a width, no line is broken.

use unicode_width::UnicodeWidthStr;

/// The minimum width of a paragraph in columns, even on a narrow terminal and with a deep indent.
const NARROWEST: usize = 20;

/// Returns `text` in lines of at most `width` columns. The first line begins with `first`, and the other lines with
/// the same number of spaces.
pub(super) fn wrap(first: &str, text: &str, width: Option<u16>) -> Vec<String> {
    let indent = first.width();
    let space = width.map_or(usize::MAX, |w| usize::from(w).saturating_sub(indent).max(NARROWEST));
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if used > 0 && used + 1 + word.width() > space {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += word.width();
    }
    lines.push(line);
    lines
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
            wrap("", "see https://example.org/a/very/long/path now", Some(20)),
            ["see", "https://example.org/a/very/long/path", "now"]
        );
        // Each character takes two columns.
        assert_eq!(wrap("", "数据数据数 据数据数据", Some(20)), ["数据数据数", "据数据数据"]);
    }

    #[test]
    fn clips_by_columns() {
        assert_eq!(clip("nginx", 5), "nginx");
        assert_eq!(clip("nginx!", 5), "ngin…");
        assert_eq!(clip("数据数据", 5), "数据…");
        assert_eq!(clip("数据数据", 4), "数…");
    }
}
