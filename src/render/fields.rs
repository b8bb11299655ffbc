//! The fields of a listener by name: what `--columns`, `--sort` and CSV are made of.
//!
//! A field is a path into the listener as JSON has it, so that every field of the JSON can be a column and none
//! can differ from it. Lists are joined by commas. What is not known is an empty cell. Texts come out sanitized.

use std::cmp::Ordering;

use serde_json::Value;

use super::sanitize;

/// Every name there is, and the path it stands for. Short names stand for what a column usually means.
const FIELDS: [(&str, &str); 68] = [
    ("protocol", "protocol"),
    ("family", "family"),
    ("address", "address"),
    ("port", "port"),
    ("device", "device"),
    ("v6only", "v6only"),
    ("state", "state"),
    ("peer", "peer"),
    ("peer.address", "peer.address"),
    ("peer.port", "peer.port"),
    ("direction", "direction"),
    ("connections", "connections"),
    ("netns", "netns.inode"),
    ("netns.inode", "netns.inode"),
    ("netns.name", "netns.name"),
    ("inode", "inode"),
    ("cookie", "cookie"),
    ("mptcp", "mptcp"),
    ("queues.receive", "queues.receive"),
    ("queues.send", "queues.send"),
    ("uid", "uid"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("unit", "unit"),
    ("container", "container"),
    ("exposure", "exposure"),
    ("owner", "owner"),
    ("processes.pid", "processes.pid"),
    ("processes.name", "processes.name"),
    ("processes.exe", "processes.exe"),
    ("processes.exe_deleted", "processes.exe_deleted"),
    ("processes.exe_state", "processes.exe_state"),
    ("processes.cmdline", "processes.cmdline"),
    ("processes.uid", "processes.uid"),
    ("processes.user", "processes.user"),
    ("processes.started", "processes.started"),
    ("processes.parents", "processes.parents.name"),
    ("processes.parents.pid", "processes.parents.pid"),
    ("processes.parents.name", "processes.parents.name"),
    ("processes.unit", "processes.unit"),
    ("processes.container", "processes.container"),
    ("registry.range", "registry.range"),
    ("registry.status", "registry.status"),
    ("registry.reason", "registry.reason"),
    ("registry.assignments", "registry.assignments.service"),
    ("registry.assignments.service", "registry.assignments.service"),
    ("registry.assignments.description", "registry.assignments.description"),
    ("registry.assignments.assignee", "registry.assignments.assignee"),
    ("registry.assignments.registered", "registry.assignments.registered"),
    ("registry.assignments.modified", "registry.assignments.modified"),
    ("registry.assignments.reference", "registry.assignments.reference"),
    ("registry.known_use", "registry.known_use"),
    ("usual.program", "usual.program"),
    ("usual.product", "usual.product"),
    ("flags", "flags.code"),
    ("flags.code", "flags.code"),
    ("flags.severity", "flags.severity"),
    ("flags.text", "flags.text"),
    ("pid", "processes.pid"),
    ("process", "processes.name"),
    ("exe", "processes.exe"),
    ("cmdline", "processes.cmdline"),
    ("started", "processes.started"),
    ("parents", "processes.parents.name"),
    ("range", "registry.range"),
    ("status", "registry.status"),
    ("service", "registry.assignments.service"),
    ("known_use", "registry.known_use"),
];

/// The names of all fields.
pub fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(name, _)| *name)
}

/// A field that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As it is called.
    pub name: &'static str,
    path: &'static str,
}

impl Field {
    /// The field of this name; case is ignored.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = FIELDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(name, path)| Field { name, path })
    }

    /// What it holds of a listener; sanitized, empty where nothing is known.
    pub(super) fn text(self, listener: &Value) -> String {
        let mut text = String::new();
        collect(listener, self.path, &mut text);
        match sanitize(&text) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(safe) => safe,
        }
    }

    /// What to sort by: numbers by their value, everything else as text; what is not known comes last.
    #[must_use]
    pub fn key(self, listener: &Value) -> Key {
        Key(self.text(listener))
    }
}

/// What a field holds, in the order of a sorted listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let (Key(a), Key(b)) = (self, other);
        // Lists of numbers begin with one.
        let number = |text: &str| text.split(',').next().and_then(|first| first.parse::<u64>().ok());
        a.is_empty().cmp(&b.is_empty()).then_with(|| match (number(a), number(b)) {
            (Some(x), Some(y)) => x.cmp(&y).then_with(|| a.cmp(b)),
            _ => a.cmp(b),
        })
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn collect(value: &Value, path: &str, text: &mut String) {
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, text)),
        Value::Object(map) if !key.is_empty() => {
            if let Some(value) = map.get(key) {
                collect(value, rest, text);
            }
        }
        Value::Object(map) => {
            // An address and its port.
            let part = |key: &str| map.get(key).map(|value| value.to_string().trim_matches('"').to_owned());
            if let (Some(address), Some(port)) = (part("address"), part("port")) {
                let address = if address.contains(':') { format!("[{address}]") } else { address };
                push(text, &format!("{address}:{port}"));
            }
        }
        Value::Null => {}
        Value::String(string) => push(text, string),
        other => push(text, &other.to_string()),
    }
}

fn push(text: &mut String, item: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(item);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_found_and_not_told_twice() {
        for (at, name) in names().enumerate() {
            assert_eq!(Field::named(&name.to_uppercase()).map(|f| f.name), Some(name));
            assert_eq!(names().position(|other| other == name), Some(at), "{name}");
        }
        assert_eq!(Field::named("colour"), None);
    }

    #[test]
    fn paths_go_through_lists_and_stop_at_null() {
        let listener = json!({
            "port": 22, "device": null, "netns": null, "peer": {"address": "::1", "port": 9},
            "processes": [{"pid": 7, "name": "a\u{1b}", "cmdline": ["a", "-b"]}, {"pid": 12, "name": null, "cmdline": []}],
            "flags": [],
        });
        let text = |name: &str| Field::named(name).unwrap().text(&listener);
        for (name, wanted) in [
            ("port", "22"),
            ("device", ""),
            ("netns", ""),
            ("peer", "[::1]:9"),
            ("pid", "7,12"),
            ("process", "a\\x1b"),
            ("cmdline", "a,-b"),
            ("flags", ""),
            ("cookie", ""),
        ] {
            assert_eq!(text(name), wanted, "{name}");
        }
    }

    #[test]
    fn numbers_sort_by_value_and_the_unknown_last() {
        let sorted = |name: &str, one: Value, other: Value| {
            let field = Field::named(name).unwrap();
            field.key(&one).cmp(&field.key(&other))
        };
        assert_eq!(sorted("port", json!({"port": 9}), json!({"port": 10})), Ordering::Less);
        assert_eq!(sorted("user", json!({"user": null}), json!({"user": "a"})), Ordering::Greater);
        let held = |pid: u32| json!({"processes": [{"pid": pid}]});
        assert_eq!(sorted("pid", held(9), held(10)), Ordering::Less);
    }
}
