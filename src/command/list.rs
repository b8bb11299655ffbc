//! `portolan`, `portolan list`: what listens.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};

use super::select::{self, Selection};
use super::{Error, Exit, Ui, newer, observation};
use crate::cli::{CommonArgs, FilterArgs, ListArgs, Output, SightArgs};
use crate::judge::{Entry, Report, judge};
use crate::model::{Family, Protocol, Snapshot, State};
use crate::observe::{self, Scope};
use crate::render::columns::{self, Column};
use crate::render::{csv, json, summary, table};

pub(super) fn run(args: &ListArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let registry = newer::registry(common)?;
    let selection = Selection::new(&args.sight.filter, &args.sight.flag, &registry)?;
    if args.pids {
        check_pids(args, common, &selection)?;
    }
    let mut scope = sight(&args.sight, &selection);
    if args.group {
        scope.states = State::ALL.to_vec();
    }
    scope.details |= common.output != Output::Table || !args.columns.is_empty() || args.sort.is_some();
    let observation = observation(common, beside_its_neighbours(&scope))?;
    selection.users_known(|name| is_seen(name, &observation))?;
    let mut report = judge(observation, registry);
    let met = narrow(&mut report, &scope, &selection, args.group);
    selection.all_known(&met, &registry, |name| common.from.is_none() && observe::is_running(name))?;
    let columns = columns(args, common.output)?;
    if let Some(key) = &args.sort {
        sort(&mut report, key)?;
    }
    match common.output {
        _ if args.pids => pids(&report, out)?,
        Output::Json => json::listing(&report, out)?,
        Output::Ndjson => json::lines(&report, out)?,
        Output::Csv => csv::listing(&report.entries, &columns, !args.no_header, out)?,
        Output::Table if columns.is_empty() => table::listing(&report, !args.no_header, &ui.stdout, out)?,
        // SARIF and metrics belong to an audit, and never come here.
        Output::Table | Output::Wide | Output::Sarif | Output::Metrics => {
            table::grid(&report.entries, &columns, !args.no_header, &ui.stdout, out)?;
        }
    }
    out.flush()?;
    ui.tell(&report.snapshot);
    let summed = common.output == Output::Table && columns.is_empty() && ui.stdout.width.is_some();
    if matches!(common.output, Output::Table | Output::Wide) && !summed && !args.pids {
        // The rows stay alone; the sum is talk.
        let _ = writeln!(io::stderr().lock(), "{}", summary(&report));
    }
    let nothing = if args.pids {
        report.entries.iter().all(|judged| judged.socket.owner.pids().is_empty())
    } else {
        report.entries.is_empty()
    };
    Ok(if nothing { Exit::Nothing } else { Exit::Matched })
}

/// Leaves what was asked for; the positional targets that met something.
pub(super) fn narrow(
    report: &mut Report,
    scope: &Scope,
    selection: &Selection,
    listeners_only: bool,
) -> HashSet<usize> {
    let mut met = HashSet::new();
    report
        .entries
        .retain(|judged| selection.wants(judged, &mut met) && in_scope(judged, scope, listeners_only));
    met
}

/// The columns to show; none for the table as it is made for people.
fn columns(args: &ListArgs, output: Output) -> Result<Vec<&'static Column>, Error> {
    let named: Vec<&str> = match (args.columns.is_empty(), output) {
        (false, Output::Json | Output::Ndjson) => {
            return Err(Error::msg(
                "--columns: JSON always has every field; use -o csv, wide or table".to_owned(),
            ));
        }
        (false, _) => args.columns.iter().map(String::as_str).collect(),
        (true, Output::Csv) => columns::CSV.to_vec(),
        (true, Output::Wide) => columns::WIDE.to_vec(),
        (true, _) => Vec::new(),
    };
    named.into_iter().map(|name| column(name, &format!("--columns {name}"))).collect()
}

fn column(name: &str, option: &str) -> Result<&'static Column, Error> {
    columns::named(name).ok_or_else(|| {
        let names: Vec<&str> = columns::names().collect();
        Error::msg(format!("{option}: {}", select::unknown("field", name, &names)))
    })
}

/// Orders the listing by a column; equal entries stay in the usual order.
fn sort(report: &mut Report, key: &str) -> Result<(), Error> {
    let (name, falling) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
    let column = column(name, &format!("--sort {key}"))?;
    if falling {
        report.entries.sort_by_cached_key(|entry| Reverse(column.key(entry)));
    } else {
        report.entries.sort_by_cached_key(|entry| column.key(entry));
    }
    Ok(())
}

/// What `--pids` prints goes into `kill`: it must be what was asked for, and asked for it must be.
fn check_pids(args: &ListArgs, common: &CommonArgs, selection: &Selection) -> Result<(), Error> {
    let said = |why: &str| Err(Error::msg(format!("--pids: {why}")));
    if common.output != Output::Table {
        return said("process ids are lines and nothing else; leave out -o");
    }
    if args.sight.no_holders {
        return said("process ids are what --no-holders leaves out");
    }
    if selection.is_everything() {
        return said("name what to match, for example portolan --pids 3000");
    }
    Ok(())
}

/// The holders of what matched, each once, rising.
fn pids(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let pids: BTreeSet<_> = report.entries.iter().flat_map(|j| j.socket.owner.pids()).collect();
    pids.into_iter().try_for_each(|pid| writeln!(out, "{pid}"))
}

/// What has to be looked at for what was asked.
pub(super) fn scope(args: &FilterArgs, selection: &Selection) -> Scope {
    let details = selection.asks_of_holders();
    let mut scope = Scope { ports: selection.ports(), details, ..Scope::default() };
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
    let states: Vec<State> = selection.states().collect();
    if states.iter().any(|state| !state.holds_port()) {
        // Which side was asked shows only beside what listens.
        scope.states.extend(states);
    } else if !states.is_empty() {
        scope.states = states;
    }
    scope
}

/// The same, as far as one wants to look.
pub(super) fn sight(args: &SightArgs, selection: &Selection) -> Scope {
    let mut scope = scope(&args.filter, selection);
    scope.processes = !args.no_holders;
    if args.all {
        scope.states = State::ALL.to_vec();
    } else if args.no_holders && selection.states().next().is_none() {
        scope.states.retain(|state| *state != State::Bound);
    }
    scope
}

/// Wide enough for what is asked for to be judged: who else is on its port may be of the other family.
fn beside_its_neighbours(scope: &Scope) -> Scope {
    let families = if scope.processes { Scope::default().families } else { scope.families.clone() };
    Scope { families, ..scope.clone() }
}

/// What was seen may be more than was asked for.
pub(super) fn in_scope(listener: &Entry, scope: &Scope, listeners_only: bool) -> bool {
    let socket = &listener.socket;
    scope.states.contains(&socket.state)
        && (!listeners_only || socket.state.holds_port())
        && scope.protocols.contains(&socket.local.protocol)
        && scope.families.contains(&socket.local.family())
}

/// Whether a user of this name holds anything that was seen.
pub(super) fn is_seen(name: &str, observation: &Snapshot) -> bool {
    observation.sockets.iter().any(|socket| socket.user.as_deref() == Some(name))
        || observation.processes.iter().any(|process| process.user.as_deref() == Some(name))
}
