//! `portolan explain`: shows what the registry says about a port, service, program or search text, and which process
//! uses it.

mod free;

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Error, Result, bail};

use super::{Exit, Ui, charset, judged, print_message, registry_source, suggestions, take_snapshot};
use crate::cli::{CommonArgs, ExplainArgs, Output};
use crate::judge::{self, Entry, Explained, Listener, Query, Question, Report};
use crate::model::{Direction, Gap, Matched, Owner, PortRange, Protocol, SearchHit, State};
use crate::observe::{self, Scope};
use crate::query::target::{self, TargetKind};
use crate::query::{Answer, Subject, Target};
use crate::registry::programs::ListedProgram;
use crate::registry::{Registry, search};
use crate::render::card::Depth;
use crate::render::{self, card, json, search_hits, stats, stderr, terminal_map};

/// The usual number of rows of a terminal. The answer may use this number of rows even on a smaller terminal.
const LEAST_ROWS: u16 = 24;

type Places = BTreeSet<(u16, Protocol)>;

pub(super) fn run(args: &ExplainArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    if !matches!(common.output, Output::Table | Output::Json) {
        bail!("explain does not have this output format (expected table or json)");
    }
    if let Some(asked) = &args.free {
        return free::run(asked, common, args.verbose, ui, out);
    }
    let registry = registry_source::registry(common)?;
    if args.stats {
        return stats(registry, common, ui, out);
    }
    if args.map {
        return map(args, registry, common, ui, out);
    }
    let targets = target::parse_all(&args.targets, &registry).map_err(Error::msg)?;
    let is_address =
        |target: &&Target| matches!(target.kind, TargetKind::Address(_)) && target.ports().is_none();
    if let Some(address) = targets.iter().find(is_address) {
        bail!("{}: explain takes a port or a name, not an address", address.text);
    }
    // Connections are scanned too, because a connection may use the port or prevent a program from binding it.
    let names_numbers = targets.iter().any(|target| target.ports().is_some());
    let states =
        if names_numbers && common.from.is_none() { State::with_ports() } else { Scope::default().states };
    let scope = Scope { ports: scope(&targets), details: true, states, ..Scope::default() };
    let mut report = judged(take_snapshot(common, scope)?, registry, common);
    let is_json = common.output == Output::Json;
    let has_names = targets.iter().any(Target::is_name);
    if has_names {
        super::infer_owners(&mut report, |_| true, common);
    }
    let mut entries = Places::new();
    let mut in_use = Places::new();
    let mut asked = Vec::new();
    for target in &targets {
        let (mut named, mut hits) = (Places::new(), Vec::new());
        match name_entries(target, &report, &mut named, &mut hits) {
            Some(matched) => {
                let numbers: BTreeSet<u16> = named.iter().map(|(port, _)| *port).collect();
                let added = named.difference(&entries).count();
                // If a search found many ports, the result is a list instead of cards.
                if is_json || hits.is_empty() || numbers.len() <= card::CARDS {
                    in_use.extend(used_by_target(target, matched, &named, &report));
                    entries.extend(named);
                }
                asked.push(Query { text: &target.text, matched, added, hits });
            }
            None => {
                print_message(&unknown(target, &report, common));
            }
        }
    }
    if asked.is_empty() {
        ui.print_caveats(&report, args.verbose);
        // A process that is not visible may have this name, so the answer is incomplete.
        let is_visible = |owner: &Owner| matches!(owner, Owner::Held(_) | Owner::Kernel);
        let all_visible = report.entries.iter().all(|entry| is_visible(&entry.socket.owner))
            && !report.snapshot.gaps.iter().any(Gap::hides_listeners);
        return Ok(if all_visible { Exit::Nothing } else { Exit::Incomplete });
    }
    let mut left_out = Places::new();
    if !is_json && !args.full {
        let unused: Places = entries.difference(&in_use).copied().collect();
        left_out = without_use(&targets, &entries, unused);
        entries.retain(|place| !left_out.contains(place));
    }
    // With many ports, each port gets a compact block. This block has no space for the context.
    let numbers: BTreeSet<u16> = entries.iter().map(|(port, _)| *port).collect();
    let in_full = is_json || numbers.len() <= card::CARDS;
    let on_it = report.entries.iter().filter(|entry| entries.contains(&place(entry)));
    let on_it: Vec<&Entry> = if is_json {
        on_it.collect()
    } else {
        Listener::all(on_it).iter().take(card::CARDS).map(Listener::first).collect()
    };
    let pids = on_it.iter().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
    super::read_rest(&mut report, &pids, common);
    if !is_json && !has_names {
        super::infer_owners(&mut report, |entry| entries.contains(&place(entry)), common);
    }
    super::add_ssh_clients(&mut report, common);
    let explained: Vec<Explained<'_>> = entries
        .into_iter()
        .map(|(port, protocol)| judge::explain(&report, port, protocol, in_full))
        .collect();
    // The messages come after the answer, so a terminal must have space for them too.
    let mut messages = Vec::new();
    if !args.verbose {
        let undecided = report.entries.iter().filter(|entry| is_undecided(entry, &targets)).count();
        let shown = explained.iter().flat_map(|port| port.listeners.iter().chain(&port.connections)).copied();
        let question = Question { is_narrowed: true, undecided, ..report.question };
        stderr::caveats(&render::caveats(&report.snapshot, shown, question), &ui.stderr, &mut messages)?;
    }
    if !is_json {
        stderr::interpretations(&asked, &ui.stderr, &mut messages)?;
    }
    if is_json {
        json::explain(&explained, &asked, &report, out)?;
    } else {
        for (at, query) in asked.iter().filter(|query| !query.hits.is_empty()).enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            search_hits::ports(query, args.full, &report, &ui.stdout, out)?;
        }
        let has_hits = asked.iter().any(|query| !query.hits.is_empty());
        if !explained.is_empty() {
            if has_hits {
                writeln!(out)?;
            }
            let is_short =
                !(args.full || args.evidence || args.verbose || has_hits || common.format_is_named.0);
            let messages = String::from_utf8_lossy(&messages);
            let rows = ui.rows.filter(|_| is_short).map(|rows| rows_for_answer(rows, ui, &messages));
            let depth = Depth { in_full: args.full, evidence: args.evidence, rows };
            card::explain(&explained, &left_out, depth, &report, &ui.stdout, out)?;
        }
        writeln!(out, "\n{}", render::registry(&registry))?;
    }
    out.flush()?;
    if args.verbose {
        ui.print_notices(&report.snapshot);
    }
    let _ = charset::stderr().write_all(&messages);
    Ok(Exit::Matched)
}

/// Returns the number of rows for the answer. The other rows are needed for the line about the registry, the messages
/// and the shell prompt.
fn rows_for_answer(rows: u16, ui: &Ui, messages: &str) -> usize {
    let messages = if ui.stderr.width.is_some() { messages.lines().count() } else { 0 };
    usize::from(rows.max(LEAST_ROWS)).saturating_sub(3 + messages)
}

/// Prints the totals of the registry. A snapshot without sockets provides the current time, which gives the age of the
/// data.
fn stats(registry: Registry, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    let scope = Scope { ports: Some(Vec::new()), processes: false, ..Scope::default() };
    let snapshot = take_snapshot(common, scope)?;
    let report = judged(snapshot, registry, common);
    let sums = registry.stats();
    match common.output {
        Output::Json => stats::json(&report, &sums, out)?,
        _ => stats::table(&report, &sums, &ui.stdout, out)?,
    }
    out.flush()?;
    Ok(Exit::Matched)
}

fn map(
    args: &ExplainArgs,
    registry: Registry,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    if common.output != Output::Table {
        bail!("--map does not have this output format (expected table)");
    }
    let report = judged(take_snapshot(common, Scope::default())?, registry, common);
    terminal_map::document(&report, &ui.stdout, out)?;
    out.flush()?;
    ui.print_caveats(&report, args.verbose);
    Ok(Exit::Matched)
}

fn unknown(target: &Target, report: &Report, common: &CommonArgs) -> String {
    let name = &target.text;
    if common.from.is_none() && observe::is_running(name) {
        return format!("{name}: this process does not listen; explain takes a port, a service or a program");
    }
    suggestions::unknown_name(name, report, common)
}

/// Returns whether a listener with an unknown process may match one of the targets.
fn is_undecided(entry: &Entry, targets: &[Target]) -> bool {
    let mut answers = targets.iter().map(|target| target.test(&Subject::Entry(entry), false));
    entry.socket.state.holds_port() && answers.any(|answer| answer == Answer::Unknown)
}

/// Returns the ports to scan. Returns `None`, which means every port, if a target is the name of a program.
fn scope(targets: &[Target]) -> Option<Vec<PortRange>> {
    targets.iter().map(Target::ports).collect::<Option<Vec<_>>>().map(|ports| ports.concat())
}

/// Adds the ports and protocols of a target to `entries`. Returns how the target was understood; `None` if it matches
/// nothing.
///
/// A name is tried as a service, then as a program, then as a search text. The matches of a search text are added to
/// `hits`.
fn name_entries(
    target: &Target,
    report: &Report,
    entries: &mut Places,
    hits: &mut Vec<SearchHit>,
) -> Option<Matched> {
    let TargetKind::Name(name) = &target.kind else {
        for port in target.ports()?.iter().flat_map(|ports| ports.low..=ports.high) {
            entries.extend(protocols(target.protocol, port, report).map(|protocol| (port, protocol)));
        }
        return Some(Matched::Port);
    };
    let listening = listening(target, report);
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
    if extend(&mut programs.iter().flat_map(ListedProgram::ports)) || !listening.is_empty() {
        return Some(Matched::Program);
    }
    hits.extend(report.registry.search(&name.name).into_iter().filter(|hit| wanted(hit.protocol)));
    extend(&mut hits.iter().map(|hit| (hit.ports, hit.protocol))).then_some(Matched::Text)
}

fn listening(target: &Target, report: &Report) -> Places {
    let named = report.entries.iter().filter(|entry| {
        entry.socket.state.holds_port() && target.test(&Subject::Entry(entry), false).is_yes()
    });
    named.map(place).collect()
}

/// Returns the ports and protocols that a target uses on this machine. For a program that listens, these are the ports
/// on which it listens. For a search text, these are all of `named`. Otherwise, these are the places in `named` that a
/// socket uses.
fn used_by_target(target: &Target, matched: Matched, named: &Places, report: &Report) -> Places {
    if matched == Matched::Text {
        return named.clone(); // the question concerns the registry
    }
    let own = listening(target, report);
    if matched == Matched::Program && !own.is_empty() {
        return own;
    }
    let is_use = |entry: &&Entry| entry.socket.state.holds_port() || entry.direction != Some(Direction::In);
    report.entries.iter().filter(is_use).map(place).filter(|place| named.contains(place)).collect()
}

/// Returns the unused ports and protocols that the answer leaves out:
///
/// - all unused ports of the named services and programs, if at least one of their ports is used
/// - the unused protocols of a port that is used on another protocol, unless the answer has many ports
fn without_use(targets: &[Target], entries: &Places, unused: Places) -> Places {
    let is_number = |(port, _): &(u16, Protocol)| {
        let mut ranges = targets.iter().filter_map(Target::ports).flatten();
        ranges.any(|range| range.contains(*port))
    };
    let used: Places = entries.difference(&unused).copied().collect();
    let by_name: Places = unused.iter().filter(|place| !is_number(place)).copied().collect();
    let mut left_out = if used.iter().all(is_number) { Places::new() } else { by_name };
    let ports: BTreeSet<u16> = entries.difference(&left_out).map(|(port, _)| *port).collect();
    if ports.len() <= card::CARDS {
        left_out.extend(unused.into_iter().filter(|(port, _)| used.iter().any(|(used, _)| used == port)));
    }
    left_out
}

fn place(entry: &Entry) -> (u16, Protocol) {
    (entry.socket.local.port, entry.socket.local.protocol)
}

/// Returns the protocols to explain for a port. Without a requested protocol, these are TCP, UDP and each protocol that
/// is registered or used here.
fn protocols(asked: Option<Protocol>, port: u16, report: &Report) -> impl Iterator<Item = Protocol> {
    Protocol::WITH_PORTS.into_iter().filter(move |protocol| match asked {
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
