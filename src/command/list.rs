//! `portolan`, `portolan list`: what listens.

use std::collections::HashSet;
use std::io::{self, Write};

use super::{Error, Exit, Ui, newer, observation, target};
use crate::cli::{CommonArgs, ListArgs, Output};
use crate::join::Listener;
use crate::judge::judge;
use crate::model::{Family, Protocol, State};
use crate::observe::{self, Scope};
use crate::render::{json, summary, table};

pub(super) fn run(args: &ListArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let registry = newer::registry(common)?;
    let targets = target::resolve(&args.targets, &registry)?;
    let scope = scope(args, common, &targets);
    let observation = observation(common, scope.clone())?;
    let mut report = judge(&observation, registry);
    let mut met = HashSet::new();
    report.listeners.retain(|judged| {
        let wanted = in_scope(&judged.listener, &scope);
        let named = |(index, resolved): (usize, &target::Resolved)| {
            let hit = resolved.matches(&judged.listener);
            if hit {
                met.insert(index);
            }
            hit
        };
        // Every target is asked, so that each is known to have met something or not.
        wanted
            && (targets.is_empty() || targets.iter().enumerate().map(named).fold(false, |any, hit| any | hit))
    });
    target::known(&targets, &met, |name| common.from.is_none() && observe::is_running(name))?;
    match common.output {
        Output::Json => json::listing(&report, out)?,
        Output::Table => table::listing(&report, &ui.stdout, out)?,
    }
    out.flush()?;
    ui.tell(&observation);
    if common.output == Output::Table && ui.stdout.width.is_none() {
        // In a pipe the rows stay alone; the sum is talk.
        let _ = writeln!(io::stderr().lock(), "{}", summary(&report));
    }
    Ok(if report.listeners.is_empty() { Exit::Nothing } else { Exit::Matched })
}

fn scope(args: &ListArgs, common: &CommonArgs, targets: &[target::Resolved]) -> Scope {
    let mut scope = Scope { ports: target::ports(targets), ..Scope::default() };
    if args.tcp || args.udp {
        scope.protocols.retain(|protocol| match protocol {
            Protocol::Tcp => args.tcp,
            Protocol::Udp | Protocol::Udplite => args.udp,
            Protocol::Sctp | Protocol::Dccp => false,
        });
    }
    scope.holders = !args.no_holders;
    if args.no_holders {
        scope.states.retain(|state| *state != State::Bound);
    }
    if args.ipv4 != args.ipv6 {
        scope.families = vec![if args.ipv4 { Family::Ipv4 } else { Family::Ipv6 }];
    }
    scope.details = common.output == Output::Json;
    scope
}

/// A saved observation may hold more than was asked for.
fn in_scope(listener: &Listener<'_>, scope: &Scope) -> bool {
    let socket = listener.socket;
    socket.state.holds_port()
        && scope.protocols.contains(&socket.local.protocol)
        && scope.families.contains(&socket.local.family())
}
