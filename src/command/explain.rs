//! `portolan explain`: what the registry says about a port, a service, a program or a search text, and which process
//! uses it here now.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::{Error, Exit, Ui, judged, observation, registry_source, suggestions};
use crate::cli::{CommonArgs, ExplainArgs, Output};
use crate::judge::{self, Entry, Explained, Query, Question, Report};
use crate::model::{Gap, Matched, Owner, PortRange, Protocol, Stage, State};
use crate::observe::{self, Scope};
use crate::query::target::{self, Kind};
use crate::query::{Answer, Subject, Target};
use crate::registry::programs::Program;
use crate::registry::{Registry, search};
use crate::render::{self, card, json, sanitize, stats, stderr};

pub(super) fn run(
    args: &ExplainArgs,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit, Error> {
    if !matches!(common.output, Output::Table | Output::Json) {
        return Err(Error::msg("explain: no such output format (expected table or json)".to_owned()));
    }
    let registry = registry_source::registry(common)?;
    if args.stats {
        return stats(registry, common, ui, out);
    }
    let targets = target::parse_all(&args.targets, &registry).map_err(Error::msg)?;
    let is_address = |target: &&Target| matches!(target.kind, Kind::Address(_)) && target.ports().is_none();
    if let Some(address) = targets.iter().find(is_address) {
        return Err(Error::msg(format!("{}: explain takes a port or a name, not an address", address.text)));
    }
    // A connection may use the port, or keep it from being bound.
    let names_numbers = targets.iter().any(|target| target.ports().is_some());
    let states =
        if names_numbers && common.from.is_none() { State::ALL.to_vec() } else { Scope::default().states };
    let scope = Scope { ports: scope(&targets), details: true, states, ..Scope::default() };
    let report = judged(observation(common, scope)?, registry, common);
    let mut entries = BTreeSet::new();
    let mut asked = Vec::new();
    for target in &targets {
        let before = entries.len();
        match name_entries(target, &report, &mut entries) {
            Some(matched) => asked.push(Query { text: &target.text, matched, added: entries.len() - before }),
            None => {
                let line = sanitize(&unknown(target, &report, common)).into_owned();
                let _ = writeln!(io::stderr().lock(), "portolan: {line}");
            }
        }
    }
    if asked.is_empty() {
        ui.print_caveats(&report, args.verbose);
        // A process that is not visible may have the name.
        let is_visible = |owner: &Owner| matches!(owner, Owner::Held(_) | Owner::Kernel);
        let is_blind = |gap: &Gap| matches!(gap.stage, Stage::Sockets | Stage::Namespaces);
        let all_visible = report.entries.iter().all(|entry| is_visible(&entry.socket.owner))
            && !report.snapshot.gaps.iter().any(is_blind);
        return Ok(if all_visible { Exit::Nothing } else { Exit::Incomplete });
    }
    // The compact block of the table has no space for the context.
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
    if args.verbose {
        ui.print_notices(&report.snapshot);
    } else {
        let undecided = report.entries.iter().filter(|entry| is_undecided(entry, &targets)).count();
        let shown = explained.iter().flat_map(|port| port.listeners.iter().chain(&port.connections)).copied();
        let question = Question { is_narrowed: true, undecided, ..report.question };
        let caveats = render::caveats(&report.snapshot, shown, question);
        let _ = stderr::caveats(&caveats, &ui.stderr, &mut io::stderr().lock());
    }
    if common.output == Output::Table {
        stderr::asked(&asked, &ui.stderr, &mut io::stderr().lock()).unwrap_or_default();
    }
    Ok(Exit::Matched)
}

/// Prints the totals of the registry. The snapshot covers no socket; its time gives the age of the data.
fn stats(registry: Registry, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let scope = Scope { ports: Some(Vec::new()), processes: false, ..Scope::default() };
    let observation = observation(common, scope)?;
    let report = judged(observation, registry, common);
    let sums = registry.stats();
    match common.output {
        Output::Json => stats::json(&report, &sums, out)?,
        _ => stats::table(&report, &sums, &ui.stdout, out)?,
    }
    out.flush()?;
    Ok(Exit::Matched)
}

/// Returns the message for a target that is not known.
fn unknown(target: &Target, report: &Report, common: &CommonArgs) -> String {
    let name = &target.text;
    if common.from.is_none() && observe::is_running(name) {
        return format!("{name}: this process does not listen; explain takes a port, a service or a program");
    }
    suggestions::unknown_name(name, report, common)
}

/// Returns whether a listener may be what a target names, and its process, which would decide, is not known.
fn is_undecided(entry: &Entry, targets: &[Target]) -> bool {
    let mut answers = targets.iter().map(|target| target.test(&Subject::Entry(entry), false));
    entry.socket.state.holds_port() && answers.any(|answer| answer == Answer::Unknown)
}

/// Returns the ports to observe; `None` means any, because a program may use any.
fn scope(targets: &[Target]) -> Option<Vec<PortRange>> {
    targets.iter().map(Target::ports).collect::<Option<Vec<_>>>().map(|ports| ports.concat())
}

/// Adds the ports and protocols that a target means, and returns what the target is; `None` if it means none. A name is
/// looked up as a service, then as a program, then in the texts of the registry.
fn name_entries(
    target: &Target,
    report: &Report,
    entries: &mut BTreeSet<(u16, Protocol)>,
) -> Option<Matched> {
    let Kind::Name(name) = &target.kind else {
        for port in target.ports()?.iter().flat_map(|ports| ports.low..=ports.high) {
            entries.extend(protocols(target.protocol, port, report).map(|protocol| (port, protocol)));
        }
        return Some(Matched::Port);
    };
    let listening: Vec<(u16, Protocol)> = report
        .entries
        .iter()
        .filter(|entry| {
            entry.socket.state.holds_port() && target.test(&Subject::Entry(entry), false).is_yes()
        })
        .map(|entry| (entry.socket.local.port, entry.socket.local.protocol))
        .collect();
    entries.extend(&listening);
    let wanted = |p: Protocol| target.protocol.is_none_or(|wanted| wanted.registered_as() == p);
    let mut extend = |found: &mut dyn Iterator<Item = (PortRange, Protocol)>| {
        let before = entries.len();
        for (ports, p) in found.filter(|(_, p)| wanted(*p)) {
            entries.extend((ports.low..=ports.high).map(|port| (port, p)));
        }
        entries.len() > before
    };
    if !name.service.is_empty() {
        extend(&mut name.service.iter().copied());
        return Some(Matched::Service);
    }
    let programs = search::programs_called(&name.name);
    if extend(&mut programs.iter().flat_map(Program::ports)) || !listening.is_empty() {
        return Some(Matched::Program);
    }
    extend(&mut report.registry.search(&name.name).into_iter()).then_some(Matched::Text)
}

/// Returns TCP and UDP always, and other protocols if they are registered or if something listens here.
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
