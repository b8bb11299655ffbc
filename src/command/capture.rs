//! `portolan capture`: saves the raw snapshot.

use std::io::Write;

use super::{Error, Exit, Ui, observation};
use crate::cli::CommonArgs;
use crate::observe::Scope;
use crate::render::json;

pub(super) fn run(common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let observation = observation(common, Scope { details: true, ..Scope::default() })?;
    json::observation(&observation, out)?;
    out.flush()?;
    ui.print_notices(&observation);
    // An empty snapshot is a success too.
    Ok(Exit::Matched)
}
