//! What narrows a listing: which of the joined sockets are meant.
//!
//! Values of one option widen each other, different options narrow, and `--not` takes away. Words that are no
//! state, exposure, flag, user or expression are refused with the nearest or with all that there are.

use std::collections::HashSet;
use std::net::IpAddr;

use regex_lite::{Regex, RegexBuilder};

use super::target::{self, Resolved};
use super::{Error, lsof};
use crate::cli::FilterArgs;
use crate::findings::Flag;
use crate::judge::Entry;
use crate::model::{Exposure, Family, Pid, PortRange, Process, Protocol, State};
use crate::observe;
use crate::registry::Registry;

/// More names than one cares to read where the nearest one is told.
const MANY: usize = 20;

/// One condition.
#[derive(Debug)]
pub(super) enum Filter {
    Target(Box<Resolved>),
    Family(Family),
    Protocol(Protocol),
    State(State),
    Process(Regex),
    Pid(Pid),
    User(String),
    Exposure(Exposure),
    Flag(Flag),
    Unit(String),
    Container(String),
    /// All of these.
    All(Vec<Filter>),
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Of each group at least one must hold.
    groups: Vec<Vec<Filter>>,
    /// None of these may.
    not: Vec<Filter>,
    /// The positional targets: they are the first group where there are any.
    targets: usize,
}

impl Selection {
    /// Understands what was typed, and which flags were asked for.
    pub(super) fn new(args: &FilterArgs, flags: &[String], registry: &Registry) -> Result<Self, Error> {
        let mut groups = Vec::new();
        let targets = target::resolve(&args.targets, registry)?;
        let count = targets.len();
        groups.push(targets.into_iter().map(|t| Filter::Target(Box::new(t))).collect());
        groups.push(args.inet.iter().map(|text| lsof::filter(text, registry)).collect::<Result<_, _>>()?);
        for (key, values) in [
            ("state", &args.state[..]),
            ("process", &args.process),
            ("user", &args.user),
            ("exposure", &args.exposure),
            ("flag", flags),
            ("unit", &args.unit),
            ("container", &args.container),
            ("pid", &args.pid),
        ] {
            groups.push(values.iter().map(|value| keyed(key, value)).collect::<Result<_, _>>()?);
        }
        let not = args.not.iter().map(|text| negated(text, registry)).collect::<Result<_, _>>()?;
        groups.retain(|group: &Vec<Filter>| !group.is_empty());
        Ok(Selection { groups, not, targets: count })
    }

    /// Whether anything was asked for at all.
    pub(super) fn is_everything(&self) -> bool {
        self.groups.is_empty() && self.not.is_empty()
    }

    /// Whether a socket is meant. The positional targets it meets are noted in `met`.
    pub(super) fn wants(&self, judged: &Entry, met: &mut HashSet<usize>) -> bool {
        let mut wanted = !self.not.iter().any(|filter| filter.holds(judged));
        for (at, group) in self.groups.iter().enumerate() {
            let mut any = false;
            // Every target is asked, so that each is known to have met something or not.
            for (index, filter) in group.iter().enumerate() {
                let holds = filter.holds(judged);
                if holds && at == 0 && self.targets > 0 {
                    met.insert(index);
                }
                any |= holds;
            }
            wanted &= any;
        }
        wanted
    }

    /// Whether a place where nothing is seen may be meant: what cannot be told of it leaves it in.
    pub(super) fn may_want(
        &self,
        protocol: Option<Protocol>,
        address: Option<IpAddr>,
        port: Option<u16>,
    ) -> bool {
        let holds = |filter: &Filter| filter.holds_at(protocol, address, port);
        let groups = self.groups.iter().filter(|group| !group.is_empty());
        groups.into_iter().all(|group| group.iter().any(|filter| holds(filter) != Some(false)))
            && !self.not.iter().any(|filter| holds(filter) == Some(true))
    }

    /// Whether anything is asked of the flags.
    pub(super) fn asks_for_flags(&self) -> bool {
        self.groups.iter().flatten().chain(&self.not).any(|filter| matches!(filter, Filter::Flag(_)))
    }

    /// Refuses a positional name that nothing here or in the registry goes by.
    pub(super) fn all_known(
        &self,
        met: &HashSet<usize>,
        registry: &Registry,
        running: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let targets = self.groups.first().into_iter().flatten().take(self.targets);
        let resolved = targets.filter_map(|filter| match filter {
            Filter::Target(resolved) => Some(&**resolved),
            _ => None,
        });
        target::known(resolved, met, registry, running)
    }

    /// The ports that can be meant at all; `None` for any.
    pub(super) fn ports(&self) -> Option<Vec<PortRange>> {
        self.groups
            .iter()
            .find_map(|group| group.iter().map(Filter::ports).collect::<Option<Vec<_>>>())
            .map(|p| p.concat())
    }

    /// Whether it turns on what only a closer look at the holders tells: their user, unit or container.
    pub(super) fn asks_of_holders(&self) -> bool {
        let asks =
            |filter: &Filter| matches!(filter, Filter::User(_) | Filter::Unit(_) | Filter::Container(_));
        self.groups.iter().flatten().chain(&self.not).any(asks)
    }

    /// The states that are asked for by name.
    pub(super) fn states(&self) -> impl Iterator<Item = State> {
        self.groups.iter().flatten().filter_map(|filter| match filter {
            Filter::State(state) => Some(*state),
            _ => None,
        })
    }
}

impl Filter {
    fn holds(&self, judged: &Entry) -> bool {
        let listener = judged;
        let socket = &listener.socket;
        match self {
            Filter::Target(resolved) => resolved.matches(listener),
            Filter::Family(family) => socket.local.family() == *family,
            Filter::Protocol(protocol) => socket.local.protocol == *protocol,
            Filter::State(state) => socket.state == *state,
            Filter::Process(regex) => listener.processes.iter().any(|process| is_called(process, regex)),
            Filter::Pid(pid) => socket.owner.pids().contains(pid),
            Filter::User(user) => {
                let is = |name: Option<&str>, uid: Option<u32>| {
                    name.is_some_and(|name| is_user(name, user))
                        || uid.is_some_and(|uid| user.parse() == Ok(uid))
                };
                is(socket.user.as_deref(), socket.uid)
                    || listener.processes.iter().any(|p| is(p.user.as_deref(), p.uid))
            }
            Filter::Exposure(exposure) => listener.exposure == *exposure,
            Filter::Flag(flag) => judged.findings().iter().any(|finding| finding.flag() == *flag),
            Filter::Unit(unit) => {
                let is = |name: &Option<String>| {
                    // Several services may share a process on Windows; no unit of systemd has a comma in its name.
                    name.iter()
                        .flat_map(|name| name.split(", "))
                        .any(|name| name == unit || name.strip_suffix(".service") == Some(unit))
                };
                is(&socket.unit) || listener.processes.iter().any(|process| is(&process.unit))
            }
            Filter::Container(container) => {
                let is =
                    |name: &Option<String>| name.as_deref().is_some_and(|name| is_container(name, container));
                is(&socket.container) || listener.processes.iter().any(|process| is(&process.container))
            }
            Filter::All(filters) => filters.iter().all(|filter| filter.holds(judged)),
        }
    }

    /// The same of a place alone; `None` where it cannot be told.
    fn holds_at(
        &self,
        protocol: Option<Protocol>,
        address: Option<IpAddr>,
        port: Option<u16>,
    ) -> Option<bool> {
        match self {
            Filter::Target(resolved) => resolved.matches_at(protocol, address, port),
            Filter::Family(family) => Some(address?.is_ipv4() == (*family == Family::Ipv4)),
            Filter::Protocol(wanted) => Some(protocol? == *wanted),
            Filter::Exposure(exposure) => Some(Exposure::of(address?, None) == *exposure),
            Filter::All(filters) => {
                let held = filters.iter().map(|filter| filter.holds_at(protocol, address, port));
                held.fold(Some(true), both)
            }
            Filter::State(_)
            | Filter::Process(_)
            | Filter::Pid(_)
            | Filter::User(_)
            | Filter::Flag(_)
            | Filter::Unit(_)
            | Filter::Container(_) => None,
        }
    }

    fn ports(&self) -> Option<Vec<PortRange>> {
        match self {
            Filter::Target(resolved) => resolved.ports(),
            Filter::All(filters) => filters.iter().find_map(Filter::ports),
            _ => None,
        }
    }
}

/// Whether both hold, as far as can be told.
pub(super) fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// An account of Windows, `DOMAIN\name`, is meant by its name alone too, in any case.
fn is_user(name: &str, asked: &str) -> bool {
    name == asked
        || name
            .split_once('\\')
            .is_some_and(|(_, bare)| name.eq_ignore_ascii_case(asked) || bare.eq_ignore_ascii_case(asked))
}

fn is_called(process: &Process, regex: &Regex) -> bool {
    process.name.as_deref().is_some_and(|name| regex.is_match(name))
        || process.exe.as_ref().is_some_and(|exe| regex.is_match(&exe.path))
}

/// A container by its name, or by the beginning of its id as its manager shows it: 12 digits.
fn is_container(name: &str, asked: &str) -> bool {
    name == asked || (name.len() == 64 && asked.len() >= 12 && name.starts_with(asked))
}

/// `KEY=VALUE`, or a target.
fn negated(text: &str, registry: &Registry) -> Result<Filter, Error> {
    const KEYS: [&str; 8] = ["state", "process", "user", "exposure", "flag", "unit", "container", "pid"];
    match text.split_once('=') {
        Some((key, value)) if KEYS.contains(&key) => keyed(key, value),
        Some((key, _)) => Err(Error::msg(format!("--not {text}: {}", unknown("key", key, &KEYS)))),
        None => {
            let mut resolved = target::resolve(&[text.to_owned()], registry)?;
            resolved
                .pop()
                .map(|target| Filter::Target(Box::new(target)))
                .ok_or_else(|| Error::msg(text.to_owned()))
        }
    }
}

/// The filter of an option and its value.
fn keyed(key: &str, value: &str) -> Result<Filter, Error> {
    let said = |why: String| Error::msg(format!("--{key} {value}: {why}"));
    let pick = |names: &[&str]| match names.iter().position(|name| name.eq_ignore_ascii_case(value)) {
        Some(at) => Ok(at),
        None => Err(said(unknown(key, value, names))),
    };
    Ok(match key {
        "state" => Filter::State(State::ALL[pick(&State::ALL.map(State::name))?]),
        "exposure" => Filter::Exposure(Exposure::ALL[pick(&Exposure::ALL.map(Exposure::name))?]),
        "flag" => match Flag::find(value) {
            Some(flag) if flag.family().is_audit_only() => {
                return Err(said("only an audit finds it: portolan audit --help".to_owned()));
            }
            Some(flag) => Filter::Flag(flag),
            None => {
                return Err(said(unknown(key, value, &Flag::listed().map(Flag::code).collect::<Vec<_>>())));
            }
        },
        "process" => {
            // Bounded: an expression is typed by the user, but names and paths come from anywhere.
            let regex = RegexBuilder::new(value).size_limit(1 << 20).build();
            Filter::Process(
                regex.map_err(|error| said(format!("no regular expression: {}", one_line(&error))))?,
            )
        }
        "pid" => match value.parse() {
            Ok(pid) => Filter::Pid(pid),
            Err(_) => return Err(said("no process id: a number is".to_owned())),
        },
        _ if value.is_empty() => return Err(said(format!("no {key} has an empty name"))),
        "unit" => Filter::Unit(value.to_owned()),
        "container" => Filter::Container(value.to_owned()),
        _ => Filter::User(value.to_owned()),
    })
}

fn one_line(error: &impl ToString) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Selection {
    /// Refuses a user that neither this system nor what was seen knows.
    pub(super) fn users_known(&self, known: impl Fn(&str) -> bool) -> Result<(), Error> {
        for filter in self.groups.iter().flatten().chain(&self.not) {
            if let Filter::User(user) = filter
                && user.parse::<u32>().is_err()
                && !known(user)
                && !observe::is_user(user)
            {
                return Err(Error::msg(format!("--user {user}: no such user; a user id works too")));
            }
        }
        Ok(())
    }
}

/// That `word` is none of `names`: the nearest one, and all there are, unless the nearest is enough of so many.
pub(super) fn unknown(what: &str, word: &str, names: &[&str]) -> String {
    let near = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, near)) if names.len() > MANY => format!("no such {what}. Did you mean {near}?"),
        Some((_, near)) => format!("no such {what}. Did you mean {near}? There are: {}", names.join(", ")),
        None => format!("no such {what}. There are: {}", names.join(", ")),
    }
}
