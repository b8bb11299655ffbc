use super::sign;
use crate::baseline::ChangeKind;
use crate::render::labelled::{MEASURE, labelled};
use crate::render::legend;
use crate::render::wrap::prose;
use crate::render::{Emphasis, Style};

const KEYS: [(&str, &str); 17] = [
    ("Up, k", "the row above"),
    ("Down, j", "the row below"),
    ("PgUp, PgDn", "one page; the mouse wheel scrolls too"),
    ("g, G", "the first row, the last row"),
    (
        "Enter",
        "the card of the row: program, findings, connections, registry; a second click on a row does the same",
    ),
    ("Tab", "the next view: listeners, connections, changes, findings; Shift-Tab: the previous one"),
    ("1 to 4", "the view with this number"),
    (
        "/",
        "filter the rows, in the syntax of the command line: 8000-8100, nginx, --user root, -t. Any other text selects the rows that contain the text. Enter keeps the filter, Esc removes it",
    ),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("p", "pause the screen; p again continues"),
    ("y", "copy the row (if the terminal supports OSC 52)"),
    (
        "K, Delete",
        "end the process, the unit or the container of the row; a question shows what will be ended",
    ),
    ("Ctrl-L", "draw the screen again"),
    ("Ctrl-Z", "suspend watch; the command fg continues it"),
    ("Esc", "close this text; remove the filter"),
    ("q, Ctrl-C", "quit"),
];

/// Returns the lines of the help. The full text of the gaps comes first.
pub fn help(caveats: &[String], style: &Style) -> Vec<String> {
    let mut lines = Vec::new();
    if !caveats.is_empty() {
        lines.push(style.paint(Emphasis::Warning, "Not everything could be seen"));
        lines.extend(caveats.iter().flat_map(|caveat| prose("  ", caveat, MEASURE, style)));
        lines.push(String::new());
    }
    lines.push(style.paint(Emphasis::Heading, "Keys"));
    lines.extend(KEYS.iter().flat_map(|(key, what)| labelled(key, what, style)));
    lines.push(String::new());
    lines.push(style.paint(Emphasis::Heading, "Marks"));
    // `weakened` never appears on a screen, because a screen does not compare the findings of two scans.
    for kind in ChangeKind::ALL.into_iter().filter(|kind| *kind != ChangeKind::Weakened) {
        lines.extend(labelled(sign(kind).0, kind.name(), style));
    }
    lines.extend([String::new(), style.paint(Emphasis::Heading, "Words")]);
    lines.extend(legend::all().flat_map(|line| prose("  ", &line, MEASURE, style)));
    let text = "To select text with the mouse, hold Shift.";
    lines.extend([String::new(), text.to_owned()]);
    lines
}

pub fn message_lines(text: &str, style: &Style) -> Vec<String> {
    text.lines().flat_map(|line| prose("", line, MEASURE, style)).collect()
}
