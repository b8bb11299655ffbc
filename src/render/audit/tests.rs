use serde_json::Value;
use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::findings::policy::Missing;
use crate::findings::{Finding, Flag};
use crate::judge::Report;
use crate::judge::audit::AppliedPolicy;
use crate::model::{Gap, Protocol, Snapshot, Stage};
use crate::render::Style;
use crate::render::fixtures::{HOSTILE, assert_snapshot, empty, gap, report, scene, socket, text};

/// Returns an audit with a policy. A rule with a hostile name requires a listener that is missing, and the policy has a
/// gap.
fn with_missing<'r>(report: &'r Report) -> Audit<'r> {
    let mut audit = Audit::of(report);
    audit.findings.push(AuditFinding {
        subject: Subject::NoListener { protocol: Some(Protocol::Tcp), address: None, port: Some(443) },
        finding: Finding {
            severity: Severity::Warning,
            is_owner_hidden: false,
            evidence: Missing {
                rule: HOSTILE.into(),
                wanted: "tcp/443".into(),
                reason: Some("customers".into()),
                owner: None,
                further: None,
            }
            .into(),
        },
        rule: Some(HOSTILE.into()),
    });
    audit.gaps.push(gap(Stage::Sockets, "ports that could not be tried", Some(3)));
    audit.sort();
    audit
}

fn table(audit: &Audit<'_>, fail_on: Severity, width: Option<u16>) -> String {
    let style = Style { width, color: false, ..Style::default() };
    text(|w| table::document(audit, fail_on, &style, w))
}

#[test]
fn table_for_people() {
    let snapshot = scene();
    let report = report(&snapshot);
    assert_snapshot(
        table(&with_missing(&report), Severity::Warning, Some(80)),
        str![[r#"
Audit of box (linux 6.18.0), 2026-11-21 12:00:00 UTC
Findings: 2 warnings. Also: 1 notice, 3 info. Not everything could be seen (2
gaps), so there may be more findings.
Registry of DATE.
Not seen: 3 ports that could not be tried: permission denied (run as root)
Not seen: 12 processes (pid 4000025): permission denied (run as root)
Note: 2 other network namespaces

Reachable from other machines: 5 of 8 listeners
  tcp 0.0.0.0:3416: python3 -m serve, user root (warning: see below)
  udp [::]:4913: unknown service (program hidden), user 65534
  tcp 0.0.0.0:8000: nginx ×4, ?, user root
  udp 0.0.0.0:51820: (kernel), user root
  tcp [fe80::1%eth0]:22: (unknown)

WARNING
  orphaned (presumed): no service registered for this port is in use any more
    python3 -m serve, user root, /usr/bin/python3
      tcp 0.0.0.0:3416 (pid 812)
        commandport was registered for AirMobile IS, presumed discontinued.
        Command port of AirMobile IS, a product of about 2002 that nobody offers
        today. Rarely used by: Grin nodes (stratum for miners).
    Why  The registered software no longer exists. The listener is a leftover,
         or another program uses the port.
    Do   find out what the program is; if the program is intended, allow it in
         the policy

  missing: a listener that the policy requires is missing
    nothing listens there
      tcp, any address, port 443
        Policy rule \x1b[2J\x0aevil\u{202e} requires tcp/443, but no listener
        matches the rule. Reason: customers.
    Why  Clients that depend on the service cannot connect.
    Do   start the service, or remove the rule from the policy

NOTICE
  shared: processes that share one port differ in user or program file
    \x1b[2J\x0aevil\u{202e}, \x28kernel), user \x1b[2J\x0aevil\u{202e}, unit
    evil\u{9b}.service, /usr/bin/\x1b[2J\x0aevil\u{202e}
      tcp 127.0.0.1:8003 (pids 1000,1001)
        The processes of this socket differ in executable:
        \x1b[2J\x0aevil\u{202e} (user \x1b[2J\x0aevil\u{202e},
        /usr/bin/\x1b[2J\x0aevil\u{202e}, pid 1000) and (kernel) (user
        \x1b[2J\x0aevil\u{202e}, /usr/bin/(kernel), pid 1001).
    Why  Any of the processes can accept a connection, and the port stays taken
         until the last process ends.
    Do   end the process that should not share the port, or prevent it from
         inheriting the socket (close-on-exec)

For information: 1 ephemeral, 2 unexplained. Use --fail-on info or -o json to
                 list them.

Findings: 2 warnings. Also: 1 notice, 3 info. Not everything could be seen (2
gaps), so there may be more findings.

"#]],
    );
}

#[test]
fn table_fits_any_terminal() {
    let snapshot = scene();
    let report = report(&snapshot);
    let audit = with_missing(&report);
    for width in 60..=200 {
        let printed = table(&audit, Severity::Info, Some(width));
        for line in printed.lines() {
            assert!(line.width() <= usize::from(width), "{width}: {line}");
        }
        assert!(!printed.contains(['\u{1b}', '\u{202e}']), "{printed}");
        // A narrow terminal still shows the flag, the place and the text of each finding.
        for part in ["unexplained", "8003", "orphaned", "Command port of"] {
            let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(printed.contains(part), "{width}: {part}\n{printed}");
        }
    }
    assert!(!table(&audit, Severity::Warning, None).contains("For information: 0"));
}

/// Returns a snapshot with the same flag on many sockets of one program.
fn many(count: u16) -> Snapshot {
    let sockets = (0..count).map(|n| socket(&format!("tcp/127.0.0.1:{}", 10322 + n), Owner::Vanished));
    Snapshot { sockets: sockets.collect(), ..empty() }
}

#[test]
fn one_program_is_reported_once_with_its_places() {
    let snapshot = many(40);
    let report = report(&snapshot);
    let audit = Audit::of(&report);
    let printed = table(&audit, Severity::Info, Some(80));
    assert_eq!(printed.matches("(vanished), user root").count(), 1, "{printed}");
    assert_eq!(printed.matches("Nothing is registered").count(), 1, "{printed}");
    assert!(printed.contains("tcp 127.0.0.1:10333 and 28 more"), "{printed}");
    assert!(!printed.contains("127.0.0.1:10334"), "{printed}");
    // A file or a pipe gets all places.
    let kept = table(&audit, Severity::Info, None);
    assert!(kept.contains("127.0.0.1:10334") && kept.contains("127.0.0.1:10361"), "{kept}");
    assert_eq!(printed.lines().nth(1), Some("Findings: 40 info."));
}

#[test]
fn verdicts_in_words() {
    let whole = many(2);
    let partial = Snapshot { gaps: vec![gap(Stage::Owners, "processes", Some(1))], ..many(2) };
    let (whole, partial) = (report(&whole), report(&partial));
    let rows = [
        (&whole, Severity::Warning, AuditVerdict::Clear),
        (&partial, Severity::Critical, AuditVerdict::Incomplete),
        (&whole, Severity::Info, AuditVerdict::Findings),
        (&partial, Severity::Info, AuditVerdict::Findings),
    ];
    let lines = rows.map(|(report, fail_on, outcome)| {
        let audit = Audit::of(report);
        assert_eq!(audit.outcome(fail_on), outcome);
        verdict(&audit, fail_on)
    });
    assert_snapshot(
        lines.join("\n"),
        str![[r#"
Clear: 2 listeners judged, no finding at warning or above, and everything could be seen. Also: 2 info.
Incomplete: no finding at critical, but not everything could be seen (1 gap). This is not an all-clear. Also: 2 info.
Findings: 2 info.
Findings: 2 info. Not everything could be seen (1 gap), so there may be more findings.
"#]],
    );
    // The gap of the policy counts too, and a narrowed audit names its filters.
    let mut audit = Audit::of(&whole);
    audit.gaps.push(gap(Stage::Sockets, "ports", None));
    audit.narrow("tcp/10323 \u{1b}".into(), |subject| subject.port() == Some(10323));
    assert_eq!(audit.outcome(Severity::Warning), AuditVerdict::Incomplete);
    assert_snapshot(
        verdict(&audit, Severity::Warning),
        str![[
            r#"Incomplete: no finding at warning or above, but not everything could be seen (1 gap). This is not an all-clear. Also: 1 info. Showing 1 of 2 listeners (filter: tcp/10323 \x1b)."#
        ]],
    );
}

#[test]
fn a_connection_is_not_a_listener() {
    let mut snapshot = many(2);
    snapshot.sockets[1].state = crate::model::State::Established;
    let report = report(&snapshot);
    let audit = Audit::of(&report);
    assert_eq!(audit.listeners.len(), 1);
    assert!(table(&audit, Severity::Warning, None).contains("1 listener judged,"));
}

#[test]
fn json_holds_the_listing_and_the_findings() {
    let snapshot = scene();
    let report = report(&snapshot);
    let audit = with_missing(&report);
    let document = text(|w| json::document(&audit, Severity::Warning, w));
    let document: Value = serde_json::from_str(&document).unwrap();
    // An audit has the same content as a listing, except that it adds gaps of its own.
    let listing: Value = serde_json::from_str(&text(|w| crate::render::json::listing(&report, w))).unwrap();
    for key in ["schema", "taken", "host", "complete", "notes", "namespaces", "registry", "listeners"] {
        assert_eq!(document[key], listing[key], "{key}");
    }
    assert_eq!(document["gaps"].as_array().unwrap().len(), 2);
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(findings.len(), audit.findings.len());
    let orphaned = &findings[0];
    let of_listing = listing["listeners"].as_array().unwrap().iter().find(|l| l["port"] == 3416).unwrap();
    let flag =
        of_listing["flags"].as_array().unwrap().iter().find(|flag| flag["code"] == "orphaned").unwrap();
    for key in ["code", "severity", "evidence", "text"] {
        assert_eq!(orphaned[key], flag[key], "{key}");
    }
    assert_snapshot(
        format!("{orphaned:#}"),
        str![[r#"
{
  "address": "0.0.0.0",
  "code": "orphaned",
  "device": null,
  "evidence": {
    "rarely_used_by": [
      "Grin nodes (stratum for miners)"
    ],
    "registrations": [
      {
        "basis": "registered in February 2002 with a contact at a misspelt domain of Motorola, which offers no AirMobile today; no package or maker's page knows such a product",
        "confidence": "presumed",
        "ended": null,
        "product": "AirMobile IS",
        "reason": "Command port of AirMobile IS, a product of about 2002 that nobody offers today.",
        "service": "commandport",
        "source": null
      }
    ]
  },
  "exposure": "any",
  "identity": "[\"orphaned\",\"tcp\",\"0.0.0.0\",3416,null,null,[[\"/usr/bin/python3\",\"-m serve\"]],\"0\"]",
  "netns": null,
  "owner": "held",
  "port": 3416,
  "processes": [
    {
      "exe": "/usr/bin/python3",
      "name": "python3",
      "pid": 812,
      "user": "root"
    }
  ],
  "protocol": "tcp",
  "remedy": "find out what the program is; if the program is intended, allow it in the policy",
  "rule": null,
  "severity": "warning",
  "text": "commandport was registered for AirMobile IS, presumed discontinued. Command port of AirMobile IS, a product of about 2002 that nobody offers today. Rarely used by: Grin nodes (stratum for miners).",
  "why": "The registered software no longer exists. The listener is a leftover, or another program uses the port."
}
"#]],
    );
    let missing = findings.iter().find(|found| found["code"] == "missing").unwrap();
    assert_eq!((&missing["rule"], &missing["port"]), (&HOSTILE.into(), &443.into()));
}

#[test]
fn ndjson_has_one_line_per_finding_and_the_verdict_last() {
    let snapshot = scene();
    let report = report(&snapshot);
    let audit = with_missing(&report);
    let lines = text(|w| json::lines(&audit, Severity::Warning, w));
    let document: Value =
        serde_json::from_str(&text(|w| json::document(&audit, Severity::Warning, w))).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (host, last) = (lines.remove(0), lines.pop().unwrap());
    for key in ["schema", "host", "taken", "complete", "gaps", "registry", "tool", "policy"] {
        assert_eq!(host[key], document[key], "{key}");
    }
    assert_eq!(host["counts"], serde_json::json!({"listeners": 8, "findings": lines.len()}));
    for (mut line, found) in lines.into_iter().zip(document["findings"].as_array().unwrap()) {
        let stamp = line.as_object_mut().unwrap();
        assert_eq!(stamp.remove("kind"), Some("finding".into()));
        assert_eq!(stamp.remove("host_id"), Some(document["host"]["id"].clone()));
        for added in ["taken", "host", "complete"] {
            assert_eq!(
                line.as_object_mut().unwrap().remove(added).as_ref(),
                Some(&document[added]),
                "{added}"
            );
        }
        assert_eq!(line, *found);
    }
    assert_eq!(last["kind"], "verdict");
    for key in ["verdict", "complete", "host", "taken", "fail_on"] {
        assert_eq!(last[key], document[key], "{key}");
    }
    assert_eq!((&last["findings"], &last["listeners"]), (&audit.findings.len().into(), &8.into()));
}

#[test]
fn sarif_has_rules_results_and_gaps() {
    let snapshot = scene();
    let report = report(&snapshot);
    let audit = with_missing(&report);
    let log: Value = serde_json::from_str(&text(|w| sarif::document(&audit, Severity::Warning, w))).unwrap();
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!((rules.len(), results.len()), (Flag::all().count(), audit.findings.len()));
    for (result, found) in results.iter().zip(&audit.findings) {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(result["ruleId"], found.finding.flag().code());
        let level = match found.finding.severity {
            Severity::Critical => "error",
            Severity::Warning => "warning",
            _ => "note",
        };
        assert_eq!(result["level"], level);
        assert!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].is_string());
    }
    assert_eq!(
        results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "listeners/tcp/3416"
    );
    assert_eq!(results[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "tcp 0.0.0.0:3416");
    let invocation = &run["invocations"][0];
    assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&false.into(), &1.into()));
    let notifications = invocation["toolExecutionNotifications"].as_array().unwrap();
    assert_eq!(notifications.len(), 2);
    assert!(notifications.iter().all(|notification| notification["level"] == "error"));
    let whole = many(1);
    let whole = crate::render::fixtures::report(&whole);
    let log = text(|w| sarif::document(&Audit::of(&whole), Severity::Warning, w));
    let log: Value = serde_json::from_str(&log).unwrap();
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&true.into(), &0.into()));
    assert_eq!(invocation["toolExecutionNotifications"], Value::Array(vec![]));
}

fn identities(snapshot: &Snapshot) -> Vec<String> {
    let report = report(snapshot);
    Audit::of(&report).findings.iter().map(identity).collect()
}

#[test]
fn a_finding_is_known_again_after_a_restart_and_not_mistaken() {
    let before = scene();
    let mut restarted = before.clone();
    for process in &mut restarted.processes {
        process.pid += 10_000;
        process.started = None;
    }
    for socket in &mut restarted.sockets {
        socket.inode = socket.inode.and_then(|inode| inode.checked_add(1));
        socket.cookie = 5.try_into().ok();
        if let Owner::Held(pids) = &socket.owner {
            let pids: Vec<_> = pids.iter().map(|pid| pid + 10_000).collect();
            socket.owner = Owner::Held(pids.to_vec().into());
        }
    }
    assert_eq!(identities(&before), identities(&restarted));
    let all = identities(&before);
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:#?}");
    // Another program, user, address or port gives another fingerprint.
    let changed = |change: &dyn Fn(&mut Snapshot)| {
        let mut after = scene();
        change(&mut after);
        assert_ne!(identities(&after), all);
    };
    changed(&|o| o.processes.iter_mut().find(|p| p.pid == 812).unwrap().exe.as_mut().unwrap().path.push('x'));
    changed(&|o| std::sync::Arc::make_mut(&mut o.sockets[0].attributes).uid = Some(33));
    changed(&|o| o.sockets[0].local.port = 3414);
    changed(&|o| o.sockets[0].local.address = [10, 0, 0, 1].into());
    changed(&|o| o.sockets[0].local.device = Some("lo".into()));
}

#[test]
fn metrics_have_every_series_and_no_name_of_the_machine() {
    let (snapshot, nothing) = (scene(), empty());
    let (report, nothing) = (report(&snapshot), report(&nothing));
    let mut audit = with_missing(&report);
    audit.policy = Some(AppliedPolicy {
        name: "policy.toml".to_owned(),
        sha256: "00".repeat(32),
        changed: Some("2026-11-20T00:00:00Z".parse().unwrap()),
        skipped_rules: Vec::new(),
    });
    let printed = text(|w| metrics::document(&audit, Severity::Warning, w));
    let none = text(|w| metrics::document(&Audit::of(&nothing), Severity::Warning, w));
    let series = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    // Only the series about the policy and about completeness differ.
    let mut expected = series(&none.replace("complete=\"true\"", "complete=\"false\""));
    let sum = "00".repeat(32);
    expected.push(format!("portolan_policy_info{{name=\"policy.toml\",sha256=\"{sum}\"}}"));
    expected.push("portolan_policy_timestamp_seconds".to_owned());
    assert_eq!(series(&printed), expected);
    assert!(expected.len() <= 120, "{} series: {expected:#?}", expected.len());
    // The registry's date changes with its data.
    let lines = printed.lines().filter(|line| {
        !line.starts_with('#') && !line.ends_with(" 0") && !line.starts_with("portolan_registry_timestamp")
    });
    assert_snapshot(
        lines.collect::<Vec<_>>().join("\n"),
        str![[r#"
portolan_build_info{version="0.1.0"} 1
portolan_last_run_timestamp_seconds 1795262400
portolan_host_info{scope="unknown",complete="false"} 1
portolan_gaps 2
portolan_verdict{verdict="findings"} 1
portolan_listeners{exposure="any",status="repurposed"} 1
portolan_listeners{exposure="any",status="orphaned"} 1
portolan_listeners{exposure="any",status="unassigned"} 1
portolan_listeners{exposure="any",status="dynamic"} 1
portolan_listeners{exposure="link-local",status="active"} 1
portolan_listeners{exposure="loopback",status="active"} 1
portolan_listeners{exposure="loopback",status="dormant"} 1
portolan_listeners{exposure="loopback",status="dynamic"} 1
portolan_findings{code="orphaned",severity="warning"} 1
portolan_findings{code="ephemeral",severity="info"} 1
portolan_findings{code="unexplained",severity="info"} 2
portolan_findings{code="shared",severity="notice"} 1
portolan_findings{code="missing",severity="warning"} 1
portolan_policy_info{name="policy.toml",sha256="0000000000000000000000000000000000000000000000000000000000000000"} 1
portolan_policy_timestamp_seconds 1795132800
"#]],
    );
    let counted: i64 = printed
        .lines()
        .filter(|line| line.starts_with("portolan_listeners{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap())
        .sum();
    assert_eq!(counted, 8, "every listener is counted once");
    for name in ["python3", "evil", "box", "3416", "root"] {
        assert!(!printed.contains(name), "{name}");
    }
}

#[test]
fn the_list_of_rules_comes_from_the_flags() {
    let printed = text(|w| rules::text(&Style { width: Some(80), color: false, ..Style::default() }, w));
    let document: Value = serde_json::from_str(&text(rules::document)).unwrap();
    let listed = document["rules"].as_array().unwrap();
    assert_eq!(listed.len(), Flag::all().count());
    for (rule, flag) in listed.iter().zip(Flag::all()) {
        assert_eq!(rule["code"], flag.code());
        assert_eq!((&rule["why"], &rule["remedy"]), (&flag.why().into(), &flag.remedy().into()));
        assert!(printed.lines().any(|line| line == flag.code()), "{flag:?}");
    }
}

#[test]
fn every_output_shows_every_gap() {
    let snapshot = Snapshot {
        gaps: vec![Gap { what: "a thing unseen".into(), ..gap(Stage::Owners, "", None) }],
        ..empty()
    };
    let report = report(&snapshot);
    let audit = Audit::of(&report);
    assert!(table(&audit, Severity::Warning, None).contains("a thing unseen"));
    for printed in [
        text(|w| json::document(&audit, Severity::Warning, w)),
        text(|w| json::lines(&audit, Severity::Warning, w)),
        text(|w| sarif::document(&audit, Severity::Warning, w)),
    ] {
        assert!(printed.contains("a thing unseen") && printed.contains("incomplete"), "{printed}");
    }
    let metrics = text(|w| metrics::document(&audit, Severity::Warning, w));
    assert!(metrics.contains("\nportolan_complete 0\n") && metrics.contains("{verdict=\"incomplete\"} 1\n"));
}

#[test]
fn twins_are_one_place() {
    let places =
        ["tcp 0.0.0.0:80", "udp [::]:53", "tcp [::]:80", "tcp 0.0.0.0:81 (pid 7)", "tcp [::]:81 (pid 8)"];
    let merged = merged_places(&places.map(str::to_owned));
    assert_eq!(merged, ["tcp *:80", "udp [::]:53", "tcp 0.0.0.0:81 (pid 7)", "tcp [::]:81 (pid 8)"]);
}
