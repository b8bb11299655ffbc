//! What each finding says.

use super::file::{DeletedExecutable, OddExecutable, OddProgram, Place};
use super::policy::{Missing, Unexpected};
use super::reach::Exposed;
use super::registry::{DeadRegistration, Ephemeral, Orphaned, OtherProtocol, Reserved, Unassigned};
use super::socket::{BacklogFull, BoundOnly, Kernel, Shadowed, Shared};
use super::{Difference, Evidence, Finding, FindingFamily, Flag, ProcessGroup, Processes, Running, Side};
use crate::model::{Confidence, Curated, Device, Exposure, PortRange, Protocol, Standing};

fn say(evidence: impl Into<Evidence>) -> String {
    Finding::new(evidence, Exposure::Any).sentence()
}

#[test]
fn findings() {
    let ephemeral = |kernel_range, iana_dynamic, kernel_would_pick, may_be_client| {
        say(Ephemeral { kernel_range, iana_dynamic, odd: None, kernel_would_pick, may_be_client })
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
    assert_eq!(say(Unassigned { remark: None }), "Nothing is registered for this port and protocol.");
    assert_eq!(say(Reserved { remark: Some("x") }), "IANA reserves this port. IANA remarks: x.");
    assert_eq!(
        say(OtherProtocol { registered_for: Protocol::Udp, services: vec!["a", "b"] }),
        "The port is registered for udp only: a, b."
    );
    assert_eq!(
        say(Exposed { exposure: Exposure::Any, address: [0; 4].into(), device: None }),
        "Reachable from beyond this machine, on every address of this machine, as far as the address tells."
    );
    let holder = |pid, count, name: &str, user: Option<&str>| ProcessGroup {
        pid,
        count,
        name: Some(name.to_owned()),
        uid: Some(33),
        user: user.map(str::to_owned),
        exe: Some(format!("/usr/sbin/{name}")),
    };
    let holders = |known| Processes { known, more: 0, unread: 0 };
    let side = |address: &str, device: Option<&str>, known| Side {
        address: address.parse().unwrap(),
        device: device.map(Device::from),
        holders: holders(known),
    };
    let nginx = || vec![holder(7, 4, "nginx", Some("www-data"))];
    assert_eq!(
        say(Shadowed {
            device: None,
            takes_from: vec![side("0.0.0.0", None, nginx())],
            loses_to: vec![],
            more: 0
        }),
        "What comes to this address comes here and not to nginx (user www-data, pid 7 and 3 more) on 0.0.0.0."
    );
    assert_eq!(
        say(Shadowed {
            device: None,
            takes_from: vec![],
            loses_to: vec![side("0.0.0.0", Some("eth0"), vec![holder(8, 1, "nc", None)])],
            more: 2
        }),
        "Not all that seems to come here does: what comes to 0.0.0.0%eth0 goes to nc (user 33, pid 8). So it is with 2 more. Devices are not looked into: one that is a VRF keeps the two apart."
    );
    assert_eq!(
        say(Shared {
            differ_in: vec![Difference::User, Difference::Executable],
            holders: Processes { more: 3, unread: 1, ..holders(nginx()) },
            sockets: 1
        }),
        "The holders of this socket differ in user and executable: nginx (user www-data, /usr/sbin/nginx, pid 7 and 3 more), 3 more kinds, and 1 that could not be read."
    );
    let two = Shared { differ_in: vec![Difference::User], holders: holders(nginx()), sockets: 2 };
    assert!(say(two).starts_with("The holders of 2 sockets on this address differ in user: nginx"));
    let running = |pid, exe: &str| Running { pid, name: Some("server".to_owned()), exe: exe.to_owned() };
    assert_eq!(
        say(DeletedExecutable { replaced: vec![running(7, "/a")], gone: vec![running(8, "/b")] }),
        "Another file has taken the place of the one that runs, as an upgrade does: server (pid 7, /a). The file that runs is gone, and nothing stands at its path: server (pid 8, /b)."
    );
    let odd = |pid, place| OddProgram { running: running(pid, "/tmp/.x/y"), place };
    assert_eq!(
        say(OddExecutable {
            found: vec![
                odd(7, Place::Memory),
                odd(8, Place::WorldWritable { folder: "/tmp".to_owned() }),
                odd(9, Place::Hidden { folder: "/tmp/.x".to_owned() }),
            ]
        }),
        "server (pid 7, /tmp/.x/y) runs from memory, without a file on disk; server (pid 8, /tmp/.x/y) runs below /tmp, a folder that anybody may write into; server (pid 9, /tmp/.x/y) runs below /tmp/.x, a hidden folder."
    );
    assert_eq!(
        say(OddExecutable { found: (1..=6).map(|pid| odd(pid, Place::Memory)).collect() })
            .matches("runs from memory")
            .count(),
        4
    );
    assert_eq!(
        say(BacklogFull { waiting: 6, limit: 5 }),
        "6 connections wait to be accepted, with a limit of 5: the kernel turns others away. It was so when it was looked at; how long it lasts was not."
    );
    assert_eq!(say(BoundOnly { kernel_range: None }), "The port is held, but nothing listens on it.");
    assert!(say(BoundOnly { kernel_range: range }).contains("looks no different"));
    assert!(say(Kernel { inode: None }).starts_with("No file"));
    assert!(say(Kernel { inode: 1.try_into().ok() }).starts_with("Every process"));
    let unexpected = |nearest: Option<&str>, differs: &[&str], expired: Option<&str>| {
        say(Unexpected {
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
        say(Missing {
            rule: "web".into(),
            wanted: "tcp/443".into(),
            reason: Some("customers".into()),
            owner: None,
        }),
        "The rule web of the policy promises tcp/443, and nothing seen is that. Reason: customers."
    );
    let row = Curated {
        standing: Standing::Orphaned,
        product: "AirMobile IS",
        ended: None,
        reason: "Nothing is on offer today",
        source: None,
        confidence: Confidence::Presumed,
        now_used_by: None,
        basis: Some("no trace of the product in packages"),
    };
    let dead = say(Orphaned { registrations: vec![DeadRegistration::new("commandport", &row)] });
    assert!(
        dead.starts_with("commandport was registered for AirMobile IS") && dead.contains("presumed dead")
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
