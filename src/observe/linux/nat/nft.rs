//! The output of `nft --json list ruleset` (libnftables-json(5)).

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::iptables::protocol;
use super::rules::{Action, Chain, Condition, Destination, Hook, Rule, Table, outside};
use crate::model::{Family, Network, Protocol};

/// The address translation rules, by table, and the parts that were not understood.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    /// The tables, by family and name.
    pub(super) tables: HashMap<(String, String), Table>,
    /// The address translation rules that were not understood.
    pub(super) unclear: Vec<String>,
    /// The tables with rules that only `iptables-nft-save` prints in full.
    pub(super) of_iptables: Vec<(String, String)>,
}

/// The elements of the named sets and maps, by family, table and name.
type Sets<'v> = HashMap<(&'v str, &'v str, &'v str), &'v Vec<Value>>;

/// A map with more elements is not read.
const MOST_ELEMENTS: usize = 200_000;

/// Parses the output, which is JSON.
///
/// # Errors
///
/// Returns an error if it is not of this kind.
pub(super) fn parse(root: &Value) -> Result<RuleSet, String> {
    let items = root["nftables"].as_array().ok_or("not understood")?;
    let mut sets = Sets::new();
    let mut found = RuleSet::default();
    for item in items {
        for kind in ["set", "map"] {
            let set = &item[kind];
            if let (Some(key), Some(elements)) = (key_of(set, "name"), set["elem"].as_array()) {
                sets.insert(key, elements);
            }
        }
        let chain = &item["chain"];
        if let Some((family, table, name)) = key_of(chain, "name") {
            let table = found.tables.entry((family.to_owned(), table.to_owned())).or_default();
            table.families = families(family);
            table.chains.insert(name.to_owned(), Chain { base: base(chain), rules: Vec::new() });
        }
    }
    for item in items {
        let rule = &item["rule"];
        let Some((family, table, chain)) = key_of(rule, "chain") else { continue };
        let key = (family.to_owned(), table.to_owned());
        let text = format!("nft rule {family} {table} {chain}, handle {}", rule["handle"]);
        let Some(expressions) = rule["expr"].as_array() else { continue };
        if expressions.iter().any(|expression| !expression["xt"].is_null())
            && !found.of_iptables.contains(&key)
        {
            found.of_iptables.push(key.clone());
        }
        let reader = Reader { sets: &sets, family, table, text: &text };
        match reader.rules(expressions) {
            Some(rules) => {
                let table = found.tables.entry(key).or_default();
                table.chains.entry(chain.to_owned()).or_default().rules.extend(rules);
            }
            None => found.unclear.push(text),
        }
    }
    Ok(found)
}

fn key_of<'v>(object: &'v Value, name: &str) -> Option<(&'v str, &'v str, &'v str)> {
    Some((object["family"].as_str()?, object["table"].as_str()?, object[name].as_str()?))
}

fn families(name: &str) -> Vec<Family> {
    match name {
        "ip" => vec![Family::Ipv4],
        "ip6" => vec![Family::Ipv6],
        "inet" => vec![Family::Ipv4, Family::Ipv6],
        _ => Vec::new(),
    }
}

/// Returns hook and priority of a base chain that translates destinations.
fn base(chain: &Value) -> Option<(Hook, i64)> {
    let hook = match (chain["type"].as_str()?, chain["hook"].as_str()?) {
        ("nat", "prerouting") => Hook::Prerouting,
        ("nat", "output") => Hook::Output,
        _ => return None,
    };
    Some((hook, chain["prio"].as_i64().unwrap_or_default()))
}

/// A field of a packet that a rule compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Port,
    Destination,
    DestinationType,
    Protocol,
    Family,
    Device,
    Other,
}

/// The result of a rule: a jump, or a destination.
enum PortVerdict {
    Action(Action),
    Address(Option<IpAddr>, Option<u16>),
}

struct Reader<'v> {
    sets: &'v Sets<'v>,
    family: &'v str,
    table: &'v str,
    text: &'v str,
}

impl Reader<'_> {
    /// Returns the rules for a list of expressions; `None` if the list translates an address but is not understood.
    fn rules(&self, expressions: &[Value]) -> Option<Vec<Rule>> {
        let mut condition = Condition::default();
        let mut rules = Vec::new();
        for expression in expressions {
            let Some((name, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
                continue;
            };
            match name.as_str() {
                "match" => match self.matched(body) {
                    Some(matched) => match condition.and(&matched) {
                        Some(both) => condition = both,
                        None => return Some(rules), // no packet meets both conditions
                    },
                    None => condition.further = true,
                },
                "dnat" | "redirect" => {
                    rules.extend(self.forwards(body, name == "redirect", &condition)?);
                    return Some(rules);
                }
                "vmap" => {
                    let elements = self.elements(&body["data"])?;
                    let keys = fields(&body["key"]);
                    for element in &elements {
                        let (key, data) = pair(element)?;
                        let Some(action) = action(data) else { continue };
                        rules.extend(self.rule(&condition, &keys, key, PortVerdict::Action(action)));
                    }
                }
                _ => {
                    if let Some(action) = action(expression) {
                        rules.push(self.finished(condition, action));
                        return Some(rules);
                    }
                }
            }
        }
        Some(rules)
    }

    fn finished(&self, condition: Condition, action: Action) -> Rule {
        Rule { condition, action, text: self.text.to_owned() }
    }

    /// Returns the rule for one element of a map; `None` if no packet meets both conditions.
    fn rule(
        &self,
        condition: &Condition,
        keys: &[(Field, Option<Protocol>)],
        key: &Value,
        verdict: PortVerdict,
    ) -> Option<Rule> {
        let parts: Vec<&Value> = match key["concat"].as_array() {
            Some(parts) => parts.iter().collect(),
            None => vec![key],
        };
        let mut condition = condition.clone();
        for ((field, protocol), value) in keys.iter().zip(parts) {
            let matched = condition_of(*field, *protocol, std::slice::from_ref(value), false);
            match matched {
                Some(matched) => condition = condition.and(&matched)?,
                None => condition.further = true,
            }
        }
        let action = match verdict {
            PortVerdict::Action(action) => action,
            PortVerdict::Address(address, port) => Action::Forward { address, port },
        };
        Some(self.finished(condition, action))
    }

    /// Returns the elements of a set or map, which may be a named one; `None` if there are too many. A named set
    /// without elements is empty.
    fn elements(&self, data: &Value) -> Option<Vec<Value>> {
        let elements = match data.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => {
                self.sets.get(&(self.family, self.table, name)).map_or_else(Vec::new, |set| set.to_vec())
            }
            None => data["set"].as_array()?.clone(),
        };
        (elements.len() <= MOST_ELEMENTS).then_some(elements)
    }

    /// Returns the condition of a comparison; `None` if it is not evaluated.
    fn matched(&self, body: &Value) -> Option<Condition> {
        let negated = match body["op"].as_str() {
            Some("==" | "in") => false,
            Some("!=") => true,
            _ => return None,
        };
        let keys = fields(&body["left"]);
        let [(field, protocol)] = keys.as_slice() else { return None };
        let right = &body["right"];
        let values = match (right["set"].as_array(), right.as_str()) {
            (Some(values), _) => values.clone(),
            (None, Some(name)) if name.starts_with('@') => self.elements(right)?,
            _ => vec![right.clone()],
        };
        condition_of(*field, *protocol, &values, negated)
    }

    /// Returns the rules of `dnat` and `redirect`; `None` if they are not understood.
    fn forwards(&self, body: &Value, redirects: bool, condition: &Condition) -> Option<Vec<Rule>> {
        let map = [&body["addr"]["map"], &body["port"]["map"]].into_iter().find(|map| !map.is_null());
        if let Some(map) = map {
            let of_port = body["addr"]["map"].is_null();
            let fixed_port = number(&body["port"]);
            let keys = fields(&map["key"]);
            let mut rules = Vec::new();
            for element in &self.elements(&map["data"])? {
                let (key, data) = pair(element)?;
                let (address, port) = match data["concat"].as_array().map(Vec::as_slice) {
                    Some([address, port]) => (Some(address_of(address)?), number(port)),
                    _ if of_port => (address_of(&body["addr"]), number(data)),
                    _ => (Some(address_of(data)?), fixed_port),
                };
                rules.extend(self.rule(condition, &keys, key, PortVerdict::Address(address, port)));
            }
            return Some(rules);
        }
        let address = match &body["addr"] {
            Value::Null if redirects || !body["port"].is_null() => None,
            other => Some(address_of(other)?),
        };
        let port = match &body["port"] {
            Value::Null => None,
            other => Some(number(other)?),
        };
        Some(vec![self.finished(condition.clone(), Action::Forward { address, port })])
    }
}

/// Splits an element of a map into key and value.
fn pair(element: &Value) -> Option<(&Value, &Value)> {
    let (key, value) = (element.get(0)?, element.get(1)?);
    // An element with a comment, a counter or a timeout.
    let inner = &key["elem"]["val"];
    Some((if inner.is_null() { key } else { inner }, value))
}

/// Returns the effect of an expression, if the expression ends or leaves the rule.
fn action(expression: &Value) -> Option<Action> {
    let (name, body) = expression.as_object()?.iter().next()?;
    let target = || body["target"].as_str().map(str::to_owned);
    Some(match name.as_str() {
        "jump" => Action::Jump(target()?),
        "goto" => Action::Goto(target()?),
        "return" => Action::Return,
        "accept" | "drop" => Action::End,
        _ => return None,
    })
}

/// Returns the fields of an expression, and the protocol that naming the field implies.
fn fields(expression: &Value) -> Vec<(Field, Option<Protocol>)> {
    if let Some(parts) = expression["concat"].as_array() {
        return parts.iter().flat_map(fields).collect();
    }
    let payload = &expression["payload"];
    let field = match (payload["protocol"].as_str(), payload["field"].as_str()) {
        (Some("ip" | "ip6"), Some("daddr")) => Field::Destination,
        (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => Field::Protocol,
        (Some(name), Some("dport")) => return vec![(Field::Port, protocol(name))],
        _ => match expression["meta"]["key"].as_str() {
            Some("l4proto") => Field::Protocol,
            Some("nfproto") => Field::Family,
            Some("iifname" | "iif") => Field::Device,
            _ if expression["fib"]["result"] == "type" => Field::DestinationType,
            _ => Field::Other,
        },
    };
    vec![(field, None)]
}

/// Returns the condition that a field has one of these values; `None` if it is not evaluated.
fn condition_of(
    field: Field,
    implied: Option<Protocol>,
    values: &[Value],
    negated: bool,
) -> Option<Condition> {
    let mut condition = Condition::default();
    match (field, negated) {
        (Field::Port, _) => {
            let ranges: Vec<RangeInclusive<u16>> = values.iter().map(range).collect::<Option<_>>()?;
            condition.protocols = implied.map(|protocol| vec![protocol]);
            condition.ports = match (negated, ranges.as_slice()) {
                (false, _) => Some(ranges),
                (true, [one]) => Some(outside(one)),
                (true, _) => return None,
            };
        }
        (Field::Destination, true) => {
            condition.except = values.iter().map(network).collect::<Option<_>>()?;
        }
        (Field::Destination, false) => match values {
            [one] => condition.destination = Destination::Within(network(one)?),
            _ => return None,
        },
        (Field::DestinationType, false) if matches!(values, [one] if one == "local") => {
            condition.destination = Destination::ThisMachine;
        }
        (Field::Protocol, false) => {
            let name = |value: &Value| match value {
                Value::Number(number) => protocol(&number.to_string()),
                other => protocol(other.as_str()?),
            };
            condition.protocols = Some(values.iter().filter_map(name).collect());
        }
        (Field::Family, false) => match values {
            [one] if one == "ipv4" => condition.family = Some(Family::Ipv4),
            [one] if one == "ipv6" => condition.family = Some(Family::Ipv6),
            _ => return None,
        },
        (Field::Device, false) => match values {
            [one] => condition.device = one.as_str().filter(|name| !name.ends_with('*')).map(str::to_owned),
            _ => return None,
        },
        (Field::Device, true) => {}
        _ => return None,
    }
    Some(condition)
}

fn number(value: &Value) -> Option<u16> {
    // The first address or port of a range counts.
    let value = value["range"].get(0).unwrap_or(value);
    value.as_u64().and_then(|number| number.try_into().ok())
}

fn range(value: &Value) -> Option<RangeInclusive<u16>> {
    match value["range"].as_array().map(Vec::as_slice) {
        Some([low, high]) => Some(number(low)?..=number(high)?),
        _ => number(value).map(|port| port..=port),
    }
}

fn address_of(value: &Value) -> Option<IpAddr> {
    value["range"].get(0).unwrap_or(value).as_str()?.parse().ok()
}

fn network(value: &Value) -> Option<Network> {
    let prefix = &value["prefix"];
    match (prefix["addr"].as_str(), prefix["len"].as_u64()) {
        (Some(address), Some(length)) => format!("{address}/{length}").parse().ok(),
        _ => value.as_str()?.parse().ok(),
    }
}
