//! The packet filter of the calling thread's network namespace: its rules in one form for nftables and iptables, and the
//! interfaces. What the rules let through is decided elsewhere.

mod interfaces;
mod iptables;
mod nft;
mod nft_fields;

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;

use super::files::slurp;
use super::rule_sets::{BaseChain, RuleSets};
use crate::model::firewall::FilterTable;
use crate::model::{Family, Firewall, Gap, Netns, Stage};

/// The tables of iptables.
const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// Reads the packet filter of `netns`, the namespace of the calling thread (`None` for the observer's own).
pub(super) fn read(netns: Option<&Netns>, sets: &RuleSets) -> (Firewall, Option<Gap>) {
    let mut firewall = Firewall { netns: netns.map(|netns| netns.inode), ..Firewall::default() };
    let mut gap = None;
    match tables(sets) {
        Ok(tables) => firewall.tables = tables,
        Err(Unread::Refused) => firewall.is_refused = true,
        Err(Unread::Failed(why)) => {
            firewall.unread = Some(format!("the rules could not be read: {why}"));
            gap = Some(failed(why));
        }
    }
    match interfaces::list(!firewall.tables.is_empty()) {
        Ok(interfaces) => firewall.interfaces = interfaces,
        Err(errno) => {
            firewall
                .unread
                .get_or_insert_with(|| format!("the interfaces could not be read: rtnetlink: {errno}"));
        }
    }
    if firewall.tables.is_empty() {
        // Only an interface with something in front of the firewall matters.
        firewall.interfaces.retain(|interface| interface.uncertain.is_some());
    } else {
        firewall.forwards = ["ipv4", "ipv6"].map(forwards);
    }
    (firewall, gap)
}

/// Why the rules are not known.
enum Unread {
    /// Only root may read them.
    Refused,
    Failed(String),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Unread::Refused,
            errno => Unread::Failed(format!("the kernel answers: {errno}")),
        }
    }
}

fn failed(why: String) -> Gap {
    Gap {
        stage: Stage::Sockets,
        what: "the rules of the firewall".to_owned(),
        count: None,
        pids: Vec::new(),
        why,
        remedy: None,
    }
}

/// Reads the tables that decide anything.
fn tables(sets: &RuleSets) -> Result<Vec<FilterTable>, Unread> {
    let chains = sets.chains()?;
    let mut tables = if chains.is_empty() { Vec::new() } else { tables_of_nft(chains, sets)? };
    for family in [Family::Ipv4, Family::Ipv6] {
        if !sets.legacy_tables(family)?.is_empty() {
            let printed = sets.saved(family, false).map_err(|why| Unread::Failed(why.to_owned()))?;
            tables.extend(iptables::parse(printed, family).into_iter().map(|(_, table)| table));
        }
    }
    // Tables of iptables exist as soon as anybody has listed them.
    tables.retain(|table| {
        let mut bases = table.chains.iter().filter(|chain| chain.base.is_some());
        bases.any(|chain| !chain.rules.is_empty() || chain.base.as_ref().is_some_and(|base| base.drops))
    });
    Ok(tables)
}

fn tables_of_nft(chains: &[BaseChain], sets: &RuleSets) -> Result<Vec<FilterTable>, Unread> {
    let families = [("ip", Family::Ipv4), ("ip6", Family::Ipv6)];
    let is_of_iptables = |family: &str, table: &str| {
        TABLES.contains(&table) && families.iter().any(|(name, _)| *name == family)
    };
    let (mut tables, of_iptables) = match sets.nft() {
        Ok(root) => nft::parse(root),
        // The tables of iptables can be read without nft.
        Err(_) if chains.iter().all(|chain| is_of_iptables(chain.family, &chain.table)) => {
            let names = chains.iter().map(|chain| (chain.family.to_owned(), chain.table.clone()));
            (Default::default(), names.collect())
        }
        Err(why) => return Err(Unread::Failed(why.to_owned())),
    };
    if let Some((family, table)) = of_iptables.iter().find(|(family, table)| !is_of_iptables(family, table)) {
        return Err(Unread::Failed(format!("the nft table {family} {table} has rules of iptables")));
    }
    for (name, family) in families {
        if !of_iptables.iter().any(|(family, _)| family == name) {
            continue;
        }
        let printed = sets.saved(family, true).map_err(|why| Unread::Failed(why.to_owned()))?;
        let mut read = BTreeMap::new();
        for (table, rules) in iptables::parse(printed, family) {
            read.insert((name.to_owned(), table), rules);
        }
        if let Some((_, table)) = of_iptables.iter().find(|key| key.0 == name && !read.contains_key(*key)) {
            return Err(Unread::Failed(format!("iptables-save does not print the table {table}")));
        }
        tables.extend(read);
    }
    let dormant = sets.dormant_tables()?;
    let sorted: BTreeMap<_, _> = tables.into_iter().filter(|(name, _)| !dormant.contains(name)).collect();
    Ok(sorted.into_values().collect())
}

/// Returns whether the kernel forwards packets of a family to other machines.
fn forwards(family: &str) -> bool {
    let path = format!("/proc/sys/net/{family}/conf/all/forwarding");
    Path::new(&path).exists() && slurp(path, 16, 16).is_ok_and(|text| text.trim_ascii() != b"0")
}

/// Parses any bytes as the output of every tool. For fuzzing.
#[must_use]
pub fn parse(bytes: &[u8]) -> Firewall {
    let printed = String::from_utf8_lossy(bytes);
    let root = serde_json::from_slice(bytes).unwrap_or_default();
    let mut tables: Vec<FilterTable> = nft::parse(&root).0.into_values().collect();
    for family in [Family::Ipv4, Family::Ipv6] {
        tables.extend(iptables::parse(&printed, family).into_iter().map(|(_, table)| table));
    }
    Firewall { tables, ..Firewall::default() }
}
