//! Tests of the whole registry: the requirements on its data, and the answers from that data.

mod answers;
mod data;
mod lists;
mod programs;
mod protection;
mod rows;
mod tables;
mod texts;
mod tools;

use super::Registry;
use super::row::{CuratedRow, KnownUse};
use crate::model::{Assignment, PortVerdict, Protocol};

const REGISTRY: &str = include_str!("../data/registry.tsv");
const EVIDENCE: &str = include_str!("../data/evidence.tsv");
const ORPHANS: &str = include_str!("../data/orphans.tsv");
const LIVE: &str = include_str!("../data/live.tsv");
const KNOWN_USES: &str = include_str!("../data/known-uses.tsv");
const SERVICES: &str = include_str!("../data/services.tsv");
const ANSWERS: &str = include_str!("../data/answers.tsv");

fn body(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

fn dead() -> impl Iterator<Item = CuratedRow> {
    body(ORPHANS).map(|line| CuratedRow::dead(line).unwrap_or_else(|| panic!("orphans.tsv: {line}")))
}

fn live() -> impl Iterator<Item = CuratedRow> {
    body(LIVE).map(|line| CuratedRow::live(line).unwrap_or_else(|| panic!("live.tsv: {line}")))
}

fn known_uses() -> impl Iterator<Item = KnownUse> {
    body(KNOWN_USES).map(|line| KnownUse::parse(line).unwrap_or_else(|| panic!("known-uses.tsv: {line}")))
}

fn pairs(row: &CuratedRow) -> impl Iterator<Item = (u16, Protocol)> + use<> {
    let (ports, protocols) = (row.ports, row.protocols);
    protocols
        .split('+')
        .map(|name| name.parse::<Protocol>().unwrap())
        .flat_map(move |protocol| (ports.low..=ports.high).map(move |port| (port, protocol)))
}

fn verdict(target: &str) -> PortVerdict {
    let (protocol, port) = target.split_once('/').unwrap();
    Registry::embedded().verdict(port.parse().unwrap(), protocol.parse().unwrap())
}

fn registration(verdict: &PortVerdict, service: &str) -> Assignment {
    let found: Vec<_> = verdict.assignments.iter().filter(|a| a.service == service).collect();
    match found[..] {
        [one] => one.clone(),
        _ => panic!("{} registrations of {service}", found.len()),
    }
}
