//! Reads a saved snapshot. The file may be hostile, so its size is limited and its content is checked. An error is one
//! line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Error, Result};

use serde::Deserialize;
use serde_json::error::Category;

use crate::model::{
    Family, Gap, Namespaces, OLD_SNAPSHOT_SCHEMA, PortRange, Protocol, SNAPSHOT_SCHEMA, Scope, Snapshot,
    Stage, State,
};

/// The maximum size of a file, enough for about 50,000 sockets with their processes.
const LARGEST: u64 = 64 * 1024 * 1024;
/// The maximum number of values in a file. A file with 50,000 sockets and their processes has 3 million values. The
/// limit on the size of the file is not enough, because a value of 2 bytes in a file takes 24 bytes in memory.
const MOST_VALUES: usize = 8_000_000;
/// The maximum depth of nesting. A snapshot has 7 levels; a later version may have more.
const DEEPEST: usize = 32;
/// The maximum length of a text, in bytes. The longest command line has 128 KiB, and JSON may escape each byte as 6
/// bytes.
const LONGEST_TEXT: usize = 1024 * 1024;
/// The maximum number of gaps, and of notes. A snapshot has one gap for each cause, not one for each socket.
const MOST_GAPS: usize = 10_000;

/// The schema of a file. The parser skips all other keys, so they use no memory.
#[derive(Deserialize)]
struct Schema {
    schema: Option<String>,
}

/// The properties of a JSON text that decide how much memory it takes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    depth: usize,
    values: usize,
    longest_text: usize,
}

impl Shape {
    /// Measures a JSON text, without checking that it is valid.
    fn of(bytes: &[u8]) -> Self {
        let mut shape = Shape::default();
        let (mut depth, mut text, mut escaped) = (0_usize, None, false);
        for byte in bytes {
            match (text, byte) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), b'\\') => escaped = true,
                (Some(length), b'"') => {
                    shape.longest_text = shape.longest_text.max(length);
                    text = None;
                }
                (None, b'"') => text = Some(0),
                (None, b'[' | b'{') => {
                    depth += 1;
                    shape.values += 1;
                    shape.depth = shape.depth.max(depth);
                }
                (None, b']' | b'}') => depth = depth.saturating_sub(1),
                (None, b',') => shape.values += 1,
                _ => {}
            }
            text = text.map(|length| length + 1);
        }
        shape
    }

    fn check(&self) -> Result<(), String> {
        if self.depth > DEEPEST {
            return Err(format!("nested {} levels deep (the limit is {DEEPEST})", self.depth));
        }
        if self.values > MOST_VALUES {
            return Err(format!("{} values (the limit is {MOST_VALUES})", self.values));
        }
        if self.longest_text > LONGEST_TEXT {
            return Err(format!("a text of {} bytes (the limit is 1 MiB)", self.longest_text));
        }
        Ok(())
    }
}

/// Reads `path`, or standard input if the path is `-`.
fn read(path: &Path) -> Result<Snapshot> {
    const TOO_LARGE: &str = "too large for a snapshot (the limit is 64 MiB)";
    let (name, bytes) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), read_limited(io::stdin().lock(), LARGEST, TOO_LARGE))
    } else {
        (path.display().to_string(), File::open(path).and_then(|file| read_limited(file, LARGEST, TOO_LARGE)))
    };
    let said = |why: &str| Error::msg(format!("{name}: {why}"));
    let bytes = bytes.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => said("no such file (expected a snapshot: portolan capture >FILE)"),
        _ => said(&error.to_string()),
    })?;
    parse(&bytes).map_err(|why| said(&why))
}

/// Reads at most `limit` bytes. Returns an error with the text `too_large` if there are more bytes.
pub(super) fn read_limited(reader: impl Read, limit: u64, too_large: &'static str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(io::Error::other(too_large));
    }
    Ok(bytes)
}

/// Parses a saved snapshot. The error is one line that names the problem and the remedy.
pub fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    const REMEDY: &str = "make one with: portolan capture > FILE";
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("empty; {REMEDY}"));
    }
    let trouble = |error: serde_json::Error| match error.classify() {
        Category::Eof => format!("cut off at line {}, column {}; {REMEDY}", error.line(), error.column()),
        Category::Syntax | Category::Io => format!("not JSON ({error}); {REMEDY}"),
        // The message may quote a long text from the file.
        Category::Data => format!("not a snapshot ({}); {REMEDY}", cut(&error.to_string(), 300)),
    };
    Shape::of(bytes).check().map_err(|why| format!("not a snapshot: {why}; {REMEDY}"))?;
    let Schema { schema } = serde_json::from_slice(bytes).map_err(trouble)?;
    let expected = format!("(expected \"{SNAPSHOT_SCHEMA}\"); {REMEDY}");
    let Some(schema) = schema else {
        return Err(format!("the snapshot does not name its schema {expected}"));
    };
    if ![SNAPSHOT_SCHEMA, OLD_SNAPSHOT_SCHEMA].contains(&&*schema) {
        return Err(format!("unknown schema \"{}\" {expected}", cut(&schema, 64)));
    }
    let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(trouble)?;
    match snapshot.gaps.len().max(snapshot.notes.len()) {
        ..=MOST_GAPS => Ok(snapshot),
        count => Err(format!("{count} gaps or notes (the limit is {MOST_GAPS}); {REMEDY}")),
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Reads `path`, and adds a gap for each part of `scope` that the snapshot does not cover. Another gap is added if
/// `scope` requires a larger part of the machine than was visible.
pub(super) fn read_for_scope(path: &Path, scope: &Scope) -> Result<Snapshot> {
    let mut snapshot = read(path)?;
    let mut gaps = beyond(&snapshot, scope);
    if let Some(part) = snapshot.host.scope {
        snapshot.gaps.retain(|gap| gap.stage != Stage::Scope);
        let namespaces = snapshot.scope.namespaces.clone();
        gaps.extend(part.gap(&Scope { namespaces, ..scope.clone() }));
    }
    snapshot.gaps.extend(gaps);
    Ok(snapshot)
}

/// Returns a gap for each part of `scope` that the snapshot's own scope does not cover.
fn beyond(snapshot: &Snapshot, scope: &Scope) -> Vec<Gap> {
    let gap = |stage, what| Gap::new(stage, what, "left out when the snapshot was taken");
    let Scope {
        protocols,
        families,
        states,
        ports,
        namespaces,
        processes,
        details,
        packages,
        // `part` is the part of the machine that was requested. `host.scope` is the part that was visible.
        part: _,
        // A scan without BPF reads the same data in another way, or already has a gap.
        bpf: _,
    } = &snapshot.scope;
    let mut gaps = Vec::new();
    // Two states may be missing without a gap. `Published` is always scanned with the listeners, and `Raw` exists only
    // on Linux.
    let is_linux = snapshot.host.os == "linux";
    let mut wanted = scope.states.clone();
    wanted.retain(|state| *state != State::Published && (is_linux || *state != State::Raw));
    for (of, lost) in [
        ("sockets of", missing(&scope.protocols, protocols, Protocol::name)),
        ("sockets of", missing(&scope.families, families, Family::name)),
        ("sockets in the state", missing(&wanted, states, State::name)),
    ] {
        gaps.extend(lost.map(|lost| gap(Stage::Sockets, format!("{of} {lost}"))));
    }
    if let Some(ports) = ports
        && !scope.ports.as_ref().is_some_and(|asked| asked.iter().all(|range| lies_in(*range, ports)))
    {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        gaps.push(gap(Stage::Sockets, format!("sockets on ports other than {}", ports.join(", "))));
    }
    if scope.processes && !processes {
        gaps.push(gap(Stage::Owners, "the processes that own the sockets".to_owned()));
    } else if scope.details && !details {
        gaps.push(gap(Stage::Processes, "the users, parents, units and containers of processes".to_owned()));
    }
    // Only Linux has packages and namespaces.
    if is_linux && scope.packages && !packages {
        let what = "hidden processes, and whether program files differ from their packages";
        gaps.push(gap(Stage::Processes, what.to_owned()));
    }
    if is_linux && scope.namespaces == Namespaces::All && *namespaces != Namespaces::All {
        gaps.push(gap(Stage::Namespaces, "the sockets of other network namespaces".to_owned()));
    }
    gaps
}

fn missing<T: Copy + PartialEq>(asked: &[T], there: &[T], name: fn(T) -> &'static str) -> Option<String> {
    let lost: Vec<_> = asked.iter().filter(|one| !there.contains(one)).map(|one| name(*one)).collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

fn lies_in(range: PortRange, ranges: &[PortRange]) -> bool {
    ranges.iter().any(|other| other.contains(range.low) && other.contains(range.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_say_what_is_wrong() {
        let saved = String::from_utf8_lossy(include_bytes!("../../tests/captures/five.json"));
        let gap = r#"{"stage":"host","what":"a","count":null,"why":"b","remedy":null}"#;
        let gaps = vec![gap; MOST_GAPS + 1];
        for (text, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("nonsense", "not JSON"),
            ("{\"schema\": \"portolan.observation/1\"", "cut off"),
            ("{\"schema\": \"portolan/2\"}", "schema \"portolan/2\""),
            ("{\"schema\": \"portolan.observation/3\"}", "schema \"portolan.observation/3\""),
            ("{\"schema\": 1}", "expected a string"),
            ("{\"schema\": [{\"\": 0}]}", "expected a string"),
            ("{}", "does not name its schema"),
            ("[]", "not a snapshot"),
            ("{\"schema\": \"portolan.observation/1\"}", "not a snapshot (missing field"),
            ("{\"schema\": \"portolan.observation/2\"}", "not a snapshot (missing field"),
            (&format!("{{\"schema\": \"{}\"}}", "x".repeat(4096)), "schema \"xxx"),
            (&format!("{{\"schema\": {}", "[".repeat(100_000)), "nested 100001 levels deep"),
            (&format!("{{\"a\": \"{}\"}}", "\\\"".repeat(LONGEST_TEXT)), "a text of 2097153 bytes"),
            (&format!("[{}0]", "0,".repeat(MOST_VALUES)), "8000001 values"),
            (&saved.replace("\"tcp\"", &format!("\"{}\"", "y".repeat(5000))), "unknown variant `yyy"),
            (&saved.replace("\"gaps\": []", &format!("\"gaps\": [{}]", gaps.join(","))), "10001 gaps"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{}: {error}", cut(text, 80));
            assert!(!error.contains('\n') && error.len() < 600, "{error:?}");
        }
    }

    #[test]
    fn snapshots_of_both_schemas_are_read() {
        let saved = String::from_utf8_lossy(include_bytes!("../../tests/captures/five.json"));
        let new = parse(saved.as_bytes()).unwrap();
        let mut old: serde_json::Value = serde_json::from_str(&saved).unwrap();
        old["schema"] = OLD_SNAPSHOT_SCHEMA.into();
        for key in ["id", "boot", "labels", "scope"] {
            old["host"].as_object_mut().unwrap().remove(key);
        }
        old.as_object_mut().unwrap().remove("tool");
        let old = parse(old.to_string().as_bytes()).unwrap();
        assert_eq!((&old.sockets, &old.processes), (&new.sockets, &new.processes));
        assert_eq!((&old.host.id, &old.host.boot, &old.tool), (&None, &None, &None));
    }

    #[test]
    fn what_was_not_scanned_is_a_gap() {
        let saved = include_bytes!("../../tests/captures/five.json");
        let mut snapshot = parse(saved).unwrap();
        let report_text = |snapshot: &Snapshot, change: fn(&mut Scope)| {
            let mut scope = Scope { details: true, ..Scope::default() };
            change(&mut scope);
            beyond(snapshot, &scope).into_iter().map(|gap| gap.what).collect::<Vec<_>>()
        };
        let all: fn(&mut Scope) = |scope| scope.states = State::ALL.to_vec();
        let whole = Scope { details: true, ..Scope::default() };
        snapshot.scope = whole.clone();
        assert_eq!(report_text(&snapshot, |_| {}), [""; 0]);
        assert_eq!(
            report_text(&snapshot, all),
            ["sockets in the state raw, established, syn-sent, syn-recv, fin-wait1, fin-wait2, time-wait, \
              close-wait, last-ack, closing, close"]
        );
        let some: fn(&mut Scope) = |scope| scope.ports = Some(vec![PortRange { low: 10, high: 12 }]);
        for (taken, change, lost) in [
            (Scope { protocols: vec![Protocol::Tcp], ..whole.clone() }, some, "of udp, udplite, sctp, dccp"),
            (Scope { families: vec![Family::Ipv4], ..whole.clone() }, some, "of ipv6"),
            (Scope { ports: Some(vec![PortRange { low: 5, high: 11 }]), ..whole.clone() }, some, "than 5-11"),
            (Scope { processes: false, ..whole.clone() }, some, "processes that own"),
            (Scope { details: false, ..whole.clone() }, some, "parents"),
        ] {
            snapshot.scope = taken;
            let report_text = report_text(&snapshot, change);
            assert!(report_text.len() == 1 && report_text[0].contains(lost), "{lost}: {report_text:?}");
        }
        snapshot.scope = whole.clone();
        let of_packages = report_text(&snapshot, |scope| scope.packages = true);
        assert!(of_packages.len() == 1 && of_packages[0].contains("packages"), "{of_packages:?}");
        let elsewhere = report_text(&snapshot, |scope| scope.namespaces = Namespaces::All);
        assert_eq!(elsewhere, ["the sockets of other network namespaces"]);
        snapshot.scope = Scope { ports: Some(vec![PortRange { low: 5, high: 12 }]), ..whole };
        assert_eq!(report_text(&snapshot, some), [""; 0]);
        assert_eq!(report_text(&snapshot, |_| {}).len(), 1);
    }
}
