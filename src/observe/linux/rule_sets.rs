//! Reads the rules of nftables and of both variants of iptables in the network namespace of the calling thread. All
//! rules get the same form.
//!
//! The kernel does not list the legacy tables of iptables in full. If there are legacy tables, portolan runs the tool
//! of iptables at a fixed path to print them.

use std::cell::OnceCell;
use std::path::Path;

use rustix::io::Errno;

use super::external_program::{TimeBudget, output};
use super::files::read_records;
use super::nftables::{self, Links, Unread};
use super::{iptables, links};
use crate::model::Family;
use crate::model::firewall::FilterTable;

/// The rules of a network namespace. They are read on first use.
#[derive(Debug)]
pub(super) struct RuleSets<'b> {
    read: OnceCell<ReadRules>,
    budget: &'b TimeBudget,
}

#[derive(Debug, Default)]
pub(super) struct ReadRules {
    pub(super) tables: Vec<FilterTable>,
    /// Whether some rules were not read because only root may read them.
    pub(super) is_refused: bool,
    /// The other reasons why rules were not read. The flag is true if the unread rules may forward ports.
    pub(super) failures: Vec<(String, bool)>,
}

impl<'b> RuleSets<'b> {
    pub(super) fn within(budget: &'b TimeBudget) -> Self {
        RuleSets { read: OnceCell::new(), budget }
    }

    pub(super) fn read(&self) -> &ReadRules {
        self.read.get_or_init(|| read(self.budget))
    }

    pub(super) fn into_rules(self) -> ReadRules {
        let budget = self.budget;
        self.read.into_inner().unwrap_or_else(|| read(budget))
    }
}

fn read(budget: &TimeBudget) -> ReadRules {
    let mut rules = ReadRules::default();
    match of_nftables() {
        Ok(tables) => rules.tables = tables,
        Err(Unread::Refused) => rules.is_refused = true,
        Err(Unread::Failed(why)) => rules.failures.push((format!("the rules of nftables: {why}"), true)),
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        match names_of_legacy_tables(family) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => match legacy(family, &names, budget) {
                Ok(tables) => rules.tables.extend(tables),
                Err(why) => rules.failures.push((why, names.iter().any(|name| publishes(name)))),
            },
            Err(Errno::ACCESS | Errno::PERM) => rules.is_refused = true,
            Err(errno) => {
                rules.failures.push((format!("the iptables tables could not be listed: {errno}"), true));
            }
        }
    }
    rules
}

fn of_nftables() -> Result<Vec<FilterTable>, Unread> {
    let list = nftables::list()?;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    // The names of the interfaces are needed because rules can contain the index of an interface.
    let links: Links = links::list()?.into_iter().map(|link| (link.index, link.name)).collect();
    nftables::parse(&list, &links)
        .ok_or_else(|| Unread::Failed("the kernel's answer was not understood".to_owned()))
}

/// Returns the names of the legacy tables of iptables. A table may be empty, because listing a table is enough to
/// create it.
fn names_of_legacy_tables(family: Family) -> Result<Vec<String>, Errno> {
    let name = if family == Family::Ipv4 { "ip_tables_names" } else { "ip6_tables_names" };
    match read_records(format!("/proc/thread-self/net/{name}"), 4096) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

/// Returns whether the rules of this table can forward ports, by NAT or by TPROXY.
fn publishes(table: &str) -> bool {
    matches!(table, "nat" | "mangle")
}

fn legacy(family: Family, names: &[String], budget: &TimeBudget) -> Result<Vec<FilterTable>, String> {
    let number = if family == Family::Ipv4 { "" } else { "6" };
    let paths: Vec<String> = ["/usr/sbin", "/sbin"]
        .iter()
        .flat_map(|directory| {
            ["legacy-save", "save"].map(|variant| format!("{directory}/ip{number}tables-{variant}"))
        })
        .collect();
    let path = paths.iter().find(|path| Path::new(path).exists()).or(paths.first()).ok_or("no program")?;
    let printed = output(path, [""; 0], budget)?;
    let printed = String::from_utf8_lossy(&printed);
    // The tool without `legacy` in its name may be the nftables variant, which does not print the legacy tables.
    if printed.contains("(nf_tables)") {
        return Err(format!("{path} does not print the legacy tables"));
    }
    let tables = iptables::parse(&printed, family);
    // The tool prints nothing if no table has rules. Otherwise every table must be in the output.
    match names.iter().find(|name| !tables.iter().any(|(table, _)| table == *name)) {
        Some(name) if !printed.is_empty() => Err(format!("{path} does not print the table {name}")),
        _ => Ok(tables.into_iter().map(|(_, table)| table).collect()),
    }
}
