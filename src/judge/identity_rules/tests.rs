//! The name of a program is trusted only if no user except root can replace its file. Each rule that trusts a name is
//! tested with each kind of file.

use std::sync::Arc;

use super::super::judge;
use super::super::tests::{program_process, seen, socket};
use crate::model::*;
use crate::registry::Registry;

/// A label, and the directory, state and origin of a program file.
type ProgramPath = (&'static str, &'static str, ExeState, OriginKind);

const GENUINE: [ProgramPath; 3] = [
    ("package path", "/usr/sbin/", ExeState::Present, OriginKind::Package),
    ("root-only path", "/srv/tools/", ExeState::Present, OriginKind::System),
    ("upgraded", "/usr/sbin/", ExeState::Replaced, OriginKind::Deleted),
];

const REPLACEABLE: [ProgramPath; 7] = [
    ("user's home", "/home/u/bin/", ExeState::Present, OriginKind::User),
    ("user's directory elsewhere", "/srv/app/", ExeState::Present, OriginKind::User),
    ("replaced in a home", "/home/u/bin/", ExeState::Replaced, OriginKind::Deleted),
    ("world-writable directory", "/var/tmp/", ExeState::Present, OriginKind::Open),
    ("memory", "/memfd:", ExeState::Memfd, OriginKind::Memory),
    ("deleted", "/usr/sbin/", ExeState::Deleted, OriginKind::Deleted),
    ("mounted over", "/usr/sbin/", ExeState::Present, OriginKind::Elsewhere),
];

fn process(pid: Pid, name: &str, cmdline: &str, (_, directory, state, kind): ProgramPath) -> Process {
    let path = format!("{directory}{name}");
    Process {
        exe: Some(Exe { path, state, open_directories: None }),
        origin: Some(Origin::of(kind)),
        uid: Some(1000),
        unit: Some("server.service".to_owned()),
        ..program_process(pid, name, "", cmdline)
    }
}

fn severity(local: &str, processes: Vec<Process>, code: &str) -> Option<Severity> {
    let pids = processes.iter().map(|process| process.pid).collect();
    let snapshot = seen(vec![socket(local, Owner::Held(Arc::new(pids)))], processes);
    let report = judge(snapshot, Registry::embedded());
    let mut findings = report.entries[0].findings().iter();
    findings.find(|finding| finding.flag().code() == code).map(|finding| finding.severity)
}

#[test]
fn a_name_is_trusted_only_if_users_cannot_replace_the_file() {
    let impostor = |local, name, cmdline| (local, name, cmdline, "impostor");
    for (local, name, cmdline, code) in [
        impostor("tcp/0.0.0.0:22", "sshd", "sshd -D"),
        impostor("tcp/0.0.0.0:5432", "postgres", "postgres -D /srv"),
        impostor("tcp/0.0.0.0:22", "docker-proxy", "docker-proxy -proto tcp"),
        impostor("tcp/0.0.0.0:22", "rootlessport", "rootlessport"),
        impostor("tcp/0.0.0.0:22", "slirp4netns", "slirp4netns 7 tap0"),
        impostor("tcp/0.0.0.0:22", "pasta", "pasta -t 22"),
        impostor("tcp/0.0.0.0:22", "conmon", "conmon"),
        impostor("tcp/0.0.0.0:5432", "haproxy", "haproxy -f x.cfg"),
        impostor("tcp/0.0.0.0:22", "systemd", "systemd --user"),
        impostor("tcp/0.0.0.0:22", "inetd", "inetd"),
        impostor("tcp/0.0.0.0:22", "systemd-socket-proxyd", "systemd-socket-proxyd 10.0.0.1:22"),
        ("tcp/0.0.0.0:4", "nginx", "nginx", "unexplained"),
        ("tcp/0.0.0.0:51413", "transmission-daemon", "transmission-daemon -f", "ephemeral"),
    ] {
        let on = |place| severity(local, vec![process(7, name, cmdline, place)], code);
        for place in GENUINE {
            assert_eq!(on(place), None, "{code}: {name}, {}", place.0);
        }
        for place in REPLACEABLE {
            let found = on(place);
            assert!(found.is_some(), "{code}: {name}, {}", place.0);
            assert!(code != "impostor" || found >= Some(Severity::Warning), "{name}, {}: {found:?}", place.0);
        }
    }
}

/// A super-server such as inetd passes its socket to a service. The shared socket is reported only if a user can
/// replace the file of the super-server.
#[test]
fn sharing_is_reported_if_a_user_can_replace_the_files() {
    for (places, shared) in [(&GENUINE[..], None), (&REPLACEABLE[..], Some(Severity::Warning))] {
        for place in places {
            let inetd = Process { uid: Some(0), ..process(7, "inetd", "inetd", *place) };
            let parents = vec![Parent::new(7, "inetd".to_owned())];
            let ftpd = Process { parents, ..process(8, "in.ftpd", "in.ftpd", GENUINE[0]) };
            let found = severity("tcp/0.0.0.0:2121", vec![inetd, ftpd], "shared");
            assert_eq!(found, shared, "{}", place.0);
        }
    }
}

#[test]
fn impostors_by_severity() {
    let [package, ..] = GENUINE;
    let [home, _, _, open, memory, deleted, covered] = REPLACEABLE;
    let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
    for (name, place, cmdline, severity_is) in [
        ("redis-server", package, "redis-server", warning),
        ("sleep", package, "sleep 9", None),
        ("sleep", home, "sleep 9", critical),
        ("sshd", home, "sshd -D", warning),
        ("docker-proxy", home, "docker-proxy", warning),
        ("docker-proxy", open, "docker-proxy", critical),
        ("sshd", memory, "sshd -D", critical),
        ("sshd", deleted, "sshd -D", critical),
        ("sshd", covered, "sshd -D", critical),
        // `ad-hoc` already covers netcat and similar tools, but not interpreters.
        ("nc", package, "nc -lp 22", None),
        ("nc", home, "nc -lp 22", None),
        ("socat", package, "socat TCP-L:22,fork TCP:10.0.0.1:22", None),
        ("socat", home, "socat TCP-L:22,fork TCP:10.0.0.1:22", critical),
        ("python3", package, "python3 -c import socket", warning),
        ("python3", package, "python3 -c from multiprocessing.spawn import spawn_main", warning),
        // The arguments of a program do not prove which program it is.
        ("python3", package, "python3 x.py sshd", warning),
        ("python3", home, "python3 -m sshd", critical),
    ] {
        let found = severity("tcp/0.0.0.0:22", vec![process(7, name, cmdline, place)], "impostor");
        assert_eq!(found, severity_is, "{name}, {}, {cmdline}", place.0);
    }
}

/// An unknown program of root on a guarded port gets a notice. If a user can replace its file, the program is an
/// impostor.
#[test]
fn unknown_programs_on_guarded_ports() {
    let [home, _, _, open, ..] = REPLACEABLE;
    let (notice, warning, critical) =
        (Some(Severity::Notice), Some(Severity::Warning), Some(Severity::Critical));
    for (local, place, unfamiliar, impostor) in [
        ("tcp/0.0.0.0:22", GENUINE[0], notice, None),
        ("tcp/0.0.0.0:22", GENUINE[1], notice, None),
        ("tcp/127.0.0.1:22", GENUINE[1], None, notice),
        ("tcp/0.0.0.0:22", home, None, critical),
        ("tcp/127.0.0.1:22", home, None, warning),
        ("tcp/0.0.0.0:22", open, None, critical),
    ] {
        let on = |code| severity(local, vec![process(7, "nosuch", "nosuch", place)], code);
        assert_eq!((on("unfamiliar"), on("impostor")), (unfamiliar, impostor), "{local}, {}", place.0);
    }
}

/// A program is identified by the script or module of its interpreter. Other arguments do not count, because any
/// program can be started with any arguments.
#[test]
fn arguments_of_a_script_do_not_identify_it() {
    let package = GENUINE[0];
    for (local, name, cmdline, severity_is) in [
        ("tcp/0.0.0.0:4505", "python3", "python3 /usr/bin/salt-master -d", None),
        ("tcp/0.0.0.0:4505", "python3", "python3 /usr/lib/x.py salt-master", Some(Severity::Warning)),
        ("tcp/0.0.0.0:4505", "python3", "python3 -c code salt-master", Some(Severity::Warning)),
        (
            "tcp/0.0.0.0:2181",
            "java",
            "java -cp /x org.apache.zookeeper.server.quorum.QuorumPeerMain z.cfg",
            None,
        ),
        ("tcp/0.0.0.0:2181", "java", "java -cp /x Evil org.apache.zookeeper.server", Some(Severity::Warning)),
        ("tcp/0.0.0.0:5672", "beam.smp", "beam.smp -W w -s rabbit boot -noshell", None),
    ] {
        let found = severity(local, vec![process(7, name, cmdline, package)], "impostor");
        assert_eq!(found, severity_is, "{cmdline}");
    }
}

#[test]
fn a_file_mounted_over_a_servers_path_masquerades() {
    let covered = REPLACEABLE[6];
    for name in ["sshd", "editor"] {
        let found = severity("tcp/127.0.0.1:22", vec![process(7, name, name, covered)], "masquerading");
        assert_eq!(found, Some(Severity::Critical), "{name}");
    }
}

/// A process can rewrite its command line. Therefore only root may be able to replace the script that the command line
/// names.
#[test]
fn a_command_line_is_trusted_only_with_a_script_of_root() {
    let [package, ..] = GENUINE;
    let origin = |kind| Some(Origin::of(kind));
    let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
    for (name, local, path, origin, is_program, severity_is) in [
        ("of root", "tcp/0.0.0.0:4505", "/usr/bin/salt-master", origin(OriginKind::System), false, None),
        ("a user's", "tcp/0.0.0.0:4505", "/home/u/salt-master", origin(OriginKind::User), false, warning),
        ("missing", "tcp/0.0.0.0:4505", "/usr/bin/salt-master", origin(OriginKind::Deleted), false, warning),
        ("unreadable", "tcp/0.0.0.0:4505", "/usr/bin/salt-master", None, false, warning),
        ("a compiled program", "tcp/0.0.0.0:22", "/usr/sbin/sshd", origin(OriginKind::System), true, warning),
        (
            "a user's, of another name",
            "tcp/0.0.0.0:22",
            "/home/u/x.py",
            origin(OriginKind::User),
            false,
            critical,
        ),
    ] {
        let script = Some(Script { path: path.to_owned(), origin, is_program });
        let python = process(7, "python3", &format!("python3 {path}"), package);
        let on = |code| severity(local, vec![Process { script: script.clone(), ..python.clone() }], code);
        assert_eq!(on("impostor"), severity_is, "{name}");
        assert_eq!(on("masquerading"), is_program.then_some(Severity::Critical), "{name}");
    }
    let mut titled = process(7, "python3", "", package);
    titled.cmdline = vec!["salt-master ReqServer".to_owned()];
    assert_eq!(severity("tcp/0.0.0.0:4505", vec![titled], "impostor"), warning, "a title");
}

#[test]
fn words_of_the_arguments_make_no_program_familiar() {
    let [package, ..] = GENUINE;
    let script = |path: &str| Script {
        path: path.to_owned(),
        origin: Some(Origin::of(OriginKind::User)),
        is_program: false,
    };
    for (cmdline, severity_is) in [
        ("python3 /home/u/evil.py", Some(Severity::Notice)),
        ("python3 /home/u/evil.py gunicorn", Some(Severity::Notice)),
        ("python3 /home/u/.local/bin/gunicorn app", None),
    ] {
        let path = cmdline.split(' ').nth(1).unwrap();
        let python = Process { script: Some(script(path)), ..process(7, "python3", cmdline, package) };
        assert_eq!(severity("tcp/0.0.0.0:8105", vec![python], "unfamiliar"), severity_is, "{cmdline}");
    }
}

/// Only the command lines of root, its services and its containers are trusted. Any user can rewrite the command lines
/// of the user's own processes.
#[test]
fn a_command_line_of_a_user_proves_nothing() {
    let [package, ..] = GENUINE;
    let some = |text: &str| Some(text.to_owned());
    for (name, uid, unit, container, severity_is) in [
        ("root", 0, None, None, None),
        ("a user of a service", 120, None, None, None),
        ("a user", 1000, some("session-3.scope"), None, Some(Severity::Notice)),
        ("a user's service", 1000, some("user@1000.service/salt.service"), None, Some(Severity::Notice)),
        ("a service of root", 1000, some("salt.service"), None, None),
        ("a container of root", 1000, None, some("3f4e"), None),
        ("a user's container", 1000, None, some("user@1000.service/3f4e"), Some(Severity::Notice)),
    ] {
        let python = Process { unit: None, ..process(7, "python3", "python3 /usr/bin/salt-master", package) };
        let mut socket = socket("tcp/0.0.0.0:4505", Owner::Held(vec![7].into()));
        socket.attributes =
            SocketAttributes { uid: Some(uid), unit, container, ..SocketAttributes::default() }.into();
        let report = judge(seen(vec![socket], vec![python]), Registry::embedded());
        let mut findings = report.entries[0].findings().iter();
        let found = findings.find(|finding| finding.flag().code() == "impostor");
        assert_eq!(found.map(|finding| finding.severity), severity_is, "{name}");
    }
}

/// Code that was loaded into a program counts like its program file. Code that an interpreter loads counts like its
/// script.
#[test]
fn loaded_code_of_users() {
    let [package, ..] = GENUINE;
    let code = |kind| {
        let origin = Some(Origin { writable: Some("/x".to_owned()), ..Origin::of(kind) });
        vec![Script { path: "/x/l.so".to_owned(), origin, is_program: false }]
    };
    let of = |name, cmdline, kind| Process { code: code(kind), ..process(7, name, cmdline, package) };
    let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
    for (name, process, local, flag, severity_is) in [
        ("preloaded by a user", of("sshd", "sshd", OriginKind::User), "tcp/0.0.0.0:22", "impostor", warning),
        ("preloaded by anyone", of("sshd", "sshd", OriginKind::Open), "tcp/0.0.0.0:22", "impostor", critical),
        (
            "of anyone",
            of("sleep", "sleep", OriginKind::Open),
            "tcp/0.0.0.0:81",
            "writable-executable",
            critical,
        ),
        ("of a user", of("sleep", "sleep", OriginKind::User), "tcp/0.0.0.0:81", "writable-executable", None),
        (
            "unknown",
            of("sleep", "sleep", OriginKind::User),
            "tcp/0.0.0.0:81",
            "unfamiliar",
            Some(Severity::Notice),
        ),
        ("in memory", of("sshd", "sshd", OriginKind::Memory), "tcp/0.0.0.0:22", "impostor", critical),
        (
            "python",
            of("python3", "python3 -m uvicorn x", OriginKind::User),
            "tcp/0.0.0.0:81",
            "unfamiliar",
            None,
        ),
    ] {
        assert_eq!(severity(local, vec![process], flag), severity_is, "{name}");
    }
    let unmapped = Process { is_program_mapped: Some(false), ..process(7, "sshd", "sshd", package) };
    for (flag, severity_is) in [("masquerading", critical), ("impostor", critical)] {
        assert_eq!(severity("tcp/0.0.0.0:22", vec![unmapped.clone()], flag), severity_is, "{flag}");
    }
}

#[test]
fn a_firewall_that_was_not_checked() {
    for (is_refused, ends) in [
        (false, "other machines can reach it. "),
        (true, "other machines can reach it, unless a firewall refuses them (not checked). "),
    ] {
        let mut snapshot = seen(
            vec![socket("tcp/0.0.0.0:81", Owner::Held(vec![7].into()))],
            vec![process(7, "sleep", "sleep", REPLACEABLE[0])],
        );
        snapshot.firewalls = vec![Firewall { is_refused, ..Firewall::default() }];
        let report = judge(snapshot, Registry::embedded());
        let mut findings = report.entries[0].findings().iter();
        let unfamiliar = findings.find(|finding| finding.flag().code() == "unfamiliar").unwrap();
        assert!(unfamiliar.sentence().contains(ends), "{}", unfamiliar.sentence());
    }
}
