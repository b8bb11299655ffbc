//! `portolan capture`: writes a snapshot, without judging it.

use std::io::Write;

use anyhow::Result;

use super::{Exit, Ui, take_snapshot};
use crate::cli::{CommonArgs, Without};
use crate::model::{SNAPSHOT_SCHEMA, State};
use crate::observe::Scope;
use crate::render::json;

pub(super) fn run(common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    // The snapshot has everything that a later audit needs. This includes the files of packages, hidden processes, and
    // sockets without a port.
    let mut scope = Scope { details: true, packages: true, ..Scope::default() };
    scope.states.push(State::Raw);
    let mut snapshot = take_snapshot(common, scope)?;
    if common.leaves_out(Without::Cmdline) {
        for process in &mut snapshot.processes {
            process.cmdline.clear();
            process.debugger_options.clear();
            process.socket_commands.clear();
        }
    }
    // A snapshot from a file may have an older version of the schema. The output always has the current version.
    snapshot.schema = SNAPSHOT_SCHEMA.to_owned();
    json::print_snapshot(&snapshot, out)?;
    out.flush()?;
    ui.print_notices(&snapshot);
    // A snapshot without sockets is a success too, so the exit code is 0.
    Ok(Exit::Matched)
}
