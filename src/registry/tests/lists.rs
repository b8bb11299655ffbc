//! Checks the rows of the curated lists. For each rule, a test shows a row that the rule refuses.
//!
//! `src/docs/registry.md` describes these requirements for contributors.

use std::collections::BTreeMap;

use super::super::row::CuratedRow;
use super::super::{Registry, rules};
use super::{body, pairs};
use crate::model::{Confidence, CuratedState, EvidenceSource, Protocol};

fn complaints(dead: &'static str, live: &'static str) -> Vec<String> {
    let registry = Registry::embedded();
    let mut printed = Vec::new();
    let mut taken: BTreeMap<(u16, Protocol, &str), &str> = BTreeMap::new();
    let dead = body(dead).map(|line| (line, CuratedRow::dead(line), true));
    for (line, row, is_dead) in dead.chain(body(live).map(|line| (line, CuratedRow::live(line), false))) {
        let mut complain = |what: &str| printed.push(format!("{what}: {line}"));
        let Some(row) = row else {
            complain("cannot be read");
            continue;
        };
        let curated = row.curated;
        if curated.reason.split_whitespace().count() < 3 || !curated.reason.ends_with('.') {
            complain("no reason in a sentence");
        }
        match (curated.confidence, curated.source, curated.basis) {
            (Confidence::Confirmed, None, _) => complain("confirmed without a source"),
            (Confidence::Presumed, _, None) => complain("presumed on nothing"),
            (_, Some(source), _) if !source.starts_with("https://") && !source.starts_with("http://") => {
                complain("the source is no page");
            }
            _ => {}
        }
        if is_dead == (curated.standing == CuratedState::Alive) {
            complain("in the wrong list");
        }
        let mut despite: Vec<EvidenceSource> = Vec::new();
        for (port, protocol) in pairs(&row) {
            if taken.insert((port, protocol, row.service), line).is_some() {
                complain("overlaps another");
            }
            let verdict = registry.verdict(port, protocol);
            match verdict.assignments.iter().find(|a| a.service == row.service && a.ports == row.ports) {
                None => complain("no such registration"),
                Some(a) => {
                    despite.extend(a.named_by.iter().filter(|kind| EvidenceSource::PACKAGED.contains(kind)));
                }
            }
        }
        despite.sort_unstable();
        despite.dedup();
        let despite = despite.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
        if is_dead && rules::is_dead(&curated) && despite != row.despite {
            complain(&format!("evidence says otherwise ({despite}), and the row does not say so"));
        }
    }
    printed.dedup();
    printed
}

#[test]
fn the_lists_are_without_fault() {
    let printed = complaints(super::ORPHANS, super::LIVE);
    assert!(printed.is_empty(), "{printed:#?}");
}

#[test]
fn bad_rows_are_refused() {
    let good = "3416\ttcp+udp\tcommandport\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\tb\t";
    assert_eq!(complaints(good, ""), [""; 0]);
    for (rows, printed) in [
        ("3416\ttcp\tnosuch\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\tb\t", "no such registration"),
        ("3417\ttcp\tcommandport\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\tb\t", "no such registration"),
        (
            "3416\tsctp\tcommandport\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\tb\t",
            "no such registration",
        ),
        ("3416\ttcp\tcommandport\tP\torphaned\t\t\t\tpresumed\t\tb\t", "cannot be read"),
        ("3416\ttcp\tcommandport\tP\torphaned\t\tGone.\t\tpresumed\t\tb\t", "no reason in a sentence"),
        (
            "3416\ttcp\tcommandport\tP\torphaned\t\tIt is gone now.\t\tconfirmed\t\tb\t",
            "confirmed without a source",
        ),
        ("3416\ttcp\tcommandport\tP\torphaned\t\tIt is gone now.\tsaid\tconfirmed\t\t\t", "no page"),
        ("3416\ttcp\tcommandport\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\t\t", "presumed on nothing"),
        ("3416\ttcp\tcommandport\tP\tgone\t\tIt is gone now.\t\tpresumed\t\tb\t", "cannot be read"),
        ("3416\ttcp\tcommandport\tP\talive\t\tIt is gone now.\t\tpresumed\t\tb\t", "wrong list"),
        (
            "3416\ttcp\tcommandport\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\tb\t\n\
             3416\ttcp\tcommandport\tQ\tlegacy\t\tIt is gone too.\t\tpresumed\t\tb\t",
            "overlaps",
        ),
        (
            "22\ttcp+udp\tssh\tP\torphaned\t\tIt is gone now.\t\tpresumed\t\tb\t",
            "evidence says otherwise (netbase,tshark,selinux,firewalld,ndpi,ufw)",
        ),
    ] {
        let found = complaints(rows, "");
        assert!(found.iter().any(|complaint| complaint.contains(printed)), "{printed}: {found:?}");
    }
    // One registration cannot be in both lists.
    let live = "3416\ttcp\tcommandport\tP\talive\tIt is in use.\t\tpresumed\t\tb";
    assert!(complaints(good, live).iter().any(|complaint| complaint.contains("overlaps")));
}
