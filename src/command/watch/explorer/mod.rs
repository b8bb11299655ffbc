//! The explorer: the rows of the views, the selected row, and the frame that shows them.
//!
//! `live.rs` passes keys and reports to the explorer, and executes the actions that it requests.

mod rows;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

pub(super) use self::rows::Source;
use self::rows::{Narrowing, Rows};
pub(super) use self::state::{Effect, Panel};
use self::state::{Facts, State};
use super::WatchUpdate;
use super::marks::Marks;
use crate::cli::{self, FilterArgs};
use crate::command::screen::{Input, Key};
use crate::judge::{Entry, Question};
use crate::query::Selection;
use crate::render::screen::{
    Areas, Body, FoundRow, Frame, Keys, MARK, Size, Status, View, caveat_lines, changes, findings, frame,
    help, listeners, message_lines, row_text, tab_at,
};
use crate::render::table::TableLayout;
use crate::render::{Style, caveats, merged_rows, stderr};

/// Makes the text that is shown in place of the rows, in the given style.
pub(super) type Text = Box<dyn Fn(&Style) -> Vec<String>>;

/// The parsed filter that the user typed, or the reason why it cannot be used.
type Filter = Result<Selection, String>;

pub(super) struct Explorer {
    state: State,
    marks: Marks,
    rows: Rows,
    keys: Vec<u64>,
    layout: Option<TableLayout>,
    columns: Vec<&'static str>,
    filter: Option<Filter>,
    /// The text that is shown in place of the rows, such as a card, and its lines for the current size.
    text: Option<(Text, Vec<String>)>,
    caveats: Vec<String>,
    /// The number of current listeners, and the time of the report in which they were counted.
    listeners: (usize, Option<Timestamp>),
    paused: Option<Timestamp>,
    interval: Duration,
    size: Size,
    style: Style,
    verbose: bool,
}

impl Explorer {
    pub(super) fn new(interval: Duration, size: Size, style: Style, verbose: bool) -> Self {
        Explorer {
            state: State::default(),
            marks: Marks::new(interval),
            rows: Rows::Entries(Vec::new()),
            keys: Vec::new(),
            layout: None,
            columns: Vec::new(),
            filter: None,
            text: None,
            caveats: Vec::new(),
            listeners: (0, None),
            paused: None,
            interval,
            size,
            style: Style { width: Some(size.width), ..style },
            verbose,
        }
    }

    pub(super) fn view(&self) -> View {
        self.state.view
    }

    /// Parses the typed filter with `parse`, the parser of the command line. The second argument of `parse` says
    /// whether a target also matches the remote end of a connection.
    pub(super) fn read_filter(&mut self, parse: impl Fn(&FilterArgs, bool) -> Result<Selection, String>) {
        let text = self.state.filter.trim();
        let either_end = self.state.view == View::Connections;
        let parsed = || parse(&cli::filters(text.split_whitespace())?, either_end);
        self.filter = (!text.is_empty()).then(parsed);
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(super) fn resize(&mut self, size: Size, source: Source<'_>) {
        self.size = size;
        self.style.width = Some(size.width);
        if let Some((text, lines)) = &mut self.text {
            *lines = text(&self.style);
        }
        self.lay_out(source);
    }

    /// Lets every mark fade by one scan. Returns whether the screen must change.
    pub(super) fn fade(&mut self) -> bool {
        self.marks.fade()
    }

    pub(super) fn note(&mut self, update: &WatchUpdate<'_>) {
        self.marks.note(update);
    }

    pub(super) fn make_rows(&mut self, source: Source<'_>) {
        let narrowing = Narrowing {
            selection: self.filter.as_ref().and_then(|filter| filter.as_ref().ok()),
            text: &self.state.filter,
            sort: self.state.sort,
            is_reversed: self.state.is_reversed,
        };
        let report = source.of(self.state.view);
        let taken = source.report.snapshot.taken;
        if self.listeners.1 != Some(taken) {
            let entries = source.report.entries.iter().filter(|entry| entry.socket.peer.is_none());
            self.listeners = (merged_rows(&entries.collect::<Vec<_>>()).len(), Some(taken));
        }
        let undecided = narrowing.undecided(report);
        self.rows = Rows::of(self.state.view, source, &self.marks, &narrowing);
        self.keys = self.rows.keys();
        let question = Question {
            is_narrowed: report.question.is_narrowed || undecided > 0,
            undecided: report.question.undecided + undecided,
            ..report.question
        };
        self.caveats = if self.verbose {
            let mut bytes = Vec::new();
            // Writing to memory does not fail.
            let _ = stderr::unseen(&report.snapshot.gaps, &self.style, &mut bytes);
            String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
        } else {
            caveats(&report.snapshot, report.entries.iter(), question)
        };
        self.lay_out(source);
    }

    fn lay_out(&mut self, source: Source<'_>) {
        let Rows::Entries(rows) = &self.rows else {
            self.columns = Vec::new();
            return self.follow();
        };
        let report = source.of(self.state.view);
        let inner = Style { width: Some(self.size.width.saturating_sub(MARK)), ..self.style };
        let entries = rows.iter().filter_map(|row| row.entry.of(report));
        let layout = match self.state.view {
            View::Listeners => {
                TableLayout::of_screen(&entries.chain(self.marks.past()), &report.snapshot, &inner)
            }
            _ => TableLayout::of_screen(&entries, &report.snapshot, &inner),
        };
        self.columns = layout.visible().collect();
        self.layout = Some(layout);
        self.follow();
    }

    /// Keeps the same row selected, and makes it visible.
    fn follow(&mut self) {
        let mut state = std::mem::take(&mut self.state);
        state.follow(self.facts());
        self.state = state;
    }

    fn areas(&self) -> Areas {
        let caveats = if self.verbose { self.caveats.len() } else { self.caveats.len().min(1) };
        Areas::of(self.size.height, caveats, !self.marks.logged().0.is_empty())
    }

    fn facts(&self) -> Facts<'_> {
        let areas = self.areas();
        Facts {
            rows: &self.keys,
            page: areas.rows,
            text: self.text.as_ref().map_or(0, |(_, lines)| lines.len()),
            text_page: areas.text,
            columns: &self.columns,
        }
    }

    /// Changes the state after an input. Returns the action that the caller must execute.
    pub(super) fn handle(&mut self, input: &Input) -> Effect {
        let mut state = std::mem::take(&mut self.state);
        let facts = self.facts();
        let effect = match input {
            Input::Key(key) => state.press(*key, facts),
            Input::Paste(text) => state.paste(text),
            Input::Wheel { up } => state.wheel(*up, facts),
            Input::Click(column, line) => self.click(&mut state, *column, *line),
            _ => Effect::Draw,
        };
        self.state = state;
        match effect {
            Effect::Help => {
                let caveats = self.caveats.clone();
                self.show(Panel::Text, Box::new(move |style| help(&caveats, style)));
            }
            Effect::Pause => {
                self.paused = if self.paused.is_some() { None } else { Some(Timestamp::now()) };
            }
            _ => {}
        }
        if self.state.panel.is_none() {
            self.text = None;
        }
        effect
    }

    fn click(&self, state: &mut State, column: u16, line: u16) -> Effect {
        let areas = self.areas();
        let line = usize::from(line);
        if areas.tabs == Some(line)
            && let Some(view) = tab_at(column, state.view, self.counts(), self.size.width)
        {
            let at = View::ALL.iter().position(|other| *other == view).unwrap_or(0);
            let key = ['1', '2', '3', '4'].get(at).map(|number| Key::Char(*number));
            state.panel = None;
            return key.map_or(Effect::Draw, |key| state.press(key, self.facts()));
        }
        match line.checked_sub(areas.first_row) {
            Some(row) if row < areas.rows => state.click(row, self.facts()),
            _ => Effect::Draw,
        }
    }

    /// Returns whether the next key is for the rows. This is false if a text is shown in place of the rows, or if the
    /// user is typing a filter.
    pub(super) fn is_free(&self) -> bool {
        self.state.panel.is_none() && !self.state.is_typing
    }

    pub(super) fn show(&mut self, panel: Panel, text: Text) {
        let lines = text(&self.style);
        self.text = Some((text, lines));
        self.state.open(panel);
    }

    /// Shows a message on the last line until the next key.
    pub(super) fn say(&mut self, message: String) {
        self.state.message = Some(message);
    }

    /// Shows a message on the last line. A message that is too long for this line is shown in place of the rows.
    pub(super) fn report(&mut self, message: String) {
        if message.width() <= self.size.width.into() || self.state.panel.is_some() {
            self.say(message);
        } else {
            self.show(Panel::Text, Box::new(move |style| message_lines(&message, style)));
        }
    }

    pub(super) fn selected<'e>(&'e self, source: Source<'e>) -> Vec<&'e Entry> {
        let report = source.of(self.state.view);
        let at = self.state.cursor().at;
        match &self.rows {
            Rows::Entries(rows) => rows.get(at).and_then(|row| row.entry.of(report)).into_iter().collect(),
            Rows::Changes(rows) => {
                let change = rows.get(at).and_then(|(at, _)| self.marks.logged().0.get(*at));
                change.map(|change| change.sockets.iter().collect()).unwrap_or_default()
            }
            Rows::Findings(rows) => rows
                .get(at)
                .and_then(|row| row.of(report))
                .map(|row| row.listener.sockets)
                .unwrap_or_default(),
        }
    }

    /// Returns the text to copy: the text that is shown in place of the rows, such as a card. Without this text,
    /// returns the selected row.
    pub(super) fn copied(&self, source: Source<'_>) -> String {
        let report = source.of(self.state.view);
        let at = self.state.cursor().at;
        let plain = Style { color: false, width: None, ..self.style };
        if let Some((text, _)) = &self.text {
            return text(&plain).join("\n");
        }
        match &self.rows {
            Rows::Entries(rows) => {
                let entry = rows.get(at).and_then(|row| row.entry.of(report));
                entry.map(|entry| row_text(entry, &report.snapshot)).unwrap_or_default()
            }
            _ => self
                .visible(at, 1, None, source, &plain)
                .get(2)
                .map(|line| line.trim().to_owned())
                .unwrap_or_default(),
        }
    }

    fn counts(&self) -> [Option<usize>; 4] {
        let changes = self.marks.logged();
        [None, None, Some(changes.0.len() + changes.1), None]
    }

    pub(super) fn frame(&self, source: Source<'_>, now: Timestamp) -> Vec<String> {
        let areas = self.areas();
        let cursor = self.state.cursor();
        let body = match (&self.text, self.state.panel) {
            (Some((_, lines)), Some((_, top))) => {
                let end = (top + areas.text).min(lines.len());
                Body::Text(lines.get(top..end).unwrap_or(&[]))
            }
            _ => {
                let selected = cursor.at.checked_sub(cursor.top);
                let lines = self.visible(cursor.top, areas.rows, selected, source, &self.style);
                let lines = if self.rows.len() == 0 { self.no_rows(source) } else { lines };
                Body::Rows { lines, position: self.position(areas.rows) }
            }
        };
        let caveats = caveat_lines(&self.caveats, self.verbose, self.size.width);
        let content = Frame {
            status: self.status(source),
            view: self.state.view,
            counts: self.counts(),
            body,
            log: self.marks.logged().0,
            caveats: &caveats,
            keys: self.last_line(),
        };
        frame(&content, now, self.interval, self.size, &self.style)
    }

    pub(super) fn first_line(&self, source: Source<'_>, now: Timestamp) -> String {
        self.status(source).line(now, self.interval, (self.size.width, self.style.zone))
    }

    fn status(&self, source: Source<'_>) -> Status {
        let is_sorted = matches!(self.rows, Rows::Entries(_));
        Status {
            listeners: self.listeners.0,
            gaps: source.of(self.state.view).snapshot.gaps.len(),
            paused: self.paused,
            sort: self.state.sort.filter(|_| is_sorted).map(|column| (column, self.state.is_reversed)),
        }
    }

    fn last_line(&self) -> Keys<'_> {
        if let Some(message) = &self.state.message {
            return Keys::Message(message);
        }
        match (self.state.panel, self.state.is_typing) {
            (Some((Panel::Confirm, _)), _) => Keys::Of(&CONFIRM_KEYS),
            (Some((Panel::Force, _)), _) => Keys::Of(&FORCE_KEYS),
            (Some((Panel::Card, _)), _) => Keys::Of(&CARD_KEYS),
            (Some((Panel::Text, _)), _) => Keys::Of(&CARD_KEYS[..2]),
            (None, true) => {
                let error = self.filter.as_ref().and_then(|filter| filter.as_ref().err());
                Keys::Filter { text: &self.state.filter, error: error.map(String::as_str) }
            }
            (None, false) if matches!(self.rows, Rows::Entries(_)) => Keys::Of(&ROW_KEYS),
            (None, false) => Keys::Of(&OTHER_KEYS),
        }
    }

    /// Returns the visible lines: the header, the horizontal line below it, and the rows.
    fn visible(
        &self,
        top: usize,
        count: usize,
        selected: Option<usize>,
        source: Source<'_>,
        style: &Style,
    ) -> Vec<String> {
        let report = source.of(self.state.view);
        match (&self.rows, &self.layout) {
            (Rows::Entries(rows), Some(layout)) => {
                let shown = rows.iter().skip(top).take(count);
                let shown: Vec<_> = shown.filter_map(|row| Some((row.entry.of(report)?, row.mark))).collect();
                listeners(&shown, selected, (&report.snapshot, layout), style).unwrap_or_default()
            }
            (Rows::Entries(_), None) => Vec::new(),
            (Rows::Changes(rows), _) => {
                let log = self.marks.logged().0;
                let shown: Vec<_> =
                    rows.iter().skip(top).take(count).filter_map(|(at, _)| log.get(*at)).collect();
                changes(&shown, selected, style)
            }
            (Rows::Findings(rows), _) => {
                let shown: Vec<FoundRow<'_>> =
                    rows.iter().skip(top).take(count).filter_map(|row| row.of(report)).collect();
                findings(&shown, selected, style)
            }
        }
    }

    /// Returns the text at the end of the horizontal line: the range of visible rows, and the filter.
    fn position(&self, page: usize) -> String {
        let rows = self.rows.len();
        let top = self.state.cursor().top;
        let last = (top + page).min(rows);
        let range = match rows {
            0 => String::new(),
            _ if rows <= page => format!("{rows}"),
            _ => format!("{}-{last} of {rows}", top + 1),
        };
        let filter = self.state.filter.trim();
        match filter {
            "" => range,
            filter => format!("{range} with {}", crate::render::sanitize(filter)),
        }
    }

    fn no_rows(&self, source: Source<'_>) -> Vec<String> {
        let report = source.of(self.state.view);
        let has_gaps = !report.snapshot.gaps.is_empty();
        let text = match (self.state.view, self.state.filter.trim()) {
            (View::Connections, _) if source.connections.is_none() => {
                "The connections have not been read yet."
            }
            (_, filter) if !filter.is_empty() => "No row matches the filter. Esc removes the filter.",
            (View::Changes, _) => "No change was seen.",
            (View::Findings, _) if has_gaps => "No finding, but not everything could be seen.",
            (View::Findings, _) => "No findings.",
            (View::Connections, _) if has_gaps => "No connection was seen, but not everything could be seen.",
            (View::Connections, _) => "No connections.",
            (View::Listeners, _) if has_gaps => "No listener was seen, but not everything could be seen.",
            (View::Listeners, _) => "No listeners.",
        };
        let mut lines = vec![String::new(), text.to_owned()];
        if self.state.view == View::Listeners && report.question.is_narrowed {
            lines.push("To wait until something listens and then quit, use --until-listening.".to_owned());
        }
        lines
    }
}

/// The keys for the rows, the most important keys first. The constants below have the keys for the other views, for a
/// card, and for the questions.
const ROW_KEYS: [(&str, &str); 8] = [
    ("q", "quit"),
    ("?", "help"),
    ("Enter", "card"),
    ("/", "filter"),
    ("Tab", "view"),
    ("s", "sort"),
    ("p", "pause"),
    ("K", "end process"),
];
const OTHER_KEYS: [(&str, &str); 7] = [
    ("q", "quit"),
    ("?", "help"),
    ("Enter", "card"),
    ("/", "filter"),
    ("Tab", "view"),
    ("p", "pause"),
    ("K", "end process"),
];
const CARD_KEYS: [(&str, &str); 4] =
    [("Esc", "close"), ("Up/Down", "scroll"), ("y", "copy"), ("K", "end process")];
const CONFIRM_KEYS: [(&str, &str); 3] =
    [("y", "end this"), ("any other key", "cancel"), ("Up/Down", "scroll")];
const FORCE_KEYS: [(&str, &str); 3] =
    [("F", "send SIGKILL"), ("any other key", "cancel"), ("Up/Down", "scroll")];
