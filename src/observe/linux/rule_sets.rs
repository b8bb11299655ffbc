//! The rules of nftables and iptables as their own tools print them, in the network namespace of the calling thread.
//!
//! The tools are run at fixed paths, each at most once, and only if the kernel has rules that somebody asks for.

use std::cell::OnceCell;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use serde_json::Value;

use super::external_program::output;
use super::files::read_records;
use super::netlink_dump::{attribute, dump, number, text};
use crate::model::Family;

/// The messages of nftables.
const SUBSYSTEM: u16 = 10 << 8;
/// The size of `nfgenmsg`.
const BODY: usize = 4;

/// Family and name of a table.
pub(super) type TableName = (String, String);

/// A base chain of nftables that has rules or drops packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseChain {
    pub(super) family: &'static str,
    pub(super) table: String,
    /// Whether it translates addresses.
    pub(super) translates: bool,
    pub(super) has_rules: bool,
}

/// The rules, which are read at their first use.
#[derive(Debug, Default)]
pub(super) struct RuleSets {
    chains: OnceCell<Result<Vec<BaseChain>, Errno>>,
    dormant: OnceCell<Result<Vec<TableName>, Errno>>,
    nft: OnceCell<Result<Value, String>>,
    legacy: OnceCell<[Result<Vec<String>, Errno>; 2]>,
    /// For IPv4 and IPv6: on nftables, and legacy.
    saved: [[OnceCell<Result<String, String>>; 2]; 2],
}

impl RuleSets {
    /// Returns the base chains of nftables that decide anything.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses.
    pub(super) fn chains(&self) -> Result<&[BaseChain], Errno> {
        let read = || {
            let mut chains = base_chains()?;
            if !chains.is_empty() {
                let dormant = self.dormant_tables()?;
                chains.retain(|chain| {
                    !dormant.iter().any(|(family, table)| *family == chain.family && *table == chain.table)
                });
            }
            Ok(chains)
        };
        self.chains.get_or_init(read).as_deref().map_err(|errno| *errno)
    }

    /// Returns family and name of the tables of nftables that the kernel does not apply, although nft lists them.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses.
    pub(super) fn dormant_tables(&self) -> Result<&[TableName], Errno> {
        self.dormant.get_or_init(dormant_tables).as_deref().map_err(|errno| *errno)
    }

    /// Returns the output of `nft --json list ruleset`.
    ///
    /// # Errors
    ///
    /// Returns why there is none.
    pub(super) fn nft(&self) -> Result<&Value, &str> {
        let read = || {
            let paths = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];
            let printed = output_of_first(&paths, &["--json", "list", "ruleset"])?;
            serde_json::from_slice(&printed)
                .map_err(|error| format!("the output of nft was not understood: {error}"))
        };
        self.nft.get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// Returns the names of the legacy tables of iptables of one family.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses.
    pub(super) fn legacy_tables(&self, family: Family) -> Result<&[String], Errno> {
        let read = || {
            ["ip_tables_names", "ip6_tables_names"].map(|name| {
                match read_records(format!("/proc/thread-self/net/{name}"), 4096) {
                    Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
                    Err(Errno::NOENT) => Ok(Vec::new()),
                    Err(errno) => Err(errno),
                }
            })
        };
        self.legacy.get_or_init(read)[index(family)].as_deref().map_err(|errno| *errno)
    }

    /// Returns what the variant of `iptables-save` for nftables prints, or that for the legacy tables.
    ///
    /// # Errors
    ///
    /// Returns why there is nothing.
    pub(super) fn saved(&self, family: Family, on_nftables: bool) -> Result<&str, &str> {
        let read = || {
            let variant = if on_nftables { "nft-save" } else { "legacy-save" };
            let number = if family == Family::Ipv4 { "" } else { "6" };
            let paths: Vec<String> = ["/usr/sbin", "/sbin"]
                .iter()
                .flat_map(|directory| {
                    [variant, "save"].map(|variant| format!("{directory}/ip{number}tables-{variant}"))
                })
                .collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let printed = output_of_first(&paths, &[])?;
            let printed = String::from_utf8_lossy(&printed).into_owned();
            // The other variant can have the plain name.
            let is_wanted = printed.contains("(nf_tables)") == on_nftables;
            // A legacy table exists as soon as anybody has listed it, and then has no rules.
            let is_empty = printed.is_empty() && !on_nftables;
            match is_wanted || is_empty {
                true => Ok(printed),
                false => Err(format!("ip{number}tables-{variant} does not print the tables of this variant")),
            }
        };
        let at = &self.saved[index(family)][usize::from(!on_nftables)];
        at.get_or_init(read).as_deref().map_err(|why| &**why)
    }
}

fn index(family: Family) -> usize {
    usize::from(family == Family::Ipv6)
}

/// Returns the output of the first of these programs that exists.
fn output_of_first(paths: &[&str], arguments: &[&str]) -> Result<Vec<u8>, String> {
    let path = paths.iter().find(|path| Path::new(path).exists());
    let path = path.or(paths.first()).ok_or("no program")?;
    output(path, arguments)
}

/// Returns the chains that have rules or drop packets, by a dump of all chains (linux/netfilter/nf_tables.h).
fn base_chains() -> Result<Vec<BaseChain>, Errno> {
    const NEWCHAIN: u16 = 3;
    const GETCHAIN: u16 = 4;
    // A request would load the modules of a kernel that has no rules.
    if !has_netfilter_messages() {
        return Ok(Vec::new());
    }
    let found = dump(Some(NETFILTER), (SUBSYSTEM | GETCHAIN, SUBSYSTEM | NEWCHAIN), &[0; 4], |message| {
        Some(base_chain(message))
    });
    match found {
        Ok(found) => Ok(found.into_iter().flatten().collect()),
        // No nftables in this kernel.
        Err(Errno::INVAL | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::NOENT) => {
            Ok(Vec::new())
        }
        Err(errno) => Err(errno),
    }
}

/// Returns whether the kernel answers messages about netfilter: its own socket of that protocol is listed
/// (`NETLINK_NETFILTER` in linux/netlink.h). True if the list cannot be read.
fn has_netfilter_messages() -> bool {
    const LARGEST: usize = 1 << 20;
    let Ok(text) = read_records("/proc/thread-self/net/netlink", LARGEST) else { return true };
    text.lines().any(|line| line.split_whitespace().nth(1) == Some("12"))
}

/// Returns the dormant tables, by a dump of all tables (linux/netfilter/nf_tables.h).
fn dormant_tables() -> Result<Vec<TableName>, Errno> {
    const NEWTABLE: u16 = 0;
    const GETTABLE: u16 = 1;
    let found = dump(Some(NETFILTER), (SUBSYSTEM | GETTABLE, SUBSYSTEM | NEWTABLE), &[0; 4], |message| {
        Some(dormant_table(message))
    })?;
    Ok(found.into_iter().flatten().collect())
}

fn dormant_table(message: &[u8]) -> Option<TableName> {
    const NAME: u16 = 1;
    const FLAGS: u16 = 2;
    const DORMANT: u8 = 1;
    let attributes = message.get(BODY..)?;
    // The number is in network order.
    let flags = attribute(attributes, FLAGS)?.get(3)?;
    let name = text(attribute(attributes, NAME)?);
    (flags & DORMANT != 0).then_some((family(message)?.to_owned(), name))
}

/// Returns the name of the family in a message.
fn family(message: &[u8]) -> Option<&'static str> {
    Some(match message.first()? {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    })
}

fn base_chain(message: &[u8]) -> Option<BaseChain> {
    const TABLE: u16 = 1;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const USE: u16 = 6;
    const TYPE: u16 = 7;
    let family = family(message)?;
    let attributes = message.get(BODY..)?;
    attribute(attributes, HOOK)?;
    let value = |kind| attribute(attributes, kind).and_then(|value| number(value, 0));
    let has_rules = value(USE) != Some(0);
    (has_rules || value(POLICY) == Some(0)).then(|| {
        let translates = attribute(attributes, TYPE).is_some_and(|kind| text(kind) == "nat");
        Some(BaseChain { family, table: text(attribute(attributes, TABLE)?), translates, has_rules })
    })?
}
