//! Checks comparisons of complete snapshots: transient changes, uncertain changes, and listeners that cannot be
//! compared.

use proptest::prelude::*;

use super::*;
use crate::baseline::{Comparison, NotComparedReason, add_to, compare, difference, since};
use crate::judge::audit::{Audit, AuditVerdict, Subject};
use crate::judge::{Report, judge};
use crate::registry::Registry;

pub(super) fn report(snapshot: &Snapshot) -> Report {
    judge(snapshot.clone(), Registry::embedded())
}

/// Returns each change as text, with its kind and place. A transient change is in brackets, and an uncertain change
/// ends with `+`.
pub(super) fn compared(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let (before, after) = (report(before), report(after));
    let comparison = compare(&before, &after);
    let printed = comparison.changes.iter().map(|printed| {
        let text = format!("{} {}", printed.change.kind.name(), printed.change.listener.socket.local);
        let text = if printed.sure { text } else { format!("{text} +") };
        if printed.passing { format!("({text})") } else { text }
    });
    let not_compared = comparison.not_compared.iter().map(|not_compared| {
        let listener = not_compared.after.or(not_compared.before).unwrap();
        format!("{} {}", not_compared.why.name(), listener.socket.local)
    });
    printed.chain(not_compared).collect()
}

fn gap(stage: Stage) -> Gap {
    Gap::new(stage, "x", "y")
}

/// Makes a snapshot of a kernel that gives ports 32768 to 60999 to outgoing connections.
pub(super) fn seen(rows: &[Row]) -> Snapshot {
    let mut snapshot = snapshot_of(rows);
    snapshot.host.ephemeral = vec![PortRange { low: 32768, high: 60999 }];
    for socket in &mut snapshot.sockets {
        if socket.local.protocol == Protocol::Udp {
            socket.state = State::Unconnected;
        }
    }
    snapshot
}

/// A server that was restarted without its password, for `diff` and for `watch`.
#[test]
fn a_protection_that_was_dropped() {
    let redis = |line: &str| {
        let mut snapshot = seen(&[("tcp/0.0.0.0:6379", Some(0), &["/usr/bin/redis-server"])]);
        snapshot.processes[0].cmdline = line.split(' ').map(str::to_owned).collect();
        report(&snapshot)
    };
    let before = redis("redis-server --requirepass secret");
    let after = redis("redis-server --protected-mode no");
    for (was, is, kinds) in [(&before, &after, &[ChangeKind::Weakened][..]), (&after, &before, &[])] {
        let compared = compare(was, is);
        let compared: Vec<_> = compared.changes.iter().map(|reported| reported.change.kind).collect();
        let watched: Vec<_> = difference(was, is).iter().map(|change| change.kind).collect();
        assert_eq!((&compared[..], &watched[..]), (kinds, kinds));
    }
}

#[test]
fn sockets_that_may_be_clients_are_passing_changes() {
    const ONE: Row = ("udp/0.0.0.0:40001", Some(0), &["/bin/a"]);
    const ANOTHER: Row = ("udp/0.0.0.0:50001", Some(0), &["/bin/a"]);
    let rows: &[Case] = &[
        ("another port of the same client", &[ONE], &[ANOTHER], &[]),
        (
            "two of the same client, then one",
            &[ONE, ANOTHER],
            &[("udp/0.0.0.0:40002", Some(0), &["/bin/a"])],
            &[],
        ),
        ("a client that comes", &[], &[ONE], &["(appeared udp/0.0.0.0:40001)"]),
        ("one that goes", &[ONE], &[], &["(vanished udp/0.0.0.0:40001)"]),
        (
            "another client",
            &[ONE],
            &[("udp/0.0.0.0:50001", Some(0), &["/bin/b"])],
            &["(vanished udp/0.0.0.0:40001)", "(appeared udp/0.0.0.0:50001)"],
        ),
        (
            "the same under another user",
            &[ONE],
            &[("udp/0.0.0.0:50001", Some(7), &["/bin/a"])],
            &["(vanished udp/0.0.0.0:40001)", "(appeared udp/0.0.0.0:50001)"],
        ),
        (
            "the same on another address",
            &[ONE],
            &[("udp/127.0.0.1:50001", Some(0), &["/bin/a"])],
            &["(vanished udp/0.0.0.0:40001)", "(appeared udp/127.0.0.1:50001)"],
        ),
        (
            "nobody knows whose",
            &[("udp/0.0.0.0:40001", Some(0), &[])],
            &[("udp/0.0.0.0:50001", Some(0), &[])],
            &["(vanished udp/0.0.0.0:40001)", "(appeared udp/0.0.0.0:50001)"],
        ),
        (
            "a listener of TCP does not pass",
            &[("tcp/0.0.0.0:40002", Some(0), &["/bin/a"])],
            &[("tcp/0.0.0.0:50002", Some(0), &["/bin/a"])],
            &["vanished tcp/0.0.0.0:40002", "appeared tcp/0.0.0.0:50002"],
        ),
        (
            "nor on a port that the kernel picked",
            &[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"])],
            &[],
            &["vanished tcp/0.0.0.0:40001"],
        ),
        (
            "a program whose ports the kernel picked, started again",
            &[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"]), ("tcp/0.0.0.0:40003", Some(0), &["/bin/a"])],
            &[("tcp/0.0.0.0:50001", Some(0), &["/bin/a"]), ("tcp/0.0.0.0:50003", Some(0), &["/bin/a"])],
            &[],
        ),
        (
            "with one more",
            &[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"])],
            &[("tcp/0.0.0.0:50001", Some(0), &["/bin/a"]), ("tcp/0.0.0.0:50003", Some(0), &["/bin/a"])],
            &["appeared tcp/0.0.0.0:50003"],
        ),
        (
            "on another address",
            &[("tcp/127.0.0.1:40001", Some(0), &["/bin/a"])],
            &[("tcp/127.0.0.2:50001", Some(0), &["/bin/a"])],
            &["vanished tcp/127.0.0.1:40001", "appeared tcp/127.0.0.2:50001"],
        ),
        (
            "another program",
            &[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"])],
            &[("tcp/0.0.0.0:50001", Some(0), &["/bin/b"])],
            &["vanished tcp/0.0.0.0:40001", "appeared tcp/0.0.0.0:50001"],
        ),
        (
            "another user",
            &[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"])],
            &[("tcp/0.0.0.0:50001", Some(7), &["/bin/a"])],
            &["vanished tcp/0.0.0.0:40001", "appeared tcp/0.0.0.0:50001"],
        ),
        (
            "a port that the kernel does not pick",
            &[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"])],
            &[("tcp/0.0.0.0:50002", Some(0), &["/bin/a"])],
            &["vanished tcp/0.0.0.0:40001", "appeared tcp/0.0.0.0:50002"],
        ),
        (
            "the kernel's own, of UDP",
            &[("udp/0.0.0.0:40001", Some(0), &["kernel"])],
            &[("udp/0.0.0.0:50001", Some(0), &["kernel"])],
            &[],
        ),
        (
            "the kernel's own, of TCP: it has no program to recognise it by",
            &[("tcp/0.0.0.0:40001", Some(0), &["kernel"])],
            &[("tcp/0.0.0.0:50001", Some(0), &["kernel"])],
            &["vanished tcp/0.0.0.0:40001", "appeared tcp/0.0.0.0:50001"],
        ),
        (
            "nobody knows whose, picked",
            &[("tcp/0.0.0.0:40001", Some(0), &[])],
            &[("tcp/0.0.0.0:50001", Some(0), &[])],
            &["vanished tcp/0.0.0.0:40001", "appeared tcp/0.0.0.0:50001"],
        ),
        (
            "a port of its own choice",
            &[("udp/0.0.0.0:53", Some(0), &["/bin/a"])],
            &[ONE],
            &["vanished udp/0.0.0.0:53", "(appeared udp/0.0.0.0:40001)"],
        ),
        (
            "what changes hands does not pass",
            &[ONE],
            &[("udp/0.0.0.0:40001", Some(0), &["/bin/b"])],
            &["changed udp/0.0.0.0:40001"],
        ),
    ];
    for (name, before, after, wanted) in rows {
        assert_eq!(compared(&seen(before), &seen(after)), *wanted, "{name}");
    }
    // A TCP socket that is bound but does not listen may also belong to a client. On a reserved port it does not.
    // Connections are not compared.
    let mut bound = seen(&[("tcp/0.0.0.0:40001", Some(0), &["/bin/a"])]);
    bound.sockets[0].state = State::Bound;
    assert_eq!(compared(&seen(&[]), &bound), ["(appeared tcp/0.0.0.0:40001)"]);
    bound.host.reserved = vec![PortRange::single(40001)];
    assert_eq!(compared(&seen(&[]), &bound), ["appeared tcp/0.0.0.0:40001"]);
    bound.sockets[0].state = State::Established;
    assert_eq!(compared(&seen(&[]), &bound), [""; 0]);
}

#[test]
fn presumed_and_impossible_comparisons() {
    const WEB: Row = ("tcp/0.0.0.0:80", Some(0), &["/bin/a"]);
    let blind = |rows: &[Row], stage| {
        let mut snapshot = seen(rows);
        snapshot.gaps = vec![gap(stage)];
        snapshot
    };
    assert_eq!(compared(&blind(&[], Stage::Sockets), &seen(&[WEB])), ["appeared tcp/0.0.0.0:80 +"]);
    assert_eq!(compared(&blind(&[], Stage::Owners), &seen(&[WEB])), ["appeared tcp/0.0.0.0:80"]);
    assert_eq!(compared(&seen(&[WEB]), &blind(&[], Stage::Sockets)), ["vanished tcp/0.0.0.0:80 +"]);
    let hidden = [("tcp/0.0.0.0:80", Some(0), &[][..])];
    for (before, after) in [(&[WEB], &hidden), (&hidden, &[WEB]), (&hidden, &hidden)] {
        assert_eq!(compared(&seen(before), &seen(after)), ["process-not-seen tcp/0.0.0.0:80"]);
    }
    let nameless = [("tcp/0.0.0.0:80", None, &["/bin/a"][..])];
    assert_eq!(compared(&seen(&[WEB]), &seen(&nameless)), ["user-not-seen tcp/0.0.0.0:80"]);
    // A name cannot be compared with a file. Another name is a change.
    let (name, other) =
        ([("tcp/0.0.0.0:80", Some(0), &["a"][..])], [("tcp/0.0.0.0:80", Some(0), &["b"][..])]);
    assert_eq!(compared(&seen(&[WEB]), &seen(&name)), ["program-not-seen tcp/0.0.0.0:80"]);
    assert_eq!(compared(&seen(&other), &seen(&name)), ["changed tcp/0.0.0.0:80"]);
    // The later side has one more process, and the earlier side could not read every process.
    let two = [("tcp/0.0.0.0:80", Some(0), &["/bin/a", "/bin/b"][..])];
    assert_eq!(
        compared(&blind(&[WEB], Stage::Owners), &seen(&two)),
        ["processes-not-all-seen tcp/0.0.0.0:80"]
    );
    assert_eq!(
        compared(&seen(&two), &blind(&[WEB], Stage::Owners)),
        ["processes-not-all-seen tcp/0.0.0.0:80"]
    );
    assert_eq!(compared(&blind(&two, Stage::Owners), &seen(&[WEB])), ["changed tcp/0.0.0.0:80"]);
    assert_eq!(compared(&seen(&[WEB]), &seen(&two)), ["changed tcp/0.0.0.0:80"]);
}

#[test]
fn namespaces_that_were_not_scanned() {
    let blue = || Some(Netns { inode: 7, name: Some("blue".into()) });
    let inside = |asked: Namespaces| {
        let mut snapshot = seen(&[("tcp/0.0.0.0:80", Some(0), &["/bin/a"])]);
        Arc::make_mut(&mut snapshot.sockets[0].attributes).netns = blue();
        let netns = blue().unwrap();
        snapshot.namespaces = vec![Namespace {
            netns,
            addresses: vec![],
            ephemeral: vec![],
            reserved: vec![],
            ephemeral_source: "x".into(),
        }];
        snapshot.scope.namespaces = asked;
        snapshot
    };
    let asked = |namespaces| Scope { namespaces, ..Scope::default() };
    let empty = |namespaces: Namespaces| Snapshot { scope: asked(namespaces), ..seen(&[]) };
    let all = || Namespaces::All;
    assert_eq!(compared(&empty(all()), &inside(all())), ["appeared tcp/0.0.0.0:80"]);
    assert_eq!(compared(&inside(all()), &empty(all())), ["vanished tcp/0.0.0.0:80"]);
    assert_eq!(
        compared(&empty(Namespaces::Own), &inside(all())),
        ["namespace-not-looked-into tcp/0.0.0.0:80"]
    );
    assert_eq!(
        compared(&inside(all()), &empty(Namespaces::Own)),
        ["namespace-not-looked-into tcp/0.0.0.0:80"]
    );
    // Only the namespace `blue` was scanned, so nothing is known about portolan's own namespace.
    let called = || Namespaces::Called("blue".into());
    let own = Snapshot { scope: asked(all()), ..seen(&[("tcp/0.0.0.0:81", Some(0), &["/bin/a"])]) };
    assert_eq!(
        compared(&inside(called()), &own),
        ["vanished tcp/0.0.0.0:80", "namespace-not-looked-into tcp/0.0.0.0:81"]
    );
    assert_eq!(compared(&inside(called()), &inside(called())), [""; 0]);
}

fn with_file(state: ExeState) -> Snapshot {
    let mut snapshot =
        seen(&[("tcp/0.0.0.0:80", Some(0), &["/bin/a"]), ("tcp/0.0.0.0:80", Some(0), &["/bin/a"])]);
    snapshot.processes[1].exe.as_mut().unwrap().state = state;
    snapshot
}

#[test]
fn a_file_that_is_replaced_under_its_process() {
    use ExeState::{Deleted, Memfd, Present, Replaced};
    for (before, after, printed) in [
        (Present, Present, false),
        (Present, Replaced, true),
        (Present, Deleted, true),
        (Present, Memfd, true),
        (Replaced, Deleted, true),
        (Replaced, Replaced, false),
        // The program was restarted: the running file is the installed file.
        (Replaced, Present, false),
        (Deleted, Present, false),
    ] {
        let wanted: &[&str] = if printed { &["replaced tcp/0.0.0.0:80"] } else { &[] };
        assert_eq!(compared(&with_file(before), &with_file(after)), wanted, "{before:?} {after:?}");
    }
}

fn audited(
    before: &Snapshot,
    after: &Snapshot,
) -> (Vec<(&'static str, Severity, bool)>, AuditVerdict, usize) {
    let (before, after) = (report(before), report(after));
    let comparison: Comparison<'_> = compare(&before, &after);
    let mut audit = Audit::of(&after);
    add_to(&mut audit, &comparison);
    // Only findings about changes count here.
    let since = |code: &str| ChangeKind::ALL.iter().any(|kind| kind.name() == code);
    let findings = audit.findings.iter().filter(|found| since(found.finding.flag().code()));
    let findings = findings.map(|found| {
        let on_listener = matches!(found.subject, Subject::Entry(_));
        (found.finding.flag().code(), found.finding.severity, on_listener)
    });
    let findings = findings.collect();
    (findings, audit.outcome(Severity::Warning), audit.gaps.len())
}

#[test]
fn findings_of_an_audit() {
    use Severity::{Critical, Info, Notice, Warning};
    let at = |local: &'static str| -> [Row; 1] { [(local, Some(0), &["/bin/a"])] };
    let none: [Row; 0] = [];
    for (before, after, wanted) in [
        (&none[..], &at("tcp/127.0.0.1:80")[..], vec![("appeared", Warning, true)]),
        (&at("tcp/0.0.0.0:80"), &none, vec![("vanished", Notice, false)]),
        (&at("tcp/127.0.0.1:80"), &at("tcp/0.0.0.0:80"), vec![("widened", Critical, true)]),
        (&at("tcp/10.0.0.1:80"), &at("tcp/0.0.0.0:80"), vec![("widened", Warning, true)]),
        (&at("tcp/0.0.0.0:80"), &at("tcp/127.0.0.1:80"), vec![("narrowed", Info, true)]),
        (
            &at("tcp/0.0.0.0:80"),
            &[("tcp/0.0.0.0:80", Some(7), &["/bin/a"][..])],
            vec![("changed", Warning, true)],
        ),
        (&none, &at("udp/0.0.0.0:40000"), vec![("appeared", Info, true)]),
        (&at("tcp/0.0.0.0:80"), &at("tcp/0.0.0.0:80"), vec![]),
    ] {
        let (findings, outcome, gaps) = audited(&seen(before), &seen(after));
        assert_eq!(findings, wanted, "{before:?} {after:?}");
        let counts = wanted.iter().any(|(_, severity, _)| *severity >= Warning);
        assert_eq!(
            outcome,
            if counts { AuditVerdict::Findings } else { AuditVerdict::Clear },
            "{before:?} {after:?}"
        );
        assert_eq!(gaps, 0);
    }
    let (findings, ..) = audited(&with_file(ExeState::Present), &with_file(ExeState::Replaced));
    assert_eq!(findings, [("replaced", Notice, true)]);
    // The audit is not clear if the baseline is incomplete, or if a listener cannot be compared with the baseline.
    let mut blind = seen(&[("tcp/0.0.0.0:80", Some(0), &[])]);
    assert_eq!(audited(&blind, &seen(&at("tcp/0.0.0.0:80"))), (vec![], AuditVerdict::Incomplete, 1));
    blind.gaps = vec![gap(Stage::Owners)];
    assert_eq!(audited(&blind, &seen(&at("tcp/0.0.0.0:80"))), (vec![], AuditVerdict::Incomplete, 2));
}

#[test]
fn evidence_of_both_sides() {
    let (before, after) = (
        seen(&[("tcp/127.0.0.1:80", Some(0), &["/bin/a"])]),
        seen(&[("tcp/127.0.0.1:80", Some(7), &["/bin/a", "/bin/b"])]),
    );
    let (before, after) = (report(&before), report(&after));
    let comparison = compare(&before, &after);
    let since = since(&comparison.changes[0], &comparison);
    let (was, is) = (since.before.unwrap(), since.after.unwrap());
    assert_eq!((was.programs, was.user.as_deref()), (vec!["/bin/a".to_owned()], Some("0")));
    assert_eq!(
        (is.programs.len(), is.user.as_deref(), is.executable),
        (2, Some("7"), Some(ExeState::Present))
    );
}

/// Returns the changes that a comparison in the opposite direction must give.
fn turned_over(printed: &[String]) -> Vec<String> {
    let mut turned: Vec<String> = printed
        .iter()
        .map(|line| match line.split_once(' ') {
            Some(("appeared", rest)) => format!("vanished {rest}"),
            Some(("vanished", rest)) => format!("appeared {rest}"),
            Some(("(appeared", rest)) => format!("(vanished {rest}"),
            Some(("(vanished", rest)) => format!("(appeared {rest}"),
            _ => line.clone(),
        })
        .collect();
    turned.sort();
    turned
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let local = prop_oneof![
        Just("tcp/0.0.0.0:80"),
        Just("tcp/0.0.0.0:40001"),
        Just("udp/0.0.0.0:53"),
        Just("udp/0.0.0.0:40001"),
        Just("udp/0.0.0.0:50001"),
        Just("udp/127.0.0.1:40002"),
    ];
    let programs: [&'static [&'static str]; 5] =
        [&[], &["/bin/a"], &["/bin/b"], &["/bin/a", "/bin/b"], &["a"]];
    let uid = prop_oneof![Just(None), Just(Some(0)), Just(Some(7))];
    proptest::collection::vec((local, uid, proptest::sample::select(programs.to_vec())), 0..8)
}

fn any_view() -> impl Strategy<Value = Snapshot> {
    let stage = prop_oneof![Just(None), Just(Some(Stage::Sockets)), Just(Some(Stage::Owners))];
    (any_rows(), stage).prop_map(|(rows, stage)| {
        let mut snapshot = seen(&rows);
        snapshot.gaps.extend(stage.map(gap));
        snapshot
    })
}

proptest! {
    #[test]
    fn nothing_changed_against_itself(view in any_view()) {
        let printed = compared(&view, &view);
        // The parts that were not seen are still reported.
        let lacks = |line: &String| line.starts_with("process-not-seen");
        prop_assert!(printed.iter().all(lacks), "{:?}", printed);
    }

    #[test]
    fn the_order_of_sockets_does_not_matter(before in any_view(), after in any_view()) {
        let turn = |view: &Snapshot| {
            let mut view = view.clone();
            view.sockets.reverse();
            view
        };
        prop_assert_eq!(compared(&turn(&before), &turn(&after)), compared(&before, &after));
    }

    /// A comparison in the opposite direction gives the opposite changes, with the same `sure` and `passing`. A
    /// listener that cannot be compared in one direction cannot be compared in the other.
    #[test]
    fn comparisons_are_symmetric(before in any_view(), after in any_view()) {
        let mut back = compared(&after, &before);
        back.sort();
        prop_assert_eq!(turned_over(&compared(&before, &after)), back);
    }

    /// A complete comparison reports each address that only one side has. The only exceptions are sockets that may
    /// belong to a client.
    #[test]
    fn a_complete_comparison_misses_nothing(before in any_view(), after in any_view()) {
        let (before, after) = (report(&before), report(&after));
        let comparison = compare(&before, &after);
        let ports = |report: &Report| -> BTreeSet<String> {
            let locals = report.entries.iter().map(|judged| &judged.socket.local);
            locals.filter(|local| local.port < 1024).map(ToString::to_string).collect()
        };
        if ports(&before) != ports(&after) {
            prop_assert!(comparison.changed() || !comparison.is_complete());
        }
        let hidden = |not_compared: &NotCompared<'_>| not_compared.why == NotComparedReason::Process;
        if comparison.not_compared.iter().any(hidden) {
            prop_assert!(!comparison.is_complete());
        }
    }
}
