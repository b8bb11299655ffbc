//! Reads the names that packaged sources give to ports, and decides which sources name a registration and which
//! sources name the port as something else.
//!
//! Only this decision leaves the module. No text of a source is kept. A source that cannot be read is an error with
//! its position; no name is left out silently.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use portolan::internals::iana::{BadSource, Entry};
use portolan::model::{EvidenceSource, PortRange, Protocol};

use super::same_service::same_service;

/// A range with more ports than this names a purpose, not a service.
const WIDEST: u16 = 16;

/// A packaged source: its kind and its files, by name.
#[derive(Clone, Debug)]
pub(super) struct Packaged {
    /// The kind of source.
    pub(super) kind: EvidenceSource,
    /// The names of the files, without directories, and their contents.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Packaged {
    /// Reads a file, or the files of a directory in the order of their names.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be read.
    pub(super) fn read(kind: EvidenceSource, path: &Path) -> io::Result<Self> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            paths = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            paths.retain(|path| path.is_file());
            paths.sort();
        }
        let read = |path: &PathBuf| Ok((name(path), std::fs::read(path)?));
        Ok(Packaged { kind, files: paths.iter().map(read).collect::<io::Result<_>>()? })
    }
}

/// The names that a source gives to each port and protocol.
pub(super) type Named = BTreeMap<(u16, Protocol), BTreeSet<String>>;

struct Names(Named);

impl Names {
    fn add(&mut self, ports: PortRange, protocol: Protocol, name: &str) {
        if ports.high - ports.low < WIDEST && ports.low > 0 {
            for port in ports.low..=ports.high {
                self.0.entry((port, protocol)).or_default().insert(name.to_owned());
            }
        }
    }
}

/// Reads the names in a source.
pub(super) fn read(source: &Packaged) -> Result<Named, BadSource> {
    let mut names = Names(Named::new());
    for (file, bytes) in &source.files {
        let text = String::from_utf8_lossy(bytes);
        let bad = |what: &str| BadSource(format!("{file}: {what}"));
        match source.kind {
            EvidenceSource::Netbase => services(&text, &mut names),
            EvidenceSource::Tshark => decodes(&text, &mut names),
            EvidenceSource::Selinux => policy(&text, &mut names),
            EvidenceSource::Firewalld => zone_service(file, &text, &mut names),
            EvidenceSource::Ndpi => dissectors(&text, &mut names),
            EvidenceSource::Ufw => profiles(&text, &mut names),
            EvidenceSource::Curated | EvidenceSource::KnownUse => Err("no packaged source".to_owned()),
        }
        .map_err(|what| bad(&what))?;
    }
    if names.0.is_empty() {
        return Err(BadSource("names no port at all".to_owned()));
    }
    Ok(names.0)
}

fn range(text: &str, between: char) -> Result<PortRange, String> {
    let (low, high) = text.split_once(between).unwrap_or((text, text));
    let port = |s: &str| s.trim().parse::<u16>().map_err(|_| format!("{text:?} is not a port"));
    PortRange::new(port(low)?, port(high)?).ok_or_else(|| format!("{text:?} is no range"))
}

/// Parses `/etc/services`: `name port/protocol alias… # remark`. It also lists AppleTalk sockets (`ddp`), which are not
/// ports.
fn services(text: &str, names: &mut Names) -> Result<(), String> {
    for (n, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let (port, protocol) = words
            .next()
            .and_then(|place| place.split_once('/'))
            .ok_or_else(|| format!("line {}: no port and protocol", n + 1))?;
        let ports = range(port, '-').map_err(|e| format!("line {}: {e}", n + 1))?;
        let Ok(protocol) = protocol.parse() else { continue };
        for name in std::iter::once(name).chain(words) {
            names.add(ports, protocol, name);
        }
    }
    Ok(())
}

/// Parses `tshark -G decodes`: `tcp.port<TAB>22<TAB>ssh`, among tables that are not about ports.
fn decodes(text: &str, names: &mut Names) -> Result<(), String> {
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (table, port, name) = (fields.next(), fields.next(), fields.next());
        let Some(protocol) = table.and_then(|table| table.strip_suffix(".port")?.parse().ok()) else {
            continue;
        };
        let (Some(port), Some(name)) = (port, name) else { return Err(format!("{line:?} has no name")) };
        names.add(range(port, '-')?, protocol, name);
    }
    Ok(())
}

/// Parses `network_port(ssh, tcp,22,s0)` of the SELinux reference policy.
fn policy(text: &str, names: &mut Names) -> Result<(), String> {
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("network_port(") else { continue };
        let body = rest.split(')').next().unwrap_or_default();
        let mut fields = body.split(',').map(str::trim);
        let name = fields.next().unwrap_or_default();
        let fields: Vec<&str> = fields.collect();
        for window in fields.windows(2) {
            if let Ok(protocol) = window[0].parse() {
                names.add(range(window[1], '-')?, protocol, name);
            }
        }
    }
    Ok(())
}

/// Parses a service of firewalld, which has the name of its file: `<port protocol="tcp" port="22"/>`.
fn zone_service(file: &str, text: &str, names: &mut Names) -> Result<(), String> {
    let name = file.strip_suffix(".xml").ok_or("not called *.xml")?;
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        plain.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    for tag in plain.split("<port ").skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        let attribute = |key: &str| {
            let (_, rest) = tag.split_once(&format!("{key}="))?;
            let quote = rest.chars().next()?;
            rest.get(1..)?.split(quote).next()
        };
        let (Some(ports), Some(protocol)) =
            (attribute(" port").or_else(|| attribute("port")), attribute("protocol"))
        else {
            return Err(format!("<port {tag}> has no port or no protocol"));
        };
        // A service may allow a whole protocol: `port=""`.
        if let (false, Ok(protocol)) = (ports.is_empty(), protocol.parse()) {
            names.add(range(ports, '-')?, protocol, name);
        }
    }
    Ok(())
}

/// Parses `ndpi_set_proto_defaults(…, "SSH", …, ndpi_build_default_ports(ports_a, 22, 0, …) …)`: `a` is TCP, `b` UDP.
fn dissectors(text: &str, names: &mut Names) -> Result<(), String> {
    for call in text.split("ndpi_set_proto_defaults(").skip(1) {
        let call = call.split(';').next().unwrap_or_default();
        let Some(name) = call.split('"').nth(1) else { continue };
        for built in call.split("ndpi_build_default_ports(ports_").skip(1) {
            let protocol = match built.chars().next() {
                Some('a') => Protocol::Tcp,
                Some('b') => Protocol::Udp,
                _ => return Err(format!("{name}: unknown list of ports")),
            };
            let arguments = built.split(')').next().unwrap_or_default();
            for port in arguments.split(',').skip(1).filter_map(|port| port.trim().parse::<u16>().ok()) {
                names.add(PortRange::single(port), protocol, name);
            }
        }
    }
    Ok(())
}

/// Parses `[Name]` and `ports=80,443/tcp|53` of ufw; a port without a protocol is a port of TCP and UDP.
fn profiles(text: &str, names: &mut Names) -> Result<(), String> {
    let mut name = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('[').and_then(|line| line.trim_end().strip_suffix(']')) {
            name = heading;
        }
        let Some(ports) = line.strip_prefix("ports=") else { continue };
        for part in ports.split('|') {
            let (ports, protocols) = match part.trim().split_once('/') {
                Some((ports, protocol)) => {
                    (ports, vec![protocol.parse().map_err(|_| format!("unknown protocol {protocol:?}"))?])
                }
                None => (part.trim(), vec![Protocol::Tcp, Protocol::Udp]),
            };
            for ports in ports.split(',') {
                for protocol in &protocols {
                    names.add(range(ports, ':')?, *protocol, name);
                }
            }
        }
    }
    Ok(())
}

/// The evidence of the kinds of source for one port and protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    kinds: Vec<EvidenceSource>,
    /// The kinds that name the port as something else and agree with each other on a name.
    agreeing: Vec<EvidenceSource>,
}

/// Returns the lines of `evidence.tsv`, sorted by port: for each registration the kinds that name it, and for each port
/// and protocol the kinds that name it as something else.
pub(super) fn lines(entries: &[Entry], sources: &[(EvidenceSource, Named)]) -> String {
    // The protocols of each combination of ports, service and result.
    let mut lines: BTreeMap<(PortRange, String, Said), Vec<Protocol>> = BTreeMap::new();
    let mut registered: BTreeMap<(u16, Protocol), Vec<&str>> = BTreeMap::new();
    for Entry { ports, protocol, content } in entries {
        let Some(service) = content.service.as_deref() else { continue };
        for port in ports.low..=ports.high {
            registered.entry((port, *protocol)).or_default().push(service);
        }
        let names_it = |names: &Named| {
            (ports.low..=ports.high)
                .filter_map(|port| names.get(&(port, *protocol)))
                .flatten()
                .any(|name| same_service(name, service))
        };
        let mut kinds: Vec<EvidenceSource> =
            sources.iter().filter(|(_, names)| names_it(names)).map(|(kind, _)| *kind).collect();
        kinds.sort_unstable();
        if !kinds.is_empty() {
            let said = Said { kinds, agreeing: Vec::new() };
            lines.entry((*ports, service.to_owned(), said)).or_default().push(*protocol);
        }
    }
    let places: BTreeSet<(u16, Protocol)> =
        sources.iter().flat_map(|(_, names)| names.keys().copied()).collect();
    for place in places {
        let services = registered.get(&place).map(Vec::as_slice).unwrap_or_default();
        let named_otherwise_by: Vec<(EvidenceSource, &BTreeSet<String>)> = sources
            .iter()
            .filter_map(|(kind, names)| Some((*kind, names.get(&place)?)))
            .filter(|(_, names)| !names.iter().any(|n| services.iter().any(|s| same_service(n, s))))
            .collect();
        if named_otherwise_by.is_empty() {
            continue;
        }
        let agrees = |(kind, names): &(EvidenceSource, &BTreeSet<String>)| {
            named_otherwise_by.iter().any(|(other, theirs)| {
                other != kind && names.iter().any(|a| theirs.iter().any(|b| same_service(a, b)))
            })
        };
        let mut said = Said {
            kinds: named_otherwise_by.iter().map(|(kind, _)| *kind).collect(),
            agreeing: named_otherwise_by.iter().filter(|one| agrees(one)).map(|(kind, _)| *kind).collect(),
        };
        said.kinds.sort_unstable();
        said.agreeing.sort_unstable();
        lines.entry((PortRange::single(place.0), String::new(), said)).or_default().push(place.1);
    }
    let mut text = String::new();
    for ((ports, service, said), mut protocols) in lines {
        protocols.sort_unstable();
        protocols.dedup();
        let joined =
            |kinds: &[EvidenceSource]| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.name()).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{ports}\t{}\t{service}\t{}\t{}",
            protocols.join(","),
            joined(&said.kinds),
            joined(&said.agreeing)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: EvidenceSource, file: &str, text: &str) -> Result<Vec<String>, BadSource> {
        let source = Packaged { kind, files: vec![(file.to_owned(), text.as_bytes().to_vec())] };
        let names = read(&source)?;
        Ok(names
            .iter()
            .flat_map(|((port, protocol), names)| names.iter().map(move |n| format!("{port}/{protocol} {n}")))
            .collect())
    }

    #[test]
    fn every_kind_is_read() {
        for (kind, file, text, names) in [
            (
                EvidenceSource::Netbase,
                "services",
                "# remark\nhttp\t80/tcp\twww # web\nrtmp 1/ddp\n",
                &["80/tcp http", "80/tcp www"][..],
            ),
            (
                EvidenceSource::Tshark,
                "decodes",
                "raknet.id\t6\traknet\ntcp.port\t22\tssh\nudp.port\t53\tdns\nsctp.port\t7\techo\n",
                &["7/sctp echo", "22/tcp ssh", "53/udp dns"],
            ),
            (
                EvidenceSource::Selinux,
                "corenetwork.te.in",
                "network_port(afs_fs, tcp,2040,s0, udp,7000,s0, udp,7005-7006,s0)\nnetwork_port(biff)\n\
                 network_port(wide, tcp,1000-1100,s0) # wide\n",
                &["2040/tcp afs_fs", "7000/udp afs_fs", "7005/udp afs_fs", "7006/udp afs_fs"],
            ),
            (
                EvidenceSource::Firewalld,
                "ssh.xml",
                "<service><!-- <port protocol=\"tcp\" port=\"1\"/> --><port protocol=\"tcp\" port=\"22\"/>\
                 <port port='2000-2001' protocol='udp'/><port protocol=\"tcp\" port=\"\"/></service>",
                &["22/tcp ssh", "2000/udp ssh", "2001/udp ssh"],
            ),
            (
                EvidenceSource::Ndpi,
                "ndpi_main.c",
                "ndpi_set_proto_defaults(x, 0, NDPI_PROTOCOL_SSH,\n \"SSH\", CATEGORY,\n \
                 ndpi_build_default_ports(ports_a, 22, 0, 0, 0, 0) /* TCP */,\n \
                 ndpi_build_default_ports(ports_b, 0, 23, 0, 0, 0) /* UDP */);\n",
                &["22/tcp SSH", "23/udp SSH"],
            ),
            (
                EvidenceSource::Ufw,
                "ufw-x",
                "[SSH]\ntitle=x\nports=22,24:25/tcp|53\n",
                &["22/tcp SSH", "24/tcp SSH", "25/tcp SSH", "53/tcp SSH", "53/udp SSH"],
            ),
        ] {
            let mut found = named(kind, file, text).unwrap();
            let order = |name: &String| name.split('/').next().unwrap().parse::<u16>().unwrap();
            found.sort_by_key(order);
            assert_eq!(found, names, "{kind:?}");
        }
    }

    #[test]
    fn bad_sources_are_refused() {
        for (kind, file, text, printed) in [
            (EvidenceSource::Netbase, "services", "ssh 22\n", "services: line 1: no port and protocol"),
            (EvidenceSource::Netbase, "services", "ssh 22x/tcp\n", "services: line 1: \"22x\" is not a port"),
            (EvidenceSource::Tshark, "decodes", "tcp.port\t22\n", "has no name"),
            (EvidenceSource::Tshark, "decodes", "nothing\n", "names no port at all"),
            (EvidenceSource::Selinux, "te", "network_port(a, tcp,9-1,s0)\n", "\"9-1\" is no range"),
            (EvidenceSource::Firewalld, "ssh", "", "not called *.xml"),
            (EvidenceSource::Firewalld, "ssh.xml", "<port port=\"1\"/>", "no protocol"),
            (EvidenceSource::Ufw, "a", "[a]\nports=1/xyz\n", "unknown protocol"),
        ] {
            let error = named(kind, file, text).unwrap_err().to_string();
            assert!(error.contains(printed), "{kind:?} {text:?}: {error}");
        }
    }
}
