//! A condition of a selection.

use super::fields::{FIELDS, Field, Test};
use super::target::Target;
use super::{Answer, Subject, conditions, names};
use crate::model::{Family, PortRange, Protocol, State};
use crate::registry::Registry;

pub(super) enum Filter {
    Target(Box<Target>),
    Family(Family),
    Protocol(Protocol),
    WithoutPort,
    /// A socket that other machines can reach. If this is not known, the socket matches too.
    Reachable,
    Field {
        field: &'static Field,
        typed: String,
        test: Test,
    },
    All(Vec<Filter>),
}

impl Filter {
    pub(super) fn test(&self, subject: &Subject<'_>, either_end: bool) -> Answer {
        match self {
            Filter::Target(target) => target.test_for_certain(subject, either_end),
            Filter::Family(family) => conditions::family(subject, *family),
            Filter::Protocol(protocol) => conditions::protocol(subject, *protocol),
            Filter::WithoutPort => Answer::of_known(subject.socket(), |socket| socket.state == State::Raw),
            Filter::Reachable => conditions::may_be_reachable(subject),
            Filter::Field { test, .. } => test(subject),
            Filter::All(filters) => {
                Answer::all(filters.iter().map(|filter| filter.test(subject, either_end)))
            }
        }
    }

    pub(super) fn ports(&self) -> Option<Vec<PortRange>> {
        match self {
            Filter::Target(target) => target.ports().map(<[_]>::to_vec),
            Filter::All(filters) => filters.iter().find_map(Filter::ports),
            _ => None,
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        match self {
            Filter::Field { field, typed, .. } if field.name == name => Some(typed),
            _ => None,
        }
    }
}

pub(super) fn keyed(name: &str, typed: &str) -> Result<Filter, String> {
    let field = Field::named(name).ok_or_else(|| unknown_key(name))?;
    let test = (field.parse)(typed).map_err(|why| format!("--{name} {typed}: {why}"))?;
    Ok(Filter::Field { field, typed: typed.to_owned(), test })
}

fn unknown_key(key: &str) -> String {
    names::unknown("key", key, &FIELDS.map(|field| field.name))
}

/// Parses the value of `--not`: `KEY=VALUE` or a target.
pub(super) fn negated(text: &str, registry: &Registry) -> Result<Filter, String> {
    match text.split_once('=') {
        Some((key, typed)) if Field::named(key).is_some() => keyed(key, typed),
        Some((key, _)) => Err(format!("--not {text}: {}", unknown_key(key))),
        None => Ok(Filter::Target(Box::new(Target::parse(text, registry)?))),
    }
}
