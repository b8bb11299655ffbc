//! Changes lines of the screen: cuts them, removes their colour, or marks them as selected.

use anstyle::Effects;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::render::Style;

/// Returns `line` without escape sequences for colours.
pub(super) fn without_colour(line: &str) -> String {
    let mut is_escape = false;
    let mut is_text = |c: char| {
        let was_escape = is_escape || c == '\x1b';
        is_escape = was_escape && c != 'm';
        !was_escape
    };
    line.chars().filter(|c| is_text(*c)).collect()
}

/// Returns `line` cut to `width` columns. Escape sequences for colours take no columns, and are all kept.
pub(super) fn crop(line: &str, width: usize) -> String {
    let mut kept = String::with_capacity(line.len());
    let (mut used, mut escape) = (0, false);
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            kept.push(c);
            continue;
        }
        used += c.width().unwrap_or(0);
        if used <= width {
            kept.push(c);
        }
    }
    kept
}

/// Returns a line in reverse colours over the whole width, or unchanged without colour.
pub(super) fn reversed(line: &str, width: usize, style: &Style) -> String {
    if !style.color {
        return line.to_owned();
    }
    let line = crop(&without_colour(line), width);
    let ansi = anstyle::Style::new().effects(Effects::INVERT);
    format!("{ansi}{line}{}{ansi:#}", " ".repeat(width.saturating_sub(line.width())))
}
