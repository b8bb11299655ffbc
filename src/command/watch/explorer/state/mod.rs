//! The state of the screen: the view, the selected row, the filter and the order of the rows.

#[cfg(test)]
mod tests;

use crate::command::screen::Key;
use crate::render::screen::View;

/// The action that the caller must execute after an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Draw,
    /// Make the rows again, because the view, the filter or the order has changed.
    Rows,
    /// Parse the filter, and make the rows again.
    Filter,
    Help,
    /// Show the card of the selected row.
    Card,
    /// Show the plan of `kill` for the selected row.
    PlanKill,
    /// Execute the plan that is shown.
    Kill,
    /// Send SIGKILL to the processes that the shown text names.
    ForceKill,
    Copy,
    Pause,
    Quit,
}

/// A text that is shown in place of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panel {
    /// The help or a message.
    Text,
    Card,
    /// The plan of `kill`, with a question.
    Confirm,
    /// The processes that have not ended after SIGTERM, with a question. The question can appear while the user presses
    /// keys for the rows. So the key that answers it has no other use.
    Force,
}

/// The place of the selected row in a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: usize,
    /// The index of the first visible row.
    pub(super) top: usize,
    key: Option<u64>,
}

/// The facts about the screen that the handler of a key needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'a> {
    /// The identities of the rows.
    pub(super) rows: &'a [u64],
    /// The number of rows that are visible at once.
    pub(super) page: usize,
    /// The number of lines of the text that is shown in place of the rows.
    pub(super) text: usize,
    /// The number of visible lines of this text.
    pub(super) text_page: usize,
    pub(super) columns: &'a [&'static str],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) view: View,
    /// The text that is shown in place of the rows, and the position of its first visible line.
    pub(super) panel: Option<(Panel, usize)>,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) sort: Option<&'static str>,
    pub(super) is_reversed: bool,
    /// A message that is shown until the next key.
    pub(super) message: Option<String>,
    cursors: [Cursor; 4],
}

/// The distance by which a key moves the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Motion {
    Up(usize),
    Down(usize),
    First,
    Last,
}

/// The number of lines by which one turn of the mouse wheel scrolls.
const WHEEL: usize = 3;

impl State {
    pub(super) fn cursor(&self) -> Cursor {
        self.cursors[self.view_index()]
    }

    fn view_index(&self) -> usize {
        View::ALL.iter().position(|view| *view == self.view).unwrap_or(0)
    }

    pub(super) fn open(&mut self, panel: Panel) {
        self.message = None;
        self.panel = Some((panel, 0));
    }

    pub(super) fn press(&mut self, key: Key, facts: Facts<'_>) -> Effect {
        self.message = None;
        if key == Key::Interrupt {
            return Effect::Quit;
        }
        match (self.panel, self.is_typing) {
            (Some((panel, top)), _) => self.press_in_text(key, panel, top, facts),
            (None, true) => self.type_filter(key, facts),
            (None, false) => self.press_in_rows(key, facts),
        }
    }

    fn press_in_text(&mut self, key: Key, panel: Panel, top: usize, facts: Facts<'_>) -> Effect {
        if let Some(motion) = motion(key, facts.text_page) {
            let last = facts.text.saturating_sub(facts.text_page);
            let top = match motion {
                Motion::Up(lines) => top.saturating_sub(lines),
                Motion::Down(lines) => top.saturating_add(lines),
                Motion::First => 0,
                Motion::Last => last,
            };
            self.panel = Some((panel, top.min(last)));
            return Effect::Draw;
        }
        // Only one key confirms a question. Every other key cancels it.
        let (yes, effect, no) = match panel {
            Panel::Confirm => (Key::Char('y'), Effect::Kill, "Nothing was ended."),
            Panel::Force => (Key::Char('F'), Effect::ForceKill, "Nothing was forced to end."),
            Panel::Card | Panel::Text => return self.press_in_card(key, panel),
        };
        self.panel = None;
        if key == yes {
            return effect;
        }
        self.message = Some(no.to_owned());
        Effect::Draw
    }

    fn press_in_card(&mut self, key: Key, panel: Panel) -> Effect {
        match key {
            Key::Char('K') | Key::Delete if panel == Panel::Card => Effect::PlanKill,
            Key::Char('y') if panel == Panel::Card => Effect::Copy,
            Key::Char('q' | '?') | Key::Escape | Key::Enter | Key::Backspace => {
                self.panel = None;
                Effect::Draw
            }
            _ => Effect::Draw,
        }
    }

    fn type_filter(&mut self, key: Key, facts: Facts<'_>) -> Effect {
        match key {
            Key::Char(letter) => self.filter.push(letter),
            Key::Backspace if self.filter.is_empty() => self.is_typing = false,
            Key::Backspace => _ = self.filter.pop(),
            Key::EraseLine => self.filter.clear(),
            Key::EraseWord => {
                let kept = self.filter.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.filter.truncate(kept);
            }
            Key::Escape => {
                self.filter.clear();
                self.is_typing = false;
            }
            Key::Enter => {
                self.is_typing = false;
                return Effect::Draw;
            }
            Key::Up | Key::Down | Key::PageUp | Key::PageDown => {
                self.go(motion(key, facts.page), facts);
                return Effect::Draw;
            }
            _ => return Effect::Draw,
        }
        Effect::Filter
    }

    /// Adds pasted text to the filter. Elsewhere, pasted text is ignored, because it could contain the key that ends a
    /// process.
    pub(super) fn paste(&mut self, text: &str) -> Effect {
        if self.panel.is_some() || !self.is_typing {
            return Effect::Draw;
        }
        self.filter.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_PASTE));
        Effect::Filter
    }

    fn press_in_rows(&mut self, key: Key, facts: Facts<'_>) -> Effect {
        if let Some(motion) = motion(key, facts.page) {
            self.go(Some(motion), facts);
            return Effect::Draw;
        }
        match key {
            Key::Enter if !facts.rows.is_empty() => return Effect::Card,
            Key::Tab => self.view = self.next_view(1),
            Key::BackTab => self.view = self.next_view(View::ALL.len() - 1),
            Key::Char(number @ '1'..='4') => {
                let at = number.to_digit(10).and_then(|number| usize::try_from(number).ok()).unwrap_or(1);
                self.view = View::ALL[at - 1];
            }
            Key::Char('/') => {
                self.is_typing = true;
                return Effect::Draw;
            }
            Key::Escape if !self.filter.is_empty() => {
                self.filter.clear();
                return Effect::Filter;
            }
            Key::Char('s') => {
                self.sort = next_column(self.sort, facts.columns);
                self.go_to_first();
            }
            Key::Char('r') => {
                self.is_reversed = !self.is_reversed;
                self.go_to_first();
            }
            Key::Char('p') => return Effect::Pause,
            Key::Char('y') if !facts.rows.is_empty() => return Effect::Copy,
            Key::Char('K') | Key::Delete if !facts.rows.is_empty() => return Effect::PlanKill,
            Key::Char('?' | 'h') => return Effect::Help,
            Key::Char('q' | 'Q') => return Effect::Quit,
            _ => return Effect::Draw,
        }
        Effect::Rows
    }

    fn go_to_first(&mut self) {
        let view = self.view_index();
        self.cursors[view] = Cursor::default();
    }

    fn next_view(&self, steps: usize) -> View {
        View::ALL[(self.view_index() + steps) % View::ALL.len()]
    }

    fn go(&mut self, motion: Option<Motion>, facts: Facts<'_>) {
        let last = facts.rows.len().saturating_sub(1);
        let at = self.cursor().at;
        let at = match motion {
            None => at,
            Some(Motion::Up(rows)) => at.saturating_sub(rows),
            Some(Motion::Down(rows)) => at.saturating_add(rows),
            Some(Motion::First) => 0,
            Some(Motion::Last) => last,
        };
        self.select(at, facts);
    }

    /// Selects a row, and scrolls so that it is visible.
    pub(super) fn select(&mut self, at: usize, facts: Facts<'_>) {
        let at = at.min(facts.rows.len().saturating_sub(1));
        let page = facts.page.max(1);
        let last_top = facts.rows.len().saturating_sub(page);
        let top = self.cursor().top.clamp((at + 1).saturating_sub(page), at).min(last_top);
        let view = self.view_index();
        self.cursors[view] = Cursor { at, top, key: facts.rows.get(at).copied() };
    }

    /// Keeps the selection on its row after the rows or the size have changed. If the row has vanished, selects the row
    /// at its position.
    pub(super) fn follow(&mut self, facts: Facts<'_>) {
        let cursor = self.cursor();
        let is_same = facts.rows.get(cursor.at).copied() == cursor.key;
        let found = cursor.key.filter(|_| !is_same);
        let found = found.and_then(|key| facts.rows.iter().position(|row| *row == key));
        self.select(found.unwrap_or(cursor.at), facts);
    }

    /// Selects the row that was clicked. If the row is already selected, opens its card.
    pub(super) fn click(&mut self, row: usize, facts: Facts<'_>) -> Effect {
        let at = self.cursor().top + row;
        if self.panel.is_some() || at >= facts.rows.len() {
            return Effect::Draw;
        }
        let was_selected = self.cursor().at == at;
        self.select(at, facts);
        if was_selected { Effect::Card } else { Effect::Draw }
    }

    pub(super) fn wheel(&mut self, is_up: bool, facts: Facts<'_>) -> Effect {
        let key = if is_up { Key::Up } else { Key::Down };
        for _ in 0..WHEEL {
            match self.panel {
                Some((panel, top)) => _ = self.press_in_text(key, panel, top, facts),
                None => self.go(motion(key, facts.page), facts),
            }
        }
        Effect::Draw
    }
}

/// The maximum length of pasted text, in characters.
const LONGEST_PASTE: usize = 1000;

fn motion(key: Key, page: usize) -> Option<Motion> {
    Some(match key {
        Key::Up | Key::Char('k') => Motion::Up(1),
        Key::Down | Key::Char('j') => Motion::Down(1),
        Key::PageUp => Motion::Up(page.max(1)),
        Key::PageDown | Key::Char(' ') => Motion::Down(page.max(1)),
        Key::Home | Key::Char('g') => Motion::First,
        Key::End | Key::Char('G') => Motion::Last,
        _ => return None,
    })
}

/// Returns the next column after `sort`. After the last column, returns `None`, which is the usual order.
fn next_column(sort: Option<&'static str>, columns: &[&'static str]) -> Option<&'static str> {
    let at = sort.and_then(|sort| columns.iter().position(|column| *column == sort));
    columns.get(at.map_or(0, |at| at + 1)).copied()
}
