//! Parses the output of `iptables-save` and `ip6tables-save` (iptables-extensions(8)) into rules of a packet filter.

mod values;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use self::values::{
    address_range, address_types, addresses, destination, flags, interface, mark, ports, protocol, states,
    words,
};
use super::nftables::{SOURCE_TARGETS, WITHOUT_EFFECT};
use crate::model::Family;
use crate::model::firewall::{
    FilterAction, FilterBase, FilterChain, FilterCondition, FilterElement, FilterElements, FilterField,
    FilterHook, FilterRule, FilterTable, FilterValue, conntrack,
};

const LONGEST_TEXT: usize = 300;

/// Returns the tables in the output for one family, each with its name.
pub(super) fn parse(output: &str, family: Family) -> Vec<(String, FilterTable)> {
    let tool = if family == Family::Ipv4 { "iptables" } else { "ip6tables" };
    let mut tables: Vec<(String, FilterTable)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in output.lines() {
        if let Some(table) = line.strip_prefix('*') {
            let name = table.trim().to_owned();
            places.clear();
            tables.push((name, FilterTable { families: vec![family], ..FilterTable::default() }));
        } else if let Some((name, table)) = tables.last_mut() {
            if let Some(declared) = line.strip_prefix(':') {
                let Some(chain) = chain(declared, name, tool) else { continue };
                places.insert(chain.name.clone(), table.chains.len());
                table.chains.push(chain);
            } else if let Some(words) = line.strip_prefix("-A ").map(words) {
                let Some((chain, words)) = words.split_first() else { continue };
                let text: String = line.chars().take(LONGEST_TEXT).collect();
                let text = format!("{tool} -t {name} {text}");
                if let Some(chain) = places.get(&**chain).and_then(|at| table.chains.get_mut(*at)) {
                    chain.rules.extend(rules(words, family, text));
                }
            }
        }
    }
    for (_, table) in &mut tables {
        resolve_targets(table);
    }
    tables
}

/// Replaces jumps to targets, such as `LOG`, that are not chains. The jump becomes the action of the target, or an
/// unknown action if portolan does not know the target.
fn resolve_targets(table: &mut FilterTable) {
    let names: std::collections::HashSet<String> =
        table.chains.iter().map(|chain| chain.name.clone()).collect();
    for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        if let FilterAction::Jump(target) = &rule.action
            && !names.contains(target)
        {
            rule.action = match target.as_str() {
                target if WITHOUT_EFFECT.contains(&target) => FilterAction::Continue,
                "MARK" | "CONNMARK" => FilterAction::Mark,
                "TEE" => FilterAction::Send { to: None, is_copy: true },
                _ => FilterAction::Unknown,
            };
        }
    }
}

/// Parses `INPUT DROP [0:0]`.
fn chain(declared: &str, table: &str, tool: &str) -> Option<FilterChain> {
    let mut words = declared.split(' ');
    let name = words.next()?.to_owned();
    let policy = words.next().filter(|policy| *policy != "-");
    let hook = match name.as_str() {
        "PREROUTING" => FilterHook::Prerouting,
        "INPUT" => FilterHook::Input,
        "FORWARD" => FilterHook::Forward,
        "OUTPUT" => FilterHook::Output,
        "POSTROUTING" => FilterHook::Postrouting,
        _ => return Some(FilterChain { name, base: None, rules: Vec::new() }),
    };
    // The priorities are those of linux/netfilter_ipv4.h.
    let priority = match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", FilterHook::Prerouting | FilterHook::Output) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    };
    let text = format!("policy {} of {tool} -t {table} {name}", policy.unwrap_or("ACCEPT"));
    let drops = policy == Some("DROP");
    let base = FilterBase { hook, priority, translates: table == "nat", drops, devices: None, text };
    Some(FilterChain { name, base: Some(base), rules: Vec::new() })
}

#[derive(Default)]
struct Options<'w> {
    conditions: Vec<FilterCondition>,
    target: Option<&'w str>,
    goes: Option<&'w str>,
    to: Option<&'w str>,
    /// The address of the target TPROXY.
    on_address: Option<&'w str>,
    modules: Vec<&'w str>,
    /// The options of the module `recent`. The flag of an option is true if `!` negates the option.
    recent: Vec<(&'w str, bool)>,
    protocol: Option<u8>,
    has_notrack: bool,
}

fn rules(words: &[Cow<'_, str>], family: Family, text: String) -> Vec<FilterRule> {
    let mut options = Options::default();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let (negated, option, after) = match (&**word, after.split_first()) {
            ("!", Some((option, after))) => (true, &**option, after),
            (option, _) => (false, option, after),
        };
        // A comment or a prefix is always one value, even if it begins with `-` like an option.
        let is_text = matches!(option, "--comment" | "--log-prefix" | "--nflog-prefix");
        let count = if is_text { after.len().min(1) } else { count(after) };
        let values: Vec<&str> = after.iter().take(count).map(|word| &**word).collect();
        rest = after.get(count..).unwrap_or_default();
        options.read(option, &values, negated, family);
    }
    if options.modules.contains(&"recent") {
        options.recent();
    }
    let action = options.action().unwrap_or(FilterAction::Unknown);
    let changes_source = options.target.is_some_and(|target| SOURCE_TARGETS.contains(&target));
    let rule = FilterRule { text, conditions: options.conditions, action };
    let change = FilterRule { action: FilterAction::ChangeSource, ..rule.clone() };
    changes_source.then_some(change).into_iter().chain([rule]).collect()
}

fn count(after: &[Cow<'_, str>]) -> usize {
    after.iter().take_while(|word| **word != *"!" && !word.starts_with('-')).count()
}

impl<'w> Options<'w> {
    fn read(&mut self, option: &'w str, values: &[&'w str], negated: bool, family: Family) {
        let value = values.first().copied().unwrap_or_default();
        match option {
            "-j" | "--jump" => self.target = Some(value),
            "-g" | "--goto" => self.goes = Some(value),
            "--to-destination" | "--to-ports" | "--to-port" | "--on-port" => self.to = Some(value),
            "--on-ip" => self.on_address = Some(value),
            "--notrack" => self.has_notrack = true,
            _ if self.target.is_some() => {} // the option belongs to the target
            "-m" | "--match" => {
                self.modules.push(value);
                if value == "rpfilter" {
                    self.conditions.push(FilterCondition::Usual);
                }
            }
            "--comment" => {}
            // These options depend on each other, so they are evaluated together at the end of the rule.
            _ if self.modules.last() == Some(&"recent") => self.recent.push((option, negated)),
            _ => {
                let condition = self.condition(option, values, negated, family);
                self.conditions.extend(condition.unwrap_or(Some(FilterCondition::Unknown)));
            }
        }
    }

    /// Returns the condition of an option. Returns `Some(None)` for an option without a condition, and `None` for an
    /// unknown option.
    fn condition(
        &mut self,
        option: &str,
        values: &[&str],
        negated: bool,
        family: Family,
    ) -> Option<Option<FilterCondition>> {
        let value = values.first().copied().unwrap_or_default();
        let is = |field, value| Some(Some(within(field, vec![value], negated)));
        match option {
            "-p" | "--protocol" => {
                let number = match value {
                    "all" | "0" => return Some(None),
                    name => protocol(name)?,
                };
                self.protocol = Some(number).filter(|_| !negated);
                is(FilterField::Protocol(None), FilterValue::Numbers(number.into(), number.into()))
            }
            "-s" | "--source" => is(FilterField::Source(family), addresses(value)?),
            "-d" | "--destination" => is(FilterField::Destination(family), addresses(value)?),
            "--src-range" => is(FilterField::Source(family), address_range(value)?),
            "--dst-range" => is(FilterField::Destination(family), address_range(value)?),
            "-i" | "--in-interface" => is(FilterField::InInterface, interface(value)),
            "-o" | "--out-interface" => is(FilterField::OutInterface, interface(value)),
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                let ports = ports(value)?;
                Some(Some(within(FilterField::DestinationPort(self.protocol), ports, negated)))
            }
            "--sport" | "--source-port" | "--sports" | "--source-ports" => {
                Some(Some(within(FilterField::SourcePort(self.protocol), ports(value)?, negated)))
            }
            "--ctstate" | "--state" => {
                Some(Some(any_bit(FilterField::ConnectionState, states(value)?, negated)))
            }
            "--ctdir" => {
                let number = u64::from(value == "REPLY");
                is(FilterField::ConnectionDirection, FilterValue::Numbers(number, number))
            }
            "--ctstatus" => match value {
                "SNAT" => {
                    Some(Some(any_bit(FilterField::ConnectionStatus, conntrack::SOURCE_TRANSLATED, negated)))
                }
                "DNAT" => Some(Some(any_bit(
                    FilterField::ConnectionStatus,
                    conntrack::DESTINATION_TRANSLATED,
                    negated,
                ))),
                _ => None,
            },
            "--mark" if self.modules.last() == Some(&"mark") => {
                mark(FilterField::Mark, value, negated).map(Some)
            }
            "--mark" if self.modules.last() == Some(&"connmark") => {
                mark(FilterField::ConnectionMark, value, negated).map(Some)
            }
            "--dst-type" => Some(Some(within(FilterField::DestinationType, address_types(value)?, negated))),
            "--src-type" => Some(Some(within(FilterField::SourceType, address_types(value)?, negated))),
            "--pkt-type" => {
                let number = match value {
                    "unicast" => 0,
                    "broadcast" => 1,
                    "multicast" => 2,
                    _ => return None,
                };
                is(FilterField::PacketType, FilterValue::Numbers(number, number))
            }
            "--tcp-flags" => {
                let (mask, value) = (flags(value)?, flags(values.get(1)?)?);
                Some(Some(FilterCondition::Masked { field: FilterField::TcpFlags, mask, value, negated }))
            }
            "--syn" => Some(Some(FilterCondition::Masked {
                field: FilterField::TcpFlags,
                mask: 0x17,
                value: 2,
                negated,
            })),
            "--icmp-type" | "--icmpv6-type" => {
                Some(Some(within(FilterField::OfOtherProtocol, vec![FilterValue::Unknown], negated)))
            }
            // Packets with a header for source routes are unusual.
            "--rt-type" | "--rt-segsleft" | "--rt-0-res" => Some(Some(FilterCondition::Unusual)),
            "--limit" | "--hashlimit-upto" | "--hashlimit" | "--connlimit-upto" => {
                Some(Some(match negated {
                    false => FilterCondition::Usual,
                    true => FilterCondition::Unusual,
                }))
            }
            "--hashlimit-above" | "--connlimit-above" => Some(Some(match negated {
                false => FilterCondition::Unusual,
                true => FilterCondition::Usual,
            })),
            "--invert" if self.modules.last() == Some(&"rpfilter") => {
                self.conditions.retain(|condition| *condition != FilterCondition::Usual);
                Some(Some(FilterCondition::Unusual))
            }
            "--loose" | "--validmark" | "--accept-local" if self.modules.last() == Some(&"rpfilter") => {
                Some(None)
            }
            _ if option.starts_with("--limit-burst")
                || option.starts_with("--hashlimit-")
                || option.starts_with("--connlimit-") =>
            {
                Some(None)
            }
            _ => None,
        }
    }

    /// Adds the condition of the module `recent`, which lists recent clients. `--set` matches every client.
    /// `--hitcount` with `--seconds` matches only clients that send many packets.
    fn recent(&mut self) {
        let has = |wanted: &str| self.recent.iter().any(|(option, _)| *option == wanted);
        let is_negated = self.recent.iter().any(|(_, negated)| *negated);
        if has("--set") && !is_negated {
            return;
        }
        let counts = has("--hitcount") && has("--seconds") && !is_negated;
        self.conditions.push(if counts { FilterCondition::Unusual } else { FilterCondition::Unknown });
    }

    /// Returns the action of the rule; `None` if its target is not understood.
    fn action(&mut self) -> Option<FilterAction> {
        // An unknown module may have any condition.
        let is_known = |module: &&str| KNOWN_MODULES.contains(module);
        if !self.modules.iter().all(is_known) {
            self.conditions.push(FilterCondition::Unknown);
        }
        Some(match (self.target, self.goes) {
            (_, Some(chain)) => FilterAction::Goto(chain.to_owned()),
            (Some("ACCEPT" | "SNAT" | "MASQUERADE"), _) => FilterAction::Accept,
            (Some("DROP" | "REJECT"), _) => FilterAction::Drop,
            (Some("RETURN"), _) => FilterAction::Return,
            (Some("NOTRACK"), _) => FilterAction::Untrack,
            (Some("CT"), _) if self.has_notrack => FilterAction::Untrack,
            (Some("CT"), _) => FilterAction::Continue,
            (Some("DNAT"), _) => {
                // If there are several destinations, the first one is used, as in the list of published ports.
                let (address, port) = destination(self.to?)?;
                FilterAction::Translate { address, port }
            }
            (Some("REDIRECT"), _) => {
                let port = match self.to {
                    Some(to) => Some(to.split('-').next()?.parse().ok()?),
                    None => None,
                };
                FilterAction::Translate { address: None, port }
            }
            (Some("TPROXY"), _) => {
                // If the address or the port is zero, the rule does not set it.
                let address: Option<IpAddr> = match self.on_address {
                    Some(address) => Some(address.parse().ok()?),
                    None => None,
                };
                let port: u16 = self.to?.parse().ok()?;
                FilterAction::Steer {
                    address: address.filter(|address| !address.is_unspecified()),
                    port: Some(port).filter(|port| *port != 0),
                }
            }
            // If the target is not a chain, `resolve_targets` replaces the jump.
            (Some(chain), _) => FilterAction::Jump(chain.to_owned()),
            (None, None) => FilterAction::Continue,
        })
    }
}

/// The modules that portolan knows. A rule with any other module gets an unknown condition.
const KNOWN_MODULES: [&str; 26] = [
    "tcp",
    "udp",
    "udplite",
    "sctp",
    "dccp",
    "icmp",
    "icmp6",
    "icmpv6",
    "multiport",
    "conntrack",
    "state",
    "comment",
    "limit",
    "hashlimit",
    "connlimit",
    "mark",
    "connmark",
    "addrtype",
    "pkttype",
    "iprange",
    "recent",
    "rt",
    "set",
    "hl",
    "ttl",
    "rpfilter",
];

fn within(field: FilterField, values: Vec<FilterValue>, negated: bool) -> FilterCondition {
    let element = |value| FilterElement { key: vec![value], action: None, is_temporary: false };
    let elements = FilterElements::Listed(values.into_iter().map(element).collect());
    FilterCondition::In { fields: vec![field], elements, negated }
}

fn any_bit(field: FilterField, mask: u64, negated: bool) -> FilterCondition {
    FilterCondition::Masked { field, mask, value: 0, negated: !negated }
}
