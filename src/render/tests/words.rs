use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, assert_lines, bleached};
use crate::model::*;

#[test]
fn reasons() {
    for (port, status, reason) in [
        (
            22,
            "active",
            "ssh is in use: the curated list of living services and the services file of Debian's netbase name it.",
        ),
        (443, "standard", "https is defined by RFC 9110, and nothing says that it is dead."),
        (
            1701,
            "active",
            "l2tp is in use: the services file of Debian's netbase names it. l2f was registered for Cisco Layer Two Forwarding, dead, ended 2002-07: L2TP replaced it. Confirmed (https://example.org/rfc2341).",
        ),
        (
            3415,
            "unassigned",
            "Nothing is registered for this port and protocol, and nothing is known to use it.",
        ),
        (
            3416,
            "orphaned (presumed)",
            "commandport was registered for AirMobile IS (apparently Motorola), presumed dead: Command port of AirMobile IS, apparently Motorola wireless middleware of which nothing is on offer today. Presumed: no trace of the product in packages.",
        ),
        (
            5432,
            "active (presumed)",
            "postgresql is in use: the curated list of living services names it. In use today by PostgreSQL. Presumed: no trace of the product in packages.",
        ),
        (
            8000,
            "repurposed",
            "What one meets here today: development web servers (http.server, Django, uvicorn). irdmi was registered for Intel Remote Desktop Management Interface, presumed dead: Intel's iRDMI has no product today. Presumed: no trace of the product in packages.",
        ),
        (
            7777,
            "obscure",
            "cbt is in the registry (there since 2002-02), but no evidence shows it in use. That does not prove it dead.",
        ),
        (
            7778,
            "dormant",
            "interwise is in the registry (no assignee on record), but no evidence shows it in use. That does not prove it dead.",
        ),
        (
            9,
            "legacy (presumed)",
            "discard was registered for Discard, presumed withdrawn but still met: Withdrawn. Presumed: no trace of the product in packages.",
        ),
        (1023, "reserved", "IANA reserves this port: it is assigned to no service. IANA remarks: kept back."),
        (60000, "dynamic", "IANA assigns nothing from 49152 up: programs use these ports for a while."),
    ] {
        let verdict = verdict(port);
        assert_eq!(words::status(&verdict), status, "{port}");
        assert_eq!(words::reason(&verdict), reason, "{port}");
    }
}

/// One confirmed row beside a presumed one leaves the verdict presumed; untouched since when, for dormant.
#[test]
fn a_presumption_stays_one() {
    let mut mixed = verdict(3416);
    let mut confirmed = mixed.assignments[0].clone();
    confirmed.curated.as_mut().unwrap().confidence = Confidence::Confirmed;
    mixed.assignments.insert(0, confirmed);
    assert_eq!(words::status(&mixed), "orphaned (presumed)");
    mixed.assignments.pop();
    assert_eq!(words::status(&mixed), "orphaned (confirmed)");
    assert!(!words::reason(&mixed).contains("resumed"));

    let mut dormant = verdict(7778);
    dormant.assignments[0].modified = Some("2004-01-02");
    assert!(words::reason(&dormant).contains("(untouched since 2004-01-02, no assignee on record)"));
}

#[test]
fn findings() {
    let say = |evidence| words::finding(&Finding { severity: Severity::Notice, evidence });
    let ephemeral = |kernel_range, iana_dynamic, kernel_would_pick, may_be_client| {
        say(Evidence::Ephemeral { kernel_range, iana_dynamic, odd: None, kernel_would_pick, may_be_client })
    };
    let range = PortRange::new(32768, 60999);
    assert_eq!(
        ephemeral(range, false, Some(true), false),
        "The port lies in 32768-60999, which this kernel hands out to outgoing connections. It is one the kernel itself picks for a program that asks for any port."
    );
    assert!(ephemeral(range, true, Some(false), false).ends_with(
        "and in IANA's dynamic range. It is not one the kernel picks by itself: somebody likely chose it."
    ));
    assert_eq!(
        ephemeral(None, true, None, true),
        "The port lies in IANA's dynamic range, 49152 to 65535, though not in this kernel's own. A client waiting for an answer looks no different."
    );
    assert_eq!(
        say(Evidence::Unassigned { remark: None }),
        "Nothing is registered for this port and protocol."
    );
    assert_eq!(say(Evidence::Reserved { remark: Some("x") }), "IANA reserves this port. IANA remarks: x.");
    assert_eq!(
        say(Evidence::OtherProtocol { registered_for: Protocol::Udp, services: vec!["a", "b"] }),
        "The port is registered for udp only: a, b."
    );
    assert_eq!(
        say(Evidence::Exposed { exposure: Exposure::Any, address: [0; 4].into(), device: None }),
        "Reachable from beyond this machine, on every address of this machine, as far as the address tells."
    );
    let holder = |pid, count, name: &str, user: Option<&str>| Holder {
        pid,
        count,
        name: Some(name.to_owned()),
        uid: Some(33),
        user: user.map(str::to_owned),
        exe: Some(format!("/usr/sbin/{name}")),
    };
    let holders = |known| Holders { known, more: 0, unread: 0 };
    let side = |address: &str, device: Option<&str>, known| Side {
        address: address.parse().unwrap(),
        device: device.map(Device::from),
        holders: holders(known),
    };
    let nginx = || vec![holder(7, 4, "nginx", Some("www-data"))];
    assert_eq!(
        say(Evidence::Shadowed {
            device: None,
            takes_from: vec![side("0.0.0.0", None, nginx())],
            loses_to: vec![],
            more: 0
        }),
        "What comes to this address comes here and not to nginx (user www-data, pid 7 and 3 more) on 0.0.0.0."
    );
    assert_eq!(
        say(Evidence::Shadowed {
            device: None,
            takes_from: vec![],
            loses_to: vec![side("0.0.0.0", Some("eth0"), vec![holder(8, 1, "nc", None)])],
            more: 2
        }),
        "Not all that seems to come here does: what comes to 0.0.0.0%eth0 goes to nc (user 33, pid 8). So it is with 2 more. Devices are not looked into: one that is a VRF keeps the two apart."
    );
    assert_eq!(
        say(Evidence::Shared {
            differ_in: vec![Difference::User, Difference::Executable],
            holders: Holders { more: 3, unread: 1, ..holders(nginx()) },
            sockets: 1
        }),
        "The holders of this socket differ in user and executable: nginx (user www-data, /usr/sbin/nginx, pid 7 and 3 more), 3 more kinds, and 1 that could not be read."
    );
    let two = Evidence::Shared { differ_in: vec![Difference::User], holders: holders(nginx()), sockets: 2 };
    assert!(say(two).starts_with("The holders of 2 sockets on this address differ in user: nginx"));
    let running = |pid, exe: &str| Running { pid, name: Some("server".to_owned()), exe: exe.to_owned() };
    assert_eq!(
        say(Evidence::DeletedExecutable { replaced: vec![running(7, "/a")], gone: vec![running(8, "/b")] }),
        "Another file has taken the place of the one that runs, as an upgrade does: server (pid 7, /a). The file that runs is gone, and nothing stands at its path: server (pid 8, /b)."
    );
    let odd = |pid, place| OddProgram { running: running(pid, "/tmp/.x/y"), place };
    assert_eq!(
        say(Evidence::OddExecutable {
            found: vec![
                odd(7, Place::Memory),
                odd(8, Place::WorldWritable { folder: "/tmp".to_owned() }),
                odd(9, Place::Hidden { folder: "/tmp/.x".to_owned() }),
            ]
        }),
        "server (pid 7, /tmp/.x/y) runs from memory, without a file on disk; server (pid 8, /tmp/.x/y) runs below /tmp, a folder that anybody may write into; server (pid 9, /tmp/.x/y) runs below /tmp/.x, a hidden folder."
    );
    assert_eq!(
        say(Evidence::OddExecutable { found: (1..=6).map(|pid| odd(pid, Place::Memory)).collect() })
            .matches("runs from memory")
            .count(),
        4
    );
    assert_eq!(
        say(Evidence::BacklogFull { waiting: 6, limit: 5 }),
        "6 connections wait to be accepted, with a limit of 5: the kernel turns others away. It was so when it was looked at; how long it lasts was not."
    );
    assert_eq!(
        say(Evidence::BoundOnly { kernel_range: None }),
        "The port is held, but nothing listens on it."
    );
    assert!(say(Evidence::BoundOnly { kernel_range: range }).contains("looks no different"));
    assert!(say(Evidence::Kernel { inode: None }).starts_with("No file"));
    assert!(say(Evidence::Kernel { inode: 1.try_into().ok() }).starts_with("Every process"));
    let unexpected = |nearest: Option<&str>, differs: &[&str], expired: Option<&str>| {
        say(Evidence::Unexpected {
            nearest: nearest.map(str::to_owned),
            differs: differs.iter().map(|text| (*text).to_owned()).collect(),
            expired: expired.map(str::to_owned),
        })
    };
    assert_eq!(unexpected(None, &[], None), "No rule of the policy allows it.");
    assert_eq!(
        unexpected(Some("db"), &["user is root, not postgres", "address is any, not loopback"], None),
        "No rule of the policy allows it; the rule db comes nearest, but user is root, not postgres; address is any, not loopback."
    );
    assert_eq!(
        unexpected(Some("db"), &[], Some("2026-01-01")),
        "No rule of the policy allows it: the rule db did, and expired on 2026-01-01."
    );
    assert_eq!(
        say(Evidence::Missing {
            rule: "web".into(),
            wanted: "tcp/443".into(),
            reason: Some("customers".into()),
            owner: None,
        }),
        "The rule web of the policy promises tcp/443, and nothing seen is that. Reason: customers."
    );
    let row = verdict(3416).assignments[0].curated.unwrap();
    let dead = say(Evidence::Orphaned { registrations: vec![DeadRegistration::new("commandport", &row)] });
    assert!(
        dead.starts_with("commandport was registered for AirMobile IS") && dead.contains("presumed dead")
    );
}

/// Each gap once, with its remedy; what is not ours is escaped.
#[test]
fn talk() {
    let mut observation = scene();
    observation.gaps.push(observation.gaps[0].clone());
    observation.gaps.push(Gap { remedy: None, ..gap(Stage::Sockets, "TCP\nsockets", None) });
    assert_lines(
        &text(|w| talk::gaps(&observation.gaps, &observation.notes, &PLAIN, w)),
        &[
            "portolan: not seen: TCP\\x0asockets: permission denied",
            "portolan: not seen: 12 processes: permission denied (run as root)",
            "portolan: note: 2 other network namespaces",
        ],
    );
    let coloured =
        text(|w| talk::gaps(&observation.gaps, &observation.notes, &Style { color: true, ..PLAIN }, w));
    assert_eq!(bleached(&coloured), text(|w| talk::gaps(&observation.gaps, &observation.notes, &PLAIN, w)));
    assert!(coloured.contains("\x1b[33mnot seen:"));
}

#[test]
fn summaries() {
    let mut observation = empty();
    observation.sockets = vec![socket("tcp/127.0.0.1:22", Owner::Held(vec![900].into()))];
    let report = report(&observation);
    assert_eq!(
        summary(&report),
        format!("1 listener, none flagged. Registry of {}.", report.registry.date())
    );
}
