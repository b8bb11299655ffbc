//! `portolan capture`: saves the raw snapshot.

use std::io::Write;

use super::{Error, Exit, Ui, observation};
use crate::cli::{CommonArgs, Without};
use crate::model::SNAPSHOT_SCHEMA;
use crate::observe::Scope;
use crate::render::json;

pub(super) fn run(common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let mut observation = observation(common, Scope { details: true, ..Scope::default() })?;
    if common.leaves_out(Without::Cmdline) {
        observation.processes.iter_mut().for_each(|process| process.cmdline.clear());
    }
    // What is written is of this version, also if an older snapshot was read.
    observation.schema = SNAPSHOT_SCHEMA.to_owned();
    json::observation(&observation, out)?;
    out.flush()?;
    ui.print_notices(&observation);
    // An empty snapshot is a success too.
    Ok(Exit::Matched)
}
