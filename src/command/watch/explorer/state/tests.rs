//! Tests what each key does.

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

/// After the keys, row `at` is selected, and row `top` is the first visible row.
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

/// Pasted text can contain the keys that end a process. So it is never a command.
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

/// Only one key confirms the question. Every other key cancels it, except the keys that scroll.
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

/// The second question can appear while the user types. So its key differs from the key of the first question.
#[test]
fn the_second_question_needs_another_key() {
    for key in [Key::Enter, Key::Escape, Key::Char('y'), Key::Char('f'), Key::Char('K')] {
        let mut state = State::default();
        state.open(Panel::Force);
        assert_eq!((state.press(key, FACTS), state.panel), (Effect::Draw, None), "{key:?}");
        assert_eq!(state.message.as_deref(), Some("Nothing was forced to end."));
    }
    let mut state = State::default();
    state.open(Panel::Force);
    assert_eq!((state.press(Key::Char('F'), FACTS), state.panel), (Effect::ForceKill, None));
    assert_eq!(after(&[Key::Char('F')]).1, Effect::Draw);
}

#[test]
fn a_text_scrolls_and_closes() {
    let mut state = State::default();
    state.open(Panel::Card);
    for (key, top) in [(Key::Down, 1), (Key::End, 15), (Key::Down, 15), (Key::PageUp, 5), (Key::Home, 0)] {
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
    // No listener can be ended while a message is shown.
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

/// The selected row is found by its identity. If the row is gone, its position stays selected.
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
