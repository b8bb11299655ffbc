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
use crate::model::{ReachKind, Severity};
use crate::render::sanitize;

pub(crate) struct ReachableService {
    /// The highest severity of the service's findings; `None` if no finding is more severe than info.
    pub(crate) severity: Option<Severity>,
    pub(crate) places: Vec<String>,
    pub(crate) program: String,
    /// The clients that the firewall lets in. `None` if the firewall lets in everyone to every service, or if this is
    /// not known.
    pub(crate) limited_to: Option<String>,
    /// The findings about what any client can do. The audit shows them only in this list.
    pub(crate) findings: Vec<OutsiderFinding>,
    /// The text about what any client can do, if `findings` is empty.
    pub(crate) gets: Option<String>,
    /// The severity of the worst finding, if the audit shows this finding only below the list. `None` if the severity
    /// is lower than a warning.
    pub(crate) below: Option<Severity>,
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
    let mut is_open = Vec::new();
    let mut known = HashMap::new();
    for judged in &reachable {
        let (severity, mut findings) = match findings.remove(&std::ptr::from_ref(*judged)) {
            Some((severity, findings)) => (Some(severity), findings),
            None => (None, Vec::new()),
        };
        let is_shown_there = is_shown_for_published_port(judged, &reachable);
        if is_shown_there {
            findings.retain(|found| found.code != Exposed::FLAG.code());
        }
        let here = findings.iter().map(|found| found.severity).max();
        let below = severity.filter(|severity| {
            *severity >= Severity::Warning && !is_shown_there && here.is_none_or(|here| here < *severity)
        });
        let gets = match findings.is_empty() {
            true if is_shown_there => Some("its findings are those of the published port".to_owned()),
            true => gets(judged),
            false => None,
        };
        let (program, place) = match (findings.is_empty(), place(&Subject::Entry(judged))) {
            (true, place) => (service_owner(judged), place),
            (false, place) => (process_summary(judged), with_pids(place, judged)),
        };
        let limited_to = limited_to(judged);
        let kind = judged.reach().map(|reach| reach.kind);
        let key = (program.clone(), gets.clone(), severity, limited_to.clone(), kind, findings.clone());
        let at = *known.entry(key).or_insert_with(|| {
            let is_critical = findings.iter().any(|found| found.severity == Severity::Critical);
            let to_stop = if is_critical { to_stop(judged, audit.report) } else { None };
            let places = Vec::new();
            is_open.push(judged.reach().is_some_and(|reach| reach.kind == ReachKind::Open));
            services.push(ReachableService {
                severity,
                places,
                program,
                limited_to,
                findings,
                gets,
                below,
                to_stop,
            });
            services.len() - 1
        });
        services[at].places.push(place);
    }
    let is_any_limited = services.iter().any(|service| service.limited_to.is_some());
    for (service, is_open) in services.iter_mut().zip(is_open) {
        service.places = merged_places(&service.places);
        // Other services have a text about the firewall. Without a text, this service would look as if its firewall was
        // not checked.
        if is_any_limited && is_open {
            service.limited_to = Some("the firewall lets in everyone".to_owned());
        }
    }
    services.sort_by_key(|service| {
        Reverse((service.severity, !service.findings.is_empty(), service.gets.is_some()))
    });
    Reachable { services, listeners: reachable }
}

fn exposed(judged: &Entry) -> Option<&Exposed> {
    judged.findings().iter().find_map(|finding| Exposed::of(&finding.evidence))
}

fn gets(judged: &Entry) -> Option<String> {
    exposed(judged).map(Exposed::summary)
}

/// Returns whether the finding `exposed` of a listener in a container is already shown for its published port.
fn is_shown_for_published_port(judged: &Entry, reachable: &[&Entry]) -> bool {
    let Some(own) = exposed(judged) else { return false };
    let is_port = |other: &&&Entry| {
        other.socket.netns != judged.socket.netns && judged.published_as().contains(&other.socket.local)
    };
    let mut ports = reachable.iter().filter(is_port).filter_map(|port| exposed(port));
    ports.any(|port| port.service == own.service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Report;
    use crate::model::{Container, Firewall, Namespace, Netns, Owner, Process, Reach, Snapshot, State};
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

    /// Makes a port of docker-proxy, its service in a container, and a web server.
    fn published() -> Report {
        let details =
            Container { id: "4f".repeat(32), name: Some("shop-web".to_owned()), ..Container::default() };
        let inside = Process {
            container: Some(details.id.clone()),
            container_details: Some(details.into()),
            ..process(8, "redis-server")
        };
        let proxy = |pid| Process {
            cmdline: "docker-proxy -container-ip 172.17.0.2 -container-port 6379"
                .split(' ')
                .map(str::to_owned)
                .collect(),
            ..process(pid, "docker-proxy")
        };
        let held = |pid: u32| Owner::Held(vec![pid].into());
        let netns = Netns { inode: 5, name: None };
        let mut redis = socket("tcp/0.0.0.0:6379", held(8));
        std::sync::Arc::make_mut(&mut redis.attributes).netns = Some(netns.clone());
        let place = Namespace {
            netns,
            addresses: vec![[172, 17, 0, 2].into()],
            ephemeral: Vec::new(),
            reserved: Vec::new(),
            ephemeral_source: String::new(),
        };
        let ports = ["tcp/0.0.0.0:8080", "tcp/[::]:8080"];
        let sockets = ports.into_iter().zip([90, 91]).map(|(port, pid)| socket(port, held(pid)));
        let mut sockets: Vec<_> = sockets.chain([redis]).collect();
        sockets.push(socket("tcp/0.0.0.0:80", held(6)));
        let processes = vec![inside, proxy(90), proxy(91), process(6, "nginx")];
        report(&Snapshot { sockets, processes, namespaces: vec![place], ..empty() })
    }

    /// The service of a container and its published ports are one finding.
    #[test]
    fn every_finding_is_shown_once() {
        let mut report = published();
        let page = |report: &Report| {
            let page = text(|w| table::document(&Audit::of(report), Severity::Warning, &Style::default(), w));
            page.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let shown = page(&report);
        assert!(shown.contains("tcp 0.0.0.0:8080 (pid 90), tcp [::]:8080 (pid 91): docker-proxy"), "{shown}");
        assert!(
            shown.contains(
                "in the container shop-web (published as tcp/0.0.0.0:8080 and tcp/[::]:8080): redis"
            ),
            "{shown}"
        );
        assert_eq!(shown.matches("Its findings are those of the published port").count(), 1, "{shown}");
        assert_eq!(shown.matches(", exposed: ").count(), 1, "{shown}");
        assert!(!shown.contains("lets in everyone"), "{shown}");
        for entry in &mut report.entries {
            let kind = if entry.socket.local.port == 80 { ReachKind::Open } else { ReachKind::Limited };
            let from = vec!["anyone on eth1".into()];
            entry.set_reach(Reach { kind, from, rule: Some("rule".to_owned()), ..Reach::open() }.into());
        }
        let shown = page(&report);
        assert!(shown.contains("tcp 0.0.0.0:80: nginx, user root; the firewall lets in everyone"), "{shown}");
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
