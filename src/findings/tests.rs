//! What each finding says.

use snapbox::{IntoData, assert_data_eq, str};

use super::file::{DeletedExecutable, OddExecutable, OddProgram, Place};
use super::policy::{Missing, Unexpected};
use super::reach::Exposed;
use super::registry::{DeadRegistration, Ephemeral, Orphaned, OtherProtocol, Reserved, Unassigned};
use super::socket::{BacklogFull, BoundOnly, Kernel, Shadowed, Shared};
use super::{Difference, Evidence, Finding, FindingFamily, Flag, ProcessGroup, Processes, Running, Side};
use crate::model::{Confidence, Curated, Device, Exposure, Pid, PortRange, Protocol, Standing};

fn holder(pid: Pid, count: usize, name: &str, user: Option<&str>) -> ProcessGroup {
    ProcessGroup {
        pid,
        count,
        name: Some(name.to_owned()),
        uid: Some(33),
        user: user.map(str::to_owned),
        exe: Some(format!("/usr/sbin/{name}")),
    }
}

fn side(address: &str, device: Option<&str>, holder: ProcessGroup) -> Side {
    Side {
        address: address.parse().unwrap(),
        device: device.map(Device::from),
        holders: Processes { known: vec![holder], more: 0, unread: 0 },
    }
}

fn running(pid: Pid, exe: &str) -> Running {
    Running { pid, name: Some("server".to_owned()), exe: exe.to_owned() }
}

fn odd(pid: Pid, place: Place) -> OddProgram {
    OddProgram { running: running(pid, "/tmp/.x/y"), place }
}

fn unexpected(nearest: Option<&str>, differs: &[&str], expired: Option<&str>) -> Unexpected {
    Unexpected {
        nearest: nearest.map(str::to_owned),
        differs: differs.iter().map(|text| (*text).to_owned()).collect(),
        expired: expired.map(str::to_owned),
    }
}

/// One sentence for each shape of evidence.
#[test]
fn findings() {
    let range = PortRange::new(32768, 60999);
    let ephemeral = |kernel_range, iana_dynamic, kernel_would_pick, may_be_client| Ephemeral {
        kernel_range,
        iana_dynamic,
        odd: None,
        kernel_would_pick,
        may_be_client,
    };
    let nginx = || holder(7, 4, "nginx", Some("www-data"));
    let holders = |more, unread| Processes { known: vec![nginx()], more, unread };
    let dead = Curated {
        standing: Standing::Orphaned,
        product: "AirMobile IS",
        ended: None,
        reason: "Nothing is on offer today",
        source: None,
        confidence: Confidence::Presumed,
        now_used_by: None,
        basis: Some("no trace of the product in packages"),
    };
    let evidence: Vec<Evidence> = vec![
        ephemeral(range, false, Some(true), false).into(),
        ephemeral(range, true, Some(false), false).into(),
        ephemeral(None, true, None, true).into(),
        Unassigned { remark: None }.into(),
        Reserved { remark: Some("x") }.into(),
        OtherProtocol { registered_for: Protocol::Udp, services: vec!["a", "b"] }.into(),
        Exposed { exposure: Exposure::Any, address: [0; 4].into(), device: None }.into(),
        Shadowed {
            device: None,
            takes_from: vec![side("0.0.0.0", None, nginx())],
            loses_to: vec![],
            more: 0,
        }
        .into(),
        Shadowed {
            device: None,
            takes_from: vec![],
            loses_to: vec![side("0.0.0.0", Some("eth0"), holder(8, 1, "nc", None))],
            more: 2,
        }
        .into(),
        Shared {
            differ_in: vec![Difference::User, Difference::Executable],
            holders: holders(3, 1),
            sockets: 1,
        }
        .into(),
        Shared { differ_in: vec![Difference::User], holders: holders(0, 0), sockets: 2 }.into(),
        DeletedExecutable { replaced: vec![running(7, "/a")], gone: vec![running(8, "/b")] }.into(),
        OddExecutable {
            found: vec![
                odd(7, Place::Memory),
                odd(8, Place::WorldWritable { folder: "/tmp".to_owned() }),
                odd(9, Place::Hidden { folder: "/tmp/.x".to_owned() }),
            ],
        }
        .into(),
        OddExecutable { found: (1..=6).map(|pid| odd(pid, Place::Memory)).collect() }.into(),
        BacklogFull { waiting: 6, limit: 5 }.into(),
        BoundOnly { kernel_range: None }.into(),
        BoundOnly { kernel_range: range }.into(),
        Kernel { inode: None }.into(),
        Kernel { inode: 1.try_into().ok() }.into(),
        unexpected(None, &[], None).into(),
        unexpected(Some("db"), &["user is root, not postgres", "address is any, not loopback"], None).into(),
        unexpected(Some("db"), &[], Some("2026-01-01")).into(),
        Missing {
            rule: "web".into(),
            wanted: "tcp/443".into(),
            reason: Some("customers".into()),
            owner: None,
        }
        .into(),
        Orphaned { registrations: vec![DeadRegistration::new("commandport", &dead)] }.into(),
    ];
    let lines: Vec<_> = evidence
        .into_iter()
        .map(|evidence| {
            let finding = Finding::new(evidence, Exposure::Any);
            format!("{}: {}", finding.flag().code(), finding.sentence())
        })
        .collect();
    assert_data_eq!(lines.join("\n"), str![[r#"
ephemeral: The port lies in 32768-60999, which this kernel hands out to outgoing connections. It is one the kernel itself picks for a program that asks for any port.
ephemeral: The port lies in 32768-60999, which this kernel hands out to outgoing connections, and in IANA's dynamic range. It is not one the kernel picks by itself: somebody likely chose it.
ephemeral: The port lies in IANA's dynamic range, 49152 to 65535, though not in this kernel's own. A client waiting for an answer looks no different.
unassigned: Nothing is registered for this port and protocol.
reserved: IANA reserves this port. IANA remarks: x.
other-protocol: The port is registered for udp only: a, b.
exposed: Reachable from beyond this machine, on every address of this machine, as far as the address tells.
shadowed: What comes to this address comes here and not to nginx (user www-data, pid 7 and 3 more) on 0.0.0.0.
shadowed: Not all that seems to come here does: what comes to 0.0.0.0%eth0 goes to nc (user 33, pid 8). So it is with 2 more. Devices are not looked into: one that is a VRF keeps the two apart.
shared: The holders of this socket differ in user and executable: nginx (user www-data, /usr/sbin/nginx, pid 7 and 3 more), 3 more kinds, and 1 that could not be read.
shared: The holders of 2 sockets on this address differ in user: nginx (user www-data, /usr/sbin/nginx, pid 7 and 3 more).
deleted-executable: Another file has taken the place of the one that runs, as an upgrade does: server (pid 7, /a). The file that runs is gone, and nothing stands at its path: server (pid 8, /b).
odd-executable: server (pid 7, /tmp/.x/y) runs from memory, without a file on disk; server (pid 8, /tmp/.x/y) runs below /tmp, a folder that anybody may write into; server (pid 9, /tmp/.x/y) runs below /tmp/.x, a hidden folder.
odd-executable: server (pid 1, /tmp/.x/y) runs from memory, without a file on disk; server (pid 2, /tmp/.x/y) runs from memory, without a file on disk; server (pid 3, /tmp/.x/y) runs from memory, without a file on disk; server (pid 4, /tmp/.x/y) runs from memory, without a file on disk; and 2 more.
backlog-full: 6 connections wait to be accepted, with a limit of 5: the kernel turns others away. It was so when it was looked at; how long it lasts was not.
bound-only: The port is held, but nothing listens on it.
bound-only: The port is held, but nothing listens on it. It lies in 32768-60999, where outgoing connections get their ports: a program about to connect looks no different.
kernel: No file stands for this socket, so that no process can hold it: it is the kernel's own.
kernel: Every process could be read, and none holds it: it is the kernel's own.
unexpected: No rule of the policy allows it.
unexpected: No rule of the policy allows it; the rule db comes nearest, but user is root, not postgres; address is any, not loopback.
unexpected: No rule of the policy allows it: the rule db did, and expired on 2026-01-01.
missing: The rule web of the policy promises tcp/443, and nothing seen is that. Reason: customers.
orphaned: commandport was registered for AirMobile IS, presumed dead: Nothing is on offer today. Presumed: no trace of the product in packages.
"#]].raw());
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
