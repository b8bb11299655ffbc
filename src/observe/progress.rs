//! The current step of a scan, for the progress line. If two threads scan at once, each step replaces the step of the
//! other thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A step of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the things that are scanned, in the plural: `processes`.
    pub what: &'static str,
    /// The number of things that were scanned.
    pub done: usize,
    /// The number of things to scan.
    pub total: usize,
}

static STEP: Mutex<Option<(&'static str, usize)>> = Mutex::new(None);
static DONE: AtomicUsize = AtomicUsize::new(0);

#[cfg(target_os = "linux")]
pub(super) fn begin(what: &'static str, total: usize) {
    DONE.store(0, Ordering::Relaxed);
    *STEP.lock().unwrap_or_else(PoisonError::into_inner) = Some((what, total));
}

#[cfg(target_os = "linux")]
pub(super) fn advance(count: usize) {
    DONE.fetch_add(count, Ordering::Relaxed);
}

/// Returns the current step; `None` before the first one.
#[must_use]
pub fn current() -> Option<Step> {
    let (what, total) = (*STEP.lock().unwrap_or_else(PoisonError::into_inner))?;
    Some(Step { what, done: DONE.load(Ordering::Relaxed).min(total), total })
}
