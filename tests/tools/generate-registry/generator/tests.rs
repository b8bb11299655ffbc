//! The output of the generator for small sources.

use super::*;

const HEADER: &str = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration \
    Date,Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n";

/// Returns the lines made from these sources, without the header and without trailing tabs.
fn made(csv: &str, names: Option<&str>) -> Vec<String> {
    let csv = format!("{HEADER}{csv}");
    fn source<'a>(date: &'a str, text: &'a str) -> Source<'a> {
        Source { label: "a source 1.0", date, bytes: text.as_bytes() }
    }
    let (iana, names) = (source("2024-06-12", &csv), names.map(|text| source("2026-09-17", text)));
    let text = generate_from(&iana, names.as_ref(), &[]).unwrap().registry;
    text.lines().skip(6).filter(|l| !l.starts_with('#')).map(|l| l.trim_end().to_owned()).collect()
}

#[test]
fn identical_protocols_share_a_line() {
    let csv = "a,7,tcp,A,[X],,,,,,,\na,7,udp,A,[X],,,,,,,\na,7,sctp,other,[X],,,,,,,\nb,3,tcp,,,,,,,,,\n\
               ,9,,Unassigned,,,,,,,,\n,10,udp,Removed,,,,,,,,\nx,5-6,udp,,,,,,,,,\n";
    let rest = ["7\tsctp\ta\tother\tX", "10\tudp\t\tUnassigned\t\t\t\t\t\tRemoved", "5-6\tudp\tx"];
    let lines = made(csv, None);
    assert_eq!(lines, ["3\ttcp\tb", "7\ttcp,udp\ta\tA\tX", rest[0], rest[1], rest[2]]);
}

#[test]
fn evidence_is_of_registrations_or_otherwise() {
    let csv = format!(
        "{HEADER}ssh,22,tcp,,,,,,,,,\nssh,22,udp,,,,,,,,,\nx11,6000-6003,tcp,,,,,,,,,\nrfile,750,tcp,,,,,,,,,\n"
    );
    let source = |kind: EvidenceSource, text: &str| {
        let files = vec![("f".to_owned(), text.as_bytes().to_vec())];
        (format!("{} 1 (2020)", kind.name()), Packaged { kind, files })
    };
    let iana = Source { label: "a 1", date: "2024-06-12", bytes: csv.as_bytes() };
    let made = generate_from(
        &iana,
        None,
        &[
            source(
                EvidenceSource::Netbase,
                "ssh 22/tcp\nx11 6001/tcp\nkerberos4 750/tcp\nodd 9/udp\nmine 22/sctp\n",
            ),
            source(
                EvidenceSource::Selinux,
                "network_port(kerberos, tcp,750,s0)\nnetwork_port(ssh, tcp,22,s0, udp,22,s0)\n",
            ),
            source(EvidenceSource::Ufw, "[Other]\nports=750/tcp\n"),
        ],
    )
    .unwrap();
    let lines: Vec<_> = made.evidence.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            "9\tudp\t\tnetbase\t",
            "22\tsctp\t\tnetbase\t",
            "22\ttcp\tssh\tnetbase,selinux\t",
            "22\tudp\tssh\tselinux\t",
            "750\ttcp\t\tnetbase,selinux,ufw\tnetbase,selinux",
            "6000-6003\ttcp\tx11\tnetbase\t",
        ]
    );
    assert!(made.evidence.contains("# made from: netbase 1 (2020), selinux 1 (2020), ufw 1 (2020)\n"));
    assert_eq!(made.registry, generate_from(&iana, None, &[]).unwrap().registry);
}

#[test]
fn newer_names_decide() {
    let since = "2024-06-12..2026-09-17";
    for (name, csv, names, lines) in [
        (
            "stands",
            "a,1,tcp,A,[X],,2001,,,,,",
            r#"{"1/tcp": ["a", "A"]}"#,
            vec!["1\ttcp\ta\tA\tX\t2001".into()],
        ),
        (
            "a new description",
            "a,1,tcp,A,[X],,,,,,,",
            r#"{"1/tcp": ["a", "B"]}"#,
            vec!["1\ttcp\ta\tB\tX".into()],
        ),
        (
            "renamed",
            "a,1,tcp,A,[X],,2001,,[RFC1],,,",
            r#"{"1/tcp": ["b", "B"]}"#,
            vec![format!("1\ttcp\tb\tB\t\t\t\t\t{since}\tformerly a (2024-06-12)")],
        ),
        (
            "lost",
            "a,1,tcp,A,[X],,2001,,,,,",
            r#"{"1/tcp": ["", "Reserved"]}"#,
            vec![format!("1\ttcp\t\tReserved\t\t\t\t\t{since}\tregistered as a until after 2024-06-12")],
        ),
        (
            "one of several",
            "a,1,tcp,A,,,,,,,,\nb,1,tcp,B,[Y],,,,,,,",
            r#"{"1/tcp": ["b", "B"]}"#,
            vec!["1\ttcp\ta\tA".into(), "1\ttcp\tb\tB\tY".into()],
        ),
        (
            "new, next to an unassigned range",
            ",1-9,,Unassigned,,,,,,,,",
            r#"{"1/tcp": ["a", "A"], "1/udp": ["", "Reserved"]}"#,
            vec![
                format!("1\ttcp\ta\tA\t\t\t\t\t{since}\tnamed between 2024-06-12 and 2026-09-17"),
                format!("1\tudp\t\tReserved\t\t\t\t\t{since}"),
            ],
        ),
        (
            "named since",
            ",1,udp,Reserved,,,,,,,,",
            r#"{"1/udp": ["a", "A"]}"#,
            vec![format!("1\tudp\ta\tA\t\t\t\t\t{since}\tnamed between 2024-06-12 and 2026-09-17")],
        ),
        (
            "still unnamed",
            ",1,udp,Reserved,,,,2003,,,,",
            r#"{"1/udp": ["", "Reserved"]}"#,
            vec!["1\tudp\t\tReserved\t\t\t2003".into()],
        ),
        ("not mentioned", "a,1,,A,[X],,,,,,,", "{}", vec!["1\ttcp,udp\ta\tA\tX".into()]),
    ] {
        let lines: Vec<String> = lines;
        assert_eq!(made(csv, Some(names)), lines, "{name}");
    }
}

#[test]
fn committed_files_name_their_packages() {
    let (registry, evidence) = (
        include_str!("../../../../src/registry/data/registry.tsv"),
        include_str!("../../../../src/registry/data/evidence.tsv"),
    );
    let header = |text: &'static str| text.lines().find(|line| line.starts_with(MADE_FROM)).unwrap();
    for role in ["iana", "names"] {
        assert!(header(registry).contains(&Package::of(role).unwrap().dated()), "{role}");
    }
    for kind in EvidenceSource::PACKAGED {
        assert!(header(evidence).contains(&Package::of(kind.name()).unwrap().dated()), "{kind:?}");
    }
    assert!(Package::of("nothing").is_err());
}
