use super::super::fixtures::*;
use super::super::*;
use crate::judge::Question;
use crate::model::*;

const ROOT: &str = "run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";

fn refused(pids: &[Pid], remedy: Option<&str>) -> Gap {
    Gap {
        pids: pids.to_vec(),
        remedy: remedy.map(str::to_owned),
        ..gap(Stage::Owners, "processes whose open sockets could not be read", u64::try_from(pids.len()).ok())
    }
}

fn hidden() -> Socket {
    socket("tcp/0.0.0.0:22", Owner::Hidden)
}

fn own() -> Socket {
    socket("tcp/127.0.0.1:3000", Owner::Held(vec![7].into()))
}

/// Each cause that matters to the answer has one line.
#[test]
fn each_cause_once() {
    let narrowed = Question { is_narrowed: true, ..Question::default() };
    let everything = Question::default();
    let undecided = Question { undecided: 2, ..narrowed };
    let saved = Question { is_saved: true, ..everything };
    let script = Gap {
        pids: vec![7],
        remedy: Some("ps -fp 7".into()),
        why: "it is not known who can replace the script".into(),
        ..gap(Stage::Processes, "process whose script was not found", Some(1))
    };
    let namespace = |inode: u64| gap(Stage::Namespaces, &format!("the network namespace {inode}"), None);
    let many: Vec<Pid> = (1..=89).collect();
    let user = || vec![refused(&many, Some(ROOT))];
    for (name, sockets, gaps, question, lines) in [
        (
            "a user",
            vec![hidden(), hidden(), own()],
            user(),
            everything,
            "Owners of 2 sockets hidden. Run with sudo to see them.",
        ),
        ("a user's own listener", vec![own()], user(), narrowed, ""),
        (
            "a user who asks for everything",
            vec![own()],
            user(),
            everything,
            "89 processes could not be read. Run with sudo to see them.",
        ),
        (
            "a filter that needs the process",
            vec![],
            user(),
            undecided,
            "2 sockets left out: their owners could not be seen. Run with sudo to see them.\n2 other network namespaces.",
        ),
        (
            "a saved snapshot",
            vec![hidden()],
            user(),
            saved,
            "Owner of 1 socket hidden. Take the snapshot with sudo to see it.",
        ),
        (
            "root",
            vec![hidden(), own()],
            vec![refused(&[1], Some("ps -fp 1"))],
            everything,
            "Owner of 1 socket hidden, perhaps pid 1: permission denied (ps -fp 1).",
        ),
        (
            "root, and every owner seen",
            vec![own()],
            vec![refused(&[1], None)],
            everything,
            "Sockets of pid 1 not seen: permission denied.",
        ),
        ("root's question about another", vec![own()], vec![refused(&[1], None)], narrowed, ""),
        (
            "a process of the answer",
            vec![own()],
            vec![script.clone()],
            narrowed,
            "Not seen: 1 process whose script was not found (pid 7): it is not known who can replace the script (ps -fp 7).",
        ),
        (
            "a process of no answer",
            vec![hidden()],
            vec![Gap { pids: vec![8], ..script }],
            narrowed,
            "Owner of 1 socket hidden.",
        ),
        (
            "namespaces",
            vec![own()],
            vec![namespace(1), namespace(2)],
            narrowed,
            "2 network namespaces could not be read. Run with sudo to see them.",
        ),
        (
            "sockets",
            vec![own()],
            vec![Gap { remedy: None, ..gap(Stage::Sockets, "TCP\nsockets", None) }],
            narrowed,
            "Not seen: TCP\\x0asockets: permission denied.",
        ),
        ("an empty answer", vec![], vec![], narrowed, "2 other network namespaces."),
        ("a complete answer", vec![own()], vec![], everything, ""),
        (
            "closed during the scan",
            vec![socket("tcp/0.0.0.0:22", Owner::Vanished)],
            vec![],
            everything,
            "1 socket closed during the scan.",
        ),
    ] {
        let processes = vec![process(7, "nginx")];
        let snapshot = Snapshot { sockets, gaps, processes, notes: scene().notes, ..empty() };
        let report = report(&snapshot);
        let caveats = caveats(&report.snapshot, report.entries.iter(), question);
        assert_eq!(caveats.join("\n"), lines, "{name}");
    }
}

/// A listing shows a note that changes its meaning. An answer about one port does not show this note.
#[test]
fn important_notes() {
    let note =
        Note { important: true, what: "process steers connections".into(), ..scene().notes[0].clone() };
    let snapshot =
        Snapshot { sockets: vec![own()], processes: vec![process(7, "nginx")], notes: vec![note], ..empty() };
    let report = report(&snapshot);
    for (is_narrowed, lines) in [(false, 1), (true, 0)] {
        let question = Question { is_narrowed, ..Question::default() };
        assert_eq!(caveats(&report.snapshot, report.entries.iter(), question).len(), lines);
    }
}

/// The date of the registry is shown if it is older than a year.
#[test]
fn an_old_registry() {
    for (taken, is_shown) in [("2026-11-21T12:00:00Z", false), ("2029-11-21T12:00:00Z", true)] {
        let snapshot = Snapshot { taken: taken.parse().unwrap(), ..empty() };
        let text = text(|w| write_summary(&report(&snapshot), "", &super::PLAIN, w));
        assert_eq!(text.contains("Registry of "), is_shown, "{text}");
    }
}
