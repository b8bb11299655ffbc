//! Questions about entries: the targets and filters of a command line, and the conditions of a policy. Every test
//! answers yes, no or unknown ([`Answer`]).

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
