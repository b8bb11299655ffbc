//! The services and products that commonly run on a port, each with one sentence, and two texts for each of the most
//! popular ports.
//!
//! The heads of `data/services.tsv` and `data/answers.tsv` describe the columns. No verdict depends on these tables.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::programs::pairs;
use super::table::{Table, parts};
use crate::model::{CommonService, PortAnswer, PortRange, Protocol};

/// The number of columns of `services.tsv`.
const COLUMNS: usize = 9;

struct ServiceRow {
    ports: &'static str,
    service: CommonService,
}

/// Returns every row. A malformed line is left out; a test checks that there is none.
fn rows() -> impl Iterator<Item = ServiceRow> {
    Table::new(include_str!("data/services.tsv")).lines().filter_map(|line| {
        let mut fields = [""; COLUMNS];
        let mut columns = parts(line, b'\t');
        for field in &mut fields {
            *field = columns.next()?;
        }
        let [name, ports, kind, what, encryption, authentication, reach, how_common, since] = fields;
        let how_common = how_common.parse().ok()?;
        let since = Some(since).filter(|since| !since.is_empty());
        let service =
            CommonService { name, kind, what, encryption, authentication, reach, how_common, since };
        columns.next().is_none().then_some(ServiceRow { ports, service })
    })
}

fn answers() -> impl Iterator<Item = (&'static str, PortAnswer)> {
    Table::new(include_str!("data/answers.tsv")).lines().filter_map(|line| {
        let mut columns = parts(line, b'\t');
        Some((columns.next()?, PortAnswer { what: columns.next()?, open: columns.next()? }))
    })
}

/// The rows of each port, the most common service first.
#[derive(Default)]
struct Index {
    services: HashMap<(u16, Protocol), Vec<CommonService>>,
    answers: HashMap<(u16, Protocol), PortAnswer>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index::default();
        // On the main port of a service, the service comes before services that have this port only as another port.
        let mut ranked: HashMap<(u16, Protocol), Vec<(u8, CommonService)>> = HashMap::new();
        for ServiceRow { ports, service } in rows() {
            for (at, (range, protocol)) in pairs(ports).enumerate() {
                let rank = service.how_common + u8::from(at > 0);
                for port in range.low..=range.high {
                    ranked.entry((port, protocol)).or_default().push((rank, service));
                }
            }
        }
        for (place, mut services) in ranked {
            services.sort_by_key(|(rank, _)| *rank);
            index.services.insert(place, services.into_iter().map(|(_, service)| service).collect());
        }
        for (ports, answer) in answers() {
            for (range, protocol) in pairs(ports) {
                index.answers.extend((range.low..=range.high).map(|port| ((port, protocol), answer)));
            }
        }
        index
    })
}

/// Returns the services that commonly run on a port, the most common first.
pub(super) fn common(port: u16, protocol: Protocol) -> Vec<CommonService> {
    index().services.get(&(port, protocol.registered_as())).cloned().unwrap_or_default()
}

/// Returns the texts about one of the most popular ports.
pub(super) fn answer(port: u16, protocol: Protocol) -> Option<PortAnswer> {
    index().answers.get(&(port, protocol.registered_as())).copied()
}

/// Returns the ports of every service and of every popular port, with a name.
pub(super) fn all() -> impl Iterator<Item = (PortRange, &'static str)> {
    let of_services =
        rows().flat_map(|row| pairs(row.ports).map(move |(ports, _)| (ports, row.service.name)));
    let of_answers =
        answers().flat_map(|(ports, answer)| pairs(ports).map(move |(ports, _)| (ports, answer.what)));
    of_services.chain(of_answers)
}

/// Returns every service with its ports, the main port first.
pub(super) fn with_ports()
-> impl Iterator<Item = (CommonService, impl Iterator<Item = (PortRange, Protocol)>)> {
    rows().map(|row| (row.service, pairs(row.ports)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns the lines of a table without its head.
    fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
        text.lines().filter(|line| !line.starts_with('#'))
    }

    #[test]
    fn every_line_is_a_row_with_known_words() {
        let count = lines(include_str!("data/services.tsv")).count();
        assert_eq!(rows().count(), count);
        assert!(count >= 500, "{count}");
        let mut names = BTreeSet::new();
        for ServiceRow { ports, service } in rows() {
            let CommonService { name, what, encryption, authentication, reach, how_common, since, .. } =
                service;
            assert!(names.insert(name), "{name} occurs twice");
            assert_eq!(pairs(ports).count(), ports.split(',').count(), "{name}: {ports}");
            assert!(what.ends_with('.') && what.len() <= 160, "{name}: {what}");
            assert!(["none", "optional", "always", "n/a"].contains(&encryption), "{name}: {encryption}");
            let known = ["none", "optional", "password", "key", "n/a"];
            assert!(known.contains(&authentication), "{name}: {authentication}");
            assert!(["local", "lan", "public"].contains(&reach), "{name}: {reach}");
            assert!((1..=5).contains(&how_common), "{name}: {how_common}");
            let is_year = |year: &str| year.parse::<u16>().is_ok_and(|year| (1960..2030).contains(&year));
            assert!(since.is_none_or(is_year), "{name}: {since:?}");
        }
    }

    #[test]
    fn every_answer_has_its_ports_once() {
        let count = lines(include_str!("data/answers.tsv")).count();
        assert_eq!(answers().count(), count);
        let mut places = BTreeSet::new();
        for (ports, PortAnswer { what, open }) in answers() {
            assert_eq!(pairs(ports).count(), ports.split(',').count(), "{ports}");
            for (range, protocol) in pairs(ports) {
                assert!(places.insert((range, protocol)), "{ports}: twice");
            }
            for text in [what, open] {
                assert!(text.ends_with(['.', ')']) && text.len() <= 200, "{ports}: {text}");
            }
        }
    }

    #[test]
    fn the_most_common_service_of_a_port_comes_first() {
        let first = |port, protocol| common(port, protocol).first().map(|service| service.name);
        for (port, protocol, name) in [
            (22, Protocol::Tcp, "OpenSSH"),
            (5432, Protocol::Tcp, "PostgreSQL"),
            (51820, Protocol::Udp, "WireGuard"),
            (60001, Protocol::Udp, "Mosh"),
        ] {
            assert_eq!(first(port, protocol), Some(name), "{port}");
        }
        assert_eq!(first(3416, Protocol::Sctp), None);
    }
}
