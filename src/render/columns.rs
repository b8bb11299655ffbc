//! The columns of every listing. To add a column, add a row to `COLUMNS`. Every output, `--columns`, `--sort` and the
//! shell completions read this table.

use crate::join::Entry;
use crate::model::Snapshot;

use super::cells::{self, CellFormat, Field};
use super::process_cells;
use super::service_cells;

#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name of the column in `--columns`, `--sort` and CSV.
    pub name: &'static str,
    pub(super) heading: &'static str,
    short_heading: &'static str,
    content: Content,
    sorts_by: SortsBy,
    /// Returns whether an entry has a value in this column. The default table shows a column if at least one entry has
    /// a value in it. `None` if the default table never shows the column.
    needs: Option<fn(&Entry) -> bool>,
    /// Whether a table with chosen columns (`--columns`) shows the text for people instead of the plain value.
    is_for_people: bool,
    /// Like `is_for_people`, but only if the table is written to a terminal.
    is_for_people_on_terminal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortsBy {
    Text,
    Number,
    /// Times in RFC 3339, some with fractions of a second.
    Time,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    /// A part of each entry.
    Entry(fn(&Entry, CellFormat) -> Field),
    /// A fact about the snapshot, equal for all entries.
    Snapshot(fn(&Snapshot) -> Field),
}

impl Column {
    const fn text(name: &'static str, heading: &'static str, cell: fn(&Entry, CellFormat) -> Field) -> Self {
        Column {
            name,
            heading,
            short_heading: heading,
            content: Content::Entry(cell),
            sorts_by: SortsBy::Text,
            needs: None,
            is_for_people: false,
            is_for_people_on_terminal: false,
        }
    }

    const fn snapshot(name: &'static str, heading: &'static str, cell: fn(&Snapshot) -> Field) -> Self {
        Column {
            name,
            heading,
            short_heading: heading,
            content: Content::Snapshot(cell),
            sorts_by: SortsBy::Text,
            needs: None,
            is_for_people: false,
            is_for_people_on_terminal: false,
        }
    }

    pub(super) fn cell(&self, entry: &Entry, snapshot: &Snapshot, form: CellFormat) -> Field {
        match self.content {
            Content::Entry(cell) => cell(entry, form),
            Content::Snapshot(cell) => cell(snapshot),
        }
    }

    const fn number(
        name: &'static str,
        heading: &'static str,
        cell: fn(&Entry, CellFormat) -> Field,
    ) -> Self {
        Column { sorts_by: SortsBy::Number, ..Column::text(name, heading, cell) }
    }

    const fn time(name: &'static str, heading: &'static str, cell: fn(&Entry, CellFormat) -> Field) -> Self {
        Column {
            sorts_by: SortsBy::Time,
            is_for_people_on_terminal: true,
            ..Column::text(name, heading, cell)
        }
    }

    const fn in_table(self, needs: fn(&Entry) -> bool) -> Self {
        Column { needs: Some(needs), ..self }
    }

    const fn shortened(self, short_heading: &'static str) -> Self {
        Column { short_heading, ..self }
    }

    pub(super) const fn heading_of(&self, form: CellFormat) -> &'static str {
        if form.is_short() { self.short_heading } else { self.heading }
    }

    const fn for_people(self) -> Self {
        Column { is_for_people: true, ..self }
    }

    const fn for_people_on_terminal(self) -> Self {
        Column { is_for_people_on_terminal: true, ..self }
    }

    /// Returns the cell of a table. If there is no plain value, the cell has the text for people: `?` for an entry that
    /// could not be judged, or `nginx?` for a probable owner.
    pub(super) fn shown(&self, entry: &Entry, snapshot: &Snapshot, form: CellFormat) -> Field {
        let field = self.cell(entry, snapshot, form);
        match form {
            CellFormat::Data if field.text.is_empty() => self.cell(entry, snapshot, CellFormat::Complete),
            _ => field,
        }
    }

    pub(super) const fn form_by_name(&self, is_terminal: bool) -> CellFormat {
        if self.is_for_people || (self.is_for_people_on_terminal && is_terminal) {
            CellFormat::Complete
        } else {
            CellFormat::Data
        }
    }

    pub fn key(&self, entry: &Entry) -> Key {
        let Content::Entry(cell) = self.content else { return Key::Unknown };
        let mut text = cell(entry, CellFormat::Data).text;
        if text.is_empty() && self.sorts_by == SortsBy::Time {
            // For a hidden socket, the text is the start time of the probable owner. The question mark after it is
            // removed.
            text = cell(entry, CellFormat::Complete).text.trim_end_matches('?').to_owned().into();
        }
        match self.sorts_by {
            _ if text.is_empty() => Key::Unknown,
            SortsBy::Number => {
                Key::Numbers(text.split(',').filter_map(|number| number.parse().ok()).collect())
            }
            SortsBy::Text => Key::Text(text.into_owned()),
            // The `Z` is removed. With it, a time without a fraction would come after the times with a fraction,
            // because `.` sorts before `Z`.
            SortsBy::Time => Key::Text(text.replace('Z', "")),
        }
    }
}

/// The value by which a listing is sorted. Unknown values come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Numbers(Vec<u64>),
    Text(String),
    Unknown,
}

/// Every column. The columns of the default table come first, in their order from left to right. A name with dots is
/// the path of the value in the JSON.
pub(super) static COLUMNS: [Column; 94] = [
    Column::text("protocol", "PROTO", cells::protocol).in_table(|_| true),
    Column::text("address", "ADDRESS", cells::address).in_table(|_| true).for_people(),
    Column::number("port", "PORT", cells::port).in_table(|entry| entry.socket.port().is_some()),
    Column::text("receives", "RECEIVES", cells::receives).in_table(|entry| entry.socket.receives.is_some()),
    Column::text("peer", "PEER", cells::peer).in_table(|entry| entry.socket.peer.is_some()),
    Column::number("connections", "CONNS", cells::connections).in_table(|entry| entry.connections.is_some()),
    Column::text("state", "STATE", cells::state)
        .in_table(|entry| !entry.socket.state.accepts_traffic() && entry.socket.port().is_some()),
    Column::number("netns", "NETNS", cells::netns).in_table(|entry| entry.socket.netns.is_some()),
    Column::text("exposure", "EXPOSURE", cells::exposure).in_table(|_| true).shortened("REACH"),
    Column::text("service", "SERVICE", service_cells::service).in_table(|_| true).for_people(),
    Column::text("process", "PROCESS", process_cells::process).in_table(|_| true).for_people_on_terminal(),
    Column::number("pid", "PID", process_cells::pid).in_table(|_| true),
    Column::text("user", "USER", cells::user).in_table(|_| true),
    Column::text("unit", "UNIT", cells::unit).in_table(cells::has_unit),
    Column::text("flags", "FLAGS", cells::flags).in_table(|_| true),
    Column::text("family", "FAMILY", cells::family),
    Column::text("device", "DEVICE", cells::device),
    Column::text("v6only", "V6ONLY", cells::v6only),
    Column::text("peer.address", "PEER.ADDRESS", cells::peer_address),
    Column::number("peer.port", "PEER.PORT", cells::peer_port),
    Column::text("direction", "DIRECTION", cells::direction),
    Column::number("netns.inode", "NETNS.INODE", cells::netns_inode),
    Column::text("netns.name", "NETNS.NAME", cells::netns_name),
    Column::number("inode", "INODE", cells::inode),
    Column::number("cookie", "COOKIE", cells::cookie),
    Column::text("mptcp", "MPTCP", cells::mptcp),
    Column::number("queues.receive", "QUEUES.RECEIVE", cells::receive_queue),
    Column::number("queues.send", "QUEUES.SEND", cells::send_queue),
    Column::number("uid", "UID", cells::uid),
    Column::text("cgroup", "CGROUP", cells::cgroup),
    Column::text("container", "CONTAINER", cells::container),
    Column::text("container.id", "CONTAINER.ID", cells::container_id),
    Column::text("container.image", "CONTAINER.IMAGE", cells::container_image),
    Column::text("owner", "OWNER", cells::owner),
    Column::number("processes.pid", "PROCESSES.PID", process_cells::pid),
    Column::text("processes.name", "PROCESSES.NAME", process_cells::process_names),
    Column::text("processes.exe", "PROCESSES.EXE", process_cells::exe),
    Column::text("processes.exe_deleted", "PROCESSES.EXE_DELETED", process_cells::exe_deleted),
    Column::text("processes.exe_state", "PROCESSES.EXE_STATE", process_cells::exe_state),
    Column::text("processes.cmdline", "PROCESSES.CMDLINE", process_cells::cmdline),
    Column::number("processes.uid", "PROCESSES.UID", process_cells::process_uids),
    Column::text("processes.user", "PROCESSES.USER", process_cells::process_users),
    Column::time("processes.started", "PROCESSES.STARTED", process_cells::started),
    Column::text("processes.parents", "PROCESSES.PARENTS", process_cells::parents),
    Column::number("processes.parents.pid", "PROCESSES.PARENTS.PID", process_cells::parent_pids),
    Column::text("processes.parents.name", "PROCESSES.PARENTS.NAME", process_cells::parents),
    Column::text("processes.parents.uid", "PROCESSES.PARENTS.UID", process_cells::parent_uids),
    Column::text("processes.parents.user", "PROCESSES.PARENTS.USER", process_cells::parent_users),
    Column::text("processes.unit", "PROCESSES.UNIT", process_cells::process_units),
    Column::text("processes.container", "PROCESSES.CONTAINER", process_cells::process_containers),
    Column::text("registry.range", "REGISTRY.RANGE", cells::range),
    Column::text("registry.status", "REGISTRY.STATUS", cells::status),
    Column::text("registry.reason", "REGISTRY.REASON", cells::reason),
    Column::text("registry.assignments", "REGISTRY.ASSIGNMENTS", cells::registered_services),
    Column::text("registry.assignments.service", "REGISTRY.ASSIGNMENTS.SERVICE", cells::registered_services),
    Column::text("registry.assignments.description", "REGISTRY.ASSIGNMENTS.DESCRIPTION", cells::descriptions),
    Column::text("registry.assignments.assignee", "REGISTRY.ASSIGNMENTS.ASSIGNEE", cells::assignees),
    Column::text("registry.assignments.registered", "REGISTRY.ASSIGNMENTS.REGISTERED", cells::registered),
    Column::text("registry.assignments.modified", "REGISTRY.ASSIGNMENTS.MODIFIED", cells::modified),
    Column::text("registry.assignments.reference", "REGISTRY.ASSIGNMENTS.REFERENCE", cells::references),
    Column::text("registry.known_use", "REGISTRY.KNOWN_USE", cells::known_use),
    Column::text("usual.program", "USUAL.PROGRAM", cells::usual_program),
    Column::text("usual.product", "USUAL.PRODUCT", cells::usual_product),
    Column::text("flags.code", "FLAGS.CODE", cells::flag_codes),
    Column::text("flags.severity", "FLAGS.SEVERITY", cells::severities),
    Column::text("flags.text", "FLAGS.TEXT", cells::flag_texts),
    Column::text("exe", "EXE", process_cells::exe),
    Column::text("cmdline", "CMDLINE", process_cells::cmdline),
    Column::time("started", "STARTED", process_cells::started),
    Column::text("parents", "PARENTS", process_cells::parents),
    Column::text("range", "RANGE", cells::range),
    Column::text("status", "STATUS", cells::status),
    Column::text("known_use", "KNOWN_USE", cells::known_use),
    Column::text("service.name", "SERVICE.NAME", service_cells::service_name),
    Column::text("service.product", "SERVICE.PRODUCT", service_cells::service_product),
    Column::text("service.by", "SERVICE.BY", service_cells::service_by),
    Column::text("forwards_to", "FORWARDS_TO", cells::forwards_to),
    Column::text("forwards_to.container", "FORWARDS_TO.CONTAINER", cells::forwards_to_container),
    Column::number("forwards_to.pids", "FORWARDS_TO.PIDS", cells::forwards_to_pids),
    Column::text("reach", "REACH", cells::reach),
    Column::text("reach_from", "REACH_FROM", cells::reach_from),
    Column::text("reach_rule", "REACH_RULE", cells::reach_rule),
    Column::text("processes.origin.kind", "PROCESSES.ORIGIN.KIND", process_cells::origin),
    Column::text("processes.origin.package", "PROCESSES.ORIGIN.PACKAGE", process_cells::package),
    Column::text("processes.origin.version", "PROCESSES.ORIGIN.VERSION", process_cells::package_version),
    Column::text("processes.script.path", "PROCESSES.SCRIPT.PATH", process_cells::script),
    Column::text("processes.cwd", "PROCESSES.CWD", process_cells::cwd),
    Column::text("processes.project", "PROCESSES.PROJECT", process_cells::project),
    Column::text("cwd", "CWD", process_cells::cwd),
    Column::text("project", "PROJECT", process_cells::project),
    Column::snapshot("host_id", "HOST_ID", cells::host_id),
    Column::snapshot("host", "HOST", cells::host),
    Column::snapshot("taken", "TAKEN", cells::taken),
    Column::snapshot("complete", "COMPLETE", cells::complete),
];

/// The columns of a CSV if the user names no columns.
pub const CSV: [&str; 25] = [
    "protocol",
    "family",
    "address",
    "port",
    "device",
    "v6only",
    "state",
    "peer",
    "netns",
    "exposure",
    "uid",
    "user",
    "owner",
    "pid",
    "process",
    "exe",
    "cmdline",
    "started",
    "unit",
    "container",
    "service",
    "status",
    "known_use",
    "flags",
    "receives",
];

/// The columns that `-o wide` adds to the default table. The longest column is the last.
const WIDE: [&str; 2] = ["started", "cmdline"];

/// Labels of the card that `--columns` and `--sort` accept as names of columns.
const ALIASES: [(&str, &str); 6] = [
    ("since", "started"),
    ("command", "cmdline"),
    ("program", "exe"),
    ("directory", "cwd"),
    ("why", "parents"),
    ("reachable", "exposure"),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|column| column.name)
}

pub fn named(name: &str) -> Option<&'static Column> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, name)| *name);
    COLUMNS.iter().find(|column| column.name.eq_ignore_ascii_case(name))
}

/// Returns the columns of the default table that have a value in these entries.
pub(super) fn of_table<'e>(entries: &(impl Iterator<Item = &'e Entry> + Clone)) -> Vec<&'static Column> {
    COLUMNS.iter().filter(|column| column.needs.is_some_and(|needs| entries.clone().any(needs))).collect()
}

pub(super) fn of_wide<'e>(entries: &(impl Iterator<Item = &'e Entry> + Clone)) -> Vec<&'static Column> {
    of_table(entries).into_iter().chain(WIDE.iter().filter_map(|name| named(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::{report, scene};

    #[test]
    fn names_are_unique_and_found_in_any_case() {
        for (at, name) in names().enumerate() {
            assert_eq!(named(&name.to_uppercase()).map(|column| column.name), Some(name));
            assert_eq!(names().position(|other| other == name), Some(at), "{name}");
        }
        assert!(named("colour").is_none());
        for (alias, name) in ALIASES {
            assert_eq!(named(alias).map(|column| column.name), Some(name), "{alias}");
            assert!(names().all(|name| name != alias), "{alias}");
        }
        for name in CSV.iter().chain(&WIDE) {
            assert!(named(name).is_some(), "{name}");
        }
    }

    /// Every column shows the value that the JSON has at the path of its name.
    #[test]
    fn columns_agree_with_json() {
        let report = report(&scene());
        for entry in &report.entries {
            let json = serde_json::to_value(entry).unwrap();
            // The cell of `processes.cmdline` is not a list, but text for a shell.
            let is_list = |column: &&Column| column.name.contains('.') && column.name != "processes.cmdline";
            for column in COLUMNS.iter().filter(is_list) {
                let path = match column.name {
                    "processes.parents" => "processes.parents.name",
                    "registry.assignments" => "registry.assignments.service",
                    name => name,
                };
                let mut values = Vec::new();
                collect(&json, path, &mut values);
                let wanted = crate::render::sanitize(&values.join(",")).into_owned();
                let text = column.cell(entry, &report.snapshot, CellFormat::Data).text;
                if column.name == "processes.cmdline" {
                    // In the cell, the words are quoted for a shell. In the JSON, each word is an element.
                    assert_eq!(text.is_empty(), wanted.is_empty());
                    continue;
                }
                assert_eq!(text, wanted, "{}", column.name);
            }
        }
    }

    #[test]
    fn a_command_line_can_be_pasted() {
        let mut snapshot = scene();
        for (words, line) in [
            (&["/bin/sh", "-c", "it's a"][..], r"/bin/sh -c 'it'\''s a'"),
            (&["server", "--listen=a,b", ""], "server --listen=a,b ''"),
            (&["x", "$(y)"], "x '$(y)'"),
        ] {
            for process in &mut snapshot.processes {
                process.cmdline = words.iter().map(|&word| word.to_owned()).collect();
            }
            let report = report(&snapshot);
            let entry = report.entries.iter().find(|entry| entry.processes.len() == 1).unwrap();
            assert_eq!(process_cells::cmdline(entry, CellFormat::Data).text, crate::render::sanitize(line));
        }
    }

    /// In a pipe, the cell has the start time of each process. On a terminal, it has only the earliest start time.
    #[test]
    fn times() {
        let mut snapshot = scene();
        let times = ["2026-11-30T10:54:25.02Z", "2026-11-30T10:54:25Z", "2026-11-30T10:54:25.01Z"];
        for (process, time) in snapshot.processes.iter_mut().zip(times.iter().cycle()) {
            process.started = Some(time.parse().unwrap());
        }
        let report = report(&snapshot);
        let column = named("since").unwrap();
        let entry = report.entries.iter().find(|entry| entry.processes.len() > 2).unwrap();
        let shown = |is_terminal| column.cell(entry, &report.snapshot, column.form_by_name(is_terminal)).text;
        assert_eq!(shown(true), "2026-11-30T10:54:25Z");
        assert!(shown(false).matches("T10:54:25").count() > 2, "{}", shown(false));
        let mut keys: Vec<Key> = report.entries.iter().map(|entry| column.key(entry)).collect();
        keys.sort();
        let first = |key: &Key| match key {
            Key::Text(text) => text.split(',').next().map(|time| format!("{time}Z").parse().unwrap()),
            _ => None,
        };
        let sorted: Vec<jiff::Timestamp> = keys.iter().filter_map(first).collect();
        assert!(sorted.len() > 2 && sorted.is_sorted(), "{keys:?}");
    }

    fn collect(value: &serde_json::Value, path: &str, values: &mut Vec<String>) {
        use serde_json::Value;
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, path, values)),
            Value::Object(map) => collect(&map[key], rest, values),
            Value::Null => {}
            Value::String(text) => values.push(text.clone()),
            other => values.push(other.to_string()),
        }
    }

    #[test]
    fn numbers_sort_by_value_and_unknown_values_last() {
        let report = report(&scene());
        let sorted = |name: &str| {
            let column = named(name).unwrap();
            let mut entries: Vec<_> = report.entries.iter().collect();
            entries.sort_by_key(|entry| column.key(entry));
            let cell =
                |entry: &&Entry| column.cell(entry, &report.snapshot, CellFormat::Data).text.into_owned();
            entries.iter().map(cell).collect::<Vec<_>>()
        };
        let ports = ["22", "3416", "4913", "5432", "8000", "8003", "51820", "60417"];
        assert_eq!(sorted("port"), ports);
        let pids = ["21,22,23,24,4000025", "812", "900", "1000,1001", "", "", "", ""];
        assert_eq!(sorted("pid"), pids);
    }
}
