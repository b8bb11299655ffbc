//! Tests messages that the installed tools do not produce: expressions of other kernels, sets with gaps, and truncated
//! bytes.

use super::super::netlink_dump::tests::attribute_of;
use super::*;
use crate::model::firewall::{FilterCondition, FilterElement, FilterElements, FilterField, FilterValue};

fn number_of(kind: u16, number: u32) -> Vec<u8> {
    attribute_of(kind, &number.to_be_bytes())
}

fn message(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = u32::try_from(HEADER + BODY + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend([INET, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let name = attribute_of(1, format!("{name}\0").as_bytes());
    attribute_of(1, &[name, attribute_of(2, &attributes.concat())].concat())
}

fn accept() -> Vec<u8> {
    verdict(1, None)
}

fn verdict(code: u32, chain: Option<&str>) -> Vec<u8> {
    let chain = chain.map(|chain| attribute_of(2, format!("{chain}\0").as_bytes()));
    let verdict = [number_of(1, code), chain.unwrap_or_default()].concat();
    expression("immediate", &[number_of(1, 0), attribute_of(2, &attribute_of(2, &verdict))])
}

/// Loads the destination port into register 1. The port is in two bytes of the transport header.
fn port() -> Vec<u8> {
    expression("payload", &[number_of(1, 1), number_of(2, 2), number_of(3, 2), number_of(4, 2)])
}

fn lookup(set: &str) -> Vec<u8> {
    expression("lookup", &[attribute_of(1, format!("{set}\0").as_bytes()), number_of(2, 1)])
}

/// Returns the rules of a chain that has one rule with these expressions. `others` are further messages, such as sets.
fn rules(expressions: &[Vec<u8>], others: &[Vec<u8>]) -> Vec<FilterRule> {
    let (table, chain) = (attribute_of(1, b"t\0"), |kind| attribute_of(kind, b"c\0"));
    let mut bytes = message(NEWCHAIN, &[table.clone(), chain(3)]);
    bytes.extend(others.concat());
    let handle = attribute_of(3, &7_u64.to_be_bytes());
    bytes.extend(message(NEWRULE, &[table, chain(2), handle, attribute_of(4, &expressions.concat())]));
    parse(&bytes, &Links::new()).unwrap().remove(0).chains.remove(0).rules
}

#[test]
fn what_is_not_understood_is_unknown() {
    for (name, expressions, conditions, action) in [
        ("nothing", vec![], None, None),
        (
            "a new expression",
            vec![expression("somersault", &[]), accept()],
            Some(0),
            Some(FilterAction::Unknown),
        ),
        ("a queue", vec![expression("queue", &[number_of(1, 1)])], Some(0), Some(FilterAction::Unknown)),
        (
            "a value that is not evaluated",
            vec![
                expression("osf", &[number_of(1, 1)]),
                expression(
                    "cmp",
                    &[number_of(1, 1), number_of(2, 0), attribute_of(3, &attribute_of(1, &[0; 16]))],
                ),
                accept(),
            ],
            Some(4),
            Some(FilterAction::Accept),
        ),
        ("a register that is empty", vec![lookup("s"), accept()], Some(1), Some(FilterAction::Accept)),
        ("a chain", vec![verdict(0xffff_fffd, Some("x"))], Some(0), Some(FilterAction::Jump("x".to_owned()))),
        (
            "another socket",
            vec![
                expression(
                    "immediate",
                    &[number_of(1, 1), attribute_of(2, &attribute_of(1, &8443_u16.to_be_bytes()))],
                ),
                expression("tproxy", &[number_of(1, 2), number_of(3, 1)]),
            ],
            Some(1),
            Some(FilterAction::Steer { address: None, port: Some(8443) }),
        ),
        ("another verdict", vec![verdict(3, None)], Some(0), Some(FilterAction::Unknown)),
        (
            "a destination that is not known",
            vec![expression("nat", &[number_of(1, 1), number_of(2, 2), number_of(3, 4)])],
            Some(1),
            Some(FilterAction::Unknown),
        ),
    ] {
        let found = rules(&expressions, &[]);
        let first = found.first();
        assert_eq!(first.map(|rule| &rule.action), action.as_ref(), "{name}");
        assert_eq!(first.map(|rule| rule.conditions.len()), conditions, "{name}");
        let of_family = |condition: &FilterCondition| condition.single().is_some();
        for condition in first.iter().flat_map(|rule| &rule.conditions).filter(|one| !of_family(one)) {
            assert_eq!(*condition, FilterCondition::Unknown, "{name}");
        }
    }
    // The list does not contain this set.
    let missing = FilterCondition::In {
        fields: vec![FilterField::DestinationPort(None)],
        elements: FilterElements::Named("s".to_owned()),
        negated: false,
    };
    assert_eq!(rules(&[port(), lookup("s"), accept()], &[])[0].conditions, [missing]);
}

/// nft adds no condition on the protocol to a rule that changes an option of TCP.
#[test]
fn a_changed_tcp_option_is_only_in_packets_of_tcp() {
    let tcp = FilterCondition::In {
        fields: vec![FilterField::Protocol(None)],
        elements: FilterElements::Listed(vec![FilterElement {
            key: vec![FilterValue::Numbers(6, 6)],
            action: None,
            is_temporary: false,
        }]),
        negated: false,
    };
    let value = expression("immediate", &[number_of(1, 1), attribute_of(2, &attribute_of(1, &[3, 232]))]);
    let maximum = [number_of(2, 2), number_of(3, 2), number_of(4, 2), number_of(6, 1), number_of(7, 1)];
    let set = vec![value, expression("exthdr", &maximum), accept()];
    let reset = vec![expression("exthdr", &[number_of(2, 34), number_of(6, 1)]), accept()];
    for (name, expressions) in [("set", set), ("reset", reset)] {
        let found = rules(&expressions, &[]);
        assert_eq!(
            (&found[0].action, &*found[0].conditions),
            (&FilterAction::Accept, &[tcp.clone()][..]),
            "{name}"
        );
    }
}

/// Each interval begins with an element, and a flagged element ends it.
#[test]
fn intervals() {
    let element = |(port, flags): &(u16, u32)| {
        let key = attribute_of(1, &attribute_of(1, &port.to_be_bytes()));
        attribute_of(1, &[key, number_of(3, *flags)].concat())
    };
    for (name, elements, wanted) in [
        ("none", &[][..], &[][..]),
        ("one", &[(0, 1), (80, 0), (81, 1)], &[(80, 80)]),
        ("in any order", &[(91, 1), (81, 1), (90, 0), (80, 0)], &[(80, 80), (90, 90)]),
        ("that touch", &[(80, 0), (90, 1), (90, 0), (95, 1)], &[(80, 89), (90, 94)]),
        ("that touch without an end", &[(80, 0), (90, 0), (95, 1)], &[(80, 89), (90, 94)]),
        ("to the last value", &[(65000, 0)], &[(65000, 65535)]),
        ("from the first value", &[(0, 0), (1, 1)], &[(0, 0)]),
        ("an end alone", &[(7, 1)], &[]),
    ] {
        let table = attribute_of(1, b"t\0");
        let set = [table.clone(), attribute_of(2, b"s\0"), number_of(3, 0x7), number_of(5, 2)];
        let elements: Vec<u8> = elements.iter().flat_map(element).collect();
        let list = [table, attribute_of(2, b"s\0"), attribute_of(3, &elements)];
        let found =
            rules(&[port(), lookup("s"), accept()], &[message(NEWSET, &set), message(NEWELEMENTS, &list)]);
        let FilterCondition::In { elements: FilterElements::Listed(listed), .. } = &found[0].conditions[0]
        else {
            panic!("{name}: {found:?}");
        };
        let found: Vec<_> = listed.iter().map(|element| element.key[0].clone()).collect();
        let wanted: Vec<_> = wanted.iter().map(|(first, last)| FilterValue::Numbers(*first, *last)).collect();
        assert_eq!(found, wanted, "{name}");
    }
}

/// The text is that of `iptables-save` 1.8.9, except for the order of options and for the parts that are not
/// evaluated.
#[test]
fn rules_of_iptables_in_words() {
    let list = include_bytes!("../../../../tests/captures/firewalls/docker.iptables.netlink");
    let tables = parse(list, &Links::new()).unwrap();
    let chains = tables.iter().flat_map(|table| &table.chains);
    let texts: Vec<&str> = chains.flat_map(|chain| &chain.rules).map(|rule| &*rule.text).collect();
    for wanted in [
        "iptables -t nat -A PREROUTING --dst-type LOCAL -j DOCKER",
        "iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
        "iptables -t filter -A DOCKER ! -i docker0 -o docker0 -p tcp -d 172.17.0.2 --dport 80 -j ACCEPT",
    ] {
        assert!(texts.contains(&wanted), "{wanted}: {texts:#?}");
    }
    let list = include_bytes!("../../../../tests/captures/firewalls/conditions.iptables.tsv.netlink");
    let tables = parse(list, &Links::new()).unwrap();
    let texts: Vec<&str> = tables[0]
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .map(|rule| rule.text.split_once("-A ").unwrap().1)
        .collect();
    for wanted in [
        "INPUT --ctstate ESTABLISHED -j ACCEPT",
        "CASE003 -p tcp ! --dports 22,79:81 -j ACCEPT",
        "CASE006 -s 1.1.1.0/30 -j ACCEPT",
    ] {
        assert!(texts.contains(&wanted), "{wanted}: {texts:#?}");
    }
}

/// The text is that of `nft list ruleset`, except for the parts that are not evaluated.
#[test]
fn rules_of_nft_in_words() {
    let read = |bytes: &[u8]| -> Vec<String> {
        let tables = parse(bytes, &Links::new()).unwrap();
        let rules = tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        rules.map(|rule| rule.text.split_once(", handle ").unwrap().1.to_owned()).collect()
    };
    let firewalld = include_bytes!("../../../../tests/captures/firewalls/firewalld.json.netlink");
    let plain = include_bytes!("../../../../tests/captures/firewalls/plain.nft.netlink");
    let texts = [read(firewalld), read(plain)].concat();
    for wanted in [
        "108: iifname \"wg0\" goto mangle_PRE_trusted",
        "126: ct state invalid drop",
        "128: reject",
        "164: ip saddr 10.0.0.0/8 tcp dport 5432 accept",
        "7: ip saddr @admins accept",
        "10: ct state vmap { … }",
        "15: tcp dport 22 ct state new … accept",
        "16: tcp dport vmap @services",
        "18: udp dport { 53, 5000-5010 } accept",
    ] {
        assert!(texts.iter().any(|text| text == wanted), "{wanted}: {texts:#?}");
    }
}

#[test]
fn bytes_that_are_cut() {
    let list = include_bytes!("../../../../tests/captures/firewalls/translation.nft.netlink");
    for length in (0..list.len()).step_by(5) {
        let _ = parse(&list[..length], &Links::new());
    }
    let mut changed = list.to_vec();
    for at in (0..list.len()).step_by(3) {
        changed[at] = if at % 2 == 0 { 0xff } else { list[at].wrapping_add(1) };
        let _ = parse(&changed, &Links::new());
        changed[at] = list[at];
    }
    assert!(parse(&[0; 20], &Links::new()).is_none(), "a length of zero");
}
