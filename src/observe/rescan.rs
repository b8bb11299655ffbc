//! Repeated scans on systems other than Linux: each scan is a full scan.

use super::{Error, Scope};
use crate::model::{DeepScanResult, Gap, Namespaces, Snapshot, Stage};

/// Returns a gap, because there is no deep scan for this system.
pub(super) fn deep(_: &Namespaces) -> Result<DeepScanResult, Error> {
    let gap = Gap::new(Stage::Sockets, "the deep scan", format!("not supported on {}", std::env::consts::OS))
        .with_remedy("leave out --deep");
    Ok(DeepScanResult { gaps: vec![gap], ..DeepScanResult::default() })
}

#[derive(Debug, Default)]
pub(super) struct PollState {}

impl PollState {
    /// Always returns a snapshot, even if nothing changed.
    #[allow(
        clippy::unused_self,
        reason = "self is unused here, but the Linux version of this function needs it"
    )]
    pub(super) fn scan(&mut self, scope: &Scope) -> Result<Option<Snapshot>, Error> {
        super::observe(scope).map(Some)
    }
}
