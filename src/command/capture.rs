//! `portolan capture`: the raw observation, as it stands.

use std::io::Write;

use super::{Error, Exit, Ui, observation};
use crate::cli::CommonArgs;
use crate::observe::Scope;
use crate::render::json;

pub(super) fn run(common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let observation = observation(common, Scope { details: true, ..Scope::default() })?;
    json::observation(&observation, out)?;
    out.flush()?;
    ui.tell(&observation);
    // An empty observation is a good one.
    Ok(Exit::Matched)
}
