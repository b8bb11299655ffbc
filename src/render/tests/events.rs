use serde_json::Value;

use super::super::fixtures::*;
use super::super::*;
use crate::baseline::{Change, ChangeKind};

fn line(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Value {
    let text = text(render);
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let unsafe_ones: Vec<char> = text.trim_end().chars().filter(|c| is_unsafe(*c)).collect();
    assert_eq!(unsafe_ones, [], "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn start() {
    let snapshot = scene();
    let event = line(|w| events::start(&report(&snapshot), w));
    assert_eq!((&event["schema"], &event["event"]), (&"portolan.event/2".into(), &"start".into()));
    assert_eq!(event["taken"], "2026-11-21T12:00:00Z");
    assert_eq!((&event["kind"], &event["host"]["name"]), (&"host".into(), &"box".into()));
    assert_eq!((&event["counts"]["listeners"], &event["complete"]), (&8.into(), &false.into()));
    assert_eq!(event["gaps"][0]["what"], "processes");
}

/// The listener of an event is the same object as in a listing, including hostile names.
#[test]
fn changes() {
    let snapshot = scene();
    let report = report(&snapshot);
    let listing: Value = serde_json::from_str(&text(|w| json::listing(&report, w))).unwrap();
    for (at, judged) in report.entries.iter().enumerate() {
        let change =
            Change { kind: ChangeKind::Widened, listener: judged, before: Some(judged), is_probable: false };
        let event = line(|w| events::change(&change, &snapshot, w));
        assert_eq!(event["event"], "widened");
        assert_eq!(event["taken"], "2026-11-21T12:00:00Z");
        assert_eq!(event["listener"], listing["listeners"][at]);
        assert_eq!(event["before"], listing["listeners"][at]);
    }
    let change =
        Change { kind: ChangeKind::Vanished, listener: &report.entries[0], before: None, is_probable: false };
    let event = line(|w| events::change(&change, &snapshot, w));
    assert_eq!((&event["event"], &event["before"]), (&"vanished".into(), &Value::Null));
}

#[test]
fn gaps_are_events() {
    let mut snapshot = scene();
    let event = line(|w| events::gaps_changed(&snapshot, w));
    assert_eq!((&event["event"], &event["complete"]), (&"incomplete".into(), &false.into()));
    assert_eq!(event["gaps"][0]["remedy"], "run as root");
    snapshot.gaps.clear();
    let event = line(|w| events::gaps_changed(&snapshot, w));
    assert_eq!((&event["event"], &event["complete"]), (&"complete".into(), &true.into()));
    assert_eq!(event["gaps"], serde_json::json!([]));
}
