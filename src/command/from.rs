//! Reads a saved snapshot. The file is hostile input: its size is bounded, its content is checked, and an error is one
//! line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::error::Category;

use super::Error;
use crate::model::{Family, Gap, PortRange, Protocol, SNAPSHOT_SCHEMA, Scope, Snapshot, Stage, State};

/// Larger files are refused: 64 MiB hold some 50,000 sockets with their processes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The schema alone; all other keys are ignored.
#[derive(Deserialize)]
struct Schema {
    schema: Option<serde_json::Value>,
}

/// Reads `path`, or standard input if the path is `-`.
fn read(path: &Path) -> Result<Snapshot, Error> {
    let (name, bytes) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), bounded(io::stdin().lock()))
    } else {
        (path.display().to_string(), File::open(path).and_then(bounded))
    };
    let said = |why: &str| Error::msg(format!("{name}: {why}"));
    let bytes = bytes.map_err(|error| said(&error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        return Err(said("too large for a saved observation (the limit is 64 MiB)"));
    }
    parse(&bytes).map_err(|why| said(&why))
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parses the bytes of a saved snapshot.
///
/// # Errors
/// One line: what is wrong, and the remedy.
pub fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    const REMEDY: &str = "make one with: portolan capture > FILE";
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("empty; {REMEDY}"));
    }
    let trouble = |error: serde_json::Error| match error.classify() {
        Category::Eof => format!("cut off at line {}, column {}; {REMEDY}", error.line(), error.column()),
        Category::Syntax | Category::Io => format!("not JSON ({error}); {REMEDY}"),
        Category::Data => format!("not a saved observation ({error}); {REMEDY}"),
    };
    let schema: Schema = serde_json::from_slice(bytes).map_err(trouble)?;
    match schema.schema {
        Some(serde_json::Value::String(schema)) if schema == SNAPSHOT_SCHEMA => {
            serde_json::from_slice(bytes).map_err(trouble)
        }
        Some(serde_json::Value::String(schema)) => {
            Err(format!("schema \"{schema}\" where \"{SNAPSHOT_SCHEMA}\" is needed; {REMEDY}"))
        }
        _ => Err(format!("no schema where \"{SNAPSHOT_SCHEMA}\" is needed; {REMEDY}")),
    }
}

/// Reads `path`, and adds a gap for each part of `scope` that the snapshot does not cover.
pub(super) fn asked(path: &Path, scope: &Scope) -> Result<Snapshot, Error> {
    let mut observation = read(path)?;
    let gaps = beyond(&observation, scope);
    observation.gaps.extend(gaps);
    Ok(observation)
}

/// Returns a gap for each part of `scope` that the snapshot's own scope does not cover.
fn beyond(observation: &Snapshot, scope: &Scope) -> Vec<Gap> {
    let gap = |stage, what| Gap {
        stage,
        what,
        count: None,
        pids: Vec::new(),
        why: "the saved observation was taken without them".to_owned(),
        remedy: None,
    };
    let Scope { protocols, families, states, ports, namespaces: _, processes, details, packages: _ } =
        &observation.scope;
    let mut gaps = Vec::new();
    for (of, lost) in [
        ("sockets of", missing(&scope.protocols, protocols, Protocol::name)),
        ("sockets of", missing(&scope.families, families, Family::name)),
        ("sockets in the state", missing(&scope.states, states, State::name)),
    ] {
        gaps.extend(lost.map(|lost| gap(Stage::Sockets, format!("{of} {lost}"))));
    }
    if let Some(ports) = ports
        && !scope.ports.as_ref().is_some_and(|asked| asked.iter().all(|range| lies_in(*range, ports)))
    {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        gaps.push(gap(Stage::Sockets, format!("sockets on other ports than {}", ports.join(", "))));
    }
    if scope.processes && !processes {
        gaps.push(gap(Stage::Owners, "the processes that own the sockets".to_owned()));
    } else if scope.details && !details {
        gaps.push(gap(Stage::Processes, "the users, parents, units and containers of processes".to_owned()));
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
        for (text, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("nonsense", "not JSON"),
            ("{\"schema\": \"portolan.observation/1\"", "cut off"),
            ("{\"schema\": \"portolan/1\"}", "schema \"portolan/1\""),
            ("{\"schema\": \"portolan.observation/2\"}", "schema \"portolan.observation/2\""),
            ("{\"schema\": 1}", "no schema"),
            ("{}", "no schema"),
            ("[]", "not a saved observation"),
            ("{\"schema\": \"portolan.observation/1\"}", "not a saved observation (missing field"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn what_was_not_looked_for_is_told() {
        let saved = include_bytes!("../../tests/captures/five.json");
        let mut observation = parse(saved).unwrap();
        let told = |observation: &Snapshot, change: fn(&mut Scope)| {
            let mut scope = Scope { details: true, ..Scope::default() };
            change(&mut scope);
            beyond(observation, &scope).into_iter().map(|gap| gap.what).collect::<Vec<_>>()
        };
        let all: fn(&mut Scope) = |scope| scope.states = State::ALL.to_vec();
        let whole = Scope { details: true, ..Scope::default() };
        observation.scope = whole.clone();
        assert_eq!(told(&observation, |_| {}), [""; 0]);
        assert_eq!(
            told(&observation, all),
            ["sockets in the state established, syn-sent, syn-recv, fin-wait1, fin-wait2, time-wait, \
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
            observation.scope = taken;
            let told = told(&observation, change);
            assert!(told.len() == 1 && told[0].contains(lost), "{lost}: {told:?}");
        }
        observation.scope = Scope { ports: Some(vec![PortRange { low: 5, high: 12 }]), ..whole };
        assert_eq!(told(&observation, some), [""; 0]);
        assert_eq!(told(&observation, |_| {}).len(), 1);
    }
}
