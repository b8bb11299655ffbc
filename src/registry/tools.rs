//! Finds three kinds of programs: tools for short tasks (`data/ad-hoc.tsv`), dual-use tools (`data/dual-use.tsv`), and
//! programs that receive packets without a port (`data/packet-programs.tsv`).

use super::command_line::CommandLine;
use super::name_index::{Column, NameIndex, count};
use super::program_rows::Programs;
use super::programs::pairs;
use super::table::Table;
use crate::model::{PortRange, Protocol, Severity, named};

named! {
    pub(crate) enum AdHocUse {
        /// The tool runs a shell or another program for each client that connects.
        Shell = "shell",
        /// The tool forwards traffic.
        Relay = "relay",
        /// The tool waits for data.
        Listen = "listen",
        /// The tool starts another program, either for each connection or only once.
        Start = "start",
    }
}

/// A tool that a person started for a short task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdHocTool {
    pub used_for: AdHocUse,
    /// The severity on an address that other machines can reach.
    pub beyond_loopback: Severity,
    pub on_loopback: Severity,
    pub is_shell: bool,
}

/// A program for tunnels, remote control, interception, attack or mining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DualUseTool {
    /// `tunnel`, `remote-control`, `attack`, `miner`, `interception` or `proxy`.
    pub kind: &'static str,
    /// The severity, also on loopback.
    pub severity: Severity,
    /// The purpose of the tool: one sentence that begins with a verb or a noun.
    pub what: &'static str,
    /// The technique of MITRE ATT&CK; empty if there is none.
    pub attack: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacketProgram {
    /// The severity of a socket of the program. It is info if the program is a part of the system and needs the socket.
    pub severity: Severity,
    /// The use of the program: a phrase such as `DHCP client`.
    pub what: &'static str,
    /// The technique of MITRE ATT&CK; empty unless the program reads traffic that is not addressed to it.
    pub attack: &'static str,
}

const AD_HOC: &str = include_str!("data/ad-hoc.tsv");
static AD_HOC_NAMES: NameIndex<{ count(AD_HOC, COLUMN) }> = NameIndex::new(AD_HOC, COLUMN);
const DUAL_USE: &str = include_str!("data/dual-use.tsv");
static DUAL_USE_NAMES: NameIndex<{ count(DUAL_USE, COLUMN) }> = NameIndex::new(DUAL_USE, COLUMN);
const PACKETS: &str = include_str!("data/packet-programs.tsv");
static PACKET_NAMES: NameIndex<{ count(PACKETS, COLUMN) }> = NameIndex::new(PACKETS, COLUMN);
const COLUMN: Column = Column::Programs(0);

/// Returns the fields of the rows that name the program, followed by the fields of the rows for any program. The flag
/// is true for a row that applies only on its own ports.
fn rows_of<const FIELDS: usize, const N: usize>(
    programs: &Programs<N>,
    command: &CommandLine<'_>,
) -> impl Iterator<Item = ([&'static str; FIELDS], bool)> {
    let rows = programs.naming(command).into_iter().chain(programs.any(command));
    let text = programs.text;
    rows.filter_map(move |named| {
        let fields = named.place.line(text).split('\t').collect::<Vec<_>>().try_into().ok()?;
        Some((fields, named.on_own_ports))
    })
}

fn severity(name: &str) -> Severity {
    Severity::named(name).unwrap_or(Severity::Warning)
}

/// The row for an interpreter that runs code without a file. The code was typed by a person, or passed by another
/// program.
const TYPED_CODE: AdHocTool = AdHocTool {
    used_for: AdHocUse::Listen,
    beyond_loopback: Severity::Warning,
    on_loopback: Severity::Notice,
    is_shell: false,
};

/// Returns the tool for a short task that the command line runs, from the first row that matches; `None` for any other
/// program.
pub(crate) fn ad_hoc(command: &CommandLine<'_>) -> Option<AdHocTool> {
    let programs = Programs { text: AD_HOC, names: &AD_HOC_NAMES };
    let mut rows = rows_of::<5, _>(&programs, command).map(|(row, _)| row);
    let Some([programs, _, used_for, beyond, loopback]) =
        rows.find(|row| row[1].is_empty() || command.matches(row[1]))
    else {
        return command.runs_typed_code.then_some(TYPED_CODE);
    };
    // A command line that is cut may hide dangerous arguments, so its severity has a minimum.
    let (least_beyond, least_on_loopback) =
        if command.is_cut { (Severity::Warning, Severity::Notice) } else { (Severity::Info, Severity::Info) };
    Some(AdHocTool {
        used_for: AdHocUse::named(used_for)?,
        beyond_loopback: severity(beyond).max(least_beyond),
        on_loopback: severity(loopback).max(least_on_loopback),
        is_shell: programs.split(',').any(|program| program == "sh"),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DualUseRow {
    tool: DualUseTool,
    /// The ports to which the row is limited; `None` if it applies on every port.
    only_on: Option<&'static str>,
}

pub(crate) fn dual_use_rows(command: &CommandLine<'_>) -> Vec<DualUseRow> {
    let programs = Programs { text: DUAL_USE, names: &DUAL_USE_NAMES };
    let row = |([_, ports, kind, of, what, attack, _], on_own_ports): ([&'static str; 7], bool)| DualUseRow {
        tool: DualUseTool { kind, severity: severity(of), what, attack },
        only_on: on_own_ports.then_some(ports),
    };
    rows_of(&programs, command).map(row).collect()
}

/// Returns the first of the program's `rows` that applies to a listener on `port`; `None` if no row applies.
pub(crate) fn dual_use(rows: &[DualUseRow], port: u16, protocol: Protocol) -> Option<DualUseTool> {
    let is_own = |ports| pairs(ports).any(|(range, p)| p == protocol.registered_as() && range.contains(port));
    rows.iter().find(|row| row.only_on.is_none_or(is_own)).map(|row| row.tool)
}

/// Returns the ports that the rows of dual-use tools list, each with the first program of its row.
pub(super) fn all_dual_use() -> impl Iterator<Item = (PortRange, &'static str)> {
    Table::new(DUAL_USE).lines().flat_map(|line| {
        let mut fields = line.split('\t');
        let programs = fields.next().unwrap_or_default();
        let program = programs.split([',', ':']).next().unwrap_or_default().trim_start_matches('@');
        fields.next().into_iter().flat_map(pairs).map(move |(ports, _)| (ports, program))
    })
}

/// Returns the use of a program that is known to receive packets without a port; `None` for any other program.
pub(crate) fn packet_program(command: &CommandLine<'_>) -> Option<PacketProgram> {
    let programs = Programs { text: PACKETS, names: &PACKET_NAMES };
    let ([_, of, what, attack, _], _): ([&'static str; 5], _) = rows_of(&programs, command).next()?;
    Some(PacketProgram { severity: severity(of), what, attack })
}

/// Programs that let users log in over SSH.
const SSH_SERVERS: [&str; 4] = ["sshd", "dropbear", "tinysshd", "lsh-server"];

/// Returns an SSH server as a dual-use tool. `None` if the program is not an SSH server, or if it serves only one
/// session (`sshd: user@pts/0`). The caller checks that the server runs as a user other than root.
pub(crate) fn ssh_server_of_a_user(command: &CommandLine<'_>) -> Option<DualUseTool> {
    let is_session = command.contains("sshd: ") && !command.contains("[listener]");
    (command.is_called(&SSH_SERVERS) && !is_session).then_some(DualUseTool {
        kind: "remote-control",
        severity: Severity::Warning,
        what: "SSH server of a user who is not root: this user decides who can log in.",
        attack: "T1021.004",
    })
}
