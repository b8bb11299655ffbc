//! The programs that usually serve each port, and the known servers of guarded services, from the lists in `data/`.

use std::sync::OnceLock;

use super::name_index::{Column, NameIndex, count};
use super::port_index::{self, PortIndex};
use super::row::ports;
use super::table::{self, Table, parts};
use crate::model::{PortRange, Protocol, named};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Match {
    /// By the name of the process, or by the name of its file, cut to the length of a process name.
    Comm,
    /// By the full name of the program file.
    Exe(&'static str),
    /// By this text in the command line of an interpreter.
    Arg(&'static str),
}

/// A row of `programs.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListedProgram {
    /// The name, as the kernel cuts it.
    pub name: &'static str,
    pub product: &'static str,
    /// The registered services that the program serves, joined by commas.
    services: &'static str,
    /// Whether the program commonly serves any port.
    pub any_port: bool,
    /// How common the program is, from 1 (very common) to 4 (rare).
    pub rank: u8,
    pub(super) matches: Match,
    ports: &'static str,
    picks_from: &'static str,
}

impl ListedProgram {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        let name = fields.next()?;
        let matches = match fields.next()?.split_once('=') {
            None => Match::Comm,
            Some(("exe", file)) => Match::Exe(file),
            Some(("arg", text)) => Match::Arg(text),
            Some(_) => return None,
        };
        let (product, ports) = (fields.next()?, fields.next()?);
        let services = fields.next()?;
        let any_port = fields.next()? == "yes";
        let rank = fields.nth(2)?.parse().ok()?;
        let picks_from = fields.next()?;
        Some(ListedProgram { name, product, services, any_port, rank, matches, ports, picks_from })
    }

    /// Returns the wide range from which the program picks its ports, if `port` is in the range. The program has no
    /// fixed port in this range.
    pub fn picks_from(&self, port: u16, protocol: Protocol) -> Option<PortRange> {
        let ranges = pairs(self.picks_from).filter(|(_, p)| *p == protocol.registered_as());
        ranges.map(|(range, _)| range).find(|range| range.contains(port))
    }

    pub fn serves(&self, port: u16, protocol: Protocol) -> bool {
        lists(self.ports, port, protocol)
    }

    pub fn ports(&self) -> impl Iterator<Item = (PortRange, Protocol)> + use<> {
        pairs(self.ports)
    }

    /// Returns the text that identifies the program. This is its file name, or a text in its command line, or else its
    /// process name.
    pub const fn mark(&self) -> &'static str {
        match self.matches {
            Match::Comm => self.name,
            Match::Exe(text) | Match::Arg(text) => text,
        }
    }

    /// Returns the name of the service on a port. This is the first of these names that exists:
    ///
    /// - the first name in `registered` that is a service of the program
    /// - the main service of the program, if the port is unusual for the program
    /// - the name of the program
    pub fn service(&self, port: u16, protocol: Protocol, registered: &[&'static str]) -> &'static str {
        if let Some(here) = registered.iter().find(|name| self.serves_service(name)) {
            return here;
        }
        let main = self.services.split(',').next().filter(|name| !name.is_empty());
        main.filter(|_| !self.serves(port, protocol)).unwrap_or_else(|| self.shown())
    }

    pub fn serves_service(&self, name: &str) -> bool {
        self.services.split(',').any(|service| service.eq_ignore_ascii_case(name))
    }

    /// Returns whether a system service with this name runs the program. The service can have one of these names:
    ///
    /// - the name of the program, with or without `-server` (`nginx`, `nyancat-server`)
    /// - the name of a daemon without its `d` (`cups` for `cupsd`)
    /// - the name of a service that the program serves (`ssh`)
    pub fn is_named_by_unit(&self, unit: &str) -> bool {
        // The kernel cuts the names of `Match::Comm` at 15 bytes.
        let is = |name: &str| unit == name || (name.len() == 15 && unit.starts_with(name));
        let mark = self.mark();
        let of_server = unit.strip_suffix("-server").is_some_and(|unit| unit == mark);
        of_server || is(mark) || mark.strip_suffix('d').is_some_and(is) || self.serves_service(unit)
    }

    /// Returns the name, or the product if the kernel may have cut the name.
    pub fn shown_in_full(&self) -> &'static str {
        if self.is_cut() { self.product } else { self.name }
    }

    /// Returns whether the kernel may have cut the name to 15 bytes.
    pub fn is_cut(&self) -> bool {
        self.matches == Match::Comm && self.name.len() == 15
    }

    /// Returns the name to print. For a script, this is the text that identifies the script in the command line.
    pub(super) fn shown(&self) -> &'static str {
        match self.matches {
            Match::Arg(text) => {
                let name = text.trim_start_matches('-').trim_matches('/');
                name.rsplit('/').next().unwrap_or(name)
            }
            Match::Comm | Match::Exe(_) => self.name,
        }
    }
}

/// Parses `tcp/22,udp/60000-61000`.
pub(super) fn pairs(text: &'static str) -> impl Iterator<Item = (PortRange, Protocol)> {
    text.split(',').filter_map(|pair| {
        let (protocol, range) = pair.split_once('/')?;
        Some((ports(range)?, protocol.parse().ok()?))
    })
}

fn lists(text: &'static str, port: u16, protocol: Protocol) -> bool {
    pairs(text).any(|(range, p)| p == protocol.registered_as() && range.contains(port))
}

/// A row of `guarded.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    pub service: &'static str,
    pub why: &'static str,
    pub(super) ports: &'static str,
    programs: &'static str,
    pub strictness: GuardStrictness,
}

named! {
    /// The programs that are suspicious on the port of a guarded service.
    pub enum GuardStrictness {
        /// Every program that is not a known server of the service.
        Anything = "anything",
        /// The same programs as for `Anything`. The finding is only a notice, because several services share the port.
        Soft = "soft",
        /// Interpreters that run an unknown script. The finding is only a notice.
        Interpreters = "interpreters",
    }
}

impl Guarded {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = parts(line, b'\t');
        Some(Guarded {
            service: fields.next()?,
            ports: fields.next()?,
            programs: fields.next()?,
            strictness: GuardStrictness::named(fields.next()?)?,
            why: fields.next()?,
        })
    }

    pub fn programs(&self) -> impl Iterator<Item = &'static str> + use<> {
        parts(self.programs, b',')
    }
}

impl ListedProgram {
    /// Returns whether the row describes the code of an interpreter.
    pub const fn is_arg(&self) -> bool {
        matches!(self.matches, Match::Arg(_))
    }
}

fn body(text: &'static str) -> impl Iterator<Item = &'static str> {
    Table::new(text).lines()
}

/// Returns every row of `programs.tsv`, in its order.
pub fn programs() -> impl Iterator<Item = ListedProgram> {
    body(PROGRAMS).filter_map(ListedProgram::parse)
}

const PROGRAMS: &str = include_str!("data/programs.tsv");
static NAMES: NameIndex<{ count(PROGRAMS, Column::ProcessAndFile) }> =
    NameIndex::new(PROGRAMS, Column::ProcessAndFile);

/// Returns the rows for a process name or a file name, in the order of the table.
pub(super) fn programs_named(name: &str) -> impl Iterator<Item = ListedProgram> {
    NAMES.find(PROGRAMS, name).filter_map(|place| ListedProgram::parse(place.line(PROGRAMS)))
}

/// Returns whether the table has a program whose file has this name.
pub fn is_listed(name: &str) -> bool {
    programs_named(name).next().is_some() || programs_named(stem(name)).next().is_some()
}

/// Returns whether the table lists `name` as the process name of the program file `file`. Returns false if both names
/// are the same.
pub fn is_process_name_of(name: &str, file: &str) -> bool {
    name != file && programs_named(file).any(|program| program.name == name)
}

/// Returns the programs with this process name, as the kernel cuts it.
pub(super) fn by_name(name: &str) -> impl Iterator<Item = ListedProgram> {
    programs_named(name).filter(move |program| program.name == name)
}

/// Returns whether a program with this name is a known server of a guarded port. Ports that several services share
/// ([`GuardStrictness::Soft`]) do not count.
pub fn serves_a_guarded_port(name: &str) -> bool {
    let rows = GUARDED_NAMES.find(GUARDED, name).filter_map(|place| Guarded::parse(place.line(GUARDED)));
    rows.map(|row| row.strictness).any(|strictness| strictness != GuardStrictness::Soft)
}

/// Returns whether a program with this name has a guarded port of its own. A web server has none, because it may only
/// be a proxy for the guarded service.
pub fn owns_a_guarded_port(name: &str) -> bool {
    let rows = body(GUARDED).filter_map(Guarded::parse);
    let mut strict = rows.filter(|row| row.strictness == GuardStrictness::Anything);
    // `serves_a_guarded_port` is checked first, because it is fast and is false for most programs.
    serves_a_guarded_port(name)
        && strict.any(|row| {
            let is_own =
                |program: ListedProgram| pairs(row.ports).any(|(ports, p)| program.serves(ports.low, p));
            row.programs().any(|program| program == name) && by_name(name).any(is_own)
        })
}

fn first_of(line: &'static str) -> (&'static str, &'static str) {
    let (first, rest) = line.split_at(table::find(b'\t', line.as_bytes()).unwrap_or(line.len()));
    (first, rest.get(1..).unwrap_or_default())
}

/// Returns the programs that interpreters run. They are identified by a text in the command line.
pub(super) fn scripts() -> &'static [ListedProgram] {
    static SCRIPTS: OnceLock<Vec<ListedProgram>> = OnceLock::new();
    SCRIPTS.get_or_init(|| {
        let lines = body(PROGRAMS).filter(|line| first_of(line).1.starts_with("arg="));
        lines.filter_map(ListedProgram::parse).collect()
    })
}

pub(super) fn forwarders() -> impl Iterator<Item = &'static str> {
    body(include_str!("data/holders.tsv")).filter_map(|line| line.split('\t').next())
}

/// Returns the interpreters, each with the beginning of its file names.
pub(super) fn interpreters() -> &'static [(&'static str, &'static str)] {
    static INTERPRETERS: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    INTERPRETERS.get_or_init(|| {
        let rows = body(include_str!("data/interpreters.tsv")).flat_map(|line| {
            let mut fields = line.split('\t');
            let (name, patterns) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            patterns.split('|').map(move |pattern| {
                let fixed = pattern.split(['[', '?', '*']).next().unwrap_or_default();
                (name, stem(fixed))
            })
        });
        rows.collect()
    })
}

/// Returns the programs that have this port as one of their own ports, the most common first. Programs that can use any
/// port of a wide range come last.
pub fn serving(port: u16, protocol: Protocol) -> Vec<ListedProgram> {
    static PORTS: PortIndex<{ port_index::count(PROGRAMS, 3) }> = PortIndex::new(PROGRAMS, 3);
    let rows = PORTS.rows(port, protocol).filter_map(|row| {
        let program = ListedProgram::parse(row.line)?;
        Some(((row.is_in_wide_range(port), program.rank, row.ports.high - row.ports.low), program))
    });
    let mut found: Vec<_> = rows.collect();
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, program)| program).collect()
}

const GUARDED: &str = include_str!("data/guarded.tsv");
const GUARDED_PROGRAMS: Column = Column::Programs(2);
static GUARDED_NAMES: NameIndex<{ count(GUARDED, GUARDED_PROGRAMS) }> =
    NameIndex::new(GUARDED, GUARDED_PROGRAMS);

pub fn guarded(port: u16, protocol: Protocol) -> impl Iterator<Item = Guarded> {
    static PORTS: PortIndex<{ port_index::count(GUARDED, 1) }> = PortIndex::new(GUARDED, 1);
    PORTS.rows(port, protocol).filter_map(|row| Guarded::parse(row.line))
}

pub(super) fn all_guarded() -> impl Iterator<Item = (PortRange, &'static str)> {
    let rows = body(GUARDED).filter_map(Guarded::parse);
    rows.flat_map(|row| pairs(row.ports).map(move |(ports, _)| (ports, row.service)))
}

const SOCKETS: &str = include_str!("data/sockets.tsv");

/// Returns the ports of every socket unit of Debian, with the name of the unit.
pub(super) fn all_socket_units() -> impl Iterator<Item = (PortRange, &'static str)> {
    body(SOCKETS).flat_map(|line| {
        let mut fields = line.split('\t').skip(1);
        let unit = fields.next().unwrap_or_default();
        fields.next().into_iter().flat_map(pairs).map(move |(ports, _)| (ports, unit))
    })
}

/// Returns the socket unit of Debian that makes systemd (pid 1) open this port.
pub fn socket_unit(port: u16, protocol: Protocol) -> Option<&'static str> {
    body(SOCKETS).find_map(|line| {
        let mut fields = line.split('\t').skip(1);
        let (unit, at) = (fields.next()?, fields.next()?);
        lists(at, port, protocol).then_some(unit)
    })
}

/// Returns a name without the version at its end: `python3.11` becomes `python`.
pub(super) fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}
