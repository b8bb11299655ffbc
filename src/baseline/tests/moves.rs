//! Checks listeners with hidden owners that move to another address.

use super::compare::{compared, report, seen};
use super::*;
use crate::baseline::{compare, since};
use crate::findings::FindingFacts;

/// A listener with a hidden owner counts as moved only if its unit and user stay the same, and no other listener has
/// the same unit and user.
#[test]
fn hidden_services_that_move() {
    const UNIT: Option<&str> = Some("metrics.service");
    let hidden = |places: &[&'static str], user, unit: Option<&str>| {
        let rows: Vec<Row> = places.iter().map(|place| (*place, user, &[][..])).collect();
        let mut snapshot = seen(&rows);
        for socket in &mut snapshot.sockets {
            let attributes = Arc::make_mut(&mut socket.attributes);
            attributes.unit = unit.map(str::to_owned);
            attributes.cgroup = unit.map(|unit| format!("/system.slice/{unit}"));
        }
        snapshot
    };
    let (local, any) = ("tcp/127.0.0.1:91", "tcp/0.0.0.0:91");
    let before = hidden(&[local], Some(7), UNIT);
    for (name, after, expected) in [
        (
            "to every address",
            hidden(&[any], Some(7), UNIT),
            vec!["widened tcp/0.0.0.0:91", "process-not-seen tcp/0.0.0.0:91"],
        ),
        (
            "to every address of both families",
            hidden(&["tcp/[::]:91"], Some(7), UNIT),
            vec!["widened tcp/[::]:91", "process-not-seen tcp/[::]:91"],
        ),
        (
            "two candidates",
            hidden(&[any, "tcp/192.0.2.1:91"], Some(7), UNIT),
            vec!["appeared tcp/0.0.0.0:91", "appeared tcp/192.0.2.1:91", "vanished tcp/127.0.0.1:91"],
        ),
        (
            "another user",
            hidden(&[any], Some(8), UNIT),
            vec!["appeared tcp/0.0.0.0:91", "vanished tcp/127.0.0.1:91"],
        ),
        (
            "another unit",
            hidden(&[any], Some(7), Some("other.service")),
            vec!["appeared tcp/0.0.0.0:91", "vanished tcp/127.0.0.1:91"],
        ),
        (
            "a session",
            hidden(&[any], Some(7), Some("session-1.scope")),
            vec!["appeared tcp/0.0.0.0:91", "vanished tcp/127.0.0.1:91"],
        ),
        (
            "no unit",
            hidden(&[any], Some(7), None),
            vec!["appeared tcp/0.0.0.0:91", "vanished tcp/127.0.0.1:91"],
        ),
    ] {
        assert_eq!(compared(&before, &after), expected, "{name}");
    }
    let in_session = |place| hidden(&[place], Some(7), Some("session-1.scope"));
    assert_eq!(
        compared(&in_session(local), &in_session(any)),
        ["appeared tcp/0.0.0.0:91", "vanished tcp/127.0.0.1:91"],
        "a session can contain unrelated programs"
    );
    let (before, after) = (report(&before), report(&hidden(&[any], Some(7), UNIT)));
    let comparison = compare(&before, &after);
    let text = since(&comparison.changes[0], &comparison).sentence();
    assert!(text.contains("probably the same service: same unit metrics.service"), "{text}");
}
