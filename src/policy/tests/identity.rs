//! Checks which programs a rule allows: by file, by script or module, and by the state of the socket.

use super::*;

/// A policy also judges a socket that is bound but does not listen. If this socket may belong to a client, the severity
/// is at most info.
#[test]
fn bound_sockets_and_clients() {
    for (local, state, severity) in [
        ("tcp/0.0.0.0:80", State::Bound, Severity::Warning),
        ("tcp/0.0.0.0:50001", State::Bound, Severity::Info),
        ("udp/0.0.0.0:50001", State::Unconnected, Severity::Info),
        ("udp/0.0.0.0:5300", State::Unconnected, Severity::Critical),
        ("tcp/0.0.0.0:50001", State::Listen, Severity::Critical),
    ] {
        let mut snapshot = one(local, "root", &[NGINX]);
        snapshot.sockets[0].state = state;
        let report = judge(snapshot, Registry::embedded());
        let mut audit = Audit::of(&report);
        apply(&read("[[allow]]\nid = \"r\"\nport = 81").unwrap(), &mut audit);
        let unexpected = audit.findings.iter().find(|found| found.finding.flag() == Unexpected::FLAG);
        assert_eq!(unexpected.map(|found| found.finding.severity), Some(severity), "{local} {state:?}");
    }
}

/// A path in a rule matches only the file at this path on this machine. A pattern without a directory matches no file
/// of a user.
#[test]
fn an_executable_is_more_than_its_path() {
    let at = |path: &str, kind, state| {
        let mut snapshot = one("tcp/0.0.0.0:8080", "root", &[(10, path, "root")]);
        snapshot.processes[0].origin = Some(Origin::of(kind));
        snapshot.processes[0].exe.as_mut().unwrap().state = state;
        snapshot
    };
    use ExeState::{Memfd, Present, Replaced};
    use OriginKind::{Deleted, Elsewhere, Memory, Open, Package, System, User};
    for (name, path, kind, state, exact, anchored, anywhere) in [
        ("of a package", "/usr/sbin/nginx", Package, Present, true, true, true),
        ("root-only", "/usr/sbin/nginx", System, Present, true, true, true),
        ("upgraded", "/usr/sbin/nginx", Deleted, Replaced, true, true, true),
        ("of a user", "/usr/sbin/nginx", User, Present, true, true, false),
        ("world-writable", "/usr/sbin/nginx", Open, Present, true, true, false),
        ("mounted over", "/usr/sbin/nginx", Elsewhere, Present, false, false, false),
        ("in memory", "/usr/sbin/nginx", Memory, Memfd, false, false, false),
    ] {
        let snapshot = at(path, kind, state);
        for (pattern, allowed) in [("/usr/sbin/nginx", exact), ("/usr/**", anchored), ("**/nginx", anywhere)]
        {
            let allows = |conditions: &str| {
                let policy = read(&format!("[[allow]]\nid = \"r\"\n{conditions}")).unwrap();
                !printed(&policy, &snapshot).0.iter().any(|code| code.starts_with("unexpected"))
            };
            assert_eq!(allows(&format!("executable = \"{pattern}\"")), allowed, "{name}: {pattern}");
        }
    }
    // Any user can start a process in a root directory of their own. In it, the user chooses the file at every path.
    // Only root makes containers and system services.
    for (name, container, unit, allowed) in [
        ("of a session", None, Some("session-4.scope"), false),
        ("of a user's manager", None, Some("user@1000.service/ssh.service"), false),
        ("of a user's container", Some("user@1000.service/web"), None, false),
        ("of a container", Some("web"), None, true),
        ("of a system service", None, Some("ssh.service"), true),
    ] {
        let mut snapshot = at("/usr/sbin/nginx", User, Present);
        let process = &mut snapshot.processes[0];
        process.origin.as_mut().unwrap().is_in_other_tree = true;
        process.container = container.map(str::to_owned);
        process.unit = unit.map(str::to_owned);
        let policy = read("[[allow]]\nid = \"r\"\nexecutable = \"/usr/sbin/nginx\"").unwrap();
        let is_unexpected = printed(&policy, &snapshot).0.iter().any(|code| code.starts_with("unexpected"));
        assert_eq!(is_unexpected, !allowed, "{name}");
    }
    let (_, differs, _) = evidence(
        "[[allow]]\nid = \"r\"\nexecutable = \"/usr/sbin/nginx\"",
        &at("/usr/sbin/nginx", Elsewhere, Present),
    );
    assert_eq!(
        differs,
        ["executable is /usr/sbin/nginx (a mount puts another file at this path), not /usr/sbin/nginx"]
    );
}

#[test]
fn what_an_interpreter_runs_is_a_condition() {
    let running = |script: Option<&str>| {
        let mut snapshot = one("tcp/0.0.0.0:8080", "root", &[(10, "/usr/bin/python3.11", "root")]);
        let process = &mut snapshot.processes[0];
        process.cmdline =
            script.map(|script| vec!["python3".to_owned(), script.to_owned()]).unwrap_or_default();
        snapshot
    };
    for (conditions, script, allowed) in [
        ("runs = \"/srv/server.py\"", Some("/srv/server.py"), Some(true)),
        ("runs = \"/srv/*.py\"", Some("/srv/server.py"), Some(true)),
        ("runs = \"/srv/server.py\"", Some("/srv/evil.py"), Some(false)),
        ("executable = \"/usr/bin/python3.11\"", Some("/srv/evil.py"), Some(true)),
        ("runs = \"/srv/server.py\"", None, None),
    ] {
        assert_eq!(allows(conditions, &running(script)), allowed, "{conditions} {script:?}");
    }
    let web = one("tcp/0.0.0.0:8080", "root", &[NGINX]);
    assert_eq!(allows("runs = \"/srv/server.py\"", &web), Some(false), "no interpreter");
    let both = "executable = \"/usr/sbin/nginx\"\nruns = \"/srv/server.py\"";
    assert_eq!(allows(both, &web), Some(true), "the executable says which");

    let mut covered = running(Some("/srv/server.py"));
    let origin = Some(Origin::of(OriginKind::Elsewhere));
    covered.processes[0].script =
        Some(Script { path: "/srv/server.py".to_owned(), origin, is_program: false });
    for conditions in ["runs = \"/srv/server.py\"", "executable = \"/usr/bin/python3.11\"", "runs = \"**\""] {
        assert_eq!(
            allows(conditions, &covered),
            Some(false),
            "{conditions}: another file is mounted over the script"
        );
    }
    let (_, differs, _) = evidence("[[allow]]\nid = \"r\"\nruns = \"/srv/server.py\"", &covered);
    assert_eq!(
        differs,
        ["what it runs is /srv/server.py (a mount puts another file at this path), not /srv/server.py"]
    );

    let report = judge(running(Some("/srv/server.py")), Registry::embedded());
    let drafted = draft(&report);
    assert_eq!(drafted.rules[0].rule.runs, [Glob::new("/srv/server.py").unwrap()]);
    assert!(drafted.rules[0].notes.is_empty(), "{:?}", drafted.rules[0].notes);
}

/// A program on loopback may be an impostor too. A draft does not allow it.
#[test]
fn a_draft_allows_no_impostor_on_loopback() {
    for address in ["0.0.0.0", "127.0.0.1"] {
        let snapshot = one(&format!("tcp/{address}:22"), "root", &[(10, "/usr/bin/redis-server", "root")]);
        let report = judge(snapshot, Registry::embedded());
        let drafted = draft(&report);
        assert!(drafted.rules.iter().all(Drafted::needs_decision), "{address}");
        assert_eq!(drafted.flagged.len(), 1, "{address}");
    }
}

/// rpc.statd binds another privileged port at each start. The draft allows all ports that it may bind.
#[test]
fn a_draft_allows_the_ports_that_a_program_picks_at_each_start() {
    let snapshot = one("udp/127.0.0.1:745", "statd", &[(10, "/usr/sbin/rpc.statd", "statd")]);
    let report = judge(snapshot, Registry::embedded());
    let drafted = draft(&report);
    assert_eq!(drafted.rules[0].rule.ports, [Ports::Range(PortRange { low: 512, high: 1023 })]);
    assert!(!drafted.rules[0].rule.required);
}

/// Every `accept` needs a reason, and an audit names the findings that a policy accepts.
#[test]
fn findings_that_a_policy_accepts_are_named() {
    let rule = "[[allow]]\nid = \"a\"\nport = 22\naccept = \"impostor\"\n";
    for (reason, remarks) in [("", 1), ("reason = \"a honeypot\"\n", 0)] {
        let policy = read(&format!("{rule}{reason}")).unwrap();
        let found = check(&policy, jiff::civil::date(2026, 11, 21));
        let found =
            found.iter().filter(|remark| matches!(remark.kind, RemarkKind::AcceptsWithoutReason { .. }));
        assert_eq!(found.count(), remarks, "{reason}");
    }
    let policy = read(&format!("{rule}reason = \"a honeypot\"")).unwrap();
    let report =
        judge(one("tcp/0.0.0.0:22", "root", &[(10, "/usr/bin/redis-server", "root")]), Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(&policy, &mut audit);
    let accepted = audit.accepted_by_rule();
    let [accepted] = &accepted[..] else { panic!("{accepted:?}") };
    assert_eq!(
        (accepted.severity, accepted.rule, accepted.reason),
        (Severity::Warning, "a", Some("a honeypot"))
    );
    assert!(accepted.codes.contains("impostor"));
}
