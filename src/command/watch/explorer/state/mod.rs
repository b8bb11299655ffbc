//! The state of the screen: which view, which row, the filter and the order. Keys change the state; the state has no
//! input or output, and knows the rows only by their number and identity.

use crate::command::screen::Key;
use crate::render::screen::View;

/// What must be done after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command::watch) enum Effect {
    /// Draw the screen.
    Draw,
    /// Make the rows of the view again: the view, the filter or the order has changed.
    Rows,
    /// Parse the filter, and make the rows again.
    Filter,
    /// Show the help.
    Help,
    /// Show the card of the selected row.
    Card,
    /// Show what ending the selected row would end.
    PlanKill,
    /// End what the shown plan says.
    Kill,
    /// Copy the selected row.
    Copy,
    /// Pause or continue.
    Pause,
    /// Quit.
    Quit,
}

/// A text that covers the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    /// The help or a message.
    Text,
    /// The card of the selected row.
    Card,
    /// What would be ended, with a question.
    Confirm,
}

/// The place of the selected row in a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The index of the selected row.
    pub(super) at: usize,
    /// The index of the first visible row.
    pub(super) top: usize,
    /// The identity of the selected row.
    key: Option<u64>,
}

/// The facts that a key needs about the screen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'a> {
    /// The identities of the rows.
    pub(super) rows: &'a [u64],
    /// The number of rows that are visible at once.
    pub(super) page: usize,
    /// The number of lines of the text that covers the rows.
    pub(super) text: usize,
    /// The number of lines of that text that are visible at once.
    pub(super) text_page: usize,
    /// The columns by which the rows can be sorted.
    pub(super) columns: &'a [&'static str],
}

/// The state of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) view: View,
    /// The text that covers the rows, and its first visible line.
    pub(super) panel: Option<(Panel, usize)>,
    /// The filter as typed.
    pub(super) filter: String,
    /// Whether the filter is being typed.
    pub(super) is_typing: bool,
    /// The column by which the rows are sorted.
    pub(super) sort: Option<&'static str>,
    pub(super) is_reversed: bool,
    /// A message until the next key.
    pub(super) message: Option<String>,
    cursors: [Cursor; 4],
}

/// How far a key moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Motion {
    Up(usize),
    Down(usize),
    First,
    Last,
}

/// The lines that one turn of the mouse wheel moves.
const WHEEL: usize = 3;

impl State {
    pub(super) fn cursor(&self) -> Cursor {
        self.cursors[self.view_index()]
    }

    fn view_index(&self) -> usize {
        View::ALL.iter().position(|view| *view == self.view).unwrap_or(0)
    }

    /// Opens a text over the rows.
    pub(super) fn open(&mut self, panel: Panel) {
        self.panel = Some((panel, 0));
    }

    /// Changes the state after a key.
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
        if panel == Panel::Confirm {
            self.panel = None;
            // Only one key ends something.
            if key == Key::Char('y') {
                return Effect::Kill;
            }
            self.message = Some("Nothing was ended.".to_owned());
            return Effect::Draw;
        }
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

    /// Adds pasted text to the filter. Elsewhere, pasted text is ignored: it could contain the key that ends a process.
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

    /// Selects the first row of another order.
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

    /// Keeps the same row selected after the rows or the size have changed. If the row is gone, its place stays selected.
    pub(super) fn follow(&mut self, facts: Facts<'_>) {
        let cursor = self.cursor();
        let is_same = facts.rows.get(cursor.at).copied() == cursor.key;
        let found = cursor.key.filter(|_| !is_same);
        let found = found.and_then(|key| facts.rows.iter().position(|row| *row == key));
        self.select(found.unwrap_or(cursor.at), facts);
    }

    /// Changes the state after a click on a row; a click on the selected row opens its card.
    pub(super) fn click(&mut self, row: usize, facts: Facts<'_>) -> Effect {
        let at = self.cursor().top + row;
        if self.panel.is_some() || at >= facts.rows.len() {
            return Effect::Draw;
        }
        let was_selected = self.cursor().at == at;
        self.select(at, facts);
        if was_selected { Effect::Card } else { Effect::Draw }
    }

    /// Changes the state after a turn of the mouse wheel.
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

/// Returns the column after this one; after the last column, the usual order.
fn next_column(sort: Option<&'static str>, columns: &[&'static str]) -> Option<&'static str> {
    let at = sort.and_then(|sort| columns.iter().position(|column| *column == sort));
    columns.get(at.map_or(0, |at| at + 1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 3] = ["protocol", "address", "port"];
    const ROWS: [u64; 30] = {
        let mut rows = [0; 30];
        let mut at = 0;
        while at < rows.len() {
            rows[at] = at as u64 + 100;
            at += 1;
        }
        rows
    };
    const FACTS: Facts<'_> = Facts { rows: &ROWS, page: 10, text: 25, text_page: 10, columns: &COLUMNS };

    fn after(keys: &[Key]) -> (State, Effect) {
        let mut state = State::default();
        let mut effect = Effect::Draw;
        keys.iter().for_each(|key| effect = state.press(*key, FACTS));
        (state, effect)
    }

    fn letters(text: &str) -> Vec<Key> {
        text.chars().map(Key::Char).collect()
    }

    /// Each motion ends at this row, with this first visible row.
    #[test]
    fn motions() {
        use Key::*;
        for (name, keys, at, top) in [
            ("down", &[Down, Char('j')][..], 2, 0),
            ("up stops at the first row", &[Down, Up, Char('k')], 0, 0),
            ("a page", &[PageDown], 10, 1),
            ("space is a page", &[Char(' '), Char(' ')], 20, 11),
            ("the last row", &[Char('G')], 29, 20),
            ("down stops at the last row", &[End, Down], 29, 20),
            ("up scrolls at the edge only", &[End, Up, Up], 27, 20),
            ("the first row", &[End, Char('g')], 0, 0),
        ] {
            let cursor = after(keys).0.cursor();
            assert_eq!((cursor.at, cursor.top), (at, top), "{name}");
        }
    }

    #[test]
    fn keys_ask_for_effects() {
        for (key, effect) in [
            (Key::Enter, Effect::Card),
            (Key::Char('K'), Effect::PlanKill),
            (Key::Delete, Effect::PlanKill),
            (Key::Char('y'), Effect::Copy),
            (Key::Char('p'), Effect::Pause),
            (Key::Char('?'), Effect::Help),
            (Key::Char('s'), Effect::Rows),
            (Key::Char('r'), Effect::Rows),
            (Key::Tab, Effect::Rows),
            (Key::Char('q'), Effect::Quit),
            (Key::Interrupt, Effect::Quit),
            (Key::Char('x'), Effect::Draw),
        ] {
            assert_eq!(after(&[key]).1, effect, "{key:?}");
        }
        // Nothing is selected without rows.
        let none = Facts { rows: &[], ..FACTS };
        for key in [Key::Enter, Key::Char('K'), Key::Char('y'), Key::Down] {
            assert_eq!(State::default().press(key, none), Effect::Draw, "{key:?}");
        }
    }

    #[test]
    fn views_and_columns_follow_each_other() {
        let views = |keys: &[Key]| after(keys).0.view;
        assert_eq!(views(&[Key::Tab]), View::Connections);
        assert_eq!(views(&[Key::BackTab]), View::Findings);
        assert_eq!(views(&[Key::Tab; 4]), View::Listeners);
        assert_eq!(views(&[Key::Char('3')]), View::Changes);
        let sorts: Vec<_> = (1..=4).map(|times| after(&vec![Key::Char('s'); times]).0.sort).collect();
        assert_eq!(sorts, [Some("protocol"), Some("address"), Some("port"), None]);
    }

    #[test]
    fn the_filter_is_typed() {
        for (name, keys, filter, is_typing) in [
            ("letters are not commands", letters("/qK?"), "qK?", true),
            ("enter keeps it", [letters("/a b"), vec![Key::Enter]].concat(), "a b", false),
            ("backspace", [letters("/ab"), vec![Key::Backspace]].concat(), "a", true),
            ("backspace of nothing ends it", [letters("/"), vec![Key::Backspace]].concat(), "", false),
            ("a word", [letters("/ab cd "), vec![Key::EraseWord]].concat(), "ab ", true),
            ("the line", [letters("/ab cd"), vec![Key::EraseLine]].concat(), "", true),
            ("escape removes it", [letters("/ab"), vec![Key::Escape]].concat(), "", false),
            ("later too", [letters("/ab"), vec![Key::Enter, Key::Escape]].concat(), "", false),
            ("typing continues", [letters("/ab"), vec![Key::Enter], letters("/c")].concat(), "abc", true),
        ] {
            let state = after(&keys).0;
            assert_eq!((&*state.filter, state.is_typing), (filter, is_typing), "{name}");
        }
        assert_eq!(after(&[letters("/a"), vec![Key::Interrupt]].concat()).1, Effect::Quit);
    }

    /// Pasted text is only ever a filter: it can contain the keys that end a process.
    #[test]
    fn pasted_text_is_no_command() {
        let mut state = State::default();
        assert_eq!(state.paste("K\ny"), Effect::Draw);
        assert_eq!(state, State::default());
        state.open(Panel::Confirm);
        state.paste("y");
        assert_eq!(state.panel, Some((Panel::Confirm, 0)));
        let mut state = after(&letters("/")).0;
        assert_eq!(state.paste("80\ny"), Effect::Filter);
        assert_eq!(state.filter, "80 y");
    }

    /// Only one key ends something; every other key except those that scroll cancels.
    #[test]
    fn the_question_needs_one_key() {
        for key in
            [Key::Enter, Key::Escape, Key::Char('n'), Key::Char('Y'), Key::Char('K'), Key::Delete, Key::Tab]
        {
            let mut state = State::default();
            state.open(Panel::Confirm);
            assert_eq!((state.press(key, FACTS), state.panel), (Effect::Draw, None), "{key:?}");
            assert_eq!(state.message.as_deref(), Some("Nothing was ended."));
        }
        let mut state = State::default();
        state.open(Panel::Confirm);
        assert_eq!(state.press(Key::Down, FACTS), Effect::Draw);
        assert_eq!(state.panel, Some((Panel::Confirm, 1)));
        assert_eq!((state.press(Key::Char('y'), FACTS), state.panel), (Effect::Kill, None));
    }

    #[test]
    fn a_text_scrolls_and_closes() {
        let mut state = State::default();
        state.open(Panel::Card);
        for (key, top) in [(Key::Down, 1), (Key::End, 15), (Key::Down, 15), (Key::PageUp, 5), (Key::Home, 0)]
        {
            state.press(key, FACTS);
            assert_eq!(state.panel, Some((Panel::Card, top)), "{key:?}");
        }
        state.wheel(false, FACTS);
        assert_eq!(state.panel, Some((Panel::Card, 3)));
        assert_eq!(state.press(Key::Char('K'), FACTS), Effect::PlanKill);
        for key in [Key::Escape, Key::Char('q'), Key::Enter] {
            state.open(Panel::Card);
            assert_eq!((state.press(key, FACTS), state.panel), (Effect::Draw, None), "{key:?}");
        }
        // A message is not a row: nothing can be ended from it.
        state.open(Panel::Text);
        assert_eq!(state.press(Key::Char('K'), FACTS), Effect::Draw);
    }

    #[test]
    fn clicks_select_and_open() {
        let mut state = after(&[Key::End]).0;
        assert_eq!((state.click(3, FACTS), state.cursor().at), (Effect::Draw, 23));
        assert_eq!((state.click(3, FACTS), state.cursor().at), (Effect::Card, 23));
        let few = Facts { rows: &ROWS[..2], ..FACTS };
        state.follow(few);
        assert_eq!((state.click(5, few), state.cursor().at), (Effect::Draw, 1));
    }

    /// The selected row is found again by its identity; if it is gone, its place stays selected.
    #[test]
    fn the_selected_row_is_followed() {
        let mut state = after(&[Key::Down, Key::Down]).0;
        let moved: Vec<u64> = [1, 2, 3].into_iter().chain(ROWS).collect();
        state.follow(Facts { rows: &moved, ..FACTS });
        assert_eq!(state.cursor().at, 5);
        let without: Vec<u64> = ROWS.into_iter().filter(|key| *key != 102).collect();
        state.follow(Facts { rows: &without, ..FACTS });
        assert_eq!(state.cursor().at, 5);
        state.follow(Facts { rows: &ROWS[..1], ..FACTS });
        assert_eq!(state.cursor().at, 0);
        state.follow(Facts { rows: &[], ..FACTS });
        assert_eq!((state.cursor().at, state.cursor().top), (0, 0));
    }
}
