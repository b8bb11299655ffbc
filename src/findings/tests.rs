//! The sentence of each finding.

use super::file::{
    DeletedExecutable, ModifiedExecutable, ModifiedProgram, RunningScript, RunsFromMemory,
    WritableExecutable, WritableProgram,
};
use super::identity::{FittingName, Impostor, UnknownProcess};
use super::policy::{Missing, Unexpected};
use super::registry::{DeadRegistration, Ephemeral, Orphaned, Unexplained};
use super::socket::{BacklogFull, BoundOnly, Shadowed, Shared};
use super::{
    Difference, Evidence, Finding, FindingFamily, Flag, OtherSocket, ProcessGroup, Processes, RunningProgram,
};
use crate::model::{
    Confidence, Curated, CuratedState, Device, PortRange, Protocol, ReplaceableBy, RestsOn, Severity,
};

fn say(evidence: impl Into<Evidence>) -> String {
    Finding::new(evidence).sentence()
}

fn group(pid: u32, count: usize, name: &str, user: Option<&str>) -> ProcessGroup {
    ProcessGroup {
        pid,
        count,
        name: Some(name.to_owned()),
        uid: Some(33),
        user: user.map(str::to_owned),
        exe: Some(format!("/usr/sbin/{name}")),
    }
}

fn nginx() -> Processes {
    Processes { known: vec![group(7, 4, "nginx", Some("www-data"))], more: 0, unread: 0 }
}

fn side(address: &str, device: Option<&str>, processes: Processes) -> OtherSocket {
    OtherSocket { address: address.parse().unwrap(), device: device.map(Device::from), processes }
}

fn running(pid: u32, exe: &str) -> RunningProgram {
    RunningProgram { pid, name: Some("server".to_owned()), exe: exe.to_owned() }
}

fn ephemeral(kernel_would_pick: Option<bool>, kernel_range: Option<PortRange>) -> String {
    say(Ephemeral { kernel_range, iana_dynamic: true, odd: None, kernel_would_pick })
}

#[test]
fn sentences_of_the_registry() {
    let range = PortRange::new(32768, 60999);
    for (said, wanted) in [
        (
            ephemeral(Some(true), range),
            "The kernel gives ports 32768-60999 to outgoing connections. The kernel probably chose this port for the program.",
        ),
        (
            ephemeral(Some(false), range),
            "The kernel gives ports 32768-60999 to outgoing connections. A program that requests any free port usually gets an odd one. This port is even, so the program probably chose it.",
        ),
        (
            ephemeral(None, None),
            "The port is in IANA's dynamic range, 49152-65535. The kernel's own range is not known.",
        ),
        (say(Unexplained::Unassigned { remark: None }), "Nothing is registered for this port and protocol."),
        (
            say(Unexplained::Reserved { remark: Some("x") }),
            "IANA reserves this port: no service can be registered for it. IANA's remark: x.",
        ),
        (
            say(Unexplained::OtherProtocol { registered_for: Protocol::Udp, services: vec!["a", "b"] }),
            "The port is registered for udp only: a, b.",
        ),
    ] {
        assert_eq!(said, wanted);
    }
    let row = Curated {
        standing: CuratedState::Orphaned,
        product: "AirMobile IS",
        ended: None,
        reason: "Nothing is on offer today",
        source: None,
        confidence: Confidence::Presumed,
        now_used_by: None,
        basis: Some("no trace of the product in packages"),
    };
    assert_eq!(
        say(Orphaned {
            registrations: vec![DeadRegistration::new("commandport", &row)],
            rarely_used_by: vec!["Grin nodes (stratum for miners)"],
        }),
        "commandport was registered for AirMobile IS, presumed discontinued. Nothing is on offer today. Rarely used by: Grin nodes (stratum for miners)."
    );
}

#[test]
fn sentences_about_identity() {
    let unknown_process = |pid, program: &str, products, rests_on| UnknownProcess {
        script: None,
        pid,
        program: program.to_owned(),
        products,
        rests_on,
    };
    let impostor = |found| Impostor {
        service: "PostgreSQL",
        expected: vec!["postgres", "pgbouncer"],
        found,
        why: "Clients send passwords",
        file: ReplaceableBy::Root,
        fitting_name: FittingName::None,
        code: None,
    };
    assert_eq!(
        say(impostor(vec![unknown_process(4714, "sleep", vec![], RestsOn::Exe)])),
        "sleep (pid 4714) listens on the port of PostgreSQL, but is not a known server of that service (postgres and pgbouncer). Clients send passwords."
    );
    let two = vec![
        unknown_process(7, "nc", vec!["netcat"], RestsOn::Name),
        unknown_process(8, "nc", vec!["netcat"], RestsOn::Name),
        unknown_process(9, "x", vec![], RestsOn::Exe),
    ];
    assert!(say(impostor(two)).starts_with(
        "nc [netcat; identified by its name only] (pid 7 and 1 more) and x (pid 9) listen on the port of PostgreSQL, but are"
    ));
    for (file, fitting_name, severity) in [
        (ReplaceableBy::Root, FittingName::None, Severity::Warning),
        (ReplaceableBy::User, FittingName::None, Severity::Critical),
        (ReplaceableBy::User, FittingName::Server, Severity::Warning),
        (ReplaceableBy::User, FittingName::Forwarder, Severity::Warning),
        (ReplaceableBy::Anyone, FittingName::Server, Severity::Critical),
    ] {
        let finding = Finding::new(Impostor { file, fitting_name, ..impostor(vec![]) });
        assert_eq!(finding.severity, severity, "{file:?} {fitting_name:?}");
    }
    let forwarder = Impostor {
        file: ReplaceableBy::User,
        fitting_name: FittingName::Forwarder,
        ..impostor(vec![unknown_process(7, "docker-proxy", vec![], RestsOn::Exe)])
    };
    assert!(
        say(forwarder).contains("named like a program that forwards ports, but a user who is not root can")
    );
}

#[test]
fn sentences_about_files() {
    let script = || RunningScript { running: running(9, "/c"), script: "/srv/x.py".to_owned() };
    assert_eq!(
        say(DeletedExecutable {
            replaced: vec![running(7, "/a")],
            gone: vec![running(8, "/b")],
            scripts: vec![script()],
            severity: Severity::Warning,
        }),
        "The program file was replaced while the program was running (for example by an upgrade): server (pid 7, /a). The program file was deleted: server (pid 8, /b). The script was deleted: /srv/x.py, which server (pid 9, /c) runs."
    );
    assert_eq!(
        say(RunsFromMemory { found: vec![running(7, "/memfd:x")] }),
        "server (pid 7, /memfd:x) runs from memory, without a file on disk."
    );
    let modified = |version: Option<&str>| ModifiedProgram {
        running: running(9, "/usr/sbin/sshd"),
        package: "openssh-server".to_owned(),
        version: version.map(str::to_owned),
    };
    assert_eq!(
        say(ModifiedExecutable { found: vec![modified(Some("1:9.2p1-2")), modified(None)] }),
        "The checksum of the program file differs from the one in the package database: server (pid 9, /usr/sbin/sshd) from openssh-server 1:9.2p1-2 and server (pid 9, /usr/sbin/sshd) from openssh-server."
    );
    let program = |script: Option<&str>| WritableProgram {
        running: running(8, "/tmp/y"),
        script: script.map(str::to_owned),
        writable: "/tmp".to_owned(),
    };
    assert_eq!(
        say(WritableExecutable {
            found: vec![program(None), program(Some("/tmp/z.py"))],
            severity: Severity::Critical
        }),
        "Any user can write to the program, script or library, or to a directory above it: server (pid 8, /tmp/y); /tmp is world-writable and server (pid 8, /tmp/y) runs /tmp/z.py; /tmp is world-writable."
    );
}

#[test]
fn sentences_about_sockets() {
    assert_eq!(
        say(Shadowed {
            device: None,
            takes_from: vec![side("0.0.0.0", None, nginx())],
            loses_to: vec![],
            more: 0
        }),
        "Traffic to this address goes to this program, not to nginx (user www-data, pid 7 and 3 more) on 0.0.0.0."
    );
    let nc = Processes { known: vec![group(8, 1, "nc", None)], more: 0, unread: 0 };
    assert_eq!(
        say(Shadowed {
            device: None,
            takes_from: vec![],
            loses_to: vec![side("0.0.0.0", Some("eth0"), nc)],
            more: 2
        }),
        "Traffic to 0.0.0.0%eth0 goes to nc (user 33, pid 8), not to this program. 2 more addresses are affected. One of the listeners is bound to a network device. If the device is a VRF, the listeners do not overlap; portolan does not check this."
    );
    assert_eq!(
        say(Shared {
            differ_in: vec![Difference::User, Difference::Executable],
            processes: Processes { more: 3, unread: 1, ..nginx() },
            sockets: 1
        }),
        "The processes of this socket differ in user and executable: nginx (user www-data, /usr/sbin/nginx, pid 7 and 3 more), and 3 more, and 1 that could not be read."
    );
    let two = Shared { differ_in: vec![Difference::User], processes: nginx(), sockets: 2 };
    assert!(say(two).starts_with("The processes of the 2 sockets on this address differ in user: nginx"));
    assert_eq!(
        say(BacklogFull { waiting: 6, limit: 5 }),
        "6 connections wait to be accepted, more than the limit of 5: the kernel drops new ones. This was the state at the time of the scan and may be temporary."
    );
    assert_eq!(say(BoundOnly { kernel_range: None }), "The port is bound, but nothing listens on it.");
    assert!(
        say(BoundOnly { kernel_range: PortRange::new(1, 2) })
            .ends_with("may simply be about to open a connection.")
    );
}

fn unexpected(nearest: Option<&str>, differs: &[&str], expired: Option<&str>) -> String {
    say(Unexpected {
        nearest: nearest.map(str::to_owned),
        differs: differs.iter().map(|text| (*text).to_owned()).collect(),
        expired: expired.map(str::to_owned),
        passing: false,
        accepts_traffic: true,
    })
}

#[test]
fn an_unexpected_socket_that_no_client_reaches_is_less_severe() {
    for (passing, accepts_traffic, severity) in [
        (false, true, Severity::Critical),
        (false, false, Severity::Warning),
        (true, false, Severity::Info),
        (true, true, Severity::Info),
    ] {
        let unexpected =
            Unexpected { nearest: None, differs: Vec::new(), expired: None, passing, accepts_traffic };
        assert_eq!(Finding::new(unexpected).severity, severity, "{passing} {accepts_traffic}");
    }
}

#[test]
fn sentences_of_a_policy() {
    assert_eq!(unexpected(None, &[], None), "No policy rule allows this listener.");
    assert_eq!(
        unexpected(Some("db"), &["user is root, not postgres", "address is any, not loopback"], None),
        "No policy rule allows this listener. The nearest rule is db, but user is root, not postgres; address is any, not loopback."
    );
    assert_eq!(
        unexpected(Some("db"), &[], Some("2026-01-01")),
        "No policy rule allows this listener: rule db expired on 2026-01-01."
    );
    assert_eq!(
        say(Missing {
            rule: "web".into(),
            wanted: "tcp/443".into(),
            reason: Some("customers".into()),
            owner: None,
            further: Some(84),
        }),
        "Policy rule web requires tcp/443, but no listener matches the rule. 84 further listeners that the rule requires are missing too. Reason: customers."
    );
}

#[test]
fn every_flag_has_a_code_of_its_own_and_full_texts() {
    let mut codes: Vec<&str> = Flag::all().map(Flag::code).collect();
    codes.sort_unstable();
    assert!(codes.windows(2).all(|pair| pair[0] != pair[1]), "{codes:?}");
    for flag in Flag::all() {
        assert_eq!(Flag::find(&flag.code().to_uppercase()), Some(flag));
        assert!(flag.code().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{flag:?}");
        assert!(flag.why().ends_with('.'), "{flag:?}");
        for phrase in [flag.description(), flag.remedy()] {
            assert!(!phrase.is_empty() && !phrase.ends_with('.'), "{flag:?}");
        }
    }
}

#[test]
fn listings_show_no_flags_of_an_audit() {
    let families: Vec<FindingFamily> = Flag::all().map(Flag::family).collect();
    assert!(families.is_sorted(), "{families:?}");
    assert!(Flag::listed().count() < families.len());
    assert!(Flag::listed().all(|flag| flag.family() < FindingFamily::Policy));
}

#[test]
fn whom_the_firewall_lets_in() {
    use super::reach::firewall;
    use crate::model::{Reach, ReachKind};
    let text = |kind, from: &[&str], more, rule: Option<&str>| {
        let from = from.iter().map(|&text| text.into()).collect();
        firewall(&Reach { kind, from, more, rule: rule.map(str::to_owned), ..Reach::open() })
    };
    for (kind, from, more, wanted) in [
        (ReachKind::Open, &[][..], 0, "the firewall lets in everyone (rule)"),
        (ReachKind::Filtered, &[], 0, "the firewall lets in nobody (rule)"),
        (ReachKind::Limited, &["10.0.0.0/8"], 0, "the firewall lets in only 10.0.0.0/8 (rule)"),
        (ReachKind::Limited, &["anyone on eth0"], 0, "the firewall lets in anyone on eth0 (rule)"),
        (
            ReachKind::Limited,
            &["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4", "5.5.5.5"],
            2,
            "the firewall lets in only 1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4 and 3 more (rule)",
        ),
        (
            ReachKind::Limited,
            &["anyone on eth1, docker0, br-1, br-2, br-3, br-4 to ::1"],
            0,
            "the firewall lets in anyone on eth1, docker0, br-1, br-2 and 2 more to ::1 (rule)",
        ),
        (ReachKind::Unknown, &[], 0, "it is not known which clients the firewall lets in (rule)"),
    ] {
        assert_eq!(text(kind, from, more, Some("rule")).as_deref(), Some(wanted));
    }
    assert_eq!(text(ReachKind::Open, &[], 0, None), None, "no rules");
    assert_eq!(text(ReachKind::Unknown, &[], 0, None), None, "only root may read them");
}

/// An audit shows the description, the evidence and the reason of a finding together. Therefore the reason must not
/// repeat the description.
#[test]
fn a_reason_does_not_repeat_the_description() {
    let words = |text: &str| text.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for flag in Flag::all() {
        let (description, why) = (words(flag.description()), words(flag.why()));
        let repeated = why.windows(5).find(|run| description.windows(5).any(|other| other == *run));
        assert_eq!(repeated, None, "{}", flag.code());
    }
}
