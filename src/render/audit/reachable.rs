//! The services that other machines can reach: the program, the address, and what any client can do.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::groups::{limited_to, to_stop, with_pids};
use super::{merged_places, place, process_summary, service_owner};
use crate::findings::FindingKind;
use crate::findings::identity::ShellListener;
use crate::findings::reach::Exposed;
use crate::findings::text::{capitalized, sentence};
use crate::judge::Entry;
use crate::judge::audit::{Audit, AuditFinding, Subject};
use crate::model::Severity;
use crate::render::sanitize;

pub(crate) struct ReachableService {
    /// The highest severity of the service's findings; `None` if no finding is above information.
    pub(crate) severity: Option<Severity>,
    pub(crate) places: Vec<String>,
    pub(crate) program: String,
    /// The clients that the firewall lets in, if it does not let in everyone.
    pub(crate) limited_to: Option<String>,
    /// The findings about what any client can do. The audit shows them only in this list.
    pub(crate) findings: Vec<OutsiderFinding>,
    /// The text about what any client can do, if `findings` is empty.
    pub(crate) gets: Option<String>,
    /// The command that stops the first listener, if a finding is critical.
    pub(crate) to_stop: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutsiderFinding {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl OutsiderFinding {
    /// Returns a finding for the list of reachable services. `None` if the finding belongs below the list, among the
    /// findings by severity.
    fn of(found: &AuditFinding<'_>) -> Option<Self> {
        if !is_in_list(found) {
            return None;
        }
        let (finding, flag) = (&found.finding, found.finding.flag());
        let mut text = finding.card_sentence();
        if Exposed::of(&finding.evidence).is_none() {
            text.push_str(&format!(" Fix: {}", sentence(&capitalized(flag.remedy()))));
        }
        if let Some(rule) = &found.rule {
            text.push_str(&format!(" (rule {rule})"));
        }
        let text = sanitize(&text).into_owned();
        Some(OutsiderFinding { severity: finding.severity, code: flag.code(), text })
    }
}

/// Returns whether the audit shows a finding only in the list of reachable services.
pub(super) fn is_in_list(found: &AuditFinding<'_>) -> bool {
    let is_about_clients = [Exposed::FLAG, ShellListener::FLAG].contains(&found.finding.flag());
    let is_here = matches!(found.subject, Subject::Entry(judged) if judged.is_reachable() != Some(false));
    is_about_clients && is_here && found.finding.severity > Severity::Info
}

pub(crate) struct Reachable<'r> {
    pub(crate) services: Vec<ReachableService>,
    /// The listeners that other machines can reach. Listeners for which this is not known are included.
    pub(crate) listeners: Vec<&'r Entry>,
}

impl<'r> Reachable<'r> {
    /// Returns the listeners that other machines can certainly reach.
    pub(crate) fn certain(&self) -> impl Iterator<Item = &'r Entry> {
        self.listeners.iter().copied().filter(|entry| entry.is_reachable() == Some(true))
    }
}

/// Returns the listeners and the services that other machines can reach. The services with the most severe findings
/// come first.
pub(crate) fn services<'r>(audit: &Audit<'r>) -> Reachable<'r> {
    let reachable: Vec<&'r Entry> =
        audit.listeners.iter().copied().filter(|judged| judged.is_reachable() != Some(false)).collect();
    let mut findings: HashMap<*const Entry, (Severity, Vec<OutsiderFinding>)> = HashMap::new();
    for found in &audit.findings {
        if let Subject::Entry(judged) = found.subject
            && found.finding.severity > Severity::Info
        {
            let severity = found.finding.severity;
            let of_entry = findings.entry(std::ptr::from_ref(judged)).or_insert((severity, Vec::new()));
            of_entry.0 = of_entry.0.max(severity);
            of_entry.1.extend(OutsiderFinding::of(found));
        }
    }
    let mut services: Vec<ReachableService> = Vec::new();
    let mut known = HashMap::new();
    for judged in &reachable {
        let (severity, findings) = match findings.remove(&std::ptr::from_ref(*judged)) {
            Some((severity, findings)) => (Some(severity), findings),
            None => (None, Vec::new()),
        };
        let gets = if findings.is_empty() { gets(judged) } else { None };
        let (program, place) = match (findings.is_empty(), place(&Subject::Entry(judged))) {
            (true, place) => (service_owner(judged), place),
            (false, place) => (process_summary(judged), with_pids(place, judged)),
        };
        let limited_to = limited_to(judged);
        let key = (program.clone(), gets.clone(), severity, limited_to.clone(), findings.clone());
        let at = *known.entry(key).or_insert_with(|| {
            let is_critical = findings.iter().any(|found| found.severity == Severity::Critical);
            let to_stop = if is_critical { to_stop(judged, audit.report) } else { None };
            let places = Vec::new();
            services.push(ReachableService {
                severity,
                places,
                program,
                limited_to,
                findings,
                gets,
                to_stop,
            });
            services.len() - 1
        });
        services[at].places.push(place);
    }
    for service in &mut services {
        service.places = merged_places(&service.places);
    }
    services.sort_by_key(|service| {
        Reverse((service.severity, !service.findings.is_empty(), service.gets.is_some()))
    });
    Reachable { services, listeners: reachable }
}

fn gets(judged: &Entry) -> Option<String> {
    judged.findings().iter().find_map(|finding| Exposed::of(&finding.evidence)).map(Exposed::summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Report;
    use crate::model::{Firewall, Owner, Reach, Severity, Snapshot, State};
    use crate::render::Style;
    use crate::render::audit::table;
    use crate::render::fixtures::{empty, process, report, socket, text};

    /// Makes a Redis with two addresses, a socket that is bound but does not listen, a service on loopback, and
    /// `others` web servers.
    fn scene(others: u32) -> Snapshot {
        let held = |pid: u32| Owner::Held(vec![pid].into());
        let mut bound = socket("tcp/0.0.0.0:7000", held(7));
        bound.state = State::Bound;
        let mut sockets = vec![
            socket("tcp/0.0.0.0:6379", held(6)),
            socket("tcp/[::]:6379", held(6)),
            bound,
            socket("tcp/127.0.0.1:8080", held(7)),
        ];
        let mut processes = vec![process(6, "redis-server"), process(7, "nginx")];
        for other in 0..others {
            sockets.push(socket(&format!("tcp/0.0.0.0:{}", 80 + other), held(100 + other)));
            processes.push(process(100 + other, &format!("server{other}")));
        }
        Snapshot { sockets, processes, ..empty() }
    }

    #[test]
    fn dangerous_services_come_first() {
        for others in [0, 9, 12] {
            let report = report(&scene(others));
            let reachable = services(&Audit::of(&report));
            assert_eq!(reachable.services.len(), 1 + usize::try_from(others).unwrap());
            assert_eq!(
                reachable.listeners.len(),
                2 + usize::try_from(others).unwrap(),
                "bound and loopback are not reachable"
            );
            let first = &reachable.services[0];
            assert_eq!(first.places, ["tcp *:6379 (pid 6)"]);
            assert!(first.program.starts_with("redis-server, user root"), "{}", first.program);
            assert_eq!(first.severity, Some(Severity::Critical));
            assert_eq!(first.findings.len(), 1);
            assert_eq!(first.findings[0].code, "exposed");
            assert!(first.findings[0].text.starts_with("Redis"), "{}", first.findings[0].text);
        }
    }

    #[test]
    fn the_table_counts_the_services_after_the_tenth() {
        for (others, more) in
            [(9, None), (10, Some("and 1 other service")), (12, Some("and 3 other services"))]
        {
            let report = report(&scene(others));
            let page =
                text(|w| table::document(&Audit::of(&report), Severity::Warning, &Style::default(), w));
            assert_eq!(page.contains(" other service"), more.is_some(), "{page}");
            assert!(
                more.is_none_or(|more| page.contains(&format!("{more} (to list all, type portolan)"))),
                "{page}"
            );
        }
    }

    #[test]
    fn a_firewall_that_was_not_checked() {
        let firewall = Firewall { is_refused: true, ..Firewall::default() };
        let mut report = report(&Snapshot { firewalls: vec![firewall], ..scene(1) });
        let page = |report: &Report| {
            let page = text(|w| table::document(&Audit::of(report), Severity::Warning, &Style::default(), w));
            page.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let unknown = page(&report);
        assert!(
            unknown.contains("other machines: at most 2 of 4 listeners (the firewall was not checked)"),
            "{unknown}"
        );
        let web = report.entries.iter_mut().find(|entry| entry.socket.local.port == 80).unwrap();
        web.set_reach(Reach::open().into());
        let mixed = page(&report);
        assert!(
            mixed.contains("other machines: 1 to 2 of 4 listeners (the firewall was not checked for 1)"),
            "{mixed}"
        );
    }

    #[test]
    fn what_an_outsider_gets_is_written_once() {
        let report = report(&scene(0));
        let audit = Audit::of(&report);
        let gets = services(&audit).services[0].findings[0].text.clone();
        let style = Style { width: None, color: false, ..Style::default() };
        let page = text(|w| table::document(&audit, Severity::Warning, &style, w));
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("Reachable from other machines: 1 of 3 listeners"), "{page}");
        assert_eq!(page.matches(&gets).count(), 1, "{page}");
        assert_eq!(page.matches("Fix: ").count(), 1, "{page}");
        assert_eq!(page.matches("/usr/bin/redis-server").count(), 1, "{page}");
    }
}
