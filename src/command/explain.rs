//! `portolan explain`: what the registry says of a port, a service, a program or words, and who is on it here now.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::{Error, Exit, Ui, newer, observation, target};
use crate::cli::{CommonArgs, ExplainArgs, Output};
use crate::judge::{self, Asked, Explained, Report, judge};
use crate::model::{Matched, PortRange, Protocol, RegistryRange, Snapshot, State, Target};
use crate::observe::{self, Scope};
use crate::registry::programs::Program;
use crate::registry::{Registry, search};
use crate::render::{self, card, json, stats, talk};

pub(super) fn run(
    args: &ExplainArgs,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit, Error> {
    if !matches!(common.output, Output::Table | Output::Json) {
        return Err(Error::msg("explain prints a card or, with -o json, JSON".to_owned()));
    }
    let registry = newer::registry(common)?;
    if args.stats {
        return stats(registry, common, ui, out);
    }
    let targets = target::resolve(&args.targets, &registry)?;
    if let Some(bare) = targets.iter().find(|t| matches!(t.target, Target::Address { port: None, .. })) {
        return Err(Error::msg(format!("{}: explain takes a port or a name, not an address", bare.text)));
    }
    let mut scope = Scope { ports: scope(&targets), details: true, ..Scope::default() };
    let mut observation = observation(common, scope.clone())?;
    if common.from.is_none() && in_ephemeral(&targets, &observation) {
        // Who uses such a port is as a rule a connection: look again, for those too.
        scope.states = State::ALL.to_vec();
        observation = super::observation(common, scope)?;
    }
    let report = judge(observation, registry);
    let mut entries = BTreeSet::new();
    let mut asked = Vec::new();
    for resolved in &targets {
        let before = entries.len();
        let matched = name_entries(resolved, &report, &mut entries)
            .ok_or_else(|| unknown(resolved, common, &registry))?;
        asked.push(Asked { text: &resolved.text, matched, added: entries.len() - before });
    }
    // A block of the table has no room for what is worth telling beside.
    let numbers: BTreeSet<u16> = entries.iter().map(|(port, _)| *port).collect();
    let in_full = common.output == Output::Json || numbers.len() <= card::CARDS;
    let explained: Vec<Explained<'_>> = entries
        .into_iter()
        .map(|(port, protocol)| judge::explain(&report, port, protocol, in_full))
        .collect();
    match common.output {
        Output::Json => json::explain(&explained, &asked, &report, out)?,
        _ => {
            card::explain(&explained, &report, &ui.stdout, out)?;
            writeln!(out, "\n{}", render::registry(&registry))?;
        }
    }
    out.flush()?;
    ui.tell(&report.snapshot);
    if common.output == Output::Table {
        talk::asked(&asked, &ui.stderr, &mut io::stderr().lock()).unwrap_or_default();
    }
    Ok(Exit::Matched)
}

/// Sums the registry. The time of the observation, which looks at no socket, tells how old the data is.
fn stats(registry: Registry, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let scope = Scope { ports: Some(Vec::new()), processes: false, ..Scope::default() };
    let observation = observation(common, scope)?;
    let report = judge(observation, registry);
    let sums = registry.stats();
    match common.output {
        Output::Json => stats::json(&report, &sums, out)?,
        _ => stats::table(&report, &sums, &ui.stdout, out)?,
    }
    out.flush()?;
    Ok(Exit::Matched)
}

/// Whether any port asked for by its number lies where this host's connections get theirs.
fn in_ephemeral(targets: &[target::Resolved], observation: &Snapshot) -> bool {
    let overlaps = |ports: PortRange| {
        let ranges = &observation.host.ephemeral;
        RegistryRange::of(ports.high) == RegistryRange::Dynamic
            || ranges.iter().any(|range| range.low <= ports.high && ports.low <= range.high)
    };
    targets.iter().any(|resolved| match &resolved.target {
        Target::Ports { ports, .. } => overlaps(*ports),
        Target::Address { port, .. } => port.is_some_and(|port| overlaps(PortRange::single(port))),
        Target::Name { .. } => false,
    })
}

/// Nothing goes by that name: what comes near.
fn unknown(resolved: &target::Resolved, common: &CommonArgs, registry: &Registry) -> Error {
    let name = &resolved.text;
    if common.from.is_none() && observe::is_running(name) {
        return Error::msg(format!(
            "{name}: this process listens on nothing; explain takes a port or a service"
        ));
    }
    let near = target::suggestion(name, registry);
    Error::msg(format!(
        "{name}: neither a port, nor a registered service, nor a process that listens here, nor a known program, \
         and no registration, product or use tells of it{near}"
    ))
}

/// The ports to observe: those of services too, unless a name may be that of a process.
fn scope(targets: &[target::Resolved]) -> Option<Vec<PortRange>> {
    let mut ranges = Vec::new();
    for resolved in targets {
        match &resolved.target {
            Target::Ports { ports, .. } => ranges.push(*ports),
            Target::Address { port, .. } => ranges.extend(port.map(PortRange::single)),
            Target::Name { .. } if resolved.service.is_empty() => return None,
            Target::Name { .. } => ranges.extend(resolved.service.iter().map(|(ports, _)| *ports)),
        }
    }
    Some(ranges)
}

/// Adds the ports and protocols that a target means, and tells what it is; `None` where it means none. Of a name the
/// service comes first, then a program or who listens here by that name, then whatever tells of its words.
fn name_entries(
    resolved: &target::Resolved,
    report: &Report,
    entries: &mut BTreeSet<(u16, Protocol)>,
) -> Option<Matched> {
    let mut add = |ports: PortRange, protocol: Option<Protocol>| {
        for port in ports.low..=ports.high {
            entries.extend(protocols(protocol, port, report).map(|protocol| (port, protocol)));
        }
    };
    let (protocol, name) = match &resolved.target {
        Target::Ports { protocol, ports } => {
            add(*ports, *protocol);
            return Some(Matched::Port);
        }
        Target::Address { port, .. } => {
            add(PortRange::single((*port)?), None);
            return Some(Matched::Port);
        }
        Target::Name { protocol, name } => (*protocol, name),
    };
    let listening: Vec<(u16, Protocol)> = report
        .entries
        .iter()
        .filter(|judged| judged.socket.state.holds_port() && resolved.matches(judged))
        .map(|judged| (judged.socket.local.port, judged.socket.local.protocol))
        .collect();
    entries.extend(&listening);
    let wanted = |p: Protocol| protocol.is_none_or(|wanted| wanted.registered_as() == p);
    let mut extend = |found: &mut dyn Iterator<Item = (PortRange, Protocol)>| {
        let before = entries.len();
        for (ports, p) in found.filter(|(_, p)| wanted(*p)) {
            entries.extend((ports.low..=ports.high).map(|port| (port, p)));
        }
        entries.len() > before
    };
    if !resolved.service.is_empty() {
        extend(&mut resolved.service.iter().copied());
        return Some(Matched::Service);
    }
    let programs = search::programs_called(name);
    if extend(&mut programs.iter().flat_map(Program::ports)) || !listening.is_empty() {
        return Some(Matched::Program);
    }
    extend(&mut report.registry.search(name).into_iter()).then_some(Matched::Text)
}

/// TCP and UDP always; the others where they are registered, or where something listens here.
fn protocols(asked: Option<Protocol>, port: u16, report: &Report) -> impl Iterator<Item = Protocol> {
    Protocol::ALL.into_iter().filter(move |protocol| match asked {
        Some(asked) => asked == *protocol,
        None => {
            matches!(protocol, Protocol::Tcp | Protocol::Udp)
                || (matches!(protocol, Protocol::Sctp | Protocol::Dccp)
                    && !report.registry.verdict(port, *protocol).assignments.is_empty())
                || report
                    .entries
                    .iter()
                    .any(|j| (j.socket.local.port, j.socket.local.protocol) == (port, *protocol))
        }
    })
}
