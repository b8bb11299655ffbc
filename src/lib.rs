//! Portolan lists the listeners of this machine with their processes and the registrations of their ports, and
//! reports suspicious listeners.
//!
//! [`observe`](observe::observe) scans the machine. [`judge`](judge::judge) joins the snapshot with the [`Registry`]
//! and adds the findings:
//!
//! ```
//! use portolan::Registry;
//! use portolan::judge::judge;
//! use portolan::observe::{Scope, observe};
//!
//! let snapshot = observe(&Scope::default())?;
//! let report = judge(snapshot, Registry::embedded());
//! for gap in &report.snapshot.gaps {
//!     eprintln!("not seen: {}: {}", gap.what, gap.why);
//! }
//! for entry in &report.entries {
//!     let processes: Vec<&str> = entry.processes.iter().filter_map(|process| process.name.as_deref()).collect();
//!     println!("{} {} {processes:?}", entry.socket.local, entry.verdict.status.name());
//!     for finding in entry.findings() {
//!         println!("  {}: {}", finding.severity.name(), finding.sentence());
//!     }
//! }
//! # Ok::<(), portolan::observe::Error>(())
//! ```
//!
//! A [`Snapshot`](model::Snapshot) is plain data that can be saved and judged later. `tests/architecture.rs` enforces
//! which modules a module may import.

#[allow(missing_docs, reason = "not public")]
mod baseline;
mod cli;
#[allow(missing_docs, reason = "not public")]
mod command;
#[allow(missing_docs, reason = "not public")]
mod findings;
mod join;
pub mod judge;
pub mod model;
pub mod observe;
#[allow(missing_docs, reason = "not public")]
mod policy;
mod query;
mod registry;
mod render;

pub use command::run;
pub use registry::Registry;

/// Not a part of the public interface: items for the tests, benchmarks, fuzz targets and tools of this repository.
#[doc(hidden)]
pub mod internals {
    pub mod findings {
        pub use crate::findings::{
            Evidence, Finding, FindingKind, Flag, RunningProgram, change, file, identity, policy, reach,
            registry, socket,
        };
    }

    pub use crate::baseline::{ChangeKind, NotComparedReason, difference};
    pub use crate::cli::Cli;
    pub use crate::command::from;
    pub use crate::command::screen::{Key, Screen};
    pub use crate::command::watch::pictured::pictured;
    pub use crate::join::join;
    pub use crate::policy::{Included, Policy, apply, check, parse};
    pub use crate::registry::identity::identify;
    pub use crate::registry::{compile, iana};
    pub use crate::render::legend;
    pub use crate::render::screen::Size;
    pub use crate::render::{Style, events, is_unsafe, json, policy as policy_text, sanitize, table};
}
