//! The schemas in `src/share/schema` describe the current program: its output is valid, other documents are invalid,
//! and every list of words in a schema is equal to the program's list.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod evidence;
mod strict;
#[cfg(unix)]
mod watching;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jsonschema::Validator;
use portolan::Registry;
use portolan::internals::{difference, events, json};
use portolan::judge::judge;
use portolan::model::{
    EphemeralRange, ExeState, Family, Gap, Netns, Note, Owner, Peer, Protocol, ReceivedPackets, Snapshot,
    Stage, State,
};
use serde_json::{Value, json};

const SCHEMAS: [&str; 12] = [
    "portolan-2.json",
    "portolan-2-evidence.json",
    "portolan-2-line.json",
    "portolan-2-brief.json",
    "portolan-2-audit.json",
    "portolan-2-audit-line.json",
    "portolan.diff-2.json",
    "portolan.diff-2-line.json",
    "portolan.explain-2.json",
    "portolan.event-2.json",
    "portolan.rules-2.json",
    "portolan.observation-2.json",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn schema(file: &str) -> Value {
    let path = root().join("src/share/schema").join(file);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

/// Returns a validator of one schema; the other schemas are found by their `$id`.
fn validator(file: &str) -> Validator {
    let mut registry = jsonschema::Registry::new();
    for file in SCHEMAS {
        let schema = schema(file);
        let id = schema["$id"].as_str().unwrap_or_else(|| panic!("{file} has no $id")).to_owned();
        assert!(id.ends_with(&format!("/{file}")), "{id}");
        registry = registry.add(id, schema).unwrap();
    }
    let registry = registry.prepare().unwrap();
    jsonschema::options()
        .offline()
        .with_registry(&registry)
        .should_validate_formats(true)
        .build(&schema(file))
        .unwrap()
}

#[track_caller]
fn holds(validator: &Validator, about: &str, document: &Value) {
    let wrong: Vec<String> = validator
        .iter_errors(document)
        .take(5)
        .map(|error| format!("{}: {error}", error.instance_path()).chars().take(600).collect())
        .collect();
    assert!(wrong.is_empty(), "{about} is not as its schema says: {wrong:#?}");
}

fn portolan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Returns the documents that a run prints: one, or one per line.
fn printed(arguments: &[&str]) -> Vec<Value> {
    let output = portolan(arguments).output().unwrap();
    // An audit that did not see everything ends with 3.
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{arguments:?}: {output:?}");
    serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect()
}

fn five() -> Snapshot {
    serde_json::from_slice(&std::fs::read(root().join("tests/captures/five.json")).unwrap()).unwrap()
}

/// Returns the five listeners, with a value for every field of a snapshot.
fn everything() -> Snapshot {
    let mut seen = five();
    let netns = Netns { inode: 4_026_532_001, name: Some("inner".to_owned()) };
    let owners = [
        Owner::Hidden,
        Owner::Kernel,
        Owner::Unaccounted,
        Owner::Vanished,
        Owner::Unknown,
        Owner::Held(vec![7, 4711].into()),
    ];
    for (socket, owner) in seen.sockets.iter_mut().zip(owners) {
        socket.owner = owner;
        let attributes = std::sync::Arc::make_mut(&mut socket.attributes);
        attributes.netns = Some(netns.clone());
        socket.v6only = Some(true);
        socket.local.device = Some("eth0".into());
        attributes.unit = Some("a.service".to_owned());
        attributes.container = Some("web".to_owned());
        attributes.user = None;
    }
    for (process, state) in
        seen.processes.iter_mut().zip([ExeState::Deleted, ExeState::Replaced, ExeState::Memfd])
    {
        process.exe.as_mut().unwrap().state = state;
        process.name = Some("\u{1b}[2J\n\"evil\"\u{202e}".to_owned());
        process.unit = Some("a.service".to_owned());
        process.container = Some("web".to_owned());
    }
    let mut connection = seen.sockets[0].clone();
    connection.state = State::Established;
    connection.peer = Some(Peer { address: "127.0.0.1".parse().unwrap(), port: 40000 });
    seen.sockets.push(connection);
    for (local, number) in [("raw/0.0.0.0", 1), ("raw/[::]", 255), ("packet/0.0.0.0%eth0", 3)] {
        let mut raw = seen.sockets[0].clone();
        raw.local = local.parse().unwrap();
        raw.state = State::Raw;
        let receives = ReceivedPackets { number, promiscuous: vec!["eth0".into()] };
        std::sync::Arc::make_mut(&mut raw.attributes).receives = Some(receives);
        seen.sockets.push(raw);
    }
    let gap = |stage| Gap {
        stage,
        what: "1 process".to_owned(),
        count: None,
        pids: Vec::new(),
        why: "why".to_owned(),
        remedy: None,
    };
    seen.gaps = vec![
        gap(Stage::Owners),
        Gap { count: Some(3), remedy: Some("be root".to_owned()), ..gap(Stage::Sockets) },
    ];
    seen.notes = vec![Note { what: "a note".to_owned(), count: Some(2), remedy: None, important: true }];
    seen.namespaces = serde_json::from_value(json!([{
        "netns": netns, "ephemeral": [{"low": 1, "high": 2}], "reserved": [], "ephemeral_source": "x",
    }]))
    .unwrap();
    seen
}

fn listing(seen: &Snapshot) -> Value {
    let mut bytes = Vec::new();
    json::listing(&judge(seen.clone(), Registry::embedded()), &mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn every_schema_is_valid_and_tested() {
    for file in SCHEMAS {
        jsonschema::meta::validate(&schema(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let shipped = std::fs::read_dir(root().join("src/share/schema")).unwrap();
    let shipped: Vec<_> = shipped.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for file in &shipped {
        assert!(SCHEMAS.contains(&file.as_str()), "{file} is held against nothing: add it to the tests");
    }
}

#[test]
fn audits() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("everything.json");
    std::fs::write(&file, serde_json::to_vec(&everything()).unwrap()).unwrap();
    let (whole, lines) = (validator("portolan-2-audit.json"), validator("portolan-2-audit-line.json"));
    for from in ["tests/captures/five.json", file.to_str().unwrap()] {
        for narrowed in [&[][..], &["-t"], &["9"]] {
            let audit = |output| printed(&[&["audit", "--from", from, "-o", output], narrowed].concat());
            for mut document in audit("json") {
                holds(&whole, from, &document);
                for (pointer, value) in [
                    ("/verdict", json!("well")),
                    ("/findings", json!([{}])),
                    ("/complete", Value::Null),
                    ("/surprise", json!(1)),
                ] {
                    let mut other = document.clone();
                    other[&pointer[1..]] = value;
                    assert!(!whole.is_valid(&other), "{pointer} may be anything");
                }
                let findings = document["findings"].as_array_mut().unwrap();
                if let Some(found) = findings.first_mut() {
                    found["surprise"] = json!(1);
                    assert!(!whole.is_valid(&document), "a finding may hold anything");
                }
            }
            for mut line in audit("ndjson") {
                holds(&lines, from, &line);
                line["surprise"] = json!(1);
                assert!(!lines.is_valid(&line), "a line may hold anything");
            }
        }
    }
    for rules in printed(&["audit", "--rules", "-o", "json"]) {
        holds(&validator("portolan.rules-2.json"), "the rules", &rules);
    }
}

/// Returns the comparisons of the five listeners with `everything`, which differ in most possible ways.
fn differences(output: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("everything.json");
    let mut seen = everything();
    let attributes = std::sync::Arc::make_mut(&mut seen.sockets[1].attributes);
    attributes.netns = None;
    std::fs::write(&file, serde_json::to_vec(&seen).unwrap()).unwrap();
    printed(&["diff", "-o", output, "tests/captures/five.json", file.to_str().unwrap()])
}

#[test]
fn diffs() {
    let (whole, line) = (validator("portolan.diff-2.json"), validator("portolan.diff-2-line.json"));
    let document = differences("json").remove(0);
    holds(&whole, "a diff", &document);
    let five = "tests/captures/five.json";
    holds(&whole, "no diff", &printed(&["diff", "-o", "json", five, five])[0]);
    let (changes, unsettled) = (&document["changes"], &document["not_comparable"]);
    assert!(!changes.as_array().unwrap().is_empty(), "{document:#}");
    assert!(!unsettled.as_array().unwrap().is_empty(), "{document:#}");
    for (path, value) in [
        ("/schema", json!("portolan.diff/3")),
        ("/complete", json!(true)),
        ("/after/complete", json!(true)),
        ("/before/gaps", document["after"]["gaps"].clone()),
        ("/compared", json!(-1)),
        ("/changes/0/change", json!("moved")),
        ("/changes/0/listener", Value::Null),
        ("/changes/0/before", json!({})),
        ("/not_comparable/0/why", json!("unknown")),
        ("/not_comparable/0/text", json!("")),
    ] {
        let mut wrong = document.clone();
        *wrong.pointer_mut(path).unwrap_or_else(|| panic!("there is no {path}")) = value.clone();
        assert!(!whole.is_valid(&wrong), "{path}: {value} passes");
    }
    let mut lines = differences("ndjson");
    let mut host = lines.remove(0);
    holds(&line, "the first line of a diff", &host);
    assert_eq!(host["counts"]["changes"], changes.as_array().unwrap().len());
    host["surprise"] = json!(1);
    assert!(!line.is_valid(&host), "the first line may hold anything");
    assert_eq!(
        lines.iter().filter(|line| line["kind"] == "not-comparable").count(),
        unsettled.as_array().unwrap().len()
    );
    for mut printed in lines {
        holds(&line, "a line of a diff", &printed);
        // A socket that could not be compared is not a change, and makes the comparison incomplete.
        let other = if printed["change"].is_null() { json!("appeared") } else { Value::Null };
        printed["change"] = other;
        assert!(!line.is_valid(&printed), "{printed:#}");
    }
}

#[test]
fn listings() {
    let schema = validator("portolan-2.json");
    let line = validator("portolan-2-line.json");
    let brief = validator("portolan-2-brief.json");
    for arguments in
        [&["--from", "tests/captures/five.json"][..], &[], &["-a"], &["--group", "-t"], &["--no-holders"]]
    {
        for document in printed(&[arguments, &["-o", "json"]].concat()) {
            holds(&schema, &format!("{arguments:?}"), &document);
        }
        for (form, schema) in [(&["-o", "ndjson"][..], &line), (&["-o", "ndjson", "--brief"], &brief)] {
            let lines = printed(&[arguments, form].concat());
            for document in &lines {
                holds(schema, &format!("{arguments:?}, a line"), document);
            }
            assert_eq!(lines[0]["kind"], "host");
            assert!(lines[1..].iter().all(|line| line["kind"] != "host" && line.get("host_id").is_some()));
        }
    }
    holds(&schema, "everything at once", &listing(&everything()));
    let nothing = printed(&["--from", "tests/captures/five.json", "-o", "ndjson", "9"]);
    assert_eq!(nothing.len(), 1, "a host without a match has its line: {nothing:?}");
    assert_eq!(nothing[0]["counts"], json!({"sockets": 5, "listeners": 0, "connections": 0, "raw": 0}));
    let text = include_str!("../captures/five.json");
    let observation = validator("portolan.observation-2.json");
    holds(&observation, "five.json", &serde_json::from_str(text).unwrap());
    for arguments in [&["capture"][..], &["capture", "--without", "cmdline", "--label", "a=b"]] {
        holds(&observation, "a capture", &printed(arguments)[0]);
    }
    let mut full = serde_json::to_value(everything()).unwrap();
    holds(&observation, "everything that a snapshot can hold", &full);
    full["sockets"][0]["surprise"] = json!(1);
    assert!(!observation.is_valid(&full), "a socket may hold anything");
}

#[test]
fn explanations() {
    let schema = validator("portolan.explain-2.json");
    for arguments in [
        &["0-1999", "3300-3500", "49000-49300", "65500-65535"][..],
        &["--from", "tests/captures/five.json", "3416", "ssh", "postgres", "kazaa", "60416", "sctp/22"],
        &["--stats"],
        &["--free", "8000-9000"],
        &["--free", "0-65535"],
    ] {
        for document in printed(&[&["explain", "-o", "json"], arguments].concat()) {
            holds(&schema, &format!("explain {arguments:?}"), &document);
        }
    }
}

/// Windows keeps a range for each protocol and family; other systems do not have the key.
#[test]
fn a_range_of_each_protocol() {
    let schema = validator("portolan-2.json");
    let mut seen = five();
    assert!(
        listing(&seen)["host"].get("ephemeral_of").is_none(),
        "a system that keeps one range has the key"
    );
    let tcp: EphemeralRange = serde_json::from_value(
        json!({"protocol": "tcp", "family": "ipv4", "ports": {"low": 49152, "high": 65535}}),
    )
    .unwrap();
    seen.host.ephemeral_of =
        vec![tcp, EphemeralRange { protocol: Protocol::Udp, family: Family::Ipv6, ..tcp }];
    let document = listing(&seen);
    holds(&schema, "a host of Windows", &document);
    let of = &document["host"]["ephemeral_of"][1];
    assert_eq!(*of, json!({"protocol": "udp", "family": "ipv6", "ports": {"low": 49152, "high": 65535}}));
    for wrong in [json!([]), json!([{}]), json!([{"protocol": "tcp", "family": "ipv4", "ports": null}])] {
        let mut other = document.clone();
        other["host"]["ephemeral_of"] = wrong;
        assert!(!schema.is_valid(&other), "{}", other["host"]);
    }
    let mut more = document.clone();
    more["host"]["ephemeral_of"][0]["extra"] = json!(1);
    assert!(!schema.is_valid(&more), "a range may hold anything");
}

#[test]
fn events_of_everything() {
    let schema = validator("portolan.event-2.json");
    let (before, after) = (everything(), five());
    let reports = [judge(before.clone(), Registry::embedded()), judge(after.clone(), Registry::embedded())];
    let mut bytes = Vec::new();
    for report in &reports {
        events::start(report, &mut bytes).unwrap();
        events::gaps_changed(&report.snapshot, &mut bytes).unwrap();
    }
    for change in difference(&reports[0], &reports[1]) {
        events::change(&change, &after, &mut bytes).unwrap();
    }
    let mut printed = Vec::new();
    for event in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        let event = event.unwrap();
        holds(&schema, "an event", &event);
        printed.push(event["event"].as_str().unwrap().to_owned());
    }
    for event in ["start", "complete", "incomplete"] {
        assert!(printed.iter().any(|kind| kind == event), "{printed:?}");
    }
}
