//! Applies the newer list of names to the rows of IANA's CSV.

use std::collections::BTreeMap;

use portolan::internals::iana::{BadSource, Content, Entry, tidy};
use portolan::model::{PortRange, Protocol};

/// Name (empty if the port is reserved or unassigned) and description of single ports.
pub(super) type Names = BTreeMap<(u16, Protocol), (String, String)>;

/// Parses a list of names: a JSON object of `"22/tcp": ["ssh", "description"]`.
pub(super) fn names(json: &[u8]) -> Result<Names, BadSource> {
    let raw: BTreeMap<String, (String, String)> =
        serde_json::from_slice(json).map_err(|e| BadSource(e.to_string()))?;
    raw.into_iter()
        .map(|(pair, (name, description))| {
            let place = pair
                .split_once('/')
                .and_then(|(port, protocol)| Some((port.parse().ok()?, protocol.parse().ok()?)))
                .ok_or_else(|| BadSource(format!("\"{pair}\" is not a port and protocol")))?;
            Ok((place, (tidy(&name), tidy(&description))))
        })
        .collect()
}

/// Returns the base as changed by the newer names.
pub(super) fn merge(base: Vec<Entry>, names: &Names, old: &str, new: &str) -> Vec<Entry> {
    let since = format!("{old}..{new}");
    // The names that each pair had, to distinguish a renamed pair from a pair with several names.
    let mut had: BTreeMap<(u16, Protocol), Vec<String>> = BTreeMap::new();
    for entry in base.iter().filter(|entry| entry.ports.low == entry.ports.high) {
        had.entry((entry.ports.low, entry.protocol)).or_default().extend(entry.content.service.clone());
    }
    let mut merged = Vec::with_capacity(base.len());
    for mut entry in base {
        let pair = (entry.ports.low, entry.protocol);
        let single = entry.ports.low == entry.ports.high;
        if let Some((name, description)) = names.get(&pair).filter(|_| single) {
            let had = &had[&pair];
            if name.is_empty() != had.is_empty() || (!name.is_empty() && !had.contains(name)) {
                continue; // the name was removed, added or changed; it is added again below
            }
            if entry.content.service.as_ref() == Some(name) {
                let mut newer = Content { notes: entry.content.notes.clone(), ..Content::default() };
                newer.describe(description);
                entry.content.description = newer.description;
            }
        }
        merged.push(entry);
    }
    for (&(port, protocol), (name, description)) in names {
        let had_names = had.get(&(port, protocol));
        let before = had_names.map(|names| names.join(", ")).unwrap_or_default();
        let mut content = match had_names {
            Some(had) if name.is_empty() && had.is_empty() => continue,
            Some(had) if had.contains(name) => continue,
            _ if name.is_empty() => {
                let mut content = Content::unnamed(description);
                if !before.is_empty() {
                    content.note(&format!("registered as {before} until after {old}"));
                }
                content
            }
            _ => {
                let mut content = Content { service: Some(name.clone()), ..Content::default() };
                content.describe(description);
                content.note(&if before.is_empty() {
                    format!("named between {old} and {new}")
                } else {
                    format!("formerly {before} ({old})")
                });
                content
            }
        };
        content.since = Some(since.clone());
        merged.push(Entry { ports: PortRange::single(port), protocol, content });
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_another_shape_are_refused() {
        for json in ["{\"x\": [\"a\", \"b\"]}", "[]"] {
            assert!(names(json.as_bytes()).is_err(), "{json}");
        }
    }
}
