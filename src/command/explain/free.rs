//! `portolan explain --free`: free ports for a new service.

use std::io::Write;

use anyhow::{Error, Result, bail};

use super::super::{Exit, Ui, judged, registry_source, take_snapshot};
use crate::cli::{CommonArgs, Output};
use crate::judge;
use crate::model::{PortRange, State};
use crate::observe::Scope;
use crate::query::Target;
use crate::query::target::TargetKind;
use crate::registry::Registry;
use crate::render::free_ports;

/// Proposes ports in the range `asked`. If a part of the machine was not visible, the exit code says that the answer is
/// incomplete.
pub(super) fn run(
    asked: &str,
    common: &CommonArgs,
    is_verbose: bool,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    let registry = registry_source::registry(common)?;
    let asked = range(asked, &registry)?;
    if common.netns.is_some() {
        bail!(
            "--free works only for the network namespace in which portolan runs; leave out --netns, and run portolan in the other namespace"
        );
    }
    let scope = Scope { ports: Some(vec![asked]), states: State::with_ports(), ..Scope::default() };
    let report = judged(take_snapshot(common, scope)?, registry, common);
    let free = judge::free_ports(&report, asked);
    match common.output {
        Output::Json => free_ports::json(&free, &report, out)?,
        _ => free_ports::table(&free, &ui.stdout, out)?,
    }
    out.flush()?;
    ui.print_caveats(&report, is_verbose);
    // An unseen socket may use a proposed port. Without proposals, unseen parts of the machine do not matter.
    Ok(match (free.proposals.is_empty(), free.unseen.is_empty()) {
        (true, _) => Exit::Nothing,
        (false, true) => Exit::Matched,
        (false, false) => Exit::Incomplete,
    })
}

fn range(text: &str, registry: &Registry) -> Result<PortRange> {
    let expected =
        || Error::msg(format!("--free {text}: not a range of ports (expected a range such as 8000-9000)"));
    let Target { protocol: None, kind: TargetKind::Ports(ports), .. } =
        Target::parse(text, registry).map_err(|why| Error::msg(format!("--free {why}")))?
    else {
        return Err(expected());
    };
    match ports[..] {
        [range] => Ok(range),
        _ => Err(expected()),
    }
}
