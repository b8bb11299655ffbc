//! Portolan lists what listens on this machine, joins it with the registry of port assignments and with the processes
//! that own the sockets, and reports listeners that should not be there.
//!
//! Data flows in one direction: [`observe`], [`join`], [`judge`], [`render`]. `tests/architecture.rs` enforces which
//! module may import which.

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
