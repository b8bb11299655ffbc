//! The services that other machines can reach: the program, the address, and what anyone who connects can do.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{merged_places, place, service_owner};
use crate::findings::FindingKind;
use crate::findings::identity::ShellListener;
use crate::findings::reach::{Exposed, firewall};
use crate::judge::Entry;
use crate::judge::audit::{Audit, Subject};
use crate::model::{ReachKind, Severity};

/// A service that other machines can reach, on one or several addresses and ports.
pub(in crate::render) struct ReachableService {
    /// The highest severity of its findings; `None` if no finding is above information.
    pub(in crate::render) severity: Option<Severity>,
    pub(in crate::render) places: Vec<String>,
    pub(in crate::render) program: String,
    /// What anyone who connects can do; `None` if the program is not in the table of dangerous services.
    pub(in crate::render) gets: Option<String>,
    /// The clients that the firewall lets in, if it does not let in everyone.
    pub(in crate::render) limited_to: Option<String>,
}

/// The reachable services of an audit.
pub(in crate::render) struct Reachable<'r> {
    /// The services, the most dangerous first.
    pub(in crate::render) services: Vec<ReachableService>,
    /// The listeners that other machines can reach.
    pub(in crate::render) listeners: Vec<&'r Entry>,
}

/// Returns the services of an audit that other machines can reach: first the dangerous services, then services with
/// another finding, then the rest in the order of listings.
pub(in crate::render) fn services<'r>(audit: &Audit<'r>) -> Reachable<'r> {
    let reachable: Vec<&'r Entry> =
        audit.listeners.iter().copied().filter(|judged| is_reachable(judged)).collect();
    let mut severities: HashMap<*const Entry, Severity> = HashMap::new();
    for found in &audit.findings {
        if let Subject::Entry(judged) = found.subject
            && found.finding.severity > Severity::Info
        {
            let worst = severities.entry(std::ptr::from_ref(judged)).or_insert(found.finding.severity);
            *worst = (*worst).max(found.finding.severity);
        }
    }
    let mut services: Vec<ReachableService> = Vec::new();
    let mut known = HashMap::new();
    for judged in &reachable {
        let severity = severities.get(&std::ptr::from_ref(*judged)).copied();
        let (program, gets) = (service_owner(judged), gets(judged));
        let limited = judged.reach().filter(|reach| reach.kind == ReachKind::Limited);
        let limited_to = limited.and_then(firewall);
        let key = (program.clone(), gets.clone(), severity, limited_to.clone());
        let at = *known.entry(key).or_insert_with(|| {
            services.push(ReachableService { severity, places: Vec::new(), program, gets, limited_to });
            services.len() - 1
        });
        services[at].places.push(place(&Subject::Entry(judged)));
    }
    for service in &mut services {
        service.places = merged_places(&service.places);
    }
    services.sort_by_key(|service| Reverse((service.gets.is_some(), service.severity)));
    Reachable { services, listeners: reachable }
}

/// Returns whether other machines can send to a socket. A socket that is only bound receives nothing. A socket behind
/// a firewall that drops everything receives nothing either.
pub(in crate::render) fn is_reachable(judged: &Entry) -> bool {
    let is_filtered = judged.reach().is_some_and(|reach| reach.kind == ReachKind::Filtered);
    !is_filtered && judged.exposure.is_reachable_from_outside() && judged.socket.state.accepts_traffic()
}

fn gets(judged: &Entry) -> Option<String> {
    let exposed = judged.findings().iter().find_map(|finding| Exposed::of(&finding.evidence));
    exposed.map(Exposed::summary).or_else(|| {
        let shell = judged.findings().iter().find(|finding| finding.flag() == ShellListener::FLAG);
        shell.map(|finding| finding.flag().why().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, Severity, Snapshot, State};
    use crate::render::Style;
    use crate::render::audit::table;
    use crate::render::fixtures::{empty, process, report, socket, text};

    /// Makes a Redis with two addresses, a socket that is only bound, a service on loopback, and this many web
    /// servers.
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
            assert_eq!(first.places, ["tcp *:6379"]);
            assert_eq!(first.program, "redis-server, user root");
            assert_eq!(first.severity, Some(Severity::Critical));
            assert!(first.gets.as_ref().is_some_and(|gets| gets.starts_with("Redis")), "{:?}", first.gets);
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
            assert!(more.is_none_or(|more| page.contains(&format!("{more} (portolan lists all)"))), "{page}");
        }
    }

    #[test]
    fn what_an_outsider_gets_is_written_once() {
        let report = report(&scene(0));
        let audit = Audit::of(&report);
        let gets = services(&audit).services[0].gets.clone().unwrap();
        let style = Style { width: None, color: false, ..Style::default() };
        let page = text(|w| table::document(&audit, Severity::Warning, &style, w));
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("Reachable from other machines: 1 of 3 listeners"), "{page}");
        let gets = gets.split_once(": ").unwrap().1;
        assert_eq!(page.to_lowercase().matches(&gets.to_lowercase()).count(), 1, "{page}");
        assert!(page.contains("Fix: "), "{page}");
    }
}
