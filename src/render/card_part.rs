//! The parts of a card, and how they are shortened if the card is too long.

use super::labelled::{first_lines, with_label};
use super::{Emphasis, Style};

/// The kinds of parts. If a card is too long, parts of the first kind are shortened first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shrinks {
    Registry,
    Information,
    /// A fact that explains the answer, such as the command line.
    Detail,
    FurtherFinding,
    WorstFinding,
    /// A fact that is the answer to a question, such as who started the listener.
    Answer,
    CriticalFinding,
    Never,
}

impl Shrinks {
    const ORDER: [Shrinks; 7] = [
        Shrinks::Registry,
        Shrinks::Information,
        Shrinks::Detail,
        Shrinks::FurtherFinding,
        Shrinks::WorstFinding,
        Shrinks::Answer,
        Shrinks::CriticalFinding,
    ];
}

pub(super) struct Part {
    label: Option<&'static str>,
    lines: Vec<String>,
    /// The number of lines that are never removed.
    least: usize,
    shrinks: Shrinks,
    /// The text on one line. If the line is too short, the middle of the text is cut out, so that its end stays
    /// visible. `None` for a text whose end may be cut off.
    one_line: Option<String>,
    /// The beginning of the text, and its colour or weight; `None` if the text is plain.
    painted: Option<(String, Emphasis)>,
}

impl Part {
    pub(super) fn heading(lines: Vec<String>) -> Self {
        Part { label: None, ..Part::new("", lines, Shrinks::Never, usize::MAX) }
    }

    pub(super) fn new(label: &'static str, lines: Vec<String>, shrinks: Shrinks, least: usize) -> Self {
        Part {
            label: Some(label),
            least: least.min(lines.len()),
            lines,
            shrinks,
            one_line: None,
            painted: None,
        }
    }

    pub(super) fn painted(self, beginning: &str, tone: Emphasis) -> Self {
        Part { painted: Some((beginning.to_owned(), tone)), ..self }
    }

    pub(super) fn or_on_one_line(self, text: String) -> Self {
        Part { one_line: Some(text), ..self }
    }

    pub(super) fn height(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn labelled(mut self, style: &Style) -> Vec<String> {
        if let (Some((beginning, tone)), Some(first)) = (&self.painted, self.lines.first_mut()) {
            *first = first.replacen(beginning, &style.paint(*tone, beginning), 1);
        }
        match self.label {
            Some(label) => with_label(label, self.lines, style),
            None => self.lines,
        }
    }
}

/// Shortens parts until they have at most `most` lines together, or until no part can be shortened.
pub(super) fn fit(parts: &mut [Part], most: usize, style: &Style) {
    let height: usize = parts.iter().map(Part::height).sum();
    let mut over = height.saturating_sub(most);
    for order in Shrinks::ORDER {
        // Within a kind, the last part is shortened first, because the first part is the most important.
        for part in parts.iter_mut().rev().filter(|part| part.shrinks == order) {
            let height = part.height();
            let cut = over.min(height - part.least);
            match part.one_line.take_if(|_| cut > 0) {
                Some(text) => part.lines = vec![text],
                None => part.lines = first_lines(std::mem::take(&mut part.lines), height - cut, style),
            }
            over = over.saturating_sub(height - part.height());
        }
    }
}
