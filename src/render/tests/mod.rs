//! Tests of the renderers, on the scene of `fixtures`. The expected output is a snapshot in the test's source, so that
//! a reader sees what a user sees.

mod card;
mod card_depth;
mod card_lines;
mod card_parts;
mod caveats;
mod cells;
mod containers;
mod diff;
mod events;
mod inferred;
mod json;
mod kill;
mod listener_card;
mod merge;
mod policy;
mod table;
mod verdict_text;

use super::{Style, Zone};

const PLAIN: Style = Style { width: None, color: false, zone: Zone::UTC };

const fn terminal(width: u16) -> Style {
    Style { width: Some(width), ..PLAIN }
}

/// Returns `text` without the escape sequences of this program's colours.
fn bleached(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').unwrap().1);
    }
    plain
}
