use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::findings::policy::Missing;
use crate::findings::registry::{Ephemeral, Orphaned, OtherProtocol, Unassigned};
use crate::findings::{Finding, FindingKind, Flag};
use crate::judge::Report;
use crate::model::{Gap, Protocol, Snapshot, Stage};
use crate::render::Style;
use crate::render::fixtures::{HOSTILE, empty, gap, report, scene, socket, text};

/// What a policy adds: something missing, by a rule with a hostile name, and a gap of its own.
fn with_missing<'r>(report: &'r Report) -> Audit<'r> {
    let mut audit = Audit::of(report);
    audit.findings.push(AuditFinding {
        subject: Subject::Place { protocol: Some(Protocol::Tcp), address: None, port: Some(443) },
        finding: Finding {
            severity: Severity::Warning,
            evidence: Missing {
                rule: HOSTILE.into(),
                wanted: "tcp/443".into(),
                reason: Some("customers".into()),
                owner: None,
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
    let style = Style { width, color: false };
    text(|w| table::document(audit, fail_on, &style, w))
}

#[test]
fn table_for_people() {
    let observation = scene();
    let report = report(&observation);
    let told = table(&with_missing(&report), Severity::Warning, Some(80));
    // Why it matters and what to do are the flag's own words, which are not this test's business.
    let mut lines: Vec<&str> = Vec::new();
    for line in told.lines() {
        match line.get(..9) {
            Some("    Why  ") => lines.push("    Why"),
            Some("    Do   ") => lines.push("    Do"),
            Some("         ") => {}
            _ => lines.push(line),
        }
    }
    for flag in [Orphaned::FLAG, Missing::FLAG, Unassigned::FLAG, OtherProtocol::FLAG, Ephemeral::FLAG] {
        let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("Why {} Do {}", flag.why(), flag.remedy())), "{flag:?}: {words}");
    }
    let registry = report.registry.date();
    assert_eq!(
        (lines.join("\n") + "\n").replace(registry, "DATE"),
        "\
Audit of box (linux 6.18.0), 2026-11-21 12:00:00 UTC
Looked at: 8 listeners, 5 of them reachable from beyond this machine; not
everything could be seen. Registry of DATE.
Not seen: 3 ports that could not be tried: permission denied (run as root)
Not seen: 12 processes: permission denied (run as root)
Note: 2 other network namespaces

WARNING
  orphaned (presumed): every service registered for this port is dead
    python3, user root, /usr/bin/python3
      tcp 0.0.0.0:3416 (pid 812)
        commandport was registered for AirMobile IS (apparently Motorola),
        presumed dead: Command port of AirMobile IS, apparently Motorola
        wireless middleware of which nothing is on offer today. Presumed: no
        trace of the product in packages.
    Why
    Do

  missing: the policy promises a listener that is not there
    nothing listens there
      tcp, any address, port 443
        The rule \\x1b[2J\\x0aevil\\u{202e} of the policy promises tcp/443, and
        nothing seen is that. Reason: customers.
    Why
    Do

NOTICE
  unassigned: nothing is registered for this port and protocol
    (hidden), user 65534
      udp [::]:3415
        Nothing is registered for this port and protocol.
    Why
    Do

  other-protocol: registered for the other of TCP and UDP only
    (hidden), user 65534
      udp [::]:3415
        The port is registered for tcp only: bcinameservice.
    Why
    Do

  ephemeral: a listener on a port that outgoing connections draw from
    (kernel), user root
      udp 0.0.0.0:51820
        The port lies in 32768-60999, which this kernel hands out to outgoing
        connections, and in IANA's dynamic range. A client waiting for an answer
        looks no different.
    (vanished), user root
      tcp 127.0.0.1:60417
        The port lies in 32768-60999, which this kernel hands out to outgoing
        connections, and in IANA's dynamic range. It is one the kernel itself
        picks for a program that asks for any port.
    Why
    Do

For information: 1 dormant, 1 kernel, 5 exposed. Told with --fail-on info, and
Findings: 2 warning. Below it: 4 notice, 7 info. Not everything could be seen (2
gaps): there may be more.
"
    );
}

#[test]
fn table_fits_any_terminal() {
    let observation = scene();
    let report = report(&observation);
    let audit = with_missing(&report);
    for width in 60..=200 {
        let told = table(&audit, Severity::Info, Some(width));
        for line in told.lines() {
            assert!(line.width() <= usize::from(width), "{width}: {line}");
        }
        assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told}");
        // Nothing is left out, however narrow: each finding has its flag, its place and its words.
        for part in ["dormant", "7777", "exposed", "Command port of"] {
            let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(told.contains(part), "{width}: {part}\n{told}");
        }
    }
    assert!(!table(&audit, Severity::Warning, None).contains("For information: 0"));
}

/// The same flag on many sockets of one program.
fn many(count: u16) -> Snapshot {
    let sockets =
        (0..count).map(|n| socket(&format!("tcp/127.0.0.1:{}", 2000 + n), crate::model::Owner::Vanished));
    Snapshot { sockets: sockets.collect(), ..empty() }
}

#[test]
fn one_program_is_told_once_with_its_places() {
    let observation = many(40);
    let report = report(&observation);
    let audit = Audit::of(&report);
    let told = table(&audit, Severity::Info, Some(80));
    assert_eq!(told.matches("(vanished), user root").count(), 1, "{told}");
    assert_eq!(told.matches("Nothing is registered").count(), 1, "{told}");
    assert!(told.contains("tcp 127.0.0.1:2011 and 28 more"), "{told}");
    assert!(!told.contains("127.0.0.1:2012"), "{told}");
    // A file or a pipe has all of them.
    let kept = table(&audit, Severity::Info, None);
    assert!(kept.contains("127.0.0.1:2012") && kept.contains("127.0.0.1:2039"), "{kept}");
    let line = told.lines().last().unwrap();
    assert_eq!(line, "Findings: 40 info.");
}

#[test]
fn verdicts_in_words() {
    let whole = many(2);
    let partial = Snapshot { gaps: vec![gap(Stage::Owners, "processes", Some(1))], ..many(2) };
    let (whole, partial) = (report(&whole), report(&partial));
    for (report, fail_on, outcome, said) in [
        (
            &whole,
            Severity::Warning,
            Outcome::Clear,
            "Clear: no finding at warning or above, and everything that was looked for could be seen. Below it: 2 info.",
        ),
        (
            &partial,
            Severity::Critical,
            Outcome::Incomplete,
            "Incomplete: no finding at critical, but not everything could be seen (1 gap): this is no all-clear. Below it: 2 info.",
        ),
        (&whole, Severity::Info, Outcome::Findings, "Findings: 2 info."),
        (
            &partial,
            Severity::Info,
            Outcome::Findings,
            "Findings: 2 info. Not everything could be seen (1 gap): there may be more.",
        ),
    ] {
        let audit = Audit::of(report);
        assert_eq!((audit.outcome(fail_on), verdict(&audit, fail_on).as_str()), (outcome, said));
    }
    // A gap of the audit's own is one too, and a narrowed audit says what it is of.
    let mut audit = Audit::of(&whole);
    audit.gaps.push(gap(Stage::Sockets, "ports", None));
    audit.narrow("tcp/2001 \u{1b}".into(), |subject| subject.port() == Some(2001));
    assert_eq!(audit.outcome(Severity::Warning), Outcome::Incomplete);
    let said = verdict(&audit, Severity::Warning);
    assert!(said.ends_with("Below it: 1 info. Told is only of 1 of 2 listeners: tcp/2001 \\x1b."), "{said}");
}

#[test]
fn a_connection_is_no_listener() {
    let mut observation = many(2);
    observation.sockets[1].state = crate::model::State::Established;
    let report = report(&observation);
    let audit = Audit::of(&report);
    assert_eq!(audit.listeners.len(), 1);
    assert!(table(&audit, Severity::Warning, None).contains("Looked at: 1 listener,"));
}

#[test]
fn json_holds_the_listing_and_the_findings() {
    let observation = scene();
    let report = report(&observation);
    let audit = with_missing(&report);
    let document = text(|w| json::document(&audit, Severity::Warning, w));
    let document: Value = serde_json::from_str(&document).unwrap();
    // The listing's object, but for the gaps, to which an audit has its own to add.
    let listing: Value = serde_json::from_str(&text(|w| crate::render::json::listing(&report, w))).unwrap();
    for key in ["schema", "taken", "host", "complete", "notes", "namespaces", "registry", "listeners"] {
        assert_eq!(document[key], listing[key], "{key}");
    }
    assert_eq!(document["gaps"].as_array().unwrap().len(), 2);
    assert_eq!((&document["verdict"], &document["fail_on"]), (&"findings".into(), &"warning".into()));
    assert_eq!(document["narrowed"], Value::Null);
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(findings.len(), audit.findings.len());
    let orphaned = &findings[0];
    let of_listing = listing["listeners"].as_array().unwrap().iter().find(|l| l["port"] == 3416).unwrap();
    let flag =
        of_listing["flags"].as_array().unwrap().iter().find(|flag| flag["code"] == "orphaned").unwrap();
    for key in ["code", "severity", "evidence", "text"] {
        assert_eq!(orphaned[key], flag[key], "{key}");
    }
    for (key, value) in [
        ("protocol", "tcp"),
        ("address", "0.0.0.0"),
        ("exposure", "any"),
        ("owner", "held"),
        ("why", Orphaned::FLAG.why()),
        ("remedy", Orphaned::FLAG.remedy()),
    ] {
        assert_eq!(orphaned[key], value, "{key}");
    }
    assert_eq!(
        (&orphaned["port"], &orphaned["rule"], &orphaned["netns"]),
        (&3416.into(), &Value::Null, &Value::Null)
    );
    assert_eq!(
        orphaned["processes"],
        serde_json::json!([{"pid": 812, "name": "python3", "exe": "/usr/bin/python3", "user": "root"}])
    );
    let missing = findings.iter().find(|found| found["code"] == "missing").unwrap();
    for key in ["address", "device", "netns", "exposure", "owner"] {
        assert_eq!(missing[key], Value::Null, "{key}");
    }
    assert_eq!((&missing["rule"], &missing["port"]), (&HOSTILE.into(), &443.into()));
}

#[test]
fn ndjson_is_a_finding_a_line_and_the_verdict_last() {
    let observation = scene();
    let report = report(&observation);
    let audit = with_missing(&report);
    let lines = text(|w| json::lines(&audit, Severity::Warning, w));
    let document: Value =
        serde_json::from_str(&text(|w| json::document(&audit, Severity::Warning, w))).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    for (mut line, found) in lines.into_iter().zip(document["findings"].as_array().unwrap()) {
        for added in ["taken", "host", "complete"] {
            assert_eq!(
                line.as_object_mut().unwrap().remove(added).as_ref(),
                Some(&document[added]),
                "{added}"
            );
        }
        assert_eq!(line, *found);
    }
    for key in ["schema", "verdict", "gaps", "complete", "host", "taken", "fail_on"] {
        assert_eq!(last[key], document[key], "{key}");
    }
    assert_eq!((&last["findings"], &last["listeners"]), (&audit.findings.len().into(), &8.into()));
}

#[test]
fn sarif_tells_rules_results_and_gaps() {
    let observation = scene();
    let report = report(&observation);
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
    // Where everything was seen it says so.
    let whole = many(1);
    let whole = crate::render::fixtures::report(&whole);
    let log = text(|w| sarif::document(&Audit::of(&whole), Severity::Warning, w));
    let log: Value = serde_json::from_str(&log).unwrap();
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&true.into(), &0.into()));
    assert_eq!(invocation["toolExecutionNotifications"], Value::Array(vec![]));
}

/// The fingerprints of every finding, in order.
fn identities(observation: &Snapshot) -> Vec<String> {
    let report = report(observation);
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
        if let crate::model::Owner::Held(pids) = &socket.owner {
            let pids: Vec<_> = pids.iter().map(|pid| pid + 10_000).collect();
            socket.owner = crate::model::Owner::Held(pids.to_vec().into());
        }
    }
    assert_eq!(identities(&before), identities(&restarted));
    let all = identities(&before);
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:#?}");
    // Another program, user, address or port is another finding.
    let changed = |change: &dyn Fn(&mut Snapshot)| {
        let mut after = scene();
        change(&mut after);
        assert_ne!(identities(&after), all);
    };
    changed(&|o| o.processes.iter_mut().find(|p| p.pid == 812).unwrap().exe.as_mut().unwrap().path.push('x'));
    changed(&|o| std::sync::Arc::make_mut(&mut o.sockets[0].home).uid = Some(33));
    changed(&|o| o.sockets[0].local.port = 3414);
    changed(&|o| o.sockets[0].local.address = [10, 0, 0, 1].into());
    changed(&|o| o.sockets[0].local.device = Some("lo".into()));
}

#[test]
fn metrics_have_every_series_and_no_name_of_the_machine() {
    let (observation, nothing) = (scene(), empty());
    let (report, nothing) = (report(&observation), report(&nothing));
    let mut audit = with_missing(&report);
    audit.policy_date = Some("2026-11-20T00:00:00Z".parse().unwrap());
    let told = text(|w| metrics::document(&audit, Severity::Warning, w));
    let none = text(|w| metrics::document(&Audit::of(&nothing), Severity::Warning, w));
    let series = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    // The same series whatever was found, but for the date of a policy.
    let mut expected = series(&none);
    expected.push("portolan_policy_timestamp_seconds".to_owned());
    assert_eq!(series(&told), expected);
    for line in [
        "portolan_findings{code=\"orphaned\",severity=\"warning\"} 1",
        "portolan_findings{code=\"missing\",severity=\"warning\"} 1",
        "portolan_findings{code=\"missing\",severity=\"critical\"} 0",
        "portolan_listeners{exposure=\"any\",status=\"orphaned\"} 1",
        "portolan_complete 0",
        "portolan_gaps 2",
        "portolan_verdict{verdict=\"findings\"} 1",
        "portolan_verdict{verdict=\"incomplete\"} 0",
        "portolan_last_run_timestamp_seconds 1795262400",
        "portolan_policy_timestamp_seconds 1795132800",
    ] {
        assert!(told.lines().any(|l| l == line), "{line}\n{told}");
    }
    let counted: i64 = told
        .lines()
        .filter(|line| line.starts_with("portolan_listeners{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap())
        .sum();
    assert_eq!(counted, 8, "every listener is counted once");
    for name in ["python3", "evil", "box", "3416", "root"] {
        assert!(!told.contains(name), "{name}");
    }
}

#[test]
fn rules_are_told_from_the_flags() {
    let told = text(|w| rules::text(&Style { width: Some(80), color: false }, w));
    let document: Value = serde_json::from_str(&text(rules::document)).unwrap();
    let listed = document["rules"].as_array().unwrap();
    assert_eq!(listed.len(), Flag::all().count());
    for (rule, flag) in listed.iter().zip(Flag::all()) {
        assert_eq!(rule["code"], flag.code());
        assert_eq!((&rule["why"], &rule["remedy"]), (&flag.why().into(), &flag.remedy().into()));
        assert!(told.lines().any(|line| line == flag.code()), "{flag:?}");
    }
    let of = |code: &str| listed.iter().find(|rule| rule["code"] == code).unwrap();
    assert_eq!(of("exposed")["severity"], serde_json::json!({"loopback": null, "beyond": "info"}));
    assert_eq!(of("ephemeral")["severity_udp"], serde_json::json!({"loopback": "info", "beyond": "notice"}));
    assert_eq!(of("impostor")["severity_udp"], Value::Null);
    assert!(told.contains(
        "  Severity  notice on loopback, warning beyond; UDP: info on loopback, notice\n            beyond\n"
    ));
}

/// A gap is told wherever an audit is.
#[test]
fn no_output_keeps_a_gap_to_itself() {
    let observation = Snapshot {
        gaps: vec![Gap { what: "a thing unseen".into(), ..gap(Stage::Owners, "", None) }],
        ..empty()
    };
    let report = report(&observation);
    let audit = Audit::of(&report);
    assert!(table(&audit, Severity::Warning, None).contains("a thing unseen"));
    for told in [
        text(|w| json::document(&audit, Severity::Warning, w)),
        text(|w| json::lines(&audit, Severity::Warning, w)),
        text(|w| sarif::document(&audit, Severity::Warning, w)),
    ] {
        assert!(told.contains("a thing unseen") && told.contains("incomplete"), "{told}");
    }
    let metrics = text(|w| metrics::document(&audit, Severity::Warning, w));
    assert!(metrics.contains("\nportolan_complete 0\n") && metrics.contains("{verdict=\"incomplete\"} 1\n"));
}
