//! The services that commonly run on a port. They appear in texts only, and no verdict depends on them.
//!
//! The heads of `data/services.tsv` and `data/answers.tsv` describe the columns.

use super::port_index::{PortIndex, count};
use super::programs::pairs;
use super::table::{Table, parts};
use crate::model::{CommonService, PortAnswer, PortRange, Protocol};

const COLUMNS: usize = 9;

#[derive(Clone, Copy)]
struct ServiceRow {
    ports: &'static str,
    service: CommonService,
}

const SERVICES: &str = include_str!("data/services.tsv");
const ANSWERS: &str = include_str!("data/answers.tsv");

impl ServiceRow {
    /// Returns `None` for a malformed line. A test checks that there is none.
    fn parse(line: &'static str) -> Option<Self> {
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
    }

    /// Returns the service as it runs on one of its ports. If the text explains other ports separately, login,
    /// encryption and reach are known only for the main port.
    fn on_port(self, port: u16) -> CommonService {
        let what = what_on(port, self.ports, self.service.what);
        let mut ranges = pairs(self.ports).map(|(range, _)| range);
        let is_main = ranges.next().is_some_and(|range| range.contains(port));
        if is_main || !ranges.any(|range| names(self.service.what, range)) {
            return CommonService { what, ..self.service };
        }
        let unknown = "n/a";
        CommonService { what, encryption: unknown, authentication: unknown, reach: unknown, ..self.service }
    }
}

fn rows() -> impl Iterator<Item = ServiceRow> {
    Table::new(SERVICES).lines().filter_map(ServiceRow::parse)
}

fn parse_answer(line: &'static str) -> Option<(&'static str, PortAnswer)> {
    let mut columns = parts(line, b'\t');
    Some((columns.next()?, PortAnswer { what: columns.next()?, open: columns.next()? }))
}

fn answers() -> impl Iterator<Item = (&'static str, PortAnswer)> {
    Table::new(ANSWERS).lines().filter_map(parse_answer)
}

/// Returns the services that commonly run on a port, the most common first.
pub(super) fn common(port: u16, protocol: Protocol) -> Vec<CommonService> {
    static PORTS: PortIndex<{ count(SERVICES, 1) }> = PortIndex::new(SERVICES, 1);
    // The main port of a service is the first of its row. On any other port, the service ranks one level lower. Services
    // of equal rank keep the order of the table.
    let rows = PORTS.rows(port, protocol).filter_map(|found| {
        let row = ServiceRow::parse(found.line)?;
        let is_main = found.is_first && found.ports.low == port;
        Some((row.service.how_common + u8::from(!is_main), found.is_in_wide_range(port), row))
    });
    let mut rows: Vec<(u8, bool, ServiceRow)> = rows.collect();
    // If another service uses this port in particular, services that may use any port of a wide range are left out.
    if rows.iter().any(|(_, is_wide, row)| !is_wide && !row.service.is_abuse()) {
        rows.retain(|(_, is_wide, _)| !is_wide);
    }
    rows.sort_by_key(|(rank, ..)| *rank);
    rows.into_iter().map(|(.., row)| row.on_port(port)).collect()
}

/// Returns whether a text contains a port of `range`.
fn names(text: &str, range: PortRange) -> bool {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    numbers.into_iter().any(|number: u16| range.contains(number))
}

/// Returns `what` without the parts that explain other ports. For port 443, for example, `Reverse proxy for containers;
/// 8080 is its dashboard` becomes `Reverse proxy for containers`.
fn what_on(port: u16, ports: &'static str, what: &'static str) -> &'static str {
    let ranges = || pairs(ports).map(|(range, _)| range);
    if what.contains("other ports") || ranges().any(|range| range.contains(port) && names(what, range)) {
        return what;
    }
    let mut end = 0;
    for part in what.split("; ") {
        if ranges().any(|range| names(part, range)) {
            break;
        }
        end += part.len() + "; ".len();
    }
    what.get(..end.saturating_sub("; ".len())).filter(|text| !text.is_empty()).unwrap_or(what)
}

/// Returns the texts about one of the most popular ports; `None` for any other port.
pub(super) fn answer(port: u16, protocol: Protocol) -> Option<PortAnswer> {
    static PORTS: PortIndex<{ count(ANSWERS, 0) }> = PortIndex::new(ANSWERS, 0);
    PORTS.rows(port, protocol).find_map(|row| parse_answer(row.line)).map(|(_, answer)| answer)
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
    fn a_text_does_not_explain_only_the_other_ports() {
        let own = "Reverse proxy; 8080 is its dashboard.";
        let workers = "A; 6627 is the master, 6700 to 6703 are workers.";
        let others = "SSH; uses 22, the other ports are local.";
        for (port, ports, what, expected) in [
            (443, "tcp/443,tcp/8080", own, "Reverse proxy"),
            (8080, "tcp/443,tcp/8080", own, own),
            (80, "tcp/80", "Web server of 2023.", "Web server of 2023."),
            (6701, "tcp/6627,tcp/6700-6703", workers, workers),
            (1, "tcp/1,tcp/22", "SSH (22).", "SSH (22)."),
            (1, "tcp/1,tcp/22", others, others),
        ] {
            assert_eq!(what_on(port, ports, what), expected, "{port}");
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
    fn login_and_encryption_of_the_main_port_are_not_those_of_another_port() {
        for (port, name, expected) in [
            (8500, "HashiCorp Consul", ("optional", "optional", "lan")),
            (8600, "HashiCorp Consul", ("n/a", "n/a", "n/a")),
            (8443, "Apache Tomcat", ("optional", "optional", "public")),
        ] {
            let service =
                common(port, Protocol::Tcp).into_iter().find(|service| service.name == name).unwrap();
            let CommonService { encryption, authentication, reach, .. } = service;
            assert_eq!((encryption, authentication, reach), expected, "{port}");
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
            (5985, Protocol::Tcp, "Windows Remote Management (WinRM)"),
            (6000, Protocol::Tcp, "X Window System (X11)"),
            (31785, Protocol::Tcp, "Kubernetes NodePort"),
        ] {
            assert_eq!(first(port, protocol), Some(name), "{port}");
        }
        assert_eq!(first(3416, Protocol::Sctp), None);
        let names: Vec<_> = common(30303, Protocol::Tcp).iter().map(|service| service.name).collect();
        assert_eq!(names, ["Ethereum"], "a wide range explains only ports without another service");
    }
}
