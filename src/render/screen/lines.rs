//! Changes lines of the screen: cuts them, removes their colour, or marks them as selected.

use anstyle::Effects;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::render::Style;

pub(super) fn without_colour(line: &str) -> String {
    let mut is_escape = false;
    let mut is_text = |c: char| {
        let was_escape = is_escape || c == '\x1b';
        is_escape = was_escape && c != 'm';
        !was_escape
    };
    line.chars().filter(|c| is_text(*c)).collect()
}

/// Returns `line` cut to `width` columns, with `…` if a part was cut off. Escape sequences for colours take no columns,
/// and are never cut off.
pub(super) fn crop(line: &str, width: usize) -> String {
    let is_cut = without_colour(line).trim_end().width() > width;
    let space = if is_cut { width.saturating_sub(1) } else { width };
    let mut kept = String::with_capacity(line.len());
    let (mut used, mut escape, mut is_marked) = (0, false, width == 0);
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            kept.push(c);
            continue;
        }
        used += c.width().unwrap_or(0);
        if used <= space {
            kept.push(c);
        } else if is_cut && !is_marked {
            kept.push('…');
            is_marked = true;
        }
    }
    kept
}

/// Returns a line in reverse colours over the whole width; without colour, the line unchanged.
pub(super) fn reversed(line: &str, width: usize, style: &Style) -> String {
    if !style.color {
        return line.to_owned();
    }
    let line = crop(&without_colour(line), width);
    let ansi = anstyle::Style::new().effects(Effects::INVERT);
    format!("{ansi}{line}{}{ansi:#}", " ".repeat(width.saturating_sub(line.width())))
}

#[cfg(test)]
mod tests {
    use super::crop;

    /// Without the `…`, a reader would take `(pid 25` for the whole number.
    #[test]
    fn a_cut_is_marked() {
        for (line, width, expected) in [
            ("(pid 259)", 9, "(pid 259)"),
            ("(pid 259)", 8, "(pid 25…"),
            ("nginx    ", 5, "nginx"),
            ("\u{1b}[1mnginx\u{1b}[0m", 5, "\u{1b}[1mnginx\u{1b}[0m"),
            ("\u{1b}[1mnginx\u{1b}[0m", 3, "\u{1b}[1mng…\u{1b}[0m"),
            ("nginx", 0, ""),
        ] {
            assert_eq!(crop(line, width), expected, "{line} {width}");
        }
    }
}
