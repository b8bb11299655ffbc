//! Looking again where the system gives nothing to compare by: everything is observed anew each time.
//!
//! Nothing is remembered and nothing is left out, so that no look is cheaper than another.

use super::{Error, Scope};
use crate::model::Observation;

/// What one look leaves to the next: nothing.
#[derive(Debug, Default)]
pub(super) struct Memory;

impl Memory {
    /// Looks now; it is for the caller to find that nothing changed.
    ///
    /// # Errors
    /// As [`super::observe`].
    #[allow(clippy::unused_self, reason = "a system that remembers does use it")]
    pub(super) fn look(&mut self, scope: &Scope) -> Result<Option<Observation>, Error> {
        super::observe(scope).map(Some)
    }
}
