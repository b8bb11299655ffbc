//! Explains words and marks that a reader of a listing may not know.
//!
//! A listing explains only the words that it shows, below its rows. The help on the screen of `watch` explains all
//! words.

use std::collections::BTreeSet;

use crate::findings::reach::clients;
use crate::join::Entry;
use crate::model::{ReachKind, Snapshot};

use super::cells::CellFormat;
use super::columns::{self, Column};
use super::sanitize;

struct Term {
    column: &'static str,
    text: &'static str,
    meaning: &'static str,
    /// Returns whether a cell of the column contains the word.
    is_in: fn(&str) -> bool,
}

impl Term {
    fn sentence(&self, heading: &str) -> String {
        self.sentence_with(heading, self.meaning)
    }

    fn sentence_with(&self, heading: &str, meaning: &str) -> String {
        format!("{heading} {}: {meaning}.", self.text)
    }
}

/// The word for a listener whose firewall lets in only some clients.
const LIMITED: &str = "limited";

const TERMS: [Term; 11] = [
    Term {
        column: "address",
        text: "localhost",
        meaning: "127.0.0.1 and [::1]",
        is_in: |cell| cell == "localhost",
    },
    Term { column: "exposure", text: "lo", meaning: "this machine only", is_in: |cell| cell == "lo" },
    Term {
        column: "exposure",
        text: "with ?",
        meaning: "it is not known whether the firewall lets in other machines",
        is_in: |cell| cell.ends_with('?'),
    },
    Term {
        column: "exposure",
        text: "machine",
        meaning: "only this machine and networks whose packets it forwards, such as container networks, can connect",
        is_in: |cell| cell == "machine" || cell.ends_with("(machine)"),
    },
    Term {
        column: "exposure",
        text: LIMITED,
        meaning: "the firewall lets in only some clients; portolan explain PORT names them",
        is_in: |cell| cell == "limited" || cell.ends_with("(limited)"),
    },
    Term {
        column: "exposure",
        text: "filtered",
        meaning: "the firewall lets in nobody",
        is_in: |cell| cell == "filtered" || cell.ends_with("(filtered)"),
    },
    Term {
        column: "exposure",
        text: "link",
        meaning: "only machines on the same link can connect",
        is_in: |cell| cell == "link",
    },
    Term {
        column: "service",
        text: "in parentheses",
        meaning: "the service that usually uses the port",
        is_in: |cell| cell.starts_with('('),
    },
    Term {
        column: "process",
        text: "(kernel)",
        meaning: "the socket belongs to the kernel, not to a process",
        is_in: |cell| cell == "(kernel)",
    },
    Term {
        column: "process",
        text: "with ?",
        meaning: "the probable owner",
        // `?` alone is a process whose name could not be read. It is not the mark of a probable owner.
        is_in: |cell| cell.ends_with('?') && cell != "?" && !cell.ends_with(", ?"),
    },
    Term {
        column: "started",
        text: "with ?",
        meaning: "when the probable owner started",
        is_in: |cell| cell.ends_with('?'),
    },
];

/// Returns one sentence for each word in these columns that needs an explanation, joined by spaces.
pub(super) fn legend<'e>(
    entries: &(impl Iterator<Item = &'e Entry> + Clone),
    snapshot: &Snapshot,
    columns: &(impl Iterator<Item = (&'static Column, CellFormat)> + Clone),
) -> String {
    let shown = TERMS.iter().filter_map(|term| {
        let (column, form) = columns.clone().find(|(column, _)| column.name == term.column)?;
        let is_shown = entries.clone().any(|entry| (term.is_in)(&column.shown(entry, snapshot, form).text));
        let clients = if term.text == LIMITED { common_clients(entries.clone()) } else { None };
        is_shown
            .then(|| term.sentence_with(column.heading_of(form), clients.as_deref().unwrap_or(term.meaning)))
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Returns the clients that the firewall lets in, if they are the same for every listener with the word `limited`.
/// Otherwise returns `None`.
fn common_clients<'e>(entries: impl Iterator<Item = &'e Entry>) -> Option<String> {
    let limited = entries.filter_map(Entry::reach).filter(|reach| reach.kind == ReachKind::Limited);
    let clients: BTreeSet<Option<String>> =
        limited.map(|reach| (!reach.from.is_empty()).then(|| clients(reach))).collect();
    let only = clients.first().filter(|_| clients.len() == 1)?.as_deref()?;
    Some(format!("the firewall lets in {}", sanitize(only)))
}

/// Returns one sentence for each word that needs an explanation.
pub fn all() -> impl Iterator<Item = String> {
    TERMS.iter().filter_map(|term| {
        let column = columns::named(term.column)?;
        Some(term.sentence(column.heading_of(CellFormat::Short)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, Reach};
    use crate::render::fixtures::{empty, process, report, socket};

    #[test]
    fn every_term_names_a_column() {
        assert_eq!(all().count(), TERMS.len());
    }

    #[test]
    fn shown_words_are_explained() {
        let snapshot = Snapshot {
            sockets: vec![
                socket("tcp/0.0.0.0:80", Owner::Held(vec![7].into())),
                socket("udp/0.0.0.0:51820", Owner::Kernel),
                socket("tcp/0.0.0.0:5432", Owner::Hidden),
                socket("tcp/127.0.0.1:631", Owner::Held(vec![7].into())),
                socket("tcp/[::1]:631", Owner::Held(vec![7].into())),
            ],
            processes: vec![process(7, "nginx")],
            ..empty()
        };
        let mut report = report(&snapshot);
        let form = CellFormat::Short;
        let explained = |entries: &[Entry], names: &[&str]| {
            let columns = names.iter().map(|name| (columns::named(name).unwrap(), form));
            legend(&entries.iter(), &snapshot, &columns)
        };
        let all = ["address", "exposure", "service", "process"];
        assert_eq!(
            explained(&report.entries, &all),
            "REACH lo: this machine only. SERVICE in parentheses: the service that usually uses the port. PROCESS (kernel): the socket belongs to the kernel, not to a process."
        );
        assert_eq!(explained(&report.entries[..1], &all), "");
        assert_eq!(explained(&report.entries, &["port"]), "");
        for (kind, wanted) in [
            (
                ReachKind::Unknown,
                "REACH with ?: it is not known whether the firewall lets in other machines.",
            ),
            (
                ReachKind::Limited,
                "REACH limited: the firewall lets in only some clients; portolan explain PORT names them.",
            ),
            (
                ReachKind::Machine,
                "REACH machine: only this machine and networks whose packets it forwards, such as container networks, can connect.",
            ),
            (ReachKind::Filtered, "REACH filtered: the firewall lets in nobody."),
        ] {
            report.entries[0].set_reach(Reach { kind, ..Reach::open() }.into());
            assert_eq!(explained(&report.entries[..1], &["exposure"]), wanted, "{kind:?}");
        }
        let of_lan = Reach {
            kind: ReachKind::Limited,
            from: vec!["10.0.0.0/8".into(), "192.0.2.7".into()],
            ..Reach::open()
        };
        report.entries[0].set_reach(of_lan.clone().into());
        let text = explained(&report.entries[..2], &["exposure"]);
        assert_eq!(text, "REACH limited: the firewall lets in only 10.0.0.0/8, 192.0.2.7.");
        report.entries[1].set_reach(Reach { from: vec!["10.0.0.9".into()], ..of_lan }.into());
        let text = explained(&report.entries[..2], &["exposure"]);
        assert!(text.ends_with("only some clients; portolan explain PORT names them."), "{text}");
        report.entries[0].set_reach(Reach::open().into());
        let merged = crate::render::merge(report.entries);
        assert_eq!(explained(&merged, &["address"]), "ADDRESS localhost: 127.0.0.1 and [::1].");
    }
}
