//! The content of the pages. `tests/browser` opens them in a browser.

use std::sync::Arc;

use crate::baseline::compare;
use crate::judge::Report;
use crate::judge::audit::{AppliedPolicy, Audit};
use crate::model::{Severity, Snapshot, Stage};
use crate::render::Zone;
use crate::render::fixtures::{HOSTILE, empty, gap, report, scene, socket, text};

use super::{audit, diff};

fn page_of(report: &Report) -> String {
    text(|w| audit::document(&Audit::of(report), Severity::Warning, Zone::UTC, w))
}

/// Returns the text of a page without its tags, style sheet and script, as a reader sees it.
fn words(page: &str) -> String {
    let body = page.split_once("<body>").unwrap().1.split_once("<script>").unwrap().0;
    let mut text = String::new();
    for piece in body.split('<').skip(1) {
        text.push(' ');
        text.push_str(piece.split_once('>').unwrap().1);
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_verdict_and_the_gaps_come_first() {
    let report = report(&scene());
    let words = words(&page_of(&report));
    let at = |part: &str| words.find(part).unwrap_or_else(|| panic!("{part}: {words}"));
    let parts = [
        "Audit of box (linux 6.18.0), 2026-11-21 12:00:00 UTC",
        "Verdict Findings ",
        "Completeness Not everything could be seen (1 gap). 12 processes (pid 4000025): permission denied (run as root)",
        "Findings Warning orphaned",
        "Reachable from other machines ",
        "Port map All 65,536 ports",
        "All listeners ",
        "Policy No policy was applied.",
        "Note: 2 other network namespaces",
        "Registry of ",
    ];
    let order: Vec<usize> = parts.map(at).to_vec();
    assert!(order.is_sorted(), "{order:?} {words}");
}

#[test]
fn nothing_suggests_an_all_clear_if_something_was_not_seen() {
    let complete = page_of(&report(&empty()));
    assert!(words(&complete).contains("Completeness Everything could be seen."), "{complete}");
    assert_eq!(complete.matches("panel good").count(), 2);
    let snapshot = Snapshot { gaps: vec![gap(Stage::Sockets, "sockets", None)], ..empty() };
    let incomplete = page_of(&report(&snapshot));
    assert!(words(&incomplete).contains("Verdict Incomplete no finding"), "{incomplete}");
    assert!(!incomplete.contains("panel good"));
}

/// The page shows each listener once. It shows the sentence of each finding that is more severe than info.
#[test]
fn findings_and_listeners_are_complete() {
    let report = report(&scene());
    let audit = Audit::of(&report);
    let page = page_of(&report);
    let words = words(&page);
    for found in audit.findings.iter().filter(|found| found.finding.severity > Severity::Info) {
        let flag = found.finding.flag();
        for part in [flag.code(), &found.finding.sentence(), flag.why()] {
            let part = crate::render::sanitize(part).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(&part), "{part}: {words}");
        }
    }
    assert_eq!(page.matches("<tr id=l").count(), audit.listeners.len());
    for name in ["python3", "postgres", "(hidden)", "(kernel)", "(vanished)"] {
        assert!(words.contains(name), "{name}");
    }
}

/// Every link inside a page leads to a part of the page, and each part has a name of its own.
#[test]
fn links_lead_somewhere() {
    let page = page_of(&report(&scene()));
    let names: Vec<&str> = page
        .split(" id=")
        .skip(1)
        .map(|rest| rest.trim_start_matches('"').split(['"', '>', ' ']).next().unwrap())
        .collect();
    for (at, name) in names.iter().enumerate() {
        assert!(!names[..at].contains(name), "{name} is there twice");
    }
    for link in page.split("href=\"#").skip(1) {
        let target = link.split('"').next().unwrap();
        assert!(names.contains(&target), "{target}: {names:?}");
    }
}

#[test]
fn text_from_outside_is_never_markup() {
    let mut snapshot = scene();
    let payloads = [
        "<script>alert(1)</script>",
        "</style><style>*{display:none}",
        "</title><img src=x onerror=alert(1)>",
        "\"'><svg onload=alert(1)>",
        HOSTILE,
    ];
    snapshot.host.name = Some(payloads[2].into());
    snapshot.host.labels = [(payloads[0].to_owned(), payloads[1].to_owned())].into();
    snapshot.gaps = payloads.iter().map(|payload| gap(Stage::Owners, payload, None)).collect();
    for (at, process) in snapshot.processes.iter_mut().enumerate() {
        let payload = payloads[at % payloads.len()];
        process.name = Some(payload.into());
        process.user = Some(payload.into());
        process.unit = Some(payload.into());
        process.cmdline = vec![payload.into(), payload.into()];
        process.exe.as_mut().unwrap().path = format!("/tmp/{payload}");
    }
    for socket in &mut snapshot.sockets {
        Arc::make_mut(&mut socket.attributes).unit = Some(payloads[3].into());
    }
    let hostile = report(&snapshot);
    let mut audit = Audit::of(&hostile);
    audit.policy = Some(AppliedPolicy {
        name: payloads[2].into(),
        sha256: String::new(),
        changed: None,
        skipped_rules: vec![payloads[0].into()],
    });
    let before = report(&empty());
    let pages = [
        text(|w| audit::document(&audit, Severity::Warning, Zone::UTC, w)),
        text(|w| diff::document(&compare(&before, &hostile), &hostile, Zone::UTC, w)),
    ];
    for page in pages {
        for (tag, count) in [("<script", 1), ("<style", 1), ("<title>", 1), ("<img", 0), ("<svg onload", 0)] {
            let shapes = if tag == "<title>" { page.matches("<a href=\"#l").count() } else { 0 };
            assert!(page.matches(tag).count() <= count + shapes, "{tag}: {page}");
        }
        assert!(page.contains("&lt;script&gt;") && page.contains("\\u{202e}"), "{page}");
        let is_unsafe = |c: char| c != '\n' && crate::render::is_unsafe(c);
        assert_eq!(page.chars().find(|c| is_unsafe(*c)), None);
    }
}

/// The page needs no other file, and its policy allows nothing else.
#[test]
fn a_page_is_complete_in_itself() {
    let page = page_of(&report(&scene()));
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"), "{page}");
    for address in ["http:", "https:", "//", "@import", " src=", " style=", " onclick="] {
        let found = page.match_indices(address).find(|(at, _)| {
            // This is a comment of the script.
            let line = page[..*at].rsplit('\n').next().unwrap();
            address != "//" || !line.trim().is_empty()
        });
        assert_eq!(found, None, "{address}");
    }
    assert!(!page.contains("unsafe-inline"));
}

#[test]
fn a_narrowed_audit_and_its_policy_are_named() {
    let report = report(&scene());
    let mut audit = Audit::of(&report);
    audit.policy = Some(AppliedPolicy {
        name: "ports.toml".into(),
        sha256: "5f2c".into(),
        changed: None,
        skipped_rules: vec!["only-web".into()],
    });
    audit.narrow("22".into(), |subject| subject.port() == Some(22));
    let page = text(|w| audit::document(&audit, Severity::Warning, Zone::UTC, w));
    let words = words(&page);
    assert!(words.contains("Showing 1 of 8 listeners (filter: 22)."), "{words}");
    assert!(
        words.contains(
            "Policy ports.toml SHA-256 5f2c 1 rule is for other hosts, and not applied here: only-web."
        ),
        "{words}"
    );
}

#[test]
fn changes_are_the_rows_of_the_table() {
    let (before, mut after) = (scene(), scene());
    after.sockets.remove(0);
    after.sockets.push(socket("tcp/0.0.0.0:9999", crate::model::Owner::Held(vec![21].into())));
    let (before, after) = (report(&before), report(&after));
    let comparison = compare(&before, &after);
    assert!(comparison.changed() && !comparison.is_complete());
    let page = text(|w| diff::document(&comparison, &after, Zone::UTC, w));
    let words = words(&page);
    for part in [
        "Changes of box (linux 6.18.0), 2026-11-21 12:00:00 UTC to 2026-11-21 12:00:00 UTC",
        &super::super::diff::summary(&comparison, false, Zone::UTC),
        "12 processes (before) (pid 4000025): permission denied",
        "12 processes (after) (pid 4000025): permission denied",
        "Not comparable: ",
        "tcp 0.0.0.0:9999 - /usr/bin/nginx as root",
        // The vanished listener has a mark, and is not counted.
        "tcp 0.0.0.0:3416: vanished",
        "Registered 1024 to 49151 5 3 ",
        "tcp 0.0.0.0:3416 /usr/bin/python3 with -m serve as root -",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!page.contains("panel good"));
    assert_eq!(page.matches("<tr id=c").count(), comparison.changes.len());
}
