//! Services that are dangerous if other machines can reach them, from `data/dangers.tsv`.
//!
//! A row describes a program with its default settings. Other modules read the configuration files, and find out
//! whether other machines can reach the service.

use std::sync::OnceLock;

use super::command_line::CommandLine;
use super::name_index::{Column, NameIndex, count};
use super::port_index::{self, PortIndex};
use super::program_rows::{NamedBy, Programs, is_named_by};
use super::programs::pairs;
use super::table::{Table, parts};
use crate::model::{DangerBasis, PortRange, Protocol, Severity};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Danger {
    pub service: &'static str,
    pub title: &'static str,
    pub severity: Severity,
    /// How the program authenticates clients: `none`, `none-by-default`, `optional`, `password`, `strong` or `n/a`.
    pub authentication: &'static str,
    /// Whether the service encrypts: `none`, `optional` or `always`.
    pub encryption: &'static str,
    pub outsider_gets: &'static str,
    pub remedy: &'static str,
    /// The techniques of MITRE ATT&CK, joined by commas; empty if there is none.
    pub attack: &'static str,
    pub basis: DangerBasis,
}

/// Port 0 in the table stands for any port that the kernel chooses, as in `bind(2)`.
const CHOSEN_BY_KERNEL: u16 = 0;
/// A range of ports is wide if its last port is at least this number above its first port.
const WIDE: u16 = 100;

/// Returns each remedy of a row, and the names of the programs to which it applies. If there are no names, the remedy
/// applies to every program.
fn remedies(column: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    column.split(" ;; ").map(|part| {
        let programs = part.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        programs.unwrap_or(("", part))
    })
}

struct DangerRow {
    fields: [&'static str; 13],
}

impl DangerRow {
    fn read(line: &'static str) -> Option<Self> {
        let mut fields = [""; 13];
        let mut columns = parts(line, b'\t');
        for field in &mut fields {
            *field = columns.next()?;
        }
        columns.next().is_none().then_some(DangerRow { fields })
    }

    fn service(&self) -> &'static str {
        self.fields[0]
    }

    fn lists(&self, port: u16, protocol: Protocol) -> bool {
        pairs(self.fields[3]).any(|(range, p)| p == protocol.registered_as() && range.contains(port))
    }

    fn is_on_its_port(&self, port: u16, protocol: Protocol, chosen_by_kernel: bool) -> bool {
        self.lists(port, protocol) || (chosen_by_kernel && self.lists(CHOSEN_BY_KERNEL, protocol))
    }

    fn lists_protocol(&self, protocol: Protocol) -> bool {
        pairs(self.fields[3]).any(|(_, p)| p == protocol.registered_as())
    }

    /// Returns the severity of the row; `None` if only `explain` uses the row.
    fn severity(&self) -> Option<Severity> {
        Severity::named(self.fields[6])
    }

    /// Returns the first remedy that names the program, or else the remedy for every program.
    fn remedy(&self, command: Option<&CommandLine<'_>>) -> &'static str {
        remedies(self.fields[10])
            .find(|(programs, _)| {
                programs.is_empty()
                    || command.is_some_and(|one| programs.split(',').any(|program| is_named_by(program, one)))
            })
            .map_or("", |(_, text)| text)
    }

    fn danger(
        &self,
        severity: Severity,
        authentication: &'static str,
        basis: DangerBasis,
        command: Option<&CommandLine<'_>>,
    ) -> Danger {
        let [service, title, _, _, _, _, _, _, encryption, outsider_gets, _, attack, _] = self.fields;
        let remedy = self.remedy(command);
        let (usual, without_login) = outsider_gets.split_once(" ;; ").unwrap_or((outsider_gets, ""));
        let (authentication, outsider_gets) = match basis {
            DangerBasis::CommandLine if !without_login.is_empty() => ("none", without_login),
            _ => (authentication, usual),
        };
        Danger { service, title, severity, authentication, encryption, outsider_gets, remedy, attack, basis }
    }

    /// Returns the danger if only the port suggests the service. The severity is one level lower than for a certain
    /// service.
    fn presumed(&self) -> Option<Danger> {
        Some(self.danger(self.severity()?.lower(), self.fields[7], DangerBasis::Port, None))
    }

    /// Returns the danger of a listener whose program the row names; `None` if the row does not apply.
    ///
    /// If the kernel chose the port, and neither the row nor the command line names this port, the service is only
    /// presumed. The severity is then one level lower.
    fn judge(
        &self,
        command: &CommandLine<'_>,
        (port, protocol, chosen_by_kernel): (u16, Protocol, bool),
        on_own_ports: bool,
    ) -> Option<Danger> {
        let mut certain = false;
        let mut named_port = false;
        let mut password = false;
        for expression in self.fields[5].split(" ;; ").filter(|expression| !expression.is_empty()) {
            let (kind, bare) = match expression.as_bytes().first() {
                Some(kind @ (b'!' | b'~')) => (*kind, &expression[1..]),
                _ => (b'=', expression),
            };
            let names_port = bare.contains("{port}");
            let found = match kind {
                b'=' => command.matches_on(bare, port),
                _ => command.protects_on(bare, port),
            };
            match kind {
                _ if !found => continue,
                b'!' => return None,
                b'~' => password = true,
                _ => certain = true,
            }
            named_port |= names_port;
        }
        let is_elsewhere = !self.is_on_its_port(port, protocol, chosen_by_kernel) && !named_port;
        let has_ports = !self.fields[3].is_empty();
        let applies = match self.fields[4] {
            _ if !is_elsewhere => true,
            "yes" => false,
            _ if has_ports && command.names_port_for_diagnostics(port) => false,
            _ if on_own_ports => false,
            _ if protocol.registered_as() == Protocol::Udp && !self.lists_protocol(Protocol::Udp) => false,
            "no" => true,
            except => !pairs(except).any(|(range, p)| p == protocol.registered_as() && range.contains(port)),
        };
        if !applies {
            return None;
        }
        let mut danger = if certain {
            self.danger(Severity::Critical, self.fields[7], DangerBasis::CommandLine, Some(command))
        } else if password {
            self.danger(self.severity()?.lower(), "password", DangerBasis::Password, Some(command))
        } else {
            let basis = if on_own_ports { DangerBasis::Port } else { DangerBasis::Default };
            self.danger(self.severity()?, self.fields[7], basis, Some(command))
        };
        if is_elsewhere && chosen_by_kernel && has_ports {
            danger = Danger { severity: danger.severity.lower(), basis: DangerBasis::ChosenPort, ..danger };
        }
        Some(danger)
    }
}

const DANGERS: &str = include_str!("data/dangers.tsv");
static NAMES: NameIndex<{ count(DANGERS, COLUMN) }> = NameIndex::new(DANGERS, COLUMN);
const COLUMN: Column = Column::Programs(2);

fn rows() -> impl Iterator<Item = DangerRow> {
    Table::new(DANGERS).lines().filter_map(DangerRow::read)
}

/// Returns the ports of every row, with the title of the row.
pub(super) fn all() -> impl Iterator<Item = (PortRange, &'static str)> {
    rows().flat_map(|row| pairs(row.fields[3]).map(move |(ports, _)| (ports, row.fields[1])))
}

/// Returns the titles of the rows that list the port, each once. A row with a wide range of ports is left out, because
/// it says little about a single port.
pub(super) fn titles(port: u16, protocol: Protocol) -> Vec<&'static str> {
    static PORTS: PortIndex<{ port_index::count(DANGERS, 3) }> = PortIndex::new(DANGERS, 3);
    let mut titles: Vec<&'static str> = Vec::new();
    let narrow = PORTS.rows(port, protocol).filter(|row| row.ports.high - row.ports.low < WIDE);
    for row in narrow.filter_map(|row| DangerRow::read(row.line)) {
        let title = row.fields[1];
        if port != CHOSEN_BY_KERNEL && !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
}

/// Returns the most severe danger of a program on `port`; `None` if no row applies.
///
/// If the kernel chose the port, rows for the program `*` do not apply. A certain danger then counts before a presumed
/// danger, even if the presumed danger is more severe.
pub(crate) fn danger(
    command: &CommandLine<'_>,
    port: u16,
    protocol: Protocol,
    chosen_by_kernel: bool,
) -> Option<Danger> {
    let programs = Programs { text: DANGERS, names: &NAMES };
    let judge = |NamedBy { place, on_own_ports }| {
        let row = DangerRow::read(place.line(DANGERS))?;
        row.judge(command, (port, protocol, chosen_by_kernel), on_own_ports)
    };
    let by_name = programs.naming(command).into_iter().filter_map(judge);
    let by_port = if chosen_by_kernel { Vec::new() } else { programs.any(command) };
    let by_port = by_port.into_iter().filter_map(judge);
    let rank = |danger: &Danger| (danger.basis != DangerBasis::ChosenPort, danger.severity);
    let mut worst: Option<Danger> = None;
    for found in by_name.chain(by_port.map(|danger| Danger { basis: DangerBasis::Port, ..danger })) {
        if worst.is_none_or(|worst| rank(&found) > rank(&worst)) {
            worst = Some(found);
        }
    }
    worst
}

/// Returns the danger of the row `service`, with the default settings of its program.
pub(crate) fn named(service: &str) -> Option<Danger> {
    let row = rows().find(|row| row.service() == service)?;
    Some(row.danger(row.severity()?, row.fields[7], DangerBasis::Default, None))
}

/// Returns the most severe danger of the kernel's own services that use `port`; `None` if there is no such service.
pub(crate) fn danger_of_kernel(port: u16, protocol: Protocol) -> Option<Danger> {
    static ROWS: OnceLock<Vec<DangerRow>> = OnceLock::new();
    let is_of_kernel = |row: &DangerRow| row.fields[2].split(',').any(|program| program.starts_with('['));
    let of_kernel = ROWS.get_or_init(|| rows().filter(is_of_kernel).collect()).iter();
    let row = of_kernel.filter(|row| row.lists(port, protocol)).max_by_key(|row| row.severity())?;
    Some(row.danger(row.severity()?, row.fields[7], DangerBasis::Default, None))
}

/// The services that can be presumed behind a published port of a container. Only the port number is known in this
/// case.
const BEHIND_A_PUBLISHED_PORT: [&str; 18] = [
    "docker-api",
    "redis",
    "mongodb",
    "memcached",
    "elasticsearch",
    "postgresql",
    "mysql",
    "etcd",
    "zookeeper",
    "kafka",
    "x11",
    "vnc",
    "rdp",
    "telnet",
    "smb",
    "nfs",
    "mqtt",
    "modbus",
];

/// Returns the danger of the service that is presumed on `port` of a container; `None` if no service is presumed. The
/// danger is one level less severe than the danger of a visible service.
pub(crate) fn behind_published_port(port: u16, protocol: Protocol) -> Option<Danger> {
    /// The rows are read once and kept. This function is called for each published port, and a node of a cluster
    /// publishes thousands.
    static ROWS: OnceLock<Vec<DangerRow>> = OnceLock::new();
    let is_presumed = |row: &DangerRow| BEHIND_A_PUBLISHED_PORT.contains(&row.service());
    let presumed = ROWS.get_or_init(|| rows().filter(is_presumed).collect());
    presumed.iter().find(|row| row.lists(port, protocol))?.presumed()
}

/// Ports that almost only one service uses, each with the row of its service. Ordinary applications do not choose these
/// ports.
const EXCLUSIVE_PORTS: [(u16, &str); 9] = [
    (2181, "zookeeper"),
    (2375, "docker-api"),
    (2379, "etcd"),
    (6379, "redis"),
    (9042, "cassandra"),
    (10250, "kubelet-defaults"),
    (11211, "memcached"),
    (26379, "redis-sentinel"),
    (27017, "mongodb"),
];

/// Returns the danger of the service that is presumed if an unknown program listens on `port`. `None` if the port is
/// not in `EXCLUSIVE_PORTS`. The danger is one level less severe than the danger of a known program.
#[must_use]
pub(crate) fn of_unknown_program(port: u16, protocol: Protocol) -> Option<Danger> {
    let (_, service) = EXCLUSIVE_PORTS.iter().find(|(own, _)| *own == port)?;
    let row = rows().find(|row| row.service() == *service)?;
    row.lists(port, protocol).then(|| row.presumed())?
}
