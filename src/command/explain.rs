//! `portolan explain`: what the registry says of a port or service, and who is on it here now.

use std::collections::BTreeSet;
use std::io::Write;

use super::{Error, Exit, Ui, newer, observation, target};
use crate::cli::{CommonArgs, ExplainArgs, Output};
use crate::judge::{Explained, Report, judge};
use crate::model::{PortRange, Protocol, Target};
use crate::observe::{self, Scope};
use crate::render::{card, json};

pub(super) fn run(
    args: &ExplainArgs,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit, Error> {
    if !matches!(common.output, Output::Table | Output::Json) {
        return Err(Error::Said("explain prints a card or, with -o json, JSON".to_owned()));
    }
    let registry = newer::registry(common)?;
    let targets = target::resolve(&args.targets, &registry)?;
    if let Some(bare) = targets.iter().find(|t| matches!(t.target, Target::Address { port: None, .. })) {
        return Err(Error::Said(format!("{}: explain takes a port or a name, not an address", bare.text)));
    }
    let scope = Scope { ports: scope(&targets), details: true, ..Scope::default() };
    let observation = observation(common, scope)?;
    let report = judge(&observation, registry);
    let mut entries = BTreeSet::new();
    for resolved in &targets {
        if !name_entries(resolved, &report, &mut entries) {
            let name = &resolved.text;
            return Err(Error::Said(if observe::is_running(name) && common.from.is_none() {
                format!("{name}: this process listens on nothing; explain takes a port or a service")
            } else {
                format!("{name}: neither a port, nor a registered service, nor a process that listens here")
            }));
        }
    }
    let explained: Vec<Explained<'_, '_>> = entries
        .into_iter()
        .map(|(port, protocol)| Explained {
            verdict: registry.verdict(port, protocol),
            listeners: report
                .listeners
                .iter()
                .filter(|judged| {
                    let socket = judged.listener.socket;
                    (socket.local.port, socket.local.protocol) == (port, protocol)
                        && socket.state.holds_port()
                })
                .collect(),
        })
        .collect();
    match common.output {
        Output::Json => json::explain(&explained, &report, out)?,
        _ => card::explain(&explained, &report, &ui.stdout, out)?,
    }
    out.flush()?;
    ui.tell(&observation);
    Ok(Exit::Matched)
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

/// Adds the ports and protocols that a target means; `false` where it means none.
fn name_entries(
    resolved: &target::Resolved,
    report: &Report<'_>,
    entries: &mut BTreeSet<(u16, Protocol)>,
) -> bool {
    match &resolved.target {
        Target::Ports { protocol, ports } => {
            for port in ports.low..=ports.high {
                entries.extend(protocols(*protocol, port, report).map(|protocol| (port, protocol)));
            }
            true
        }
        Target::Address { port, .. } => {
            entries.extend(
                port.iter().flat_map(|port| protocols(None, *port, report).map(|protocol| (*port, protocol))),
            );
            true
        }
        Target::Name { .. } => {
            let before = entries.len();
            for (ports, protocol) in &resolved.service {
                entries.extend((ports.low..=ports.high).map(|port| (port, *protocol)));
            }
            let listening = report.listeners.iter().filter(|judged| resolved.matches(&judged.listener));
            entries
                .extend(listening.map(|j| (j.listener.socket.local.port, j.listener.socket.local.protocol)));
            entries.len() > before || !resolved.service.is_empty()
        }
    }
}

/// TCP and UDP always; the others where they are registered, or where something listens here.
fn protocols(asked: Option<Protocol>, port: u16, report: &Report<'_>) -> impl Iterator<Item = Protocol> {
    Protocol::ALL.into_iter().filter(move |protocol| match asked {
        Some(asked) => asked == *protocol,
        None => {
            matches!(protocol, Protocol::Tcp | Protocol::Udp)
                || (matches!(protocol, Protocol::Sctp | Protocol::Dccp)
                    && !report.registry.verdict(port, *protocol).assignments.is_empty())
                || report.listeners.iter().any(|j| {
                    (j.listener.socket.local.port, j.listener.socket.local.protocol) == (port, *protocol)
                })
        }
    })
}
