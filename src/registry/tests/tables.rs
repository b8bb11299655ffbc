//! Checks that the hand-kept tables agree with each other and with the registry.

use std::collections::{BTreeMap, BTreeSet};

use super::super::command_line::CommandLine;
use super::super::programs::{pairs as port_list, programs_named};
use super::super::row::{KnownUse, Relation};
use super::super::{Registry, dangers};
use super::{body, dead, known_uses, live, pairs, verdict};
use crate::model::{CuratedState, PortRange, Protocol, Status};

/// An orphaned or legacy registration: its service, its standing, and whether the row names the current user of the
/// port.
type DeadRow = (&'static str, CuratedState, bool);

fn dead_by_port() -> BTreeMap<(u16, Protocol), Vec<DeadRow>> {
    let mut by_port: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in dead() {
        pairs(&row).for_each(|pair| {
            let is_named = row.curated.now_used_by.is_some() || has_rare_use(pair);
            by_port.entry(pair).or_default().push((row.service, row.curated.standing, is_named));
        });
    }
    by_port
}

/// Returns whether a rare use of this port is known.
fn has_rare_use((port, protocol): (u16, Protocol)) -> bool {
    let is_on_port = |known: &KnownUse| (known.port, known.protocol) == (port, protocol);
    known_uses().any(|known| known.relation == Relation::Rare && is_on_port(&known))
}

/// Returns the protocols on which a registration is in use, by port and service.
fn live_protocols() -> BTreeMap<(u16, &'static str), BTreeSet<Protocol>> {
    let mut by_service: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in live() {
        pairs(&row).for_each(|(port, protocol)| {
            by_service.entry((port, row.service)).or_default().insert(protocol);
        });
    }
    by_service
}

/// Returns the contradictions between `programs.tsv` and the curated lists. A row can contradict an orphaned or legacy
/// row on the same port, or a live row that names another protocol.
fn program_conflicts(programs_tsv: &'static str) -> Vec<String> {
    let registry = Registry::embedded();
    let (dead, live) = (dead_by_port(), live_protocols());
    let mut conflicts = Vec::new();
    for line in body(programs_tsv) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let own: BTreeSet<&str> = fields[4].split(',').filter(|service| !service.is_empty()).collect();
        for (ports, protocol) in port_list(fields[3]) {
            for port in ports.low..=ports.high {
                let mut conflict =
                    |what: &str| conflicts.push(format!("{port}/{protocol} {}: {what}", fields[0]));
                for (service, standing, used) in dead.get(&(port, protocol)).into_iter().flatten() {
                    if own.contains(service) && *standing == CuratedState::Orphaned {
                        conflict(&format!("serves {service}, which is called orphaned"));
                    } else if !own.contains(service) && !used {
                        conflict(&format!("{service} is dead there, and its row has no now_used_by"));
                    }
                }
                for service in &own {
                    let used = live.get(&(port, *service));
                    let is_registered =
                        || registry.verdict(port, protocol).assignments.iter().any(|a| a.service == *service);
                    if used.is_some_and(|protocols| !protocols.contains(&protocol)) && is_registered() {
                        conflict(&format!("serves {service}, which live.tsv has for another protocol only"));
                    }
                }
            }
        }
    }
    conflicts
}

#[test]
fn no_known_program_has_a_dead_default_port() {
    assert_eq!(program_conflicts(include_str!("../data/programs.tsv")), [""; 0]);
}

#[test]
fn conflicts_of_programs_are_found() {
    for (name, line, conflict) in [
        ("own service dead", "x\tcomm\tX\ttcp/3416\tcommandport\tno\tknown\tknown\t1\t", "called orphaned"),
        ("unnamed user of a dead port", "x\tcomm\tX\tudp/3416\t\tno\tknown\tknown\t1\t", "no now_used_by"),
        ("the unused protocol", "x\tcomm\tX\tudp/22\tssh\tno\tknown\tknown\t1\t", "another protocol only"),
    ] {
        let found = program_conflicts(line);
        assert!(found.iter().any(|found| found.contains(conflict)), "{name}: {found:?}");
    }
}

/// Returns the services that commonly run on an orphaned port, although no row of the orphaned list names them. Malware
/// and services of the orphaned product do not count.
fn service_conflicts(services_tsv: &'static str) -> Vec<String> {
    let mut conflicts = Vec::new();
    for line in body(services_tsv) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let [name, ports, kind, ..] = fields[..] else { panic!("{line}") };
        let brand = name.split(' ').next().unwrap();
        for row in dead().filter(|row| row.curated.standing == CuratedState::Orphaned) {
            let explains_itself = row.curated.now_used_by.is_some() || row.curated.product.contains(brand);
            let is_on_port = |(range, protocol): (PortRange, Protocol)| {
                pairs(&row).any(|pair| pair.1 == protocol && (range.low..=range.high).contains(&pair.0))
            };
            if !["malware", "attack-tool"].contains(&kind)
                && !explains_itself
                && port_list(ports).any(is_on_port)
            {
                conflicts.push(format!("{name}: {} is orphaned there, without now_used_by", row.service));
            }
        }
    }
    conflicts
}

#[test]
fn no_common_service_has_an_orphaned_port() {
    assert_eq!(service_conflicts(include_str!("../data/services.tsv")), [""; 0]);
    for (name, line, conflicts) in [
        ("an unnamed service", "X\tudp/53,tcp/3400-3420\tdatabase", 1),
        ("the other protocol", "X\tsctp/3416\tdatabase", 0),
        ("malware", "X\ttcp/3416\tmalware", 0),
        ("the product of the row", "AirMobile server\ttcp/3416\tother", 0),
        ("a named use", "X\ttcp/1420\tweb", 0),
    ] {
        assert_eq!(service_conflicts(line).len(), conflicts, "{name}");
    }
}

#[test]
fn a_known_use_of_a_dead_port_is_in_its_row() {
    let dead = dead_by_port();
    for known in known_uses().filter(|known| known.relation != Relation::Abused) {
        let is_own = !matches!(known.relation, Relation::Other | Relation::Rare);
        for (service, standing, used) in dead.get(&(known.port, known.protocol)).into_iter().flatten() {
            // The known use may be the registered service itself, if the registration is only legacy.
            let own = is_own && *standing != CuratedState::Orphaned && known.is_use_of(service);
            assert!(*used || own, "{}/{} {service}: {:?}", known.port, known.protocol, known.text);
        }
    }
}

/// Some sources always name both protocols. They do not make a registration active on a protocol that is not used.
#[test]
fn live_rows_say_which_protocols_are_used() {
    for ((port, service), protocols) in live_protocols() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let found = verdict(&format!("{protocol}/{port}"));
            let Some(own) = found.assignments.iter().find(|a| a.service == service) else { continue };
            if protocols.contains(&protocol) {
                assert_eq!(own.status, Status::Active, "{protocol}/{port} {service}");
            }
        }
    }
}

#[test]
fn forwarders_and_guards_are_known_programs() {
    for line in body(include_str!("../data/holders.tsv")) {
        let name = line.split('\t').next().unwrap();
        assert!(programs_named(name).next().is_some(), "{name} of holders.tsv is not in programs.tsv");
    }
    let mut seen = BTreeSet::new();
    for line in body(include_str!("../data/programs.tsv")) {
        let key: Vec<_> = line.split('\t').take(3).collect();
        assert!(seen.insert(key), "twice: {line}");
    }
    for line in body(include_str!("../data/guarded.tsv")) {
        let fields: Vec<_> = line.split('\t').collect();
        assert!(["anything", "soft", "interpreters"].contains(&fields[3]) && !fields[4].is_empty(), "{line}");
        assert_eq!(port_list(fields[1]).count(), fields[1].split(',').count(), "{line}");
    }
    let mosh = programs_named("mosh-server").next().unwrap();
    assert!(mosh.picks_from(60001, Protocol::Udp).is_some() && !mosh.serves(60001, Protocol::Udp));
}

/// Pages that copy each other, and encyclopaedias, are not accepted as sources.
#[test]
fn sources_are_first_hand() {
    const COPIES: [&str; 24] = [
        "cryer.org",
        "findatwiki",
        "wikimili",
        "hubbry",
        "kampuspedia",
        "zxc.wiki",
        "codedocs",
        "grokipedia",
        "wiki2.",
        "handwiki",
        "wikia.",
        "owiki",
        "sagapedia",
        "nina.az",
        "allexperts",
        "altf4arnold",
        "dictionary",
        "wikipedia",
        "fandom",
        "friendlywiki",
        "epfl",
        "infogalactic",
        "wikiwand",
        "everipedia",
    ];
    for row in dead().chain(live()) {
        let copy = row.curated.source.filter(|source| COPIES.iter().any(|copy| source.contains(copy)));
        assert_eq!(copy, None, "{} {}", row.ports, row.service);
        let ended = row.curated.ended.unwrap_or("1960");
        assert!(("1960".."2027").contains(&ended), "{} {}: {ended}", row.ports, row.service);
        assert!(
            row.curated.standing != CuratedState::Alive
                || row.curated.basis.is_none_or(|basis| !basis.contains('=')),
            "{}",
            row.service
        );
    }
}

/// Returns the rows of a table. Each row is a map from the name of the column to the value.
fn rows(text: &'static str) -> Vec<BTreeMap<&'static str, &'static str>> {
    let columns = text.lines().find_map(|line| line.strip_prefix("# columns: ")).unwrap();
    let columns: Vec<&str> = columns.split('\t').collect();
    body(text)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), columns.len(), "{line}");
            columns.iter().copied().zip(fields).collect()
        })
        .collect()
}

/// Returns whether an element of `programs` (NAME, NAME:TEXT or NAME:/REGEX/) can be matched.
fn is_program(element: &str) -> bool {
    let (name, rest) = element.split_once(':').unwrap_or((element, ""));
    let expression = rest.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    !name.is_empty() && expression.is_none_or(|expression| regex_lite::Regex::new(expression).is_ok())
}

fn is_expression(text: &str) -> bool {
    let text = text.trim_start_matches('!').replace("{port}", "12345");
    text.split(" && ").all(|part| super::super::command_line::compile(part).is_some())
}

fn is_technique(text: &str) -> bool {
    let mut parts = text.strip_prefix('T').unwrap_or_default().split('.');
    let digits = |part: Option<&str>, n| {
        part.is_none_or(|part| part.len() == n && part.bytes().all(|b| b.is_ascii_digit()))
    };
    parts.clone().next().is_some_and(|id| id.len() == 4) && digits(parts.next(), 4) && digits(parts.next(), 3)
}

fn is_source(text: &str) -> bool {
    text == "known" || text.starts_with("http")
}

#[test]
fn dangers_have_their_shape() {
    let mut seen = BTreeSet::new();
    for row in rows(include_str!("../data/dangers.tsv")) {
        let service = row["service"];
        let is_id = service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(is_id && seen.insert(service), "{service}");
        assert!(["critical", "warning", "notice", "none"].contains(&row["severity"]), "{service}");
        let authentication = ["none", "none-by-default", "optional", "password", "strong", "n/a"];
        assert!(authentication.contains(&row["authentication"]), "{service}");
        assert!(["none", "optional", "always"].contains(&row["encryption"]), "{service}");
        let except = row["only_ports"];
        let is_list = port_list(except).count() == except.split(',').count();
        assert!((["yes", "no"].contains(&except) || is_list) && !row["title"].is_empty(), "{service}");
        let gets: Vec<_> = row["outsider_gets"].split(" ;; ").collect();
        assert!(gets.iter().all(|text| text.ends_with('.')) && row["remedy"].ends_with('.'), "{service}");
        assert!(is_source(row["source"]), "{service}");
        let remedies: Vec<_> = row["remedy"].split(" ;; ").collect();
        let (last, others) = remedies.split_last().unwrap();
        assert!(!last.starts_with('[') && remedies.iter().all(|text| text.ends_with('.')), "{service}");
        for remedy in others {
            let (programs, _) = remedy.strip_prefix('[').and_then(|rest| rest.split_once("] ")).unwrap();
            let of_row = |program: &str| {
                row["programs"]
                    .split(',')
                    .map(|own| own.trim_start_matches('@'))
                    .any(|own| own == program || own.split_once(':').is_some_and(|(name, _)| name == program))
            };
            assert!(programs.split(',').all(of_row), "{service}: {programs}");
        }
        assert!(row["attack"].split(',').filter(|id| !id.is_empty()).all(is_technique), "{service}");
        let ports = row["ports"].split(',').filter(|pair| !pair.is_empty()).count();
        assert_eq!(port_list(row["ports"]).count(), ports, "{service}");
        let programs: BTreeSet<_> = row["programs"].split(',').collect();
        assert_eq!(programs.len(), row["programs"].split(',').count(), "a program twice: {service}");
        assert!(programs.iter().all(|element| is_program(element)), "{service}: {programs:?}");
        assert!(!programs.contains("*") || row["only_ports"] == "yes", "any program on any port: {service}");
        let arguments: Vec<_> = row["arguments"].split(" ;; ").filter(|text| !text.is_empty()).collect();
        assert!(arguments.iter().all(|text| is_expression(text)), "{service}: {arguments:?}");
        let can_be_certain = arguments.iter().any(|text| !text.starts_with(['!', '~']));
        assert!(gets.len() == 1 || gets.len() == 2 && can_be_certain, "{service}");
        // If arguments can switch the login off, the sentence about a login can be wrong, so the row needs a second
        // sentence. Vault is an exception, because its well-known token is still a login.
        let needs_both = can_be_certain && row["authentication"] == "password" && service != "vault-dev";
        assert!(!needs_both || gets.len() == 2, "{service}");
        let by_port = arguments.iter().any(|text| text.contains("{port}") && !text.starts_with('!'));
        assert!(except != "yes" || ports > 0 || by_port, "can never match: {service}");
    }
    assert!(seen.len() >= 340, "{}", seen.len());
}

#[test]
fn dual_use_and_ad_hoc_tools_have_their_shape() {
    let mut seen = BTreeSet::new();
    for row in rows(include_str!("../data/dual-use.tsv")) {
        let program = row["programs"];
        assert!(program.split(',').all(is_program) && seen.insert(program), "{program}");
        assert_eq!(program.contains('@'), !row["ports"].is_empty(), "{program}");
        let kinds = ["tunnel", "remote-control", "attack", "miner", "interception", "proxy"];
        assert!(
            kinds.contains(&row["kind"]) && ["warning", "notice"].contains(&row["severity"]),
            "{program}"
        );
        assert!(row["what"].ends_with('.') && is_source(row["source"]), "{program}");
        assert!(row["attack"].is_empty() || is_technique(row["attack"]), "{program}");
    }
    for row in rows(include_str!("../data/ad-hoc.tsv")) {
        assert!(row["programs"].split(',').all(is_program), "{row:?}");
        assert!(is_expression(row["arguments"]), "{row:?}");
        assert!(["shell", "relay", "listen", "start"].contains(&row["meaning"]), "{row:?}");
        for column in ["severity_beyond_loopback", "severity_on_loopback"] {
            assert!(["critical", "warning", "notice", "info"].contains(&row[column]), "{row:?}");
        }
    }
}

/// A remedy is a setting of the running program, even if the row also names other programs.
#[test]
fn remedies_are_for_the_program_that_runs() {
    for (file, line, port, wanted) in [
        (
            "python3.11",
            "python3 -m http.server",
            8000,
            "Add --bind 127.0.0.1 to python3 -m http.server, or stop the server.",
        ),
        (
            "busybox",
            "busybox httpd -p 8000",
            8000,
            "Start httpd with -p 127.0.0.1:{port}, or stop the server.",
        ),
        ("webfsd", "webfsd -p 8000", 8000, "Start webfsd with -i 127.0.0.1, or stop the server."),
        ("darkhttpd", "darkhttpd /srv", 8080, "Bind the service to 127.0.0.1, or stop the server."),
        ("shellinaboxd", "shellinaboxd -q", 4200, "Start the program with --localhost-only behind a proxy."),
        (
            "pure-ftpd",
            "pure-ftpd",
            21,
            "Use SFTP; or require TLS and refuse anonymous logins in the server's configuration.",
        ),
    ] {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let command = CommandLine::new(file, &arguments);
        let danger = dangers::danger(&command, port, Protocol::Tcp, false).unwrap();
        assert_eq!(danger.remedy, wanted, "{line}");
    }
}
