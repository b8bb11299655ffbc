//! Counts the listeners and findings of an audit for people. The IPv4 and the IPv6 socket of one server count as one
//! listener. A finding on both sockets counts once.

use std::collections::{HashMap, HashSet};

use crate::findings::Flag;
use crate::judge::Entry;
use crate::judge::audit::{Audit, AuditFinding, Subject};
use crate::model::Severity;
use crate::render::merge::row_of_each;

pub(crate) struct Rows {
    row_of: HashMap<*const Entry, usize>,
}

impl Rows {
    pub(crate) fn of(audit: &Audit<'_>) -> Self {
        let all: Vec<&Entry> = audit.everything().collect();
        let numbers = row_of_each(&all);
        Rows { row_of: all.into_iter().map(std::ptr::from_ref).zip(numbers).collect() }
    }

    pub(crate) fn listeners<'e>(&self, listeners: impl IntoIterator<Item = &'e Entry>) -> usize {
        let rows = listeners.into_iter().filter_map(|entry| self.row_of.get(&std::ptr::from_ref(entry)));
        rows.collect::<HashSet<_>>().len()
    }

    /// Returns the number of findings with this severity. If `flag` is given, only findings with this flag count.
    pub(crate) fn findings(&self, audit: &Audit<'_>, severity: Severity, flag: Option<Flag>) -> usize {
        let mut on_rows = HashSet::new();
        let counts = |found: &&AuditFinding<'_>| {
            let own = found.finding.flag();
            found.finding.severity == severity
                && flag.is_none_or(|flag| flag == own)
                && match found.subject {
                    Subject::Entry(entry) => {
                        let row = self.row_of.get(&std::ptr::from_ref(entry));
                        row.is_none_or(|row| on_rows.insert((*row, own)))
                    }
                    Subject::NoListener { .. } => true,
                }
        };
        audit.findings.iter().filter(counts).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{table, verdict};
    use super::*;
    use crate::findings::FindingKind;
    use crate::findings::reach::Exposed;
    use crate::judge::Report;
    use crate::judge::audit::Accepted;
    use crate::model::{Note, Owner, Snapshot, Stage};
    use crate::render::fixtures::{empty, gap, process, report, socket, text};
    use crate::render::{Style, merge, write_summary};

    fn page(report: &Report) -> String {
        let style = Style { width: Some(80), ..Style::default() };
        text(|w| table::document(&Audit::of(report), Severity::Warning, &style, w))
    }

    #[test]
    fn the_audit_counts_what_the_table_counts() {
        let both = ["tcp/0.0.0.0:6379", "tcp/[::]:6379"].map(|at| socket(at, Owner::Held(vec![6].into())));
        let snapshot =
            Snapshot { sockets: both.to_vec(), processes: vec![process(6, "redis-server")], ..empty() };
        let report = report(&snapshot);
        assert_eq!(Audit::of(&report).findings.len(), 2, "machine formats have both");
        let page = page(&report);
        assert!(page.contains("Findings: 1 critical (exposed: redis-server on tcp *:6379).\n"), "{page}");
        assert!(page.contains("Reachable from other machines: 1 of 1 listener\n"), "{page}");
        let merged = Report { entries: merge(report.entries.clone()), ..report.clone() };
        let listing = text(|w| write_summary(&merged, "", &Style::default(), w));
        assert!(listing.starts_with("1 listener. Critical: 1 exposed (port 6379)."), "{listing}");
    }

    #[test]
    fn the_invisible_part_of_the_machine_is_named_once() {
        let mut snapshot = empty();
        snapshot.gaps = vec![gap(Stage::Scope, "the processes outside this container", None)];
        let report = report(&snapshot);
        let page = page(&report);
        assert_eq!(page.matches("outside this container").count(), 1, "{page}");
    }

    #[test]
    fn a_clear_audit_says_what_it_does_not_cover() {
        let mut snapshot =
            Snapshot { sockets: vec![socket("tcp/127.0.0.1:80", Owner::Held(vec![7].into()))], ..empty() };
        snapshot.processes = vec![process(7, "nginx")];
        snapshot.notes =
            vec![Note::new("other network namespaces, not scanned").with_remedy(Note::ALL_NAMESPACES)];
        let report = report(&snapshot);
        let mut audit = Audit::of(&report);
        audit.accepted.push(Accepted {
            subject: Subject::Entry(&report.entries[0]),
            flag: Exposed::FLAG,
            severity: Severity::Critical,
            rule: "redis".into(),
            reason: None,
        });
        assert_eq!(
            verdict(&audit, Severity::Warning),
            "Clear: 1 listener judged, no finding at warning or above, and everything in this network namespace could be seen. The policy accepts 1 more finding at warning or above."
        );
    }
}
