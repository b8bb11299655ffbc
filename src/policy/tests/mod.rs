//! Checks the findings on listeners under a policy.

use std::collections::HashMap;

use super::*;
use crate::findings::FindingKind;
use crate::findings::policy::{Missing, Unexpected};
use crate::findings::registry::Orphaned;
use crate::judge::audit::{Audit, AuditVerdict, Subject};
use crate::judge::{judge, tests};
use crate::model::*;
use crate::registry::Registry;

mod files;
mod identity;
mod properties;

fn included(name: &str, text: &str) -> Included {
    Included { name: name.to_owned(), identity: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

/// Parses a policy of one file. The schema is added to the text.
pub(super) fn read(text: &str) -> Result<Policy, PolicyError> {
    let text = format!("schema = \"portolan.policy/1\"\n{text}");
    parse(&included("p.toml", &text), &mut |_, _| Err("no file".to_owned()))
}

/// Makes a process with pid, program file and user; an empty path means that the file could not be read.
fn process((pid, exe, user): (Pid, &str, &str)) -> Process {
    let exe = (!exe.is_empty()).then(|| Exe {
        path: exe.to_owned(),
        state: ExeState::Present,
        open_directories: None,
    });
    Process {
        name: Some("x".to_owned()),
        exe,
        cmdline: vec!["x".to_owned()],
        user: Some(user.to_owned()),
        uid: Some(u32::from(user != "root") * 100),
        unit: (pid % 2 == 0).then(|| "x.service".to_owned()),
        ..Process::unknown(pid)
    }
}

fn socket(local: &str, user: &str, owner: Owner) -> Socket {
    let attributes = SocketAttributes {
        uid: Some(u32::from(user != "root") * 100),
        user: Some(user.to_owned()),
        ..SocketAttributes::default()
    };
    Socket { attributes: attributes.into(), ..tests::socket(local, owner) }
}

fn snapshot_of(sockets: Vec<Socket>, processes: Vec<Process>) -> Snapshot {
    let mut snapshot = tests::seen(sockets, processes);
    snapshot.host.name = Some("Web-1.example".to_owned());
    snapshot.host.reserved = vec![PortRange { low: 40000, high: 40009 }];
    snapshot
}

fn one(local: &str, user: &str, servers: &[(Pid, &str, &str)]) -> Snapshot {
    let owner = Owner::Held(servers.iter().map(|(pid, ..)| *pid).collect::<Vec<_>>().into());
    snapshot_of(vec![socket(local, user, owner)], servers.iter().copied().map(process).collect())
}

const NGINX: (Pid, &str, &str) = (10, "/usr/sbin/nginx", "root");
const WORKER: (Pid, &str, &str) = (12, "/usr/sbin/nginx", "www-data");

/// Returns the findings at or above warning (`code rule`), the number of gaps, and the outcome.
fn printed(policy: &Policy, snapshot: &Snapshot) -> (Vec<String>, usize, AuditVerdict) {
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(policy, &mut audit);
    let severe = audit.findings.iter().filter(|found| found.finding.severity >= Severity::Warning);
    let codes = severe.map(|found| {
        let code = found.finding.flag().code();
        found.rule.as_ref().map_or_else(|| code.to_owned(), |rule| format!("{code} {rule}"))
    });
    (codes.collect(), audit.gaps.len(), audit.outcome(Severity::Warning))
}

/// Returns whether a rule with these conditions allows the listener; `None` if this is undecided.
fn allows(conditions: &str, snapshot: &Snapshot) -> Option<bool> {
    let policy = read(&format!("[[allow]]\nid = \"r\"\n{conditions}")).unwrap();
    let (codes, gaps, outcome) = printed(&policy, snapshot);
    match (codes.iter().any(|code| code.starts_with("unexpected")), gaps, outcome) {
        (false, 0, _) => Some(true),
        (true, 0, AuditVerdict::Findings) => Some(false),
        (false, 1, AuditVerdict::Incomplete) => None,
        other => panic!("{conditions}: {codes:?} {other:?}"),
    }
}

#[test]
fn conditions() {
    let web = one("tcp/0.0.0.0:8080", "root", &[NGINX, WORKER]);
    for (conditions, allowed) in [
        ("", true),
        ("port = 8080", true),
        ("port = 8081", false),
        ("port = [80, \"8000-8100\"]", true),
        ("port = \"ephemeral\"", false),
        ("protocol = \"tcp\"", true),
        ("protocol = [\"udp\", \"sctp\"]", false),
        ("address = \"0.0.0.0\"", true),
        ("address = [\"127.0.0.0/8\", \"::1\"]", false),
        ("exposure = \"any\"", true),
        ("exposure = [\"loopback\", \"private\"]", false),
        ("executable = \"/usr/sbin/nginx\"", true),
        ("executable = \"/usr/*/nginx\"", true),
        ("executable = \"/usr/sbin/apache2\"", false),
        ("executable = \"kernel\"", false),
        // Every user of the listener must match.
        ("user = \"root\"", false),
        ("user = [\"root\", \"www-data\"]", true),
        ("user = [0, 100]", true),
        ("user = [\"0\", \"www-data\"]", true),
        ("unit = \"x.service\"", true),
        ("unit = \"y.service\"", false),
        ("container = \"*\"", false),
        ("device = \"*\"", false),
        ("netns = \"own\"", true),
        ("netns = \"*\"", false),
        ("hosts = \"web-*\"", true),
        ("hosts = \"WEB-1.example\"", true),
        ("hosts = [\"db-*\", \"mail\"]", false),
        ("expires = 2026-11-21", true),
        ("expires = 2026-11-20", false),
        ("port = 8080\nuser = \"postgres\"", false),
    ] {
        assert_eq!(allows(conditions, &web), Some(allowed), "{conditions}");
    }
    let given = one("udp/127.0.0.1:50001", "root", &[NGINX]);
    assert_eq!(allows("port = \"ephemeral\"", &given), Some(true));
    let reserved = one("udp/127.0.0.1:40001", "root", &[NGINX]);
    assert_eq!(allows("port = \"ephemeral\"", &reserved), Some(false));
    let mapped = one("tcp/[::ffff:10.1.2.3]:80", "root", &[NGINX]);
    assert_eq!(allows("address = \"10.0.0.0/8\"", &mapped), Some(true));
    let kernel = snapshot_of(vec![socket("udp/0.0.0.0:4789", "root", Owner::Kernel)], vec![]);
    assert_eq!(allows("executable = \"kernel\"\nuser = \"root\"", &kernel), Some(true));
    assert_eq!(allows("executable = \"**\"", &kernel), Some(false));
    assert_eq!(allows("unit = \"**\"", &kernel), Some(false));
    assert_eq!(allows("user = \"www-data\"", &kernel), Some(false));
}

#[test]
fn namespaces_are_the_own_one_unless_named() {
    let mut elsewhere = one("tcp/127.0.0.1:80", "root", &[NGINX]);
    for (name, conditions) in [
        (
            Some("blue"),
            [
                ("", false),
                ("netns = \"own\"", false),
                ("netns = \"bl*\"", true),
                ("netns = \"unnamed\"", false),
            ],
        ),
        (
            None,
            [
                ("", false),
                ("netns = \"*\"", false),
                ("netns = \"unnamed\"", true),
                ("netns = [\"own\", \"x\"]", false),
            ],
        ),
        (
            Some("own"),
            [("netns = \"own\"", false), ("netns = \"*\"", true), ("netns = \"[o]wn\"", true), ("", false)],
        ),
    ] {
        let netns = Some(Netns { inode: 7, name: name.map(str::to_owned) });
        elsewhere.sockets[0].attributes = SocketAttributes { netns, ..SocketAttributes::default() }.into();
        for (conditions, allowed) in conditions {
            assert_eq!(allows(conditions, &elsewhere), Some(allowed), "{name:?} {conditions}");
        }
    }
}

/// If a fact was not visible, a condition on the fact is undecided.
#[test]
fn conditions_without_evidence_are_undecided() {
    let unseen = |owner| snapshot_of(vec![socket("tcp/0.0.0.0:80", "www-data", owner)], vec![]);
    for owner in [Owner::Hidden, Owner::Vanished, Owner::Unknown, Owner::Held(vec![10].into())] {
        let unseen = unseen(owner.clone());
        for (conditions, allowed) in [
            ("port = 80", Some(true)),
            ("port = 81", Some(false)),
            ("executable = \"/usr/sbin/nginx\"", None),
            ("executable = \"kernel\"", None),
            ("unit = \"x.service\"", None),
            ("container = \"x\"", None),
            ("user = \"www-data\"", None),
            ("user = \"root\"", None),
            ("port = 81\nexecutable = \"/usr/sbin/nginx\"", Some(false)),
        ] {
            assert_eq!(allows(conditions, &unseen), allowed, "{owner:?} {conditions}");
        }
    }
    // In the first case, the file of a process could not be read. In the second case, only one of two processes could
    // be read.
    let unread = one("tcp/0.0.0.0:80", "root", &[(10, "", "root")]);
    assert_eq!(allows("executable = \"/usr/sbin/nginx\"", &unread), None);
    let mut half = one("tcp/0.0.0.0:80", "root", &[NGINX, WORKER]);
    half.processes.pop();
    assert_eq!(allows("executable = \"/usr/sbin/nginx\"", &half), None);
    assert_eq!(allows("executable = \"/usr/sbin/apache2\"", &half), Some(false));
    // The first rule may match, and the second rule certainly matches. So the listener is allowed.
    let both = "executable = \"/usr/sbin/nginx\"\n[[allow]]\nid = \"s\"\nport = 80";
    assert_eq!(allows(both, &half), Some(true));
    // The name of the host is unknown, and the ephemeral range could not be read.
    let mut web = one("tcp/0.0.0.0:80", "root", &[NGINX]);
    web.host.name = None;
    assert_eq!(allows("hosts = \"web-*\"", &web), None);
    assert_eq!(allows("hosts = \"web-*\"\nport = 81", &web), Some(false));
    web.host.ephemeral.clear();
    assert_eq!(allows("port = \"ephemeral\"", &web), None);
}

#[test]
fn the_first_rule_that_holds_is_named() {
    let snapshot = one("tcp/127.0.0.1:3416", "root", &[NGINX]);
    let policy = read(
        "[[allow]]\nid = \"other\"\nport = 22\n[[allow]]\nid = \"old\"\nport = 3416\nexpires = 2026-01-01\n\
         [[allow]]\nid = \"first\"\nport = 3416\n[[allow]]\nid = \"second\"\nport = 3416",
    )
    .unwrap();
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(&policy, &mut audit);
    let orphaned = audit.findings.iter().find(|found| found.finding.flag() == Orphaned::FLAG).unwrap();
    assert_eq!((orphaned.rule.as_deref(), orphaned.finding.severity), (Some("first"), Severity::Info));
}

/// A rule that allows a port removes the findings about the port. Findings about the program remain, unless `accept`
/// names them.
#[test]
fn an_allow_rule_settles_findings_about_the_port_only() {
    let python = [(10, "/usr/bin/python3.11", "root")];
    let mut snapshot = one("tcp/0.0.0.0:22", "root", &python);
    snapshot.processes[0].cmdline = vec!["python3".to_owned(), "/srv/x.py".to_owned()];
    assert_eq!(printed(&read("").unwrap(), &snapshot).0, ["unexpected", "impostor"]);
    let allow = "[[allow]]\nid = \"a\"\nport = 22\n";
    assert_eq!(printed(&read(allow).unwrap(), &snapshot).0, ["impostor"]);
    let accept = format!("{allow}accept = [\"impostor\"]");
    assert_eq!(printed(&read(&accept).unwrap(), &snapshot), (vec![], 0, AuditVerdict::Clear));
    // A rule for another port accepts no finding on this port.
    let other = format!("{allow}[[allow]]\nid = \"b\"\nport = 23\naccept = \"impostor\"");
    assert_eq!(printed(&read(&other).unwrap(), &snapshot).0, ["impostor"]);
    let orphan = one("tcp/0.0.0.0:3416", "root", &[NGINX]);
    let graded = "[[allow]]\nid = \"a\"\nport = 3416\n[[rule]]\nid = \"x\"\ncode = \"orphaned\"\nseverity = \"critical\"\nreason = \"r\"";
    assert_eq!(printed(&read(graded).unwrap(), &orphan), (vec![], 0, AuditVerdict::Clear));
}

#[test]
fn findings_are_graded_by_the_first_rule_for_them() {
    let snapshot = one("tcp/0.0.0.0:22", "root", &[(10, "/usr/bin/python3.11", "root")]);
    let rule = |id: &str, more: &str| format!("[[rule]]\nid = \"{id}\"\nreason = \"r\"\n{more}\n");
    for (rules, codes) in [
        (rule("a", "code = [\"impostor\", \"unexpected\"]\nseverity = \"off\""), vec![]),
        (rule("a", "code = \"impostor\"\nseverity = \"notice\""), vec!["unexpected"]),
        (rule("a", "code = \"impostor\"\nseverity = \"critical\""), vec!["impostor a", "unexpected"]),
        (
            rule("a", "code = \"impostor\"\nseverity = \"off\"\nhosts = \"db-*\""),
            vec!["unexpected", "impostor"],
        ),
        (
            rule("a", "code = \"impostor\"\nseverity = \"off\"\nexpires = 2026-01-01"),
            vec!["unexpected", "impostor"],
        ),
        (
            rule("a", "code = \"impostor\"\nseverity = \"warning\"")
                + &rule("b", "code = \"impostor\"\nseverity = \"off\""),
            vec!["unexpected", "impostor a"],
        ),
    ] {
        assert_eq!(printed(&read(&rules).unwrap(), &snapshot).0, codes, "{rules}");
    }
    // A rule for named hosts switches off no finding if the name of this host is unknown.
    let mut nameless = snapshot.clone();
    nameless.host.name = None;
    let off = rule("a", "code = [\"impostor\", \"unexpected\"]\nseverity = \"off\"\nhosts = \"web-*\"");
    assert_eq!(printed(&read(&off).unwrap(), &nameless).0, ["unexpected", "impostor"]);
}

/// Returns the evidence of the only `unexpected` finding. It has the nearest rule, the conditions of this rule that do
/// not match, and the date on which a rule expired.
fn evidence(policy: &str, snapshot: &Snapshot) -> (Option<String>, Vec<String>, Option<String>) {
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(&read(policy).unwrap(), &mut audit);
    let found = audit.findings.into_iter().find(|found| found.finding.flag() == Unexpected::FLAG).unwrap();
    let Unexpected { nearest, differs, expired, .. } =
        Unexpected::of(&found.finding.evidence).unwrap().clone();
    (nearest, differs, expired)
}

#[test]
fn an_unexpected_listener_names_the_nearest_rule() {
    let rules = "[[allow]]\nid = \"ssh\"\nport = 22\nexecutable = \"/usr/sbin/sshd\"\n\
                 [[allow]]\nid = \"web\"\nport = [80, 443]\naddress = \"127.0.0.1\"\nexecutable = \"/usr/sbin/nginx\"\n\
                 user = [\"root\", \"www-data\"]\n\
                 [[allow]]\nid = \"gone\"\nport = 99\nexpires = 2026-11-01\n";
    for (snapshot, nearest, differs) in [
        (one("tcp/127.0.0.1:81", "root", &[NGINX]), "web", vec!["port is 81, not 80 or 443"]),
        (one("tcp/0.0.0.0:80", "root", &[NGINX]), "web", vec!["address is 0.0.0.0, not 127.0.0.1"]),
        (
            one("tcp/127.0.0.1:80", "root", &[NGINX, (12, "/usr/bin/nc", "nobody")]),
            "web",
            vec![
                "user is nobody and root, not root or www-data",
                "executable is /usr/bin/nc and /usr/sbin/nginx, not /usr/sbin/nginx",
            ],
        ),
        (
            one("tcp/127.0.0.1:22", "root", &[NGINX]),
            "ssh",
            vec!["executable is /usr/sbin/nginx, not /usr/sbin/sshd"],
        ),
    ] {
        let (found, phrases, expired) = evidence(rules, &snapshot);
        assert_eq!(
            (found.as_deref(), phrases, expired),
            (Some(nearest), differs.iter().map(ToString::to_string).collect(), None)
        );
    }
    let none = evidence(rules, &one("tcp/127.0.0.1:7", "root", &[(10, "/x", "root")]));
    assert_eq!(none, (None, vec![], None));
    let gone = evidence(rules, &one("tcp/127.0.0.1:99", "root", &[NGINX]));
    assert_eq!(gone, (Some("gone".to_owned()), vec![], Some("2026-11-01".to_owned())));
}

#[test]
fn a_required_listener_that_is_absent_is_missing() {
    let required = "[[allow]]\nid = \"broad\"\nport = [80, 81]\n[[allow]]\nid = \"r\"\nport = 80\n\
                    executable = \"/usr/sbin/nginx\"\nrequired = true\n";
    let policy = read(required).unwrap();
    let there = one("tcp/0.0.0.0:80", "root", &[NGINX]);
    // The rule "broad" comes first and allows the listener. The listener still meets the requirement of "r".
    assert_eq!(printed(&policy, &there), (vec![], 0, AuditVerdict::Clear));
    let nothing = snapshot_of(vec![], vec![]);
    assert_eq!(printed(&policy, &nothing).0, ["missing r"]);
    assert_eq!(printed(&policy, &one("tcp/0.0.0.0:81", "root", &[NGINX])).0, ["missing r"]);
    assert_eq!(printed(&policy, &one("tcp/0.0.0.0:80", "root", &[(10, "/x", "root")])).0, ["missing r"]);
    // The required listener may exist but be hidden, so there is a gap instead of a finding.
    let hidden = snapshot_of(vec![socket("tcp/0.0.0.0:80", "root", Owner::Hidden)], vec![]);
    assert_eq!(printed(&policy, &hidden), (vec![], 1, AuditVerdict::Incomplete));
    let mut blind = nothing.clone();
    blind.gaps.push(Gap::new(Stage::Sockets, "x", "y"));
    assert_eq!(printed(&policy, &blind), (vec![], 1, AuditVerdict::Incomplete));
    let elsewhere = read(&format!("{required}netns = \"blue\"")).unwrap();
    assert_eq!(printed(&elsewhere, &there), (vec![], 1, AuditVerdict::Incomplete));
    // A rule for another host, and an expired rule, require nothing.
    for more in ["hosts = \"db-*\"", "expires = 2026-01-01"] {
        assert_eq!(
            printed(&read(&format!("{required}{more}")).unwrap(), &nothing),
            (vec![], 0, AuditVerdict::Clear),
            "{more}"
        );
    }
    let report = judge(nothing.clone(), Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(&policy, &mut audit);
    assert!(matches!(
        audit.findings[0].subject,
        Subject::NoListener { port: Some(80), protocol: None, address: None }
    ));
    let Missing { wanted, .. } = Missing::of(&audit.findings[0].finding.evidence).unwrap();
    assert_eq!(wanted, "port 80, executable /usr/sbin/nginx");

    // Each combination of port, protocol and address is a requirement. A range of ports counts as one port, and a block
    // of addresses as one address.
    let wanted = |rule: &str| {
        let policy = read(&format!("[[allow]]\nid = \"r\"\nrequired = true\n{rule}")).unwrap();
        let report = judge(there.clone(), Registry::embedded());
        let mut audit = Audit::of(&report);
        apply(&policy, &mut audit);
        let missing = audit
            .findings
            .iter()
            .filter_map(|found| Missing::of(&found.finding.evidence).map(|missing| missing.wanted.clone()));
        missing.collect::<Vec<_>>()
    };
    for (rule, missing) in [
        ("port = [80, 443]\nprotocol = \"tcp\"", vec!["tcp/443"]),
        ("port = 80\nprotocol = [\"tcp\", \"udp\"]", vec!["udp/80"]),
        ("port = \"80-90\"\naddress = [\"0.0.0.0\", \"::\"]", vec!["port 80-90, address ::"]),
        ("address = [\"0.0.0.0/0\", \"::/0\"]", vec!["a listener, address ::/0"]),
        ("port = \"ephemeral\"", vec!["port ephemeral"]),
        ("user = [\"root\", \"www-data\"]", vec![]),
    ] {
        assert_eq!(wanted(rule), missing, "{rule}");
    }
    let many: Vec<u16> = (100..200).collect();
    let rule = format!("port = {many:?}");
    assert_eq!(wanted(&rule).len(), 16);
    let policy = read(&format!("[[allow]]\nid = \"r\"\nrequired = true\n{rule}")).unwrap();
    let report = judge(there, Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(&policy, &mut audit);
    let found = audit.findings.iter().filter_map(|found| Missing::of(&found.finding.evidence));
    let further: Vec<_> = found.map(|missing| missing.further).collect();
    assert_eq!(further.iter().flatten().collect::<Vec<_>>(), [&84]);
    assert_eq!(further.last(), Some(&Some(84)));
}
