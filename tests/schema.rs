//! The schemas in `src/share/schema` are of the program as it is: what it prints is valid by them, they let nothing else
//! pass, and every list of words in them is the program's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Child,
    time::Duration,
};

use jsonschema::Validator;
use portolan::baseline::{Kind, Why, difference};
use portolan::judge::judge;
use portolan::model::{
    ChangeKind, Confidence, Direction, EphemeralOf, ExeState, Exposure, Family, Flag, Gap, Happening, Life,
    Matched, Netns, Note, Observation, Owner, Peer, Protocol, RegistryRange, RestsOn, Severity, Stage,
    Standing, State, Status,
};
use portolan::registry::Registry;
use portolan::render::{events, json};
use serde_json::{Value, json};

const SCHEMAS: [&str; 9] = [
    "portolan-1.json",
    "portolan-1-line.json",
    "portolan-1-audit.json",
    "portolan-1-audit-line.json",
    "portolan.diff-1.json",
    "portolan.diff-1-line.json",
    "portolan.explain-1.json",
    "portolan.event-1.json",
    "portolan.rules-1.json",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn schema(file: &str) -> Value {
    let path = root().join("src/share/schema").join(file);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

/// A validator of one schema, with the others beside it as in their folder.
fn validator(file: &str) -> Validator {
    let mut registry = jsonschema::Registry::new();
    for file in SCHEMAS {
        registry = registry.add(format!("file:///schema/{file}"), schema(file)).unwrap();
    }
    let registry = registry.prepare().unwrap();
    jsonschema::options()
        .offline()
        .with_registry(&registry)
        .with_base_uri(format!("file:///schema/{file}"))
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

/// The documents that a run prints: one, or one a line.
fn printed(arguments: &[&str]) -> Vec<Value> {
    let output = portolan(arguments).output().unwrap();
    // An audit that did not see everything ends with 3.
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{arguments:?}: {output:?}");
    serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect()
}

fn five() -> Observation {
    serde_json::from_slice(&std::fs::read(root().join("tests/captures/five.json")).unwrap()).unwrap()
}

/// The five listeners, with everything in them that an observation can hold.
fn everything() -> Observation {
    let mut seen = five();
    let netns = Netns { inode: 4_026_532_001, name: Some("inner".to_owned()) };
    let owners =
        [Owner::Hidden, Owner::Kernel, Owner::Vanished, Owner::Unknown, Owner::Held(vec![7, 4711].into())];
    for (socket, owner) in seen.sockets.iter_mut().zip(owners) {
        socket.owner = owner;
        let home = std::sync::Arc::make_mut(&mut socket.home);
        home.netns = Some(netns.clone());
        socket.v6only = Some(true);
        socket.local.device = Some("eth0".into());
        home.unit = Some("a.service".to_owned());
        home.container = Some("web".to_owned());
        home.user = None;
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
    let gap =
        |stage| Gap { stage, what: "1 process".to_owned(), count: None, why: "why".to_owned(), remedy: None };
    seen.gaps = vec![
        gap(Stage::Holders),
        Gap { count: Some(3), remedy: Some("be root".to_owned()), ..gap(Stage::Sockets) },
    ];
    seen.notes = vec![Note { what: "a note".to_owned(), count: Some(2), remedy: None }];
    seen.namespaces = serde_json::from_value(json!([{
        "netns": netns, "ephemeral": [{"low": 1, "high": 2}], "reserved": [], "ephemeral_source": "x",
    }]))
    .unwrap();
    seen
}

fn listing(seen: &Observation) -> Value {
    let mut bytes = Vec::new();
    json::listing(&judge(seen, Registry::embedded()), &mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn they_are_schemas() {
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
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("everything.json");
    std::fs::write(&file, serde_json::to_vec(&everything()).unwrap()).unwrap();
    let (whole, lines) = (validator("portolan-1-audit.json"), validator("portolan-1-audit-line.json"));
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
        holds(&validator("portolan.rules-1.json"), "the rules", &rules);
    }
}

/// What is told of the five listeners and of everything, which differ in most ways there are.
fn differences(output: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("everything.json");
    let mut seen = everything();
    let home = std::sync::Arc::make_mut(&mut seen.sockets[1].home);
    home.netns = None;
    std::fs::write(&file, serde_json::to_vec(&seen).unwrap()).unwrap();
    printed(&["diff", "-o", output, "tests/captures/five.json", file.to_str().unwrap()])
}

#[test]
fn diffs() {
    let (whole, line) = (validator("portolan.diff-1.json"), validator("portolan.diff-1-line.json"));
    let document = differences("json").remove(0);
    holds(&whole, "a diff", &document);
    let five = "tests/captures/five.json";
    holds(&whole, "no diff", &printed(&["diff", "-o", "json", five, five])[0]);
    let (changes, unsettled) = (&document["changes"], &document["not_comparable"]);
    assert!(!changes.as_array().unwrap().is_empty(), "{document:#}");
    assert!(!unsettled.as_array().unwrap().is_empty(), "{document:#}");
    for (path, value) in [
        ("/schema", json!("portolan.diff/2")),
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
    let lines = differences("ndjson");
    assert_eq!(
        lines.iter().filter(|line| line["change"].is_null()).count(),
        unsettled.as_array().unwrap().len()
    );
    for mut told in lines {
        holds(&line, "a line of a diff", &told);
        // What could not be compared is no change, and leaves nothing complete.
        let other = if told["change"].is_null() { json!("appeared") } else { Value::Null };
        told["change"] = other;
        assert!(!line.is_valid(&told), "{told:#}");
    }
}

#[test]
fn listings() {
    let schema = validator("portolan-1.json");
    let line = validator("portolan-1-line.json");
    for arguments in
        [&["--from", "tests/captures/five.json"][..], &[], &["-a"], &["--group", "-t"], &["--no-holders"]]
    {
        for document in printed(&[arguments, &["-o", "json"]].concat()) {
            holds(&schema, &format!("{arguments:?}"), &document);
        }
        for document in printed(&[arguments, &["-o", "ndjson"]].concat()) {
            holds(&line, &format!("{arguments:?}, a line"), &document);
        }
    }
    holds(&schema, "everything at once", &listing(&everything()));
}

#[test]
fn explanations() {
    let schema = validator("portolan.explain-1.json");
    for arguments in [
        &["0-1999", "3300-3500", "49000-49300", "65500-65535"][..],
        &["--from", "tests/captures/five.json", "3416", "ssh", "postgres", "kazaa", "60416", "sctp/22"],
        &["--stats"],
    ] {
        for document in printed(&[&["explain", "-o", "json"], arguments].concat()) {
            holds(&schema, &format!("explain {arguments:?}"), &document);
        }
    }
}

/// A process that is ended with the test.
#[cfg(unix)]
struct Ended(Child);

#[cfg(unix)]
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every kind of change, as it happens: a port of this process is taken elsewhere and by another, between two looks.
/// Where a look falls in between, it is told as vanished and appeared, and done again.
///
/// Of Unix alone: only there can a socket be handed on as standard input, and a program be replaced while it runs.
#[cfg(unix)]
#[test]
fn events_as_they_happen() {
    let schema = validator("portolan.event-1.json");
    let bind = |address: &str, port| TcpListener::bind((address, port)).unwrap();
    let port = bind("127.0.0.1", 0).local_addr().unwrap().port();
    let mut watch = portolan(&["watch", "-o", "json", "--interval", "0.3", &format!("tcp/{port}")]);
    let mut watch = Ended(watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let stream = BufReader::new(watch.0.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || stream.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut left: Vec<&str> = Kind::ALL.map(Kind::name).to_vec();
    left.push("start");
    // Takes what is told from one look to the one after the next.
    let mut told = || {
        while let Ok(line) = lines.recv_timeout(Duration::from_secs(1)) {
            let event: Value = serde_json::from_str(&line).unwrap();
            holds(&schema, &line, &event);
            left.retain(|kind| event["event"] != *kind);
        }
        left.clone()
    };
    for _ in 0..10 {
        told();
        let here = bind("127.0.0.1", port);
        told();
        drop(here);
        let anywhere = bind("0.0.0.0", port);
        told();
        drop(anywhere);
        let here = bind("127.0.0.1", port);
        told();
        drop(here);
        let other = std::os::fd::OwnedFd::from(bind("127.0.0.1", port));
        let folder = tempfile::tempdir().unwrap();
        let sleep = folder.path().join("sleep");
        std::fs::copy("/bin/sleep", &sleep).unwrap();
        let other = Ended(Command::new(&sleep).arg("60").stdin(other).spawn().unwrap());
        told();
        // As an upgrade does.
        std::fs::copy("/bin/sleep", folder.path().join("new")).unwrap();
        std::fs::rename(folder.path().join("new"), &sleep).unwrap();
        told();
        drop(other);
        if told().is_empty() {
            return;
        }
    }
    panic!("never seen: {:?}", told());
}

#[test]
fn events_of_everything() {
    let schema = validator("portolan.event-1.json");
    let (before, after) = (everything(), five());
    let reports = [judge(&before, Registry::embedded()), judge(&after, Registry::embedded())];
    let mut bytes = Vec::new();
    for report in &reports {
        events::start(report, &mut bytes).unwrap();
        events::view(report.observation, &mut bytes).unwrap();
    }
    for change in difference(&reports[0].listeners, &reports[1].listeners) {
        events::change(&change, &after, &mut bytes).unwrap();
    }
    let mut told = Vec::new();
    for event in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        let event = event.unwrap();
        holds(&schema, "an event", &event);
        told.push(event["event"].as_str().unwrap().to_owned());
    }
    for event in ["start", "complete", "incomplete"] {
        assert!(told.iter().any(|kind| kind == event), "{told:?}");
    }
}

/// Windows keeps a range for each protocol and family; elsewhere the key is not there.
#[test]
fn a_range_of_each_protocol() {
    let schema = validator("portolan-1.json");
    let mut seen = five();
    assert!(
        listing(&seen)["host"].get("ephemeral_of").is_none(),
        "a system that keeps one range has the key"
    );
    let tcp: EphemeralOf = serde_json::from_value(
        json!({"protocol": "tcp", "family": "ipv4", "ports": {"low": 49152, "high": 65535}}),
    )
    .unwrap();
    seen.host.ephemeral_of = vec![tcp, EphemeralOf { protocol: Protocol::Udp, family: Family::Ipv6, ..tcp }];
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

/// Every object in a document, by its path, but for evidence, which is each flag's own.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| *key != "evidence") {
                objects(value, format!("{path}/{key}"), found);
            }
            found.push(path);
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                objects(item, format!("{path}/{at}"), found);
            }
        }
        _ => {}
    }
}

/// Nothing may be missing and nothing may be added, wherever it is.
#[test]
fn nothing_else_passes() {
    let five = &["--from", "tests/captures/five.json"][..];
    let explained = [five, &["explain", "-o", "json", "3416", "5432"]].concat();
    let mut start = Vec::new();
    events::start(&judge(&everything(), Registry::embedded()), &mut start).unwrap();
    for (file, document) in [
        ("portolan-1.json", listing(&everything())),
        ("portolan.diff-1.json", differences("json").remove(0)),
        ("portolan.diff-1-line.json", differences("ndjson").remove(0)),
        ("portolan-1-line.json", printed(&[five, &["-o", "ndjson", "3416"]].concat()).remove(0)),
        ("portolan.explain-1.json", printed(&explained).remove(0)),
        ("portolan.event-1.json", serde_json::from_slice(&start).unwrap()),
    ] {
        let schema = validator(file);
        holds(&schema, file, &document);
        let mut paths = Vec::new();
        objects(&document, String::new(), &mut paths);
        assert!(paths.len() > 2, "{paths:?}");
        for path in paths {
            let mut more = document.clone();
            more.pointer_mut(&path).unwrap()["extra"] = json!(1);
            assert!(!schema.is_valid(&more), "{file}: {path} may have more");
            let keys: Vec<String> =
                document.pointer(&path).unwrap().as_object().unwrap().keys().cloned().collect();
            for key in keys {
                let mut less = document.clone();
                less.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(&key);
                assert!(!schema.is_valid(&less), "{file}: {path} may lack {key}");
            }
        }
    }
}

/// What is not known is `null`, and what contradicts itself is no document.
#[test]
fn wrong_values_do_not_pass() {
    let schema = validator("portolan-1.json");
    let document = listing(&five());
    for (path, value) in [
        ("/schema", json!("portolan/2")),
        ("/taken", json!("yesterday")),
        ("/taken", json!("2026-11-21T08:00:00+01:00")),
        ("/complete", json!(false)),
        ("/listeners/0/port", json!(65536)),
        ("/listeners/0/port", json!("22")),
        ("/listeners/0/user", json!("")),
        ("/listeners/0/uid", json!(-1)),
        ("/listeners/0/address", json!("localhost")),
        ("/listeners/0/address", json!("::1")),
        ("/listeners/0/owner", json!("hidden")),
        ("/listeners/0/processes", json!([])),
        ("/listeners/0/state", json!("listening")),
        ("/listeners/0/flags/0/code", json!("orphan")),
        ("/listeners/0/flags/0/severity", json!("bad")),
        ("/listeners/0/flags/0/evidence", json!(null)),
        ("/listeners/0/registry/status", json!("dead")),
    ] {
        let mut wrong = document.clone();
        let at = wrong.pointer_mut(path).unwrap_or_else(|| panic!("there is no {path}"));
        assert_ne!(*at, value, "{path}");
        *at = value.clone();
        assert!(!schema.is_valid(&wrong), "{path}: {value} passes");
    }
}

/// Every variant of an enum; one that is forgotten here does not compile.
macro_rules! every {
    ($type:ident: $($variant:ident)*) => {{
        #[allow(dead_code, reason = "it is there to be compiled")]
        fn all(value: $type) {
            match value { $($type::$variant => {})* }
        }
        [$($type::$variant),*]
    }};
}

fn names<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values
        .into_iter()
        .map(|value| serde_json::to_value(value).unwrap().as_str().unwrap().to_owned())
        .collect()
}

fn owned<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

#[test]
fn lists_of_words_are_the_programs_own() {
    let listing = "portolan-1.json";
    let explain = "portolan.explain-1.json";
    let registration = |status: &Status| {
        !matches!(status, Status::Dynamic | Status::Unassigned | Status::Reserved | Status::Repurposed)
    };
    let owners = [Owner::Held(vec![1].into()), Owner::Hidden, Owner::Kernel, Owner::Vanished, Owner::Unknown];
    let standings = every!(Standing: Alive Orphaned Legacy);
    let views = ["start", "incomplete", "complete"].map(str::to_owned);
    for (file, list, words) in [
        (listing, "flag-code", owned(Flag::ALL.map(Flag::code))),
        (listing, "severity", names(every!(Severity: Info Notice Warning Critical))),
        (listing, "status", names(Status::ALL)),
        (listing, "registration-status", names(Status::ALL.into_iter().filter(registration))),
        (listing, "state", names(State::ALL)),
        (listing, "exposure", names(Exposure::ALL)),
        (listing, "protocol", names(Protocol::ALL)),
        (listing, "family", names(every!(Family: Ipv4 Ipv6))),
        (listing, "owner", owned(owners.each_ref().map(Owner::name))),
        (listing, "direction", names(every!(Direction: In Out))),
        (listing, "range", names(every!(RegistryRange: System Registered Dynamic))),
        (listing, "confidence", names(every!(Confidence: Confirmed Presumed))),
        (listing, "standing", standings.map(|standing| format!("{standing:?}").to_lowercase()).to_vec()),
        (listing, "life", names(Life::ALL)),
        (listing, "exe-state", names(every!(ExeState: Present Deleted Replaced Memfd))),
        (listing, "rests-on", names(every!(RestsOn: Exe Cmdline Name))),
        (listing, "stage", names(every!(Stage: Sockets Holders Processes Namespaces Host))),
        ("portolan.diff-1.json", "change", owned(ChangeKind::ALL.map(ChangeKind::name))),
        (
            "portolan.diff-1.json",
            "why",
            owned(every!(Why: Holder Holders Program User Namespace).map(Why::name)),
        ),
        (explain, "matched", names(every!(Matched: Port Service Program Text))),
        (explain, "happening", names(every!(Happening: Registered Changed Renamed Ended Noted))),
        (
            "portolan.event-1.json",
            "event",
            Kind::ALL.map(|kind| kind.name().to_owned()).into_iter().chain(views).collect(),
        ),
    ] {
        let schema = schema(file);
        let told = schema.pointer(&format!("/$defs/{list}/enum")).unwrap().as_array().unwrap();
        let told: Vec<&str> = told.iter().map(|word| word.as_str().unwrap()).collect();
        let where_ = format!("src/share/schema/{file}: $defs/{list}/enum");
        let lacking: Vec<_> = words.iter().filter(|word| !told.contains(&word.as_str())).collect();
        let extra: Vec<_> = told.iter().filter(|word| !words.iter().any(|own| own == *word)).collect();
        assert!(lacking.is_empty(), "{where_} lacks {lacking:?}, which the program says: add it there");
        assert!(extra.is_empty(), "{where_} has {extra:?}, which the program never says: take it out there");
    }
}
