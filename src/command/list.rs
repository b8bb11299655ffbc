//! `portolan`, `portolan list`: what listens.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};

use super::select::Selection;
use super::{Error, Exit, Ui, newer, observation};
use crate::cli::{CommonArgs, ListArgs, Output};
use crate::join::Listener;
use crate::judge::{Report, judge};
use crate::model::{Family, Observation, Protocol, State};
use crate::observe::{self, Scope};
use crate::render::{json, summary, table};

pub(super) fn run(args: &ListArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let registry = newer::registry(common)?;
    let selection = Selection::new(args, &registry)?;
    if args.pids {
        check_pids(args, common, &selection)?;
    }
    let scope = scope(args, common, &selection);
    let observation = observation(common, scope.clone())?;
    selection.users_known(|name| is_seen(name, &observation))?;
    let mut report = judge(&observation, registry);
    let mut met = HashSet::new();
    report.listeners.retain(|judged| selection.wants(judged, &mut met) && in_scope(&judged.listener, &scope));
    selection.all_known(&met, |name| common.from.is_none() && observe::is_running(name))?;
    match common.output {
        _ if args.pids => pids(&report, out)?,
        Output::Json => json::listing(&report, out)?,
        Output::Table => table::listing(&report, &ui.stdout, out)?,
    }
    out.flush()?;
    ui.tell(&observation);
    if common.output == Output::Table && ui.stdout.width.is_none() && !args.pids {
        // In a pipe the rows stay alone; the sum is talk.
        let _ = writeln!(io::stderr().lock(), "{}", summary(&report));
    }
    let nothing = if args.pids {
        report.listeners.iter().all(|judged| judged.listener.socket.owner.pids().is_empty())
    } else {
        report.listeners.is_empty()
    };
    Ok(if nothing { Exit::Nothing } else { Exit::Matched })
}

/// What `--pids` prints goes into `kill`: it must be what was asked for, and asked for it must be.
fn check_pids(args: &ListArgs, common: &CommonArgs, selection: &Selection) -> Result<(), Error> {
    let said = |why: &str| Err(Error::Said(format!("--pids: {why}")));
    if common.output != Output::Table {
        return said("process ids are lines and nothing else; leave out -o");
    }
    if args.no_holders {
        return said("process ids are what --no-holders leaves out");
    }
    if selection.is_everything() {
        return said("name what to match, for example portolan --pids 3000");
    }
    Ok(())
}

/// The holders of what matched, each once, rising.
fn pids(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let pids: BTreeSet<_> = report.listeners.iter().flat_map(|j| j.listener.socket.owner.pids()).collect();
    pids.into_iter().try_for_each(|pid| writeln!(out, "{pid}"))
}

fn scope(args: &ListArgs, common: &CommonArgs, selection: &Selection) -> Scope {
    let mut scope = Scope { ports: selection.ports(), ..Scope::default() };
    if args.tcp || args.udp {
        scope.protocols.retain(|protocol| match protocol {
            Protocol::Tcp => args.tcp,
            Protocol::Udp | Protocol::Udplite => args.udp,
            Protocol::Sctp | Protocol::Dccp => false,
        });
    }
    if args.ipv4 != args.ipv6 {
        scope.families = vec![if args.ipv4 { Family::Ipv4 } else { Family::Ipv6 }];
    }
    scope.holders = !args.no_holders;
    let states: Vec<State> = selection.states().collect();
    if !states.is_empty() {
        scope.states = states;
    } else if args.all {
        scope.states = State::ALL.to_vec();
    } else if args.no_holders {
        scope.states.retain(|state| *state != State::Bound);
    }
    scope.details = common.output == Output::Json;
    scope
}

/// A saved observation may hold more than was asked for.
fn in_scope(listener: &Listener<'_>, scope: &Scope) -> bool {
    let socket = listener.socket;
    scope.states.contains(&socket.state)
        && scope.protocols.contains(&socket.local.protocol)
        && scope.families.contains(&socket.local.family())
}

/// Whether a user of this name holds anything that was seen.
fn is_seen(name: &str, observation: &Observation) -> bool {
    observation.sockets.iter().any(|socket| socket.user.as_deref() == Some(name))
        || observation.processes.iter().any(|process| process.user.as_deref() == Some(name))
}
