//! Portolan lists what listens on this machine, joins it with the registry of port assignments and with
//! the processes that hold it, and says what should not be there.
//!
//! A socket takes one way through the program and never turns back: [`observe`], [`join`], [`judge`],
//! [`render`]. `tests/architecture.rs` enforces which module may import which.

pub mod baseline;
pub mod cli;
pub mod command;
pub mod findings;
pub mod join;
pub mod judge;
pub mod model;
pub mod observe;
pub mod policy;
mod query;
pub mod registry;
pub mod render;
