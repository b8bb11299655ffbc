//! Repeated scans where the system gives nothing to compare by: each one is a whole scan. There is no deep look either.

use super::{Error, Scope};
use crate::model::{DeepLook, Gap, Namespaces, Snapshot, Stage};

/// No deep look is written for this system: that is a gap, and no all-clear.
///
/// # Errors
/// Never.
pub(super) fn deep(_: &Namespaces) -> Result<DeepLook, Error> {
    let gap = Gap {
        stage: Stage::Sockets,
        what: "the deep look".to_owned(),
        count: None,
        pids: Vec::new(),
        why: format!("there is none for {}", std::env::consts::OS),
        remedy: Some("leave out --deep".to_owned()),
    };
    Ok(DeepLook { gaps: vec![gap], ..DeepLook::default() })
}

/// What one look leaves to the next: nothing.
#[derive(Debug, Default)]
pub(super) struct Memory {}

impl Memory {
    /// Looks now; it is for the caller to find that nothing changed.
    ///
    /// # Errors
    /// As [`super::observe`].
    #[allow(clippy::unused_self, reason = "a system that remembers does use it")]
    pub(super) fn look(&mut self, scope: &Scope) -> Result<Option<Snapshot>, Error> {
        super::observe(scope).map(Some)
    }
}
