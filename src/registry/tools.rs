//! Programs that are tools and not services: tools for short tasks (`data/ad-hoc.tsv`) and dual-use tools
//! (`data/dual-use.tsv`).

use std::sync::OnceLock;

use super::command_line::{CommandLine, Programs};
use super::table::{Table, parts};
use crate::model::{Severity, named};

named! {
    /// What a tool for a short task does with a connection.
    pub(crate) enum AdHocUse {
        /// It runs a shell or another program for each client that connects.
        Shell = "shell",
        /// It forwards traffic.
        Relay = "relay",
        /// It waits for data.
        Listen = "listen",
    }
}

/// A tool that a person started for a short task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdHocTool {
    /// What it does with a connection.
    pub used_for: AdHocUse,
    /// The severity on an address that other machines can reach.
    pub beyond_loopback: Severity,
    /// The severity on a loopback address.
    pub on_loopback: Severity,
    /// Whether the program is itself a shell.
    pub is_shell: bool,
}

/// A program used for tunnels, remote control, interception, attack or mining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DualUseTool {
    /// `tunnel`, `remote-control`, `attack`, `miner`, `interception` or `proxy`.
    pub kind: &'static str,
    /// The severity, also on loopback.
    pub severity: Severity,
    /// What it does: one sentence that begins with a verb or a noun.
    pub what: &'static str,
    /// The technique of MITRE ATT&CK; empty if there is none.
    pub attack: &'static str,
}

struct ToolTable<const N: usize> {
    /// A row is read when it is used.
    lines: Vec<&'static str>,
    programs: Programs,
}

impl<const N: usize> ToolTable<N> {
    fn read(text: &'static str) -> Self {
        let lines: Vec<_> = Table::new(text).lines().collect();
        let programs = Programs::new(lines.iter().map(|line| parts(line, b'\t').next().unwrap_or_default()));
        ToolTable { lines, programs }
    }

    /// Returns the rows that name the program, in the order of the table, and then those for any program.
    fn of(&self, command: &CommandLine<'_>) -> impl Iterator<Item = [&'static str; N]> {
        let rows = self.programs.naming(command).into_iter().chain(self.programs.any(command));
        let lines = rows.filter_map(|row| self.lines.get(row));
        lines.filter_map(|line| line.split('\t').collect::<Vec<_>>().try_into().ok())
    }
}

fn severity(name: &str) -> Severity {
    Severity::ALL.into_iter().find(|severity| severity.name() == name).unwrap_or(Severity::Warning)
}

/// Returns the use of a tool for a short task; `None` if the program is not such a tool. The first row that matches
/// decides.
#[must_use]
pub(crate) fn ad_hoc(command: &CommandLine<'_>) -> Option<AdHocTool> {
    static ROWS: OnceLock<ToolTable<5>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| ToolTable::read(include_str!("data/ad-hoc.tsv")));
    let [programs, _, used_for, beyond, loopback] =
        rows.of(command).find(|row| row[1].is_empty() || command.matches(row[1]))?;
    Some(AdHocTool {
        used_for: AdHocUse::ALL.into_iter().find(|known| known.name() == used_for)?,
        beyond_loopback: severity(beyond),
        on_loopback: severity(loopback),
        is_shell: programs.split(',').any(|program| program == "sh"),
    })
}

/// Returns the purpose of a dual-use tool; `None` if the program is not such a tool.
#[must_use]
pub(crate) fn dual_use(command: &CommandLine<'_>) -> Option<DualUseTool> {
    static ROWS: OnceLock<ToolTable<7>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| ToolTable::read(include_str!("data/dual-use.tsv")));
    let is_used = |texts: &str| texts.is_empty() || texts.split(',').any(|text| command.contains(text));
    let [_, _, kind, of, what, attack, _] = rows.of(command).find(|row| is_used(row[1]))?;
    Some(DualUseTool { kind, severity: severity(of), what, attack })
}
