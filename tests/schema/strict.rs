//! The schemas accept nothing else, and every list of words in them is equal to the program's list.

use portolan::Registry;
use portolan::internals::findings::Flag;
use portolan::internals::findings::change::ChangeKind;
use portolan::internals::{NotComparedReason, events};
use portolan::judge::judge;
use portolan::model::{
    Confidence, CuratedState, Direction, EventKind, EvidenceSource, ExeState, Exposure, Family, Matched,
    OriginKind, Owner, Protocol, RegistryRange, RestsOn, SearchField, ServiceBy, Severity, Stage, State,
    Status, StatusBasis, Unsuitable,
};
use serde_json::{Value, json};

use crate::{differences, everything, five, holds, listing, printed, schema, validator};

/// Every object in a document, by its path, except evidence, which has a schema and tests of its own.
pub(crate) fn objects(value: &Value, path: String, found: &mut Vec<String>) {
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

/// No key may be missing and no key may be added, in any object.
#[test]
fn missing_and_added_keys_are_refused() {
    let five = &["--from", "tests/captures/five.json"][..];
    let explained = [five, &["explain", "-o", "json", "3416", "5432"]].concat();
    let free = [five, &["explain", "-o", "json", "--free", "27850-27950"]].concat();
    let mut start = Vec::new();
    events::start(&judge(everything(), Registry::embedded()), &mut start).unwrap();
    for (file, document) in [
        ("portolan-2.json", listing(&everything())),
        ("portolan.diff-2.json", differences("json").remove(0)),
        ("portolan.diff-2-line.json", differences("ndjson").remove(1)),
        ("portolan-2-line.json", printed(&[five, &["-o", "ndjson", "3416"]].concat()).remove(1)),
        ("portolan-2-line.json", printed(&[five, &["-o", "ndjson", "3416"]].concat()).remove(0)),
        ("portolan-2-brief.json", printed(&[five, &["-o", "ndjson", "--brief", "3416"]].concat()).remove(1)),
        ("portolan.diff-2-line.json", differences("ndjson").remove(0)),
        ("portolan-2-audit-line.json", printed(&[five, &["audit", "-o", "ndjson"]].concat()).remove(1)),
        ("portolan.explain-2.json", printed(&explained).remove(0)),
        ("portolan.explain-2.json", printed(&free).remove(0)),
        ("portolan.event-2.json", serde_json::from_slice(&start).unwrap()),
    ] {
        let schema = validator(file);
        holds(&schema, file, &document);
        let mut paths = Vec::new();
        objects(&document, String::new(), &mut paths);
        assert!(!paths.is_empty(), "{paths:?}");
        // The labels of a host can have any names.
        for path in paths.into_iter().filter(|path| !path.ends_with("/labels")) {
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

/// An unknown value is `null`, and a document that contradicts itself is not valid.
#[test]
fn wrong_values_do_not_pass() {
    let schema = validator("portolan-2.json");
    let document = listing(&five());
    for (path, value) in [
        ("/schema", json!("portolan/3")),
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
        ("/listeners/1/flags/0/code", json!("orphan")),
        ("/listeners/1/flags/0/severity", json!("bad")),
        ("/listeners/1/flags/0/evidence", json!(null)),
        ("/listeners/0/registry/status", json!("dead")),
    ] {
        let mut wrong = document.clone();
        let at = wrong.pointer_mut(path).unwrap_or_else(|| panic!("there is no {path}"));
        assert_ne!(*at, value, "{path}");
        *at = value.clone();
        assert!(!schema.is_valid(&wrong), "{path}: {value} passes");
    }
}

/// Lists every variant of an enum; a forgotten variant does not compile.
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
    let listing = "portolan-2.json";
    let explain = "portolan.explain-2.json";
    let registration =
        |status: &Status| matches!(status, Status::Active | Status::Orphaned | Status::Dormant);
    let owners = [
        Owner::Held(vec![1].into()),
        Owner::Hidden,
        Owner::Kernel,
        Owner::Unaccounted,
        Owner::Vanished,
        Owner::Unknown,
    ];
    let standings = every!(CuratedState: Alive Orphaned Legacy);
    let views = ["incomplete", "complete"].map(str::to_owned);
    for (file, list, words) in [
        (listing, "flag-code", Flag::all().map(|flag| flag.code().to_owned()).collect()),
        (listing, "severity", names(every!(Severity: Info Notice Warning Critical))),
        (listing, "status", names(Status::ALL)),
        (listing, "basis", names(StatusBasis::ALL)),
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
        (listing, "life", names(EvidenceSource::ALL)),
        (
            listing,
            "origin-kind",
            names(every!(OriginKind: Package System User Open Deleted Memory Elsewhere)),
        ),
        (listing, "exe-state", names(every!(ExeState: Present Deleted Replaced Memfd))),
        (listing, "rests-on", names(every!(RestsOn: Exe Cmdline Name Unit))),
        (listing, "service-by", names(every!(ServiceBy: Process Unit Port))),
        (listing, "stage", names(every!(Stage: Sockets Owners Processes Namespaces Host Scope Rules))),
        ("portolan.diff-2.json", "change", owned(ChangeKind::ALL.map(ChangeKind::name))),
        (
            "portolan.diff-2.json",
            "why",
            owned(
                every!(NotComparedReason: Process Processes Program User Namespace Rules)
                    .map(NotComparedReason::name),
            ),
        ),
        (explain, "matched", names(every!(Matched: Port Service Program Text))),
        (explain, "unsuitable", owned(Unsuitable::ALL.map(Unsuitable::name))),
        (explain, "search_field", owned(SearchField::ALL.map(SearchField::name))),
        (explain, "happening", names(every!(EventKind: Registered Changed Renamed Ended Noted Abused))),
        (
            "portolan.event-2.json",
            "event",
            ChangeKind::ALL.into_iter().map(|kind| kind.name().to_owned()).chain(views).collect(),
        ),
    ] {
        let schema = schema(file);
        let listed = schema.pointer(&format!("/$defs/{list}/enum")).unwrap().as_array().unwrap();
        let listed: Vec<&str> = listed.iter().map(|word| word.as_str().unwrap()).collect();
        let where_ = format!("src/share/schema/{file}: $defs/{list}/enum");
        let lacking: Vec<_> = words.iter().filter(|word| !listed.contains(&word.as_str())).collect();
        let extra: Vec<_> = listed.iter().filter(|word| !words.iter().any(|own| own == *word)).collect();
        assert!(lacking.is_empty(), "{where_} lacks {lacking:?}, which the program says: add it there");
        assert!(extra.is_empty(), "{where_} has {extra:?}, which the program never says: take it out there");
    }
}
