//! Converts the rules of nftables (linux/netfilter/nf_tables.h). The kernel also stores rules of iptables as rules of
//! nftables.
//!
//! In the kernel, a rule is a program of expressions. They load fields of a packet into registers, and compare the
//! registers. This module runs the program without a packet. A register then contains the name of a field instead of
//! its value. An unknown expression becomes an unknown condition or action.

mod attributes;
mod conditions;
mod expressions;
mod fields;
mod kernel;
mod nft_words;
mod reader;
mod registers;
mod sets;
#[cfg(test)]
mod tests;
mod translation;
mod words;
mod xt;

use std::collections::HashMap;

use self::attributes::{attributes, each, name, number, number_or_zero, text};
pub(super) use self::fields::Links;
pub(super) use self::kernel::{Unread, list};
use self::reader::Table;
use self::sets::Sets;
pub(super) use self::xt::{SOURCE_TARGETS, WITHOUT_EFFECT};
use super::bytes::short;
use super::netlink_dump::{self, HEADER};
use crate::model::Family;
use crate::model::firewall::{FilterAction, FilterBase, FilterChain, FilterHook, FilterRule, FilterTable};

/// `nf_tables_msg_types`, in the subsystem of nftables.
const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const NEWRULE: u16 = SUBSYSTEM | 6;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWELEMENTS: u16 = SUBSYSTEM | 12;
/// The size of `nfgenmsg`.
const BODY: usize = 4;
const LONGEST_COMMENT: usize = 80;
/// Families (`NFPROTO_*`).
const INET: u8 = 1;
const IPV4: u8 = 2;
const ARP: u8 = 3;
const NETDEV: u8 = 5;
const BRIDGE: u8 = 7;
const IPV6: u8 = 10;

#[derive(Default)]
struct TableData<'d> {
    is_dormant: bool,
    /// Whether any rule has matches or targets of iptables.
    is_of_iptables: bool,
    chains: Vec<FilterChain>,
    by_name: HashMap<&'d [u8], usize>,
    sets: Sets<'d>,
}

/// Family and name of a table.
type Key<'d> = (u8, &'d [u8]);

/// Parses consecutive messages; `None` if one is malformed. Dormant tables are left out, because the kernel does not
/// apply them.
pub(super) fn parse(bytes: &[u8], links: &Links) -> Option<Vec<FilterTable>> {
    let mut tables: HashMap<Key<'_>, TableData<'_>> = HashMap::new();
    let mut rules = Vec::new();
    for message in messages(bytes) {
        let (kind, family, attributes) = message?;
        match kind {
            NEWTABLE => add_table(&mut tables, family, attributes)?,
            NEWRULE => rules.push((family, attributes)),
            NEWSET | NEWELEMENTS => {
                let table = tables.entry((family, table_of(attributes)?)).or_default();
                match kind {
                    NEWSET => table.sets.add(attributes)?,
                    _ => table.sets.add_elements(attributes)?,
                }
            }
            _ => {}
        }
    }
    for (family, attributes) in &rules {
        let [_, table, _, _, expressions] = attributes::attributes::<5>(attributes)?;
        let table = tables.entry((*family, name(table)?)).or_default();
        table.is_of_iptables = table.is_of_iptables || has_xt(expressions.unwrap_or_default());
    }
    for message in messages(bytes) {
        let (kind, family, attributes) = message?;
        if kind == NEWCHAIN {
            let table = table_of(attributes)?;
            add_chain(tables.entry((family, table)).or_default(), (family, table), attributes)?;
        }
    }
    for (family, attributes) in rules {
        let table = table_of(attributes)?;
        add_rule(tables.entry((family, table)).or_default(), (family, table), attributes, links)?;
    }
    let mut tables: Vec<_> = tables.into_iter().filter(|(_, table)| !table.is_dormant).collect();
    tables.sort_unstable_by_key(|((family, name), _)| (family_name(*family), *name));
    Some(tables.into_iter().map(|(key, table)| finish(key, table)).collect())
}

/// Calls `list`, for tests.
///
/// # Errors
///
/// Returns the reason why the rules are not known.
#[doc(hidden)]
pub fn list_for_tests() -> Result<Vec<u8>, String> {
    list().map_err(|why| format!("{why:?}"))
}

/// Returns kind, family and attributes of each message. The last item is `None` if the rest of the bytes is malformed.
fn messages(bytes: &[u8]) -> impl Iterator<Item = Option<(u16, u8, &[u8])>> {
    netlink_dump::messages(bytes).map(|message| {
        let message = message?;
        Some((short(message, 4)?, *message.get(HEADER)?, message.get(HEADER + BODY..)?))
    })
}

fn table_of(message: &[u8]) -> Option<&[u8]> {
    let [_, table] = attributes::<2>(message)?;
    name(table)
}

fn add_table<'d>(tables: &mut HashMap<Key<'d>, TableData<'d>>, family: u8, message: &'d [u8]) -> Option<()> {
    const DORMANT: u32 = 1;
    let [_, table, flags] = attributes::<3>(message)?;
    let table = tables.entry((family, name(table)?)).or_default();
    table.is_dormant = number_or_zero(flags) & DORMANT != 0;
    Some(())
}

fn add_chain<'d>(table: &mut TableData<'d>, key: Key<'d>, message: &'d [u8]) -> Option<()> {
    let [_, _, _, chain, hook, policy, _, kind, ..] = attributes::<8>(message)?;
    let chain = name(chain)?;
    let base = match hook {
        Some(hook) => base(key, chain, table.is_of_iptables, [hook, kind.unwrap_or_default()], policy)?,
        None => None,
    };
    table.by_name.insert(chain, table.chains.len());
    table.chains.push(FilterChain { name: text(chain), base, rules: Vec::new() });
    Some(())
}

/// Returns the hook of a chain. Returns `Some(None)` if the chain is not a base chain, and `None` if the message is
/// malformed.
fn base(
    (family, table): Key<'_>,
    chain: &[u8],
    is_of_iptables: bool,
    [hook, kind]: [&[u8]; 2],
    policy: Option<&[u8]>,
) -> Option<Option<FilterBase>> {
    let [_, hook, priority, device, devices] = attributes::<5>(hook)?;
    // The numbers of the hooks are those of linux/netfilter.h.
    let hook = match (family, number(hook)?) {
        (NETDEV, 0) | (_, 5) => FilterHook::Ingress,
        // At `egress`, packets leave a device.
        (NETDEV, 1) => FilterHook::Postrouting,
        (_, 0) => FilterHook::Prerouting,
        (_, 1) => FilterHook::Input,
        (_, 2) => FilterHook::Forward,
        (_, 3) => FilterHook::Output,
        (_, 4) => FilterHook::Postrouting,
        _ => return Some(None),
    };
    let mut names: Vec<String> =
        device.map(|device| name(Some(device)).map(text)).into_iter().flatten().collect();
    for device in each(devices.unwrap_or_default()) {
        names.extend(name(Some(device?.1)).map(text));
    }
    let has_devices = family == NETDEV || hook == FilterHook::Ingress;
    let drops = number(policy) == Some(0);
    let word = if drops { "drop" } else { "accept" };
    let text = match is_of_iptables {
        true => format!(
            "policy {} of {}",
            word.to_uppercase(),
            words::table(family == IPV6, &text(table), &text(chain))
        ),
        false => {
            format!("policy {word} of the nft chain {} {} {}", family_name(family), text(table), text(chain))
        }
    };
    Some(Some(FilterBase {
        hook,
        priority: number_or_zero(priority).cast_signed().into(),
        translates: name(Some(kind)) == Some(b"nat"),
        drops,
        devices: has_devices.then_some(names),
        text,
    }))
}

fn add_rule<'d>(
    table: &mut TableData<'d>,
    (family, table_name): Key<'d>,
    message: &'d [u8],
    links: &Links,
) -> Option<()> {
    let [_, _, chain, handle, expressions, _, _, user_data] = attributes::<8>(message)?;
    let chain = name(chain)?;
    let mut reader = Table {
        family: match family {
            IPV4 => Some(Family::Ipv4),
            IPV6 => Some(Family::Ipv6),
            _ => None,
        },
        is_inet: family == INET,
        is_netdev: family == NETDEV,
        sets: &mut table.sets,
        links,
    };
    let expressions = expressions.unwrap_or_default();
    let mut read = expressions::read(expressions, &mut reader)?;
    let rejects = expressions::has(expressions, &[b"reject"]);
    let Some(place) = table.by_name.get(chain).and_then(|at| table.chains.get_mut(*at)) else {
        return Some(());
    };
    let rules = std::mem::take(&mut read.rules);
    let comment = read.comment.or_else(|| comment(user_data?)).map(short_text);
    let text = match table.is_of_iptables {
        true => {
            let at = words::table(family == IPV6, &text(table_name), &place.name);
            words::rule(&at, &rules, &read, comment.as_deref())
        }
        false => {
            let handle = u64::from_be_bytes(handle?.try_into().ok()?);
            let words = nft_words::rule(&rules, rejects, comment.as_deref());
            let words = if words.is_empty() { words } else { format!(": {words}") };
            let (family, table) = (family_name(family), text(table_name));
            format!("nft rule {family} {table} {}, handle {handle}{words}", place.name)
        }
    };
    place.rules.extend(rules.into_iter().map(|rule| FilterRule { text: text.clone(), ..rule }));
    Some(())
}

/// Returns whether a list of expressions contains matches or targets of iptables.
fn has_xt(expressions: &[u8]) -> bool {
    expressions::has(expressions, &[b"match", b"target"])
}

/// Returns the comment that nft stores in the data of a rule. The data are entries with type, length and value.
fn comment(mut data: &[u8]) -> Option<&[u8]> {
    const COMMENT: u8 = 0;
    loop {
        let (kind, length) = (*data.first()?, usize::from(*data.get(1)?));
        let value = data.get(2..2 + length)?;
        if kind == COMMENT {
            return name(Some(value));
        }
        data = data.get(2 + length..)?;
    }
}

fn short_text(comment: &[u8]) -> String {
    String::from_utf8_lossy(comment).chars().take(LONGEST_COMMENT).collect()
}

const fn family_name(family: u8) -> &'static str {
    match family {
        INET => "inet",
        IPV4 => "ip",
        ARP => "arp",
        NETDEV => "netdev",
        BRIDGE => "bridge",
        IPV6 => "ip6",
        _ => "other",
    }
}

fn finish((family, name): Key<'_>, table: TableData<'_>) -> FilterTable {
    let families = match family {
        IPV4 | ARP => vec![Family::Ipv4],
        IPV6 => vec![Family::Ipv6],
        _ => vec![Family::Ipv4, Family::Ipv6],
    };
    let mut finished = FilterTable { families, chains: table.chains, sets: table.sets.finish() };
    if !matches!(family, INET | IPV4 | IPV6 | NETDEV) {
        replace_by_unknown(&mut finished, family_name(family), &text(name));
    }
    finished
}

/// Replaces all rules of a table for frames by a single rule. Portolan does not evaluate frames, so the action of this
/// rule is unknown. If no rule can drop a frame, the table becomes empty.
fn replace_by_unknown(table: &mut FilterTable, family: &str, name: &str) {
    let drops = |chain: &FilterChain| {
        chain.base.as_ref().is_some_and(|base| base.drops)
            || chain
                .rules
                .iter()
                .any(|rule| !matches!(rule.action, FilterAction::Accept | FilterAction::Continue))
    };
    let is_harmless = !table.chains.iter().any(drops);
    let text = format!("the nft table {family} {name} filters frames, which portolan does not evaluate");
    table.chains.clear();
    if is_harmless {
        return;
    }
    let rule = FilterRule { text: text.clone(), conditions: Vec::new(), action: FilterAction::Unknown };
    let base = FilterBase {
        hook: FilterHook::Ingress,
        priority: 0,
        translates: false,
        drops: false,
        devices: None,
        text,
    };
    table.chains.push(FilterChain { name: String::new(), base: Some(base), rules: vec![rule] });
}
