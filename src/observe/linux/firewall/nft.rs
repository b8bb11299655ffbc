//! The output of `nft --json list ruleset` (libnftables-json(5)) as rules of a packet filter.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use serde_json::Value;

use super::super::rule_sets::TableName;
use super::nft_fields::{ValueKind, field, numbers_of, value};
use crate::model::Family;
use crate::model::firewall::{
    FilterAction, FilterBase, FilterChain, FilterCondition, FilterElement, FilterElements, FilterField,
    FilterHook, FilterRule, FilterSet, FilterTable, FilterValue,
};

/// A set with more elements is not read.
const MOST_ELEMENTS: usize = 200_000;
/// The text of a comment is cut at this length for reports.
const LONGEST_COMMENT: usize = 80;

/// Returns the tables, and those with rules that only `iptables-nft-save` prints in full.
pub(super) fn parse(root: &Value) -> (HashMap<TableName, FilterTable>, HashSet<TableName>) {
    let items = root["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut tables: HashMap<TableName, FilterTable> = HashMap::new();
    let mut of_iptables = HashSet::new();
    // By family, table and name: the place of the chain in its table.
    let mut chains: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for item in items {
        for kind in ["set", "map"] {
            let set = &item[kind];
            if let Some((key, name)) = names(set, "name") {
                let read = FilterSet {
                    name: name.to_owned(),
                    is_changed_by_rules: false,
                    elements: named_elements(set),
                };
                tables.entry(key).or_default().sets.push(read);
            }
        }
        let chain = &item["chain"];
        if let Some((key, name)) = names(chain, "name") {
            let table = tables.entry(key.clone()).or_default();
            table.families = families(&key.0);
            if let (Some(family), Some(table_name)) = (chain["family"].as_str(), chain["table"].as_str()) {
                chains.insert((family, table_name, name), table.chains.len());
            }
            let base = base(chain, &key, name);
            table.chains.push(FilterChain { name: name.to_owned(), base, rules: Vec::new() });
        }
    }
    for item in items {
        let rule = &item["rule"];
        let Some((key, chain)) = names(rule, "chain") else { continue };
        let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        if expressions.iter().any(|expression| expression.get("xt").is_some()) {
            of_iptables.insert(key.clone());
        }
        let Some(table) = tables.get_mut(&key) else { continue };
        for changed in expressions.iter().filter_map(changed_set) {
            for set in table.sets.iter_mut().filter(|set| set.name == changed) {
                set.is_changed_by_rules = true;
            }
        }
        let at = chains.get(&(rule["family"].as_str().unwrap_or_default(), key.1.as_str(), chain)).copied();
        if let Some(chain) = at.and_then(|at| table.chains.get_mut(at)) {
            chain.rules.extend(rules(expressions, &text(rule, &key, &chain.name)));
        }
    }
    for (key, table) in &mut tables {
        if matches!(key.0.as_str(), "bridge" | "arp") {
            replace_by_unknown(table, key);
        }
    }
    (tables, of_iptables)
}

fn names<'v>(object: &'v Value, name: &str) -> Option<(TableName, &'v str)> {
    let (family, table) = (object["family"].as_str()?, object["table"].as_str()?);
    Some(((family.to_owned(), table.to_owned()), object[name].as_str()?))
}

fn families(name: &str) -> Vec<Family> {
    match name {
        "ip" | "arp" => vec![Family::Ipv4],
        "ip6" => vec![Family::Ipv6],
        _ => vec![Family::Ipv4, Family::Ipv6],
    }
}

fn text(rule: &Value, (family, table): &TableName, chain: &str) -> String {
    let comment = rule["comment"].as_str().map(|comment| {
        let comment: String = comment.chars().take(LONGEST_COMMENT).collect();
        format!(" ({comment})")
    });
    format!("nft rule {family} {table} {chain}, handle {}{}", rule["handle"], comment.unwrap_or_default())
}

fn base(chain: &Value, (family, table): &TableName, name: &str) -> Option<FilterBase> {
    let hook = match chain["hook"].as_str()? {
        "ingress" => FilterHook::Ingress,
        "prerouting" => FilterHook::Prerouting,
        "input" => FilterHook::Input,
        "forward" => FilterHook::Forward,
        "output" => FilterHook::Output,
        "postrouting" => FilterHook::Postrouting,
        _ => return None,
    };
    let drops = chain["policy"] == "drop";
    let devices = match &chain["dev"] {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        // Older versions of nft do not print the device.
        _ => (hook == FilterHook::Ingress).then(Vec::new),
    };
    Some(FilterBase {
        hook,
        priority: chain["prio"].as_i64().unwrap_or_default(),
        translates: chain["type"] == "nat",
        drops,
        devices,
        text: format!(
            "policy {} of the nft chain {family} {table} {name}",
            if drops { "drop" } else { "accept" }
        ),
    })
}

/// Returns the name of the set to which an expression adds elements.
fn changed_set(expression: &Value) -> Option<&str> {
    let statement = ["set", "map"].into_iter().find_map(|name| expression.get(name))?;
    statement["set"].as_str().or_else(|| statement["map"].as_str())?.strip_prefix('@')
}

/// Frames are filtered before or apart from the packets in them: what drops some can drop any.
fn replace_by_unknown(table: &mut FilterTable, (family, name): &TableName) {
    let drops = |chain: &FilterChain| {
        chain.base.as_ref().is_some_and(|base| base.drops)
            || chain
                .rules
                .iter()
                .any(|rule| !matches!(rule.action, FilterAction::Accept | FilterAction::Continue))
    };
    let is_harmless = !table.chains.iter().any(drops);
    let text = format!("the nft table {family} {name} filters frames, which is not evaluated");
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

/// Returns the rules that a list of expressions makes: one, or two if an expression in its middle acts.
fn rules(expressions: &[Value], text: &str) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    let mut conditions = Vec::new();
    for (at, expression) in expressions.iter().enumerate() {
        conditions.extend(implied(expression));
        match read(expression) {
            Read::Nothing => {}
            Read::Condition(condition) => conditions.push(condition),
            Read::Action(action) => {
                let is_last = at + 1 == expressions.len();
                let ends =
                    !matches!(action, FilterAction::Mark | FilterAction::Untrack | FilterAction::Continue);
                // What follows a map of verdicts applies to the packets that it does not have.
                let is_understood = is_last || !matches!(action, FilterAction::Lookup(..));
                let action = if is_understood { action } else { FilterAction::Unknown };
                let conditions = without_merged_ports(&conditions);
                rules.push(FilterRule { text: text.to_owned(), conditions, action });
                if ends {
                    return rules;
                }
            }
        }
    }
    rules
}

/// Returns the conditions without two that exclude one port each. nft 1.0.6 prints these apart, but its rule compares
/// both ports at once: it applies unless both are the excluded ones.
fn without_merged_ports(conditions: &[FilterCondition]) -> Vec<FilterCondition> {
    let excludes_port = |condition: &FilterCondition| match condition {
        FilterCondition::In { fields, negated: true, .. } => {
            matches!(fields.as_slice(), [FilterField::SourcePort(_) | FilterField::DestinationPort(_)])
        }
        _ => false,
    };
    let is_merged = conditions.iter().filter(|condition| excludes_port(condition)).count() > 1;
    let kept = |condition: &FilterCondition| match is_merged && excludes_port(condition) {
        true => FilterCondition::Unknown,
        false => condition.clone(),
    };
    conditions.iter().map(kept).collect()
}

/// Returns the condition that nft leaves out when it prints a rule, because the action implies it.
fn implied(expression: &Value) -> Option<FilterCondition> {
    let is = |field, number| {
        let element = FilterElement { key: vec![FilterValue::Numbers(number, number)], action: None };
        let elements = FilterElements::Listed(vec![element]);
        Some(FilterCondition::In { fields: vec![field], elements, negated: false })
    };
    match expression["reject"]["type"].as_str() {
        Some("icmp") => return is(FilterField::Family, 4),
        Some("icmpv6") => return is(FilterField::Family, 6),
        Some("tcp reset") => return is(FilterField::Protocol(None), 6),
        _ => {}
    }
    let translation =
        ["dnat", "snat", "masquerade", "redirect"].into_iter().find_map(|name| expression.get(name))?;
    match translation["family"].as_str() {
        Some("ip") => is(FilterField::Family, 4),
        Some("ip6") => is(FilterField::Family, 6),
        _ => None,
    }
}

/// What an expression of a rule is.
enum Read {
    Nothing,
    Condition(FilterCondition),
    Action(FilterAction),
}

fn read(expression: &Value) -> Read {
    let Some((name, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
        return Read::Action(FilterAction::Unknown);
    };
    if let Some(verdict) = verdict(expression) {
        return Read::Action(verdict);
    }
    match name.as_str() {
        "match" => Read::Condition(condition(body)),
        "counter" | "log" | "ct helper" | "ct timeout" | "ct expectation" | "flow" | "secmark" | "dup"
        | "last" => Read::Nothing,
        "limit" => Read::Condition(match body["inv"].as_bool() {
            Some(true) => FilterCondition::Unusual,
            _ if body.is_object() => FilterCondition::Usual,
            _ => FilterCondition::Unknown,
        }),
        "ct count" => Read::Condition(match body["inv"].as_bool() {
            Some(true) => FilterCondition::Unusual,
            _ => FilterCondition::Usual,
        }),
        "vmap" => {
            let fields = fields(&body["key"]);
            Read::Action(match elements(&body["data"], &kinds(&fields), true) {
                Some(elements) => FilterAction::Lookup(fields, elements),
                None => FilterAction::Unknown,
            })
        }
        "reject" => Read::Action(FilterAction::Drop),
        "masquerade" | "snat" => Read::Action(FilterAction::Accept),
        "dnat" | "redirect" => {
            Read::Action(translation(body, name == "redirect").unwrap_or(FilterAction::Unknown))
        }
        "notrack" => Read::Action(FilterAction::Untrack),
        "mangle" => match (body["key"]["meta"]["key"].as_str(), body["key"]["ct"]["key"].as_str()) {
            (Some("mark"), _) | (_, Some("mark")) => Read::Action(FilterAction::Mark),
            (Some("nftrace" | "priority" | "secmark" | "rtclassid"), _) => Read::Nothing,
            // Options of TCP and the class of service decide nothing.
            _ if body["key"].get("tcp option").is_some() => Read::Nothing,
            _ if matches!(body["key"]["payload"]["field"].as_str(), Some("dscp" | "ecn")) => Read::Nothing,
            (_, Some("event" | "label" | "helper" | "timeout" | "secmark")) => Read::Nothing,
            _ => Read::Action(FilterAction::Unknown),
        },
        // Both add an element. A limit in it decides for clients that send many packets.
        "set" | "map" => match body["stmt"].as_array().map(Vec::as_slice) {
            None | Some([]) => Read::Nothing,
            Some([one]) => read(one),
            Some(_) => Read::Condition(FilterCondition::Unknown),
        },
        "meter" | "quota" => Read::Condition(FilterCondition::Unknown),
        _ => Read::Action(FilterAction::Unknown),
    }
}

fn verdict(expression: &Value) -> Option<FilterAction> {
    let (name, body) = expression.as_object()?.iter().next()?;
    let target = || body["target"].as_str().map(str::to_owned);
    Some(match name.as_str() {
        "accept" => FilterAction::Accept,
        "drop" => FilterAction::Drop,
        "return" => FilterAction::Return,
        "continue" => FilterAction::Continue,
        "jump" => FilterAction::Jump(target()?),
        "goto" => FilterAction::Goto(target()?),
        _ => return None,
    })
}

/// Returns the fields of an expression.
fn fields(expression: &Value) -> Vec<FilterField> {
    match expression["concat"].as_array() {
        Some(parts) => parts.iter().map(field).collect(),
        None => vec![field(expression)],
    }
}

fn kinds(fields: &[FilterField]) -> Vec<ValueKind> {
    fields.iter().copied().map(ValueKind::of).collect()
}

fn condition(body: &Value) -> FilterCondition {
    let (left, right) = (&body["left"], &body["right"]);
    let operator = body["op"].as_str().unwrap_or_default();
    if let Some(masked) = masked(left, right, operator) {
        return masked;
    }
    let fields = fields(left);
    let negated = match operator {
        "==" | "in" => false,
        "!=" => true,
        _ => return compared(&fields, operator, right).unwrap_or(FilterCondition::Unknown),
    };
    // The route back to the client leads through the interface on which it arrived, for clients that are not forged.
    if left["fib"]["result"] == "oif"
        && left["fib"]["flags"].as_array().is_some_and(|f| f.iter().any(|f| f == "saddr"))
    {
        return match (right.as_bool(), negated) {
            (Some(exists), negated) if exists != negated => FilterCondition::Usual,
            (Some(_), _) => FilterCondition::Unusual,
            (None, _) => FilterCondition::Unknown,
        };
    }
    match elements(right, &kinds(&fields), false) {
        Some(elements) => FilterCondition::In { fields, elements, negated },
        None => FilterCondition::Unknown,
    }
}

/// Returns the condition of a comparison of bits, if it is one.
fn masked(left: &Value, right: &Value, operator: &str) -> Option<FilterCondition> {
    let negated = operator == "!=" || operator == "!";
    if let Some([inner, mask]) = left["&"].as_array().map(Vec::as_slice) {
        let field = field(inner);
        let (mask, value) = (numbers_of(mask, field)?, numbers_of(right, field)?);
        if !matches!(operator, "==" | "!=") {
            return Some(FilterCondition::Unknown);
        }
        return Some(FilterCondition::Masked { field, mask, value, negated });
    }
    let field = field(left);
    let is_bits =
        matches!(field, FilterField::ConnectionState | FilterField::ConnectionStatus | FilterField::TcpFlags);
    // `in` asks whether one of the bits is set, and `!` whether none is. A comparison of the status means its bits too.
    let asks_for_any = operator == "in" || (operator == "==" && field == FilterField::ConnectionStatus);
    if !is_bits || !(asks_for_any || operator == "!") || right.get("set").is_some() {
        return None;
    }
    let mask = numbers_of(right, field)?;
    Some(FilterCondition::Masked { field, mask, value: 0, negated: asks_for_any })
}

/// Returns the condition of `<`, `<=`, `>` and `>=`.
fn compared(fields: &[FilterField], operator: &str, right: &Value) -> Option<FilterCondition> {
    let number = right.as_u64()?;
    let (first, last) = match operator {
        "<" => (0, number.checked_sub(1)?),
        "<=" => (0, number),
        ">" => (number.checked_add(1)?, u64::MAX),
        ">=" => (number, u64::MAX),
        _ => return None,
    };
    let element = FilterElement { key: vec![FilterValue::Numbers(first, last)], action: None };
    let elements = FilterElements::Listed(vec![element]);
    Some(FilterCondition::In { fields: fields.to_vec(), elements, negated: false })
}

/// Returns the elements of a comparison or a map; `None` if they are not understood.
fn elements(data: &Value, kinds: &[ValueKind], is_map: bool) -> Option<FilterElements> {
    if let Some(name) = data.as_str().and_then(|text| text.strip_prefix('@')) {
        return Some(FilterElements::Named(name.to_owned()));
    }
    if let Some(listed) = data["set"].as_array() {
        return listed_elements(listed, kinds, is_map).map(FilterElements::Listed);
    }
    if is_map {
        return None;
    }
    let key = key(data, kinds);
    Some(FilterElements::Listed(vec![FilterElement { key, action: None }]))
}

fn named_elements(set: &Value) -> Option<Vec<FilterElement>> {
    match &set["elem"] {
        Value::Null => Some(Vec::new()),
        listed => {
            listed_elements(listed.as_array()?, &ValueKind::of_set(&set["type"]), set.get("map").is_some())
        }
    }
}

fn listed_elements(listed: &[Value], kinds: &[ValueKind], is_map: bool) -> Option<Vec<FilterElement>> {
    if listed.len() > MOST_ELEMENTS {
        return None;
    }
    let element = |element: &Value| {
        if !is_map {
            return Some(FilterElement { key: key(plain(element), kinds), action: None });
        }
        let (name, data) = (element.get(0)?, element.get(1)?);
        let action = verdict(data).or_else(|| destination(data)).unwrap_or(FilterAction::Unknown);
        Some(FilterElement { key: key(plain(name), kinds), action: Some(action) })
    };
    listed.iter().map(element).collect()
}

/// Returns an element without its comment, counter or timeout.
fn plain(element: &Value) -> &Value {
    let inner = &element["elem"]["val"];
    if inner.is_null() { element } else { inner }
}

fn key(element: &Value, kinds: &[ValueKind]) -> Vec<FilterValue> {
    match element["concat"].as_array() {
        Some(parts) if parts.len() == kinds.len() => {
            parts.iter().zip(kinds).map(|(part, kind)| value(part, *kind)).collect()
        }
        Some(_) => vec![FilterValue::Unknown; kinds.len()],
        // The default of a map has one value for all fields.
        None if element == "*" => vec![FilterValue::Any; kinds.len()],
        None => kinds.iter().map(|kind| value(element, *kind)).collect(),
    }
}

/// Returns the destination in an element of a map: an address, a port, or both.
fn destination(data: &Value) -> Option<FilterAction> {
    let (address, port) = match data["concat"].as_array().map(Vec::as_slice) {
        Some([address, port]) => (Some(address_of(address)?), Some(port_of(port)?)),
        Some(_) => return None,
        None => (address_of(data), port_of(data)),
    };
    (address.is_some() || port.is_some()).then_some(FilterAction::Translate { address, port })
}

/// Returns the action of `dnat` and `redirect`. Of several destinations, the first counts, as in the list of published
/// ports.
fn translation(body: &Value, redirects: bool) -> Option<FilterAction> {
    let map = [&body["addr"]["map"], &body["port"]["map"]].into_iter().find(|map| !map.is_null());
    if let Some(map) = map {
        // An element has no port or address of its own if the rule has it.
        if !body["addr"]["map"].is_null() && !body["port"].is_null() || !body["port"]["map"].is_null() {
            return None;
        }
        let fields = fields(&map["key"]);
        let elements = elements(&map["data"], &kinds(&fields), true)?;
        return Some(FilterAction::TranslateBy(fields, elements));
    }
    let address = match &body["addr"] {
        Value::Null if redirects || !body["port"].is_null() => None,
        other => Some(address_of(other)?),
    };
    let port = match &body["port"] {
        Value::Null => None,
        other => Some(port_of(other)?),
    };
    Some(FilterAction::Translate { address, port })
}

fn address_of(value: &Value) -> Option<IpAddr> {
    value["range"].get(0).unwrap_or(value).as_str()?.parse().ok()
}

fn port_of(value: &Value) -> Option<u16> {
    value["range"].get(0).unwrap_or(value).as_u64()?.try_into().ok()
}
