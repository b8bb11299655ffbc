use super::super::judge;
use super::super::tests::{program_process, seen, socket};
use crate::findings::file::{DeletedExecutable, ModifiedExecutable, WritableExecutable};
use crate::findings::socket::BoundOnly;
use crate::findings::{Finding, FindingFamily};
use crate::model::*;
use crate::registry::Registry;

fn found(socket: Socket, processes: Vec<Process>) -> Vec<Finding> {
    let snapshot = seen(vec![socket], processes);
    let report = judge(snapshot.clone(), Registry::embedded());
    let new =
        |finding: &&Finding| matches!(finding.flag().family(), FindingFamily::File | FindingFamily::Socket);
    report.entries[0].findings().iter().filter(new).cloned().collect()
}

fn running(exe: Exe) -> Vec<Process> {
    vec![Process { exe: Some(exe), ..program_process(7, "server", "", "") }]
}

fn exe(path: &str, state: ExeState, open_directories: Option<&[&str]>) -> Exe {
    let open_directories = open_directories
        .map(|directories| directories.iter().map(|&directory| directory.to_owned()).collect());
    Exe { path: path.to_owned(), state, open_directories }
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings.iter().map(|finding| (finding.flag().code(), finding.severity)).collect()
}

#[test]
fn executables() {
    use ExeState::{Deleted, Memfd, Present, Replaced};
    use Severity::{Critical, Notice, Warning};
    let clean: Option<&[&str]> = Some(&[]);
    for (name, local, exe, wanted) in [
        ("installed", "tcp/0.0.0.0:80", exe("/usr/sbin/nginx", Present, clean), vec![]),
        ("nothing known about its directories", "tcp/0.0.0.0:80", exe("/tmp/x", Present, None), vec![]),
        (
            "upgraded",
            "tcp/0.0.0.0:80",
            exe("/usr/sbin/nginx", Replaced, clean),
            vec![("deleted-executable", Notice)],
        ),
        (
            "gone",
            "tcp/0.0.0.0:80",
            exe("/usr/sbin/nginx", Deleted, clean),
            vec![("deleted-executable", Warning)],
        ),
        (
            "gone, on loopback",
            "tcp/127.0.0.1:80",
            exe("/usr/sbin/nginx", Deleted, clean),
            vec![("deleted-executable", Notice)],
        ),
        ("memory", "tcp/127.0.0.1:80", exe("/memfd:x", Memfd, None), vec![("runs-from-memory", Warning)]),
        (
            "memory, beyond",
            "tcp/0.0.0.0:80",
            exe("/memfd:x", Memfd, None),
            vec![("runs-from-memory", Critical)],
        ),
        (
            "below a world-writable directory",
            "tcp/127.0.0.1:80",
            exe("/tmp/a/x", Present, Some(&["/tmp"])),
            vec![("writable-executable", Warning)],
        ),
        (
            "the same, hidden and beyond",
            "udp/0.0.0.0:53",
            exe("/tmp/.a/x", Present, Some(&["/tmp"])),
            vec![("writable-executable", Critical)],
        ),
        (
            "gone from there",
            "tcp/0.0.0.0:80",
            exe("/tmp/x", Deleted, Some(&["/tmp"])),
            vec![("writable-executable", Critical), ("deleted-executable", Warning)],
        ),
        ("a hidden directory", "tcp/127.0.0.1:80", exe("/home/me/.cargo/bin/x", Present, clean), vec![]),
    ] {
        let owner = Owner::Held(vec![7].into());
        assert_eq!(codes(&found(socket(local, owner), running(exe))), wanted, "{name}");
    }
}

#[test]
fn unread_processes_have_no_findings() {
    let unread = vec![Process::unknown(7)];
    assert_eq!(codes(&found(socket("tcp/0.0.0.0:80", Owner::Held(vec![7].into())), unread)), vec![]);
    for owner in [Owner::Hidden, Owner::Vanished, Owner::Unknown] {
        assert_eq!(codes(&found(socket("tcp/0.0.0.0:80", owner), Vec::new())), vec![]);
    }
}

#[test]
fn evidence_distinguishes_an_upgrade_from_a_loss() {
    let mut processes = running(exe("/usr/sbin/a", ExeState::Replaced, None));
    processes.push(Process {
        exe: Some(exe("/srv/b", ExeState::Deleted, None)),
        ..program_process(8, "b", "", "")
    });
    let findings = found(socket("tcp/127.0.0.1:80", Owner::Held(vec![7, 8].into())), processes);
    let DeletedExecutable { replaced, gone, .. } = DeletedExecutable::of(&findings[0].evidence).unwrap();
    assert_eq!((replaced[0].pid, replaced[0].exe.as_str(), replaced.len()), (7, "/usr/sbin/a", 1));
    assert_eq!((gone[0].pid, gone[0].exe.as_str(), gone.len()), (8, "/srv/b", 1));
}

/// If the path contains the version, an upgrade deletes the program file of the former version.
#[test]
fn an_expected_program_that_only_root_could_create_was_upgraded() {
    use Severity::{Notice, Warning};
    let versioned = "/usr/lib/postgresql/15/bin/postgres";
    for (name, local, path, line, uid, severity) in [
        ("on its port", "tcp/0.0.0.0:5432", versioned, "postgres", Some(0), Notice),
        ("on another port", "tcp/0.0.0.0:4444", versioned, "postgres", Some(0), Warning),
        ("of a user", "tcp/0.0.0.0:5432", "/home/u/postgres", "postgres", Some(1000), Warning),
        ("of anyone", "tcp/0.0.0.0:5432", versioned, "postgres", None, Warning),
        (
            "an interpreter",
            "tcp/0.0.0.0:4444",
            "/usr/lib/jvm/java-17.0.9/bin/java",
            "java -jar /x.jar",
            Some(0),
            Notice,
        ),
        ("unknown", "tcp/0.0.0.0:5432", "/usr/bin/x", "x", Some(0), Warning),
    ] {
        let process = Process {
            exe: Some(exe(path, ExeState::Deleted, Some(&[]))),
            origin: Some(Origin { uid, ..Origin::of(OriginKind::Deleted) }),
            ..program_process(7, path.rsplit('/').next().unwrap(), "", line)
        };
        let findings = found(socket(local, Owner::Held(vec![7].into())), vec![process]);
        assert_eq!(codes(&findings), [("deleted-executable", severity)], "{name}");
    }
}

#[test]
fn the_nearest_world_writable_directory_is_named() {
    let exe = exe("/tmp/.x/y", ExeState::Present, Some(&["/tmp/.x", "/tmp"]));
    let findings = found(socket("tcp/127.0.0.1:80", Owner::Held(vec![7].into())), running(exe));
    let WritableExecutable { found, .. } = WritableExecutable::of(&findings[0].evidence).unwrap();
    assert_eq!((found[0].writable.as_str(), &found[0].script), ("/tmp/.x", &None));
}

#[test]
fn a_script_that_any_user_can_replace_is_named() {
    let open = Origin { writable: Some("/srv".to_owned()), ..Origin::of(OriginKind::Open) };
    let script = |origin| Script { path: "/srv/x.py".to_owned(), origin, is_program: false };
    for (name, origin, named) in [
        ("open", Some(open), true),
        ("its user's", Some(Origin::of(OriginKind::User)), false),
        ("not known", None, false),
    ] {
        let python = running(exe("/usr/bin/python3", ExeState::Present, None));
        let processes =
            python.into_iter().map(|process| Process { script: Some(script(origin.clone())), ..process });
        let findings = found(socket("tcp/0.0.0.0:80", Owner::Held(vec![7].into())), processes.collect());
        let found = findings.first().and_then(|finding| WritableExecutable::of(&finding.evidence));
        let script = found.and_then(|evidence| evidence.found[0].script.as_deref());
        assert_eq!(script, named.then_some("/srv/x.py"), "{name}");
    }
}

#[test]
fn a_deleted_script_is_judged_like_a_deleted_program() {
    for (local, kind, severity) in [
        ("tcp/0.0.0.0:80", OriginKind::Deleted, Some(Severity::Warning)),
        ("tcp/127.0.0.1:80", OriginKind::Deleted, Some(Severity::Notice)),
        ("tcp/0.0.0.0:80", OriginKind::System, None),
    ] {
        let mut processes = running(exe("/usr/bin/python3", ExeState::Present, Some(&[])));
        let origin = Some(Origin::of(kind));
        processes[0].script = Some(Script { path: "/srv/x.py".to_owned(), origin, is_program: false });
        let findings = found(socket(local, Owner::Held(vec![7].into())), processes);
        let wanted: Vec<_> = severity.map(|severity| ("deleted-executable", severity)).into_iter().collect();
        assert_eq!(codes(&findings), wanted, "{local} {kind:?}");
        if severity.is_some() {
            let DeletedExecutable { replaced, gone, scripts, .. } =
                DeletedExecutable::of(&findings[0].evidence).unwrap();
            assert_eq!((replaced.len(), gone.len(), scripts[0].script.as_str()), (0, 0, "/srv/x.py"));
        }
    }
}

#[test]
fn backlogs() {
    let of = |local: &str, state, queues| {
        let owner = Owner::Held(vec![7].into());
        codes(&found(
            Socket { state, queues, ..socket(local, owner) },
            vec![program_process(7, "x", "/x", "")],
        ))
    };
    let queues = |receive, send| Some(Queues { receive, send });
    let full = vec![("backlog-full", Severity::Warning)];
    let on_loopback = vec![("backlog-full", Severity::Notice)];
    for (name, local, state, queues, wanted) in [
        ("idle", "tcp/127.0.0.1:80", State::Listen, queues(0, 128), vec![]),
        ("as many as may", "tcp/127.0.0.1:80", State::Listen, queues(1, 1), vec![]),
        ("one more", "tcp/127.0.0.1:80", State::Listen, queues(2, 1), on_loopback.clone()),
        ("no limit but one", "tcp/0.0.0.0:80", State::Listen, queues(1, 0), full.clone()),
        ("none waits, none may", "tcp/0.0.0.0:80", State::Listen, queues(0, 0), vec![]),
        ("not reported", "tcp/0.0.0.0:80", State::Listen, None, vec![]),
        ("bytes of a datagram", "udp/0.0.0.0:53", State::Unconnected, queues(4096, 0), vec![]),
    ] {
        assert_eq!(of(local, state, queues), wanted, "{name}");
    }
}

#[test]
fn bound_only_sockets() {
    let of = |local: &str, state| {
        let owner = Owner::Held(vec![7].into());
        found(Socket { state, ..socket(local, owner) }, vec![program_process(7, "x", "/x", "")])
    };
    assert_eq!(codes(&of("tcp/127.0.0.1:80", State::Bound)), [("bound-only", Severity::Info)]);
    assert_eq!(codes(&of("tcp/0.0.0.0:80", State::Bound)), [("bound-only", Severity::Notice)]);
    assert_eq!(codes(&of("tcp/0.0.0.0:80", State::Listen)), []);
    // An SCTP endpoint in this state accepts associations.
    assert_eq!(codes(&of("sctp/0.0.0.0:80", State::Bound)), []);
    for (port, range) in [(80, None), (40000, PortRange::new(32768, 60999))] {
        let findings = of(&format!("tcp/127.0.0.1:{port}"), State::Bound);
        let evidence = findings.into_iter().map(|finding| finding.evidence).next();
        assert_eq!(evidence, Some(BoundOnly { kernel_range: range }.into()));
    }
}

#[test]
fn a_connection_has_no_findings() {
    let owner = Owner::Held(vec![7].into());
    let socket = Socket { state: State::Established, ..socket("tcp/127.0.0.1:80", owner) };
    assert_eq!(codes(&found(socket, running(exe("/memfd:x", ExeState::Memfd, None)))), vec![]);
}

#[test]
fn programs_that_the_go_tool_built_for_a_run() {
    use Severity::{Critical, Notice};
    for (path, uid, severity) in [
        ("/tmp/go-build3123/b001/exe/main", 1000, Notice),
        ("/tmp/go-build3123/b042/http.test", 1000, Notice),
        ("/tmp/go-build3123/b001/exe/main", 0, Critical),
        ("/tmp/go-build/b001/exe/main", 1000, Critical),
        ("/tmp/go-build3123/exe/main", 1000, Critical),
        ("/tmp/go-build3123/b001/exe/x/main", 1000, Critical),
        ("/tmp/x", 1000, Critical),
    ] {
        let mut processes = running(exe(path, ExeState::Present, Some(&["/tmp"])));
        processes[0].uid = Some(uid);
        let findings = found(socket("tcp/0.0.0.0:8080", Owner::Held(vec![7].into())), processes);
        assert_eq!(codes(&findings), [("writable-executable", severity)], "{path} {uid}");
    }
}

#[test]
fn modified_programs() {
    let origin = |modified| Origin {
        package: Some("nginx".to_owned()),
        version: Some("1.22".to_owned()),
        modified,
        ..Origin::of(OriginKind::System)
    };
    for (name, local, modified, severity) in [
        ("modified", "tcp/0.0.0.0:80", Some(true), Some(Severity::Critical)),
        ("on loopback", "tcp/127.0.0.1:80", Some(true), Some(Severity::Critical)),
        ("unmodified", "tcp/0.0.0.0:80", Some(false), None),
        ("unknown", "tcp/0.0.0.0:80", None, None),
    ] {
        let mut processes = running(exe("/usr/sbin/nginx", ExeState::Present, Some(&[])));
        processes[0].origin = Some(origin(modified));
        let findings = found(socket(local, Owner::Held(vec![7].into())), processes);
        let wanted: Vec<_> = severity.map(|severity| ("modified-executable", severity)).into_iter().collect();
        assert_eq!(codes(&findings), wanted, "{name}");
        if severity.is_some() {
            let evidence = ModifiedExecutable::of(&findings[0].evidence).unwrap();
            assert_eq!((evidence.found[0].running.pid, &*evidence.found[0].package), (7, "nginx"), "{name}");
        }
    }
}
