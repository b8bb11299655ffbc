//! The table of the listeners, with the columns and cells of the table for people.

use std::collections::HashMap;

use crate::findings::text::plural;
use crate::judge::Entry;
use crate::model::{Severity, Snapshot};
use crate::render::cells::CellFormat;
use crate::render::columns;
use crate::render::merge::{merge, row_of_each};

use super::class;
use super::markup::Html;

pub(super) struct Row {
    pub(super) entry: Entry,
    /// The flags or the changes of the listener, the most severe first.
    pub(super) marks: Vec<Mark>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) severity: Option<Severity>,
    pub(super) text: String,
    pub(super) link: Option<Link>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Row(usize),
    Group(usize),
    Change(usize),
}

impl Link {
    pub(super) fn write(self, html: &mut Html) {
        match self {
            Link::Row(at) => html.markup("l").number(at),
            Link::Group(at) => html.markup("f").number(at),
            Link::Change(at) => html.markup("c").number(at),
        };
    }
}

impl Row {
    pub(super) fn severity(&self) -> Option<Severity> {
        self.marks.iter().filter_map(|mark| mark.severity).max()
    }
}

/// The rows of some listeners. One row can stand for several sockets of one server.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    row_of: HashMap<*const Entry, usize>,
}

impl Rows {
    pub(super) fn of(listeners: &[&Entry]) -> Self {
        let numbers = row_of_each(listeners);
        let row_of = listeners.iter().map(|entry| std::ptr::from_ref(*entry)).zip(numbers).collect();
        let merged = merge(listeners.iter().map(|entry| (*entry).clone()).collect());
        Rows { rows: merged.into_iter().map(|entry| Row { entry, marks: Vec::new() }).collect(), row_of }
    }

    /// Adds a mark to the row of a listener, unless the row already has this mark. Returns whether the listener has a
    /// row.
    pub(super) fn mark(&mut self, listener: &Entry, mark: Mark) -> bool {
        let row = self.row_of.get(&std::ptr::from_ref(listener)).and_then(|at| self.rows.get_mut(*at));
        let Some(row) = row else { return false };
        if !row.marks.contains(&mark) {
            row.marks.push(mark);
        }
        true
    }

    pub(super) fn without_port(&self) -> usize {
        self.rows.iter().filter(|row| row.entry.socket.port().is_none()).count()
    }

    /// Writes the table; `marks` is the heading of the column of marks.
    pub(super) fn write(&self, marks: &'static str, snapshot: &Snapshot, html: &mut Html) {
        html.markup("<section class=\"data\" aria-labelledby=\"listeners\">\n<h2 id=\"listeners\">All listeners</h2>\n");
        if self.rows.is_empty() {
            html.markup("<p>No listeners.</p>\n</section>\n");
            return;
        }
        let entries: Vec<Entry> = self.rows.iter().map(|row| row.entry.clone()).collect();
        let mut columns = columns::of_table(&entries.iter());
        // The column FLAGS is left out, because the marks contain the flags.
        columns.retain(|column| column.name != "flags");
        search("Search listeners", self.rows.len(), "listener", html);
        html.markup("<div class=\"wide\" role=\"group\" aria-labelledby=\"listeners\" tabindex=\"0\">\n");
        html.markup("<table><thead><tr><th scope=\"col\">SEVERITY");
        for column in &columns {
            html.element("<th scope=\"col\">", column.heading, "");
        }
        html.markup("<th scope=\"col\">").markup(marks).markup("</thead>\n<tbody>\n");
        for (at, row) in self.rows.iter().enumerate() {
            html.markup("<tr id=");
            Link::Row(at).write(html);
            match row.severity() {
                Some(severity) => {
                    html.markup(" class=").markup(class(Some(severity))).markup("><td data-rank=");
                    html.number(Severity::ALL.len() - severity as usize).markup(">").markup(severity.name());
                }
                None => _ = html.markup("><td data-rank=9>-"),
            }
            for column in &columns {
                let cell = column.cell(&row.entry, snapshot, CellFormat::Complete);
                html.markup("<td>").text(if cell.text.is_empty() { "-" } else { &cell.text });
            }
            html.markup("<td>");
            row.write_marks(html);
            html.markup("\n");
        }
        html.markup("</tbody></table>\n</div>\n</section>\n");
    }
}

impl Row {
    fn write_marks(&self, html: &mut Html) {
        if self.marks.is_empty() {
            html.markup("-");
        }
        for (at, mark) in self.marks.iter().enumerate() {
            if at > 0 {
                html.markup(", ");
            }
            match mark.link {
                Some(link) => {
                    html.markup("<a href=\"#");
                    link.write(html);
                    html.element("\">", &mark.text, "</a>");
                }
                None => _ = html.text(&mark.text),
            }
        }
    }
}

/// Adds the field that searches the table of its section. The search needs the script, so the field is hidden until the
/// script shows it.
pub(super) fn search(label: &'static str, count: usize, what: &str, html: &mut Html) {
    html.markup("<p class=\"search\" hidden><label>").markup(label);
    html.markup(" <input type=\"search\" autocomplete=\"off\" spellcheck=\"false\"></label> ");
    html.element("<output>", &plural(count, what), "</output></p>\n");
}
