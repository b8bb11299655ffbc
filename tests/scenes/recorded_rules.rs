//! The recorded rule sets of `tests/captures/firewalls`: the kernel lists the same rules again.
//!
//! With `PORTOLAN_BLESS=1`, the answers of the kernel are recorded.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use portolan::observe::linux::{firewall, nftables};
use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene};
use crate::published::{has_tools, sh};
use crate::same;

pub const SCENES: &[Scene] =
    &[("recorded_rules_are_those_of_the_kernel", recorded_rules_are_those_of_the_kernel)];

/// The rule sets, with the command that loads each.
const RULE_SETS: [(&str, &str); 7] = [
    ("plain.nft", "nft -f"),
    ("translation.nft", "nft -f"),
    ("firewalld.json", "nft -j -f"),
    ("fail2ban.json", "nft -j -f"),
    ("docker.iptables", "iptables-nft-restore"),
    ("conditions.nft.tsv", "nft -f"),
    ("conditions.iptables.tsv", "iptables-nft-restore"),
];

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/firewalls")
}

fn recorded_rules_are_those_of_the_kernel(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    // Rules can name interfaces by index.
    sh("ip link set lo up && for i in 2:eth0 3:wg0 4:docker0; do \
        ip link add ${i#*:} index ${i%:*} type veth peer name peer${i%:*} index 1${i%:*} || exit 1; done")?;
    for (name, command) in RULE_SETS {
        let text = fs::read_to_string(captures().join(name))?;
        let text = match name {
            "conditions.nft.tsv" => tables_of_nft(&text),
            "conditions.iptables.tsv" => chains_of_iptables(&text),
            _ => text,
        };
        let path = lab.path(name);
        fs::write(&path, text)?;
        sh(&format!("nft flush ruleset && {command} {path}"))?;
        let list = nftables::list_for_tests().map_err(Failed::from)?;
        let recorded = captures().join(format!("{name}.netlink"));
        if std::env::var_os("PORTOLAN_BLESS").is_some() {
            fs::write(&recorded, &list)?;
        }
        same!(tables(&list)?, tables(&fs::read(&recorded)?)?, "{name}: record it with PORTOLAN_BLESS=1");
    }
    Ok(())
}

/// The sets, maps and chains that rules name.
const DEFINITIONS: [(&[&str], &str); 9] = [
    (&["@s"], "set s { type ipv4_addr; flags interval; elements = { 1.2.3.4, 10.0.0.0/8 }; }"),
    (&["@d", "to c", "p c"], "set d { type ipv4_addr; size 65535; flags timeout,dynamic; }"),
    (&["@q"], "set q { type ipv4_addr; size 65535; flags dynamic; }"),
    (&["@e"], "set e { type ipv4_addr; }"),
    (&["@x"], "set x { type ipv4_addr; flags timeout; elements = { 1.2.3.4 timeout 1h }; }"),
    (&["@l"], "set l { type ipv4_addr; limit rate 1/second; elements = { 1.2.3.4 }; }"),
    (
        &["@p"],
        "set p { type ipv4_addr . inet_service; flags interval; elements = { 10.1.0.0/16 . 80-90, 1.1.1.1 . 22 }; }",
    ),
    (
        &["@v"],
        "map v { type inet_service : verdict; flags interval; elements = { 1-79 : drop, 80 : accept, 90-99 : drop }; }",
    ),
    // The first packet of a client adds its own address.
    (&["to c", "p c", "@d"], "chain c { add @d { ip saddr }; accept; }"),
];

/// Returns one table for each line.
fn tables_of_nft(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let table = |(at, line): (usize, &str)| {
        let (policy, rule) = (line.split('\t').next().unwrap(), line.rsplit('\t').next().unwrap());
        let named = DEFINITIONS.iter().filter(|(names, _)| names.iter().any(|name| rule.contains(name)));
        let definitions: String = named.map(|(_, definition)| format!(" {definition}\n")).collect();
        format!(
            "table inet case{at:03} {{\n{definitions} chain i {{ type filter hook input priority 0; policy {policy}; \
             ct state established accept; {rule}; }}\n}}\n"
        )
    };
    lines.enumerate().map(table).collect()
}

/// Returns a table with one chain for each line.
fn chains_of_iptables(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let chains: String = (0..lines.len()).map(|at| format!(":CASE{at:03} - [0:0]\n")).collect();
    let rule = |(at, line): (usize, &&str)| {
        let (_, rule) = line.split_once('\t').expect("two fields");
        format!("-A CASE{at:03} {rule}\n")
    };
    let rules: String = lines.iter().enumerate().map(rule).collect();
    format!(
        "*filter\n:INPUT DROP [0:0]\n:C - [0:0]\n{chains}-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A C -j ACCEPT\n{rules}COMMIT\n"
    )
}

/// Returns the tables of an answer without the parts that differ each time: the numbers of rules, and the order of
/// elements.
fn tables(list: &[u8]) -> Result<Value, Failed> {
    let mut tables = serde_json::to_value(firewall::parse(list).tables)?;
    settle(&mut tables);
    Ok(tables)
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                settle(value);
                match value {
                    Value::Array(elements) if matches!(name.as_str(), "listed" | "elements") => {
                        elements.sort_by_key(ToString::to_string);
                    }
                    Value::String(text) if name == "text" => {
                        if let Some((place, number)) = text.split_once(", handle ") {
                            let rest = number.trim_start_matches(|letter: char| letter.is_ascii_digit());
                            *text = format!("{place}{rest}");
                        }
                    }
                    _ => {}
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}
