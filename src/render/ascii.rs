//! ASCII instead of typographic characters, for a terminal whose locale lacks them.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Returns a text in ASCII. A character and its replacement have the same width, so that tables stay aligned. There is
/// one exception: after a comma, `…` becomes `...`.
///
/// A character without a replacement becomes `?`, as in `ls`.
pub fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => shown.push(c),
            '…' if shown.ends_with(", ") => shown.push_str("..."),
            '…' => shown.push('~'),
            '─' | '–' | '—' => shown.push('-'),
            '×' => shown.push('x'),
            '·' | '•' => shown.push('*'),
            '‘' | '’' => shown.push('\''),
            '“' | '”' => shown.push('"'),
            '→' => shown.push('>'),
            // The block characters of a map, from low to high.
            '░' => shown.push(':'),
            '▂' => shown.push('_'),
            '▄' => shown.push('o'),
            '▆' => shown.push('O'),
            '█' => shown.push('#'),
            c => shown.extend(std::iter::repeat_n('?', c.width().unwrap_or(0))),
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn each_character_keeps_its_columns() {
        for (text, shown) in [
            ("plain", "plain"),
            ("nginx ×4", "nginx x4"),
            ("─── python3 -m …", "--- python3 -m ~"),
            ("‘a’ → “b”", "'a' > \"b\""),
            ("é数据", "?????"),
            (".░▂▄▆█", ".:_oO#"),
        ] {
            assert_eq!(ascii(text), shown);
            assert_eq!(shown.width(), text.width(), "{text}");
        }
        assert_eq!(ascii("any, public, …"), "any, public, ...");
    }
}
