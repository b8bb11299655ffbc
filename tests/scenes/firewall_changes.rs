//! Rules of the firewall that change, and rules that a user may not read.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Output;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, sleep, tcp};
use crate::published::{has_tools, sh};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("diff_reports_rules_that_let_in_more_or_fewer_clients", diff_reports_rules),
    ("rules_that_a_user_may_not_read_are_a_gap", unread_rules),
];

/// A machine with one address for other machines.
const MACHINE: &str = "ip link set lo up && ip link add wire4 type veth peer name wire5 && \
    ip address add 10.77.0.1/24 dev wire4 && ip link set wire4 up && ip link set wire5 up";
const CHAIN: &str =
    "nft 'flush ruleset; add table inet t; add chain inet t input { type filter hook input priority 0; }'";

/// Replaces every rule by one rule for incoming packets.
fn only_rule(rule: &str) -> Outcome {
    sh(&format!("{CHAIN} && nft 'add rule inet t input {rule}'"))
}

fn capture(lab: &Lab, name: &str) -> Result<String, Failed> {
    let path = lab.path(name);
    fs::write(&path, lab.portolan(["capture"]).output()?.stdout)?;
    Ok(path)
}

/// Returns the exit code, and each change with its port and text.
fn diff(output: &Output) -> Result<(Option<i32>, Vec<String>, Value), Failed> {
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    let changes = printed["changes"].as_array().into_iter().flatten();
    let changes =
        changes.map(|one| format!("{} {}", one["change"], one["listener"]["port"]).replace('"', ""));
    Ok((output.status.code(), changes.collect(), printed.clone()))
}

fn diff_reports_rules(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    lab.alone()?;
    sh(MACHINE)?;
    let _server = Server::start(&sleep(), vec![tcp("0.0.0.0:9330")?, tcp("127.0.0.1:9331")?])?;
    let since = |before: &str| diff(&lab.portolan(["diff", "-o", "json", before]).output()?);
    only_rule("tcp dport 9330 drop")?;
    let closed = capture(lab, "closed")?;
    same!(since(&closed)?.0, Some(0));
    only_rule("tcp dport 9330 ip saddr != 10.0.0.0/8 drop")?;
    let limited = capture(lab, "limited")?;
    same!(since(&closed)?.1, ["widened 9330"]);
    sh("nft flush ruleset")?;
    for before in [&closed, &limited] {
        let (code, changes, printed) = since(before)?;
        same!((code, changes), (Some(1), vec!["widened 9330".to_owned()]), "{printed:#}");
        let text = printed["changes"][0]["text"].to_string();
        same!(text.contains("Now: no firewall rule excludes clients"), true, "{text}");
    }
    only_rule("tcp dport 9330 drop")?;
    same!(since(&limited)?.1, ["narrowed 9330"]);
    // A rule that is not evaluated: nothing is known, so nothing is said to be the same.
    only_rule("tcp dport 9330 meta cpu 1 drop")?;
    let (code, changes, printed) = since(&limited)?;
    same!((code, changes), (Some(3), vec![]), "{printed:#}");
    same!(printed["not_comparable"][0]["why"], "rules-not-read", "{printed:#}");
    // The same rule has the same result.
    let unknown = capture(lab, "unknown")?;
    same!(since(&unknown)?.0, Some(0));
    Ok(())
}

fn unread_rules(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    lab.alone()?;
    sh(MACHINE)?;
    let _server = Server::start_as(&sleep(), vec![tcp("0.0.0.0:9340")?], Some(NOBODY))?;
    sh("iptables -w -t nat -A PREROUTING -p tcp --dport 9999 -j DNAT --to-destination 10.77.0.2:80")?;
    let before = capture(lab, "before")?;
    let as_nobody = |arguments: &[&str]| lab.portolan(arguments).uid(NOBODY).gid(NOBODY).output();
    let text = |output: &Output| -> Result<String, Failed> {
        let all = String::from_utf8(output.stdout.clone())? + &String::from_utf8(output.stderr.clone())?;
        Ok(all.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    same!(lab.portolan(["9999"]).output()?.status.code(), Some(0));
    // The port may be forwarded: no match is no answer.
    for arguments in [["9999"], ["tcp/9999"]] {
        let output = as_nobody(&arguments)?;
        let said = text(&output)?;
        same!(output.status.code(), Some(3), "{said}");
        same!(said.contains("NAT") && said.contains("Run with sudo"), true, "{said}");
    }
    let output = as_nobody(&["watch", "9999", "--until-listening", "--timeout", "0"])?;
    let said = text(&output)?;
    same!(output.status.code(), Some(3), "{said}");
    same!(
        said.contains("9999: timed out, no listener is seen, but a rule may forward this port"),
        true,
        "{said}"
    );
    // The wait itself leaves out the processes.
    same!(said.contains("--no-holders"), false, "{said}");
    // But it is free: a rule does not keep a program from binding it.
    same!(as_nobody(&["watch", "9999", "--until-free", "--timeout", "0"])?.status.code(), Some(0));
    // Nothing vanished.
    let (code, changes, printed) = diff(&as_nobody(&["diff", "-o", "json", &before])?)?;
    same!((code, changes), (Some(3), vec![]), "{printed:#}");
    let reasons: Vec<_> =
        printed["not_comparable"].as_array().ok_or("none")?.iter().map(|one| &one["why"]).collect();
    same!(reasons, ["rules-not-read", "rules-not-read"], "{printed:#}");
    // A reachable listener: the answer says that the firewall was not checked.
    let said = text(&as_nobody(&["explain", "9340"])?)?;
    same!(said.contains("the firewall was not checked (run with sudo)"), true, "{said}");
    let said = text(&as_nobody(&["9340"])?)?;
    same!(said.contains("Firewall and NAT rules"), true, "{said}");
    same!(as_nobody(&["9340"])?.status.code(), Some(0));
    Ok(())
}
