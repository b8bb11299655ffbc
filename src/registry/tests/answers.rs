//! Checks the answers of the registry.

use std::collections::BTreeMap;

use super::super::row::RegistryRow;
use super::*;
use crate::model::{EvidenceSource, PortRange, RegistryRange, Status, StatusBasis};

#[test]
fn statuses_of_ports() {
    use StatusBasis::*;
    let mut wrong = Vec::new();
    for (target, basis, services) in [
        ("tcp/1", Legacy, &["tcpmux"][..]),
        ("tcp/3416", Ended, &["commandport"]),
        ("tcp/2375", Evidence, &["docker"]),
        ("tcp/10000", Evidence, &["ndmp"]),
        ("tcp/22", Evidence, &["ssh"]),
        ("udp/22", OtherProtocol, &["ssh"]),
        ("udp/5432", OtherProtocol, &["postgresql"]),
        ("sctp/22", Evidence, &["ssh"]),
        ("sctp/443", OtherProtocol, &["https"]),
        ("tcp/80", Evidence, &["http", "www", "www-http"]),
        ("tcp/2", Reserved, &[]),
        ("tcp/0", Reserved, &[]),
        ("sctp/0", Unregistered, &[]),
        ("udp/8010", Reserved, &[]),
        ("tcp/57", Reserved, &[]),
        ("tcp/4", Unregistered, &[]),
        ("tcp/1783", Unregistered, &[]),
        ("tcp/49151", Reserved, &[]),
        ("tcp/49152", Range, &[]),
        ("udp/65535", Range, &[]),
        ("udp/51820", Range, &[]),
        ("tcp/1701", OtherProtocol, &["l2tp", "l2f"]),
        ("udp/1701", Evidence, &["l2tp", "l2f"]),
        ("tcp/3000", KnownUse, &["hbci", "remoteware-cl"]),
        ("udp/3000", OtherProtocol, &["hbci", "remoteware-cl"]),
        ("tcp/8384", Reserved, &[]),
        ("udp/8384", Untouched, &["marathontp"]),
        ("tcp/4318", Unregistered, &[]),
        ("udp/4318", Unregistered, &[]),
        ("tcp/9100", Evidence, &["pdl-datastream", "hp-pdl-datastr"]),
        ("tcp/6010", Evidence, &["x11"]),
        ("tcp/6064", Untouched, &["ndl-ahp-svc"]),
        ("tcp/6667", Evidence, &["ircu"]),
        ("udp/8472", KnownUse, &["otv"]),
        ("udp/2378", Obscure, &["dali"]),
        ("udp/6667", Reserved, &[]),
        ("tcp/6401", Untouched, &["boe-was"]),
        ("tcp/11434", Evidence, &["ollama"]),
        ("udp/11434", Reserved, &[]),
        ("tcp/4480", Obscure, &["agtp"]),
    ] {
        let verdict = verdict(target);
        if verdict.basis != basis || verdict.status != basis.status() {
            wrong.push(format!("{target}: {} rests on {}", verdict.status.name(), verdict.basis.name()));
        }
        let mut names: Vec<_> = verdict.assignments.iter().map(|a| a.service).collect();
        let mut services = services.to_vec();
        // Another test checks the order.
        names.sort_unstable();
        services.sort_unstable();
        assert_eq!(names, services, "{target}");
        assert_eq!(
            verdict.range,
            RegistryRange::of(target.split_once('/').unwrap().1.parse().unwrap()),
            "{target}"
        );
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn live_registrations_come_first() {
    let udp = verdict("udp/1701");
    assert_eq!(udp.assignments[0].service, "l2tp");
    assert_eq!(udp.assignments[1].status, Status::Orphaned);
    // Debian's services file names this registration too, but the curated list of orphaned registrations overrides the
    // file.
    assert!(udp.assignments[1].named_by.contains(&EvidenceSource::Netbase));
    assert_eq!(udp.known_use, ["L2TP (xl2tpd, strongSwan setups)"]);
}

#[test]
fn known_uses_are_reported_with_every_status() {
    assert_eq!(verdict("udp/51820").known_use, ["WireGuard"]);
    assert_eq!(verdict("tcp/51820").known_use, [""; 0]);
    // Two orphaned registrations of the port have the same text, which is shown once.
    assert_eq!(verdict("tcp/42").known_use, ["Windows WINS replication"]);
    // The known use and the row of the orphaned registration have the same text, which is shown once.
    let same = verdict("tcp/3000").known_use;
    assert_eq!(same.len(), 1, "{same:?}");
}

#[test]
fn remarks() {
    for (target, remark) in [
        ("tcp/57", Some("any private terminal access")),
        ("tcp/15", Some("Unassigned [was netstat]")),
        ("sctp/2682", Some("Removed")),
        ("tcp/2", Some("registered as compressnet until after 2024-06-12")),
        ("tcp/0", None),
        ("tcp/49151", None),
        ("tcp/796", Some("Unauthorized Use Known on port 796")),
        ("tcp/790", None),
        ("udp/11434", None),
        ("tcp/11434", None),
        ("udp/11488", Some("Known UNAUTHORIZED USE: port 11488")),
        ("udp/11435", None),
        ("tcp/22", None),
    ] {
        assert_eq!(verdict(target).remark, remark, "{target}");
    }
}

#[test]
fn newer_names_replace_older_ones() {
    let renamed = registration(&verdict("tcp/1980"), "panquest-xact");
    assert_eq!(renamed.description, Some("PanQuest XACT"));
    assert_eq!((renamed.assignee, renamed.registered, renamed.modified), (None, None, None));
    assert_eq!(renamed.notes, Some("formerly pearldoc-xact (2024-06-12)"));
    assert_eq!(renamed.basis, StatusBasis::Obscure);
}

#[test]
fn an_alias_shares_the_fate_of_its_original() {
    let mut aliases = 0;
    let registry = Registry::embedded();
    for row in body(REGISTRY).filter_map(RegistryRow::parse) {
        let Some(target) = row.alias_of() else { continue };
        for protocol in row.protocols() {
            let verdict = registry.verdict(row.ports.low, protocol);
            let (alias, original) =
                (registration(&verdict, row.service.unwrap()), registration(&verdict, target));
            assert_eq!(
                (alias.status, alias.curated, alias.named_by),
                (original.status, original.curated, original.named_by),
                "{row:?}"
            );
            aliases += 1;
        }
    }
    assert!(aliases > 100, "{aliases}");
    let dead = verdict("tcp/4187");
    assert_eq!(dead.assignments.len(), 2);
}

#[test]
fn udplite_is_judged_by_udp() {
    for port in [53, 80, 1701, 3000, 51820, 4] {
        let registry = Registry::embedded();
        let (lite, udp) = (registry.verdict(port, Protocol::Udplite), registry.verdict(port, Protocol::Udp));
        assert_eq!(lite, udp);
    }
}

#[test]
fn names_are_found() {
    let registry = Registry::embedded();
    let port = PortRange::single;
    use Protocol::*;
    assert_eq!(registry.named("SSH"), [(port(22), Tcp), (port(22), Udp), (port(22), Sctp)]);
    let x11 = PortRange::new(6000, 6063).unwrap();
    assert_eq!(registry.named("x11"), [(x11, Tcp), (x11, Udp)]);
    for (name, is) in
        [("ssh", true), ("Ssh", true), ("x11", true), ("nginx", false), ("ss", false), ("", false)]
    {
        assert_eq!(registry.is_service(name), is, "{name:?}");
        assert_eq!(registry.named(name).is_empty(), !is, "{name:?}");
    }
    for (port, protocols) in
        [(22, &[Tcp, Udp, Sctp][..]), (9, &[Tcp, Udp, Sctp, Dccp]), (0, &[]), (51, &[]), (6063, &[Tcp, Udp])]
    {
        assert_eq!(registry.protocols(port), protocols, "{port}");
    }
}

/// The search finds the same names and kinds as a scan of the whole text.
#[test]
fn the_search_agrees_with_a_scan() {
    let mut scanned: BTreeMap<(u16, &str), Vec<&str>> = BTreeMap::new();
    for line in body(REGISTRY) {
        let fields: Vec<_> = line.split('\t').collect();
        let (low, high) = fields[0].split_once('-').unwrap_or((fields[0], fields[0]));
        for port in low.parse::<u16>().unwrap()..=high.parse().unwrap() {
            for protocol in fields[1].split(',').filter(|_| !fields[2].is_empty()) {
                scanned.entry((port, protocol)).or_default().push(fields[2]);
            }
        }
    }
    let registry = Registry::embedded();
    let mut found = 0;
    for port in 0..=u16::MAX {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Dccp] {
            // The search treats all ports without a registration alike. So checking one in sixteen of them is enough.
            if port % 16 > 0 && !scanned.contains_key(&(port, protocol.name())) {
                continue;
            }
            let verdict = registry.verdict(port, protocol);
            let mut names: Vec<_> = verdict.assignments.iter().map(|a| a.service).collect();
            let mut expected = scanned.get(&(port, protocol.name())).cloned().unwrap_or_default();
            names.sort_unstable();
            expected.sort_unstable();
            assert_eq!(names, expected, "{port}/{protocol}");
            // A known use changes the status of a port only if the port is registered.
            let is_of_unnamed = matches!(verdict.status, Status::Dynamic | Status::Unassigned);
            assert!(is_of_unnamed == names.is_empty() || port >= 49152, "{port}/{protocol}");
            found += names.len();
        }
    }
    assert_eq!(found, scanned.values().map(Vec::len).sum::<usize>());
}

/// The generator decides in `same_service.rs` whether a source names the registered service.
#[test]
fn evidence_names_the_registered_service() {
    use EvidenceSource::*;
    for (target, service, named_by, named_otherwise_by) in [
        ("tcp/22", "ssh", &[Curated, Netbase, Tshark, Selinux, Firewalld, Ndpi, Ufw][..], &[][..]),
        ("tcp/8443", "pcsync-https", &[], &[Selinux, Firewalld]),
        ("tcp/33060", "mysqlx", &[Curated], &[]),
        ("tcp/3306", "mysql", &[Curated, Netbase, Tshark, Firewalld, Ndpi], &[Selinux]),
        ("tcp/5900", "rfb", &[Curated, Tshark, Selinux, Firewalld, Ndpi, Ufw], &[]),
    ] {
        let verdict = verdict(target);
        let found = registration(&verdict, service).named_by;
        assert!(named_by.iter().all(|kind| found.contains(kind)), "{target} {service}: {found:?}");
        assert_eq!(found.is_empty(), named_by.is_empty(), "{target} {service}: {found:?}");
        assert!(
            named_otherwise_by.iter().all(|kind| verdict.named_otherwise_by.contains(kind)),
            "{target}: {verdict:?}"
        );
    }
}

/// Two kinds of source agree on another name, and no kind uses the registered name.
#[test]
fn evidence_of_another_use_is_repurposed() {
    for (target, status, agreeing) in [
        ("tcp/2601", Status::Repurposed, 2), // Zebra, where discp-client is registered
        ("tcp/9050", Status::Repurposed, 2), // Tor
        ("tcp/750", Status::Repurposed, 2),  // Kerberos IV, where rfile is registered
        // Nothing is registered, so no name can differ from the registered name.
        ("tcp/24800", Status::Unassigned, 2),
        ("tcp/22", Status::Active, 0),
    ] {
        let verdict = verdict(target);
        assert_eq!((verdict.status, verdict.agreeing.len()), (status, agreeing), "{target}: {verdict:?}");
    }
}
