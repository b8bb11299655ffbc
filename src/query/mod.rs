//! Questions about entries: the targets and filters of a command line, and the conditions of a policy.
//!
//! [`fields`] has one row per filter: its option, its help, its values and its test. [`target`] parses what a user
//! names on the command line, [`port_use`] finds the sockets that prevent a program from binding a port,
//! [`foreign_options`] handles the notations of ss and lsof, and [`selection`] combines all filters. Every test
//! answers yes, no or unknown ([`Answer`]); the caller decides how to treat an unknown answer.

mod answer;
pub(crate) mod conditions;
pub(crate) mod fields;
mod filter;
mod foreign_options;
pub(crate) mod names;
mod port_use;
pub(crate) mod selection;
mod subject;
pub(crate) mod target;
pub(crate) mod target_text;
#[cfg(test)]
mod tests;

pub(crate) use answer::Answer;
pub(crate) use foreign_options::{ForeignOptions, pid_refusal};
pub(crate) use selection::{Selection, TypedFilters};
pub(crate) use subject::Quantifier;

pub(crate) use crate::join::Subject;
pub(crate) use target::{OwnAddresses, Target};
