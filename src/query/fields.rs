//! The filters, one row each. The options, the keys of `--not`, the completions and the manual page are made from this
//! table.

use regex_lite::RegexBuilder;

use super::{Answer, Quantifier, Subject, conditions, names};
use crate::findings::{FindingFamily, Flag};
use crate::model::{Exposure, Owner, Pid, Process, SHORT_ID, Snapshot, State, is_container_id};

/// Tests whether an entry, or an address without a listener, matches the value of a filter.
pub(crate) type Test = Box<dyn Fn(&Subject<'_>) -> Answer>;

pub(crate) struct Field {
    /// The name of the option, and the key of `--not`.
    pub(crate) name: &'static str,
    /// The name of the value in the help.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    /// Whether only the long help contains the filter.
    pub(crate) only_long_help: bool,
    /// Whether commas separate several values.
    pub(crate) list: bool,
    /// Whether the filter needs more facts about a process than its name, program file and command line.
    pub(crate) details: bool,
    pub(crate) values: Values,
    /// Parses a value. The error says what is wrong, without the option and the value.
    pub(crate) parse: fn(&str) -> Result<Test, String>,
}

/// The values that a shell can complete.
pub(crate) enum Values {
    /// A fixed set of names, each with a description. No other value is accepted.
    Fixed(fn() -> Vec<(&'static str, &'static str)>),
    /// Values that occur in a snapshot, each with a description.
    Seen(fn(&Snapshot) -> Vec<(String, String)>),
}

pub(crate) const FIELDS: [Field; 8] = [
    Field {
        name: "process",
        value: "REGEX",
        help: "Sockets of processes with this name or program file",
        only_long_help: false,
        list: false,
        details: false,
        values: Values::Seen(|seen| {
            described(seen.processes.iter().filter_map(|p| p.name.as_deref()), "process")
        }),
        parse: process,
    },
    Field {
        name: "pid",
        value: "N",
        help: "Sockets of the process with this ID",
        only_long_help: true,
        list: true,
        details: false,
        values: Values::Seen(|seen| {
            seen.processes.iter().map(|p| (p.pid.to_string(), p.name.clone().unwrap_or_default())).collect()
        }),
        parse: pid,
    },
    Field {
        name: "user",
        value: "NAME|UID",
        help: "Sockets of processes that run as this user",
        only_long_help: false,
        list: true,
        details: true,
        values: Values::Seen(|seen| {
            let of_sockets = seen.sockets.iter().filter_map(|socket| socket.user.as_deref());
            described(of_sockets.chain(seen.processes.iter().filter_map(|p| p.user.as_deref())), "user")
        }),
        parse: user,
    },
    Field {
        name: "exposure",
        value: "CLASS",
        help: "Sockets on addresses of this class: any, public, …",
        only_long_help: true,
        list: true,
        details: false,
        values: Values::Fixed(|| Exposure::ALL.map(|exposure| (exposure.name(), "exposure")).to_vec()),
        parse: exposure,
    },
    Field {
        name: "flag",
        value: "CODE",
        help: "Sockets with this finding: orphaned, exposed, …",
        only_long_help: false,
        list: true,
        details: false,
        values: Values::Fixed(|| Flag::listed().map(|flag| (flag.code(), flag.description())).collect()),
        parse: flag,
    },
    Field {
        name: "state",
        value: "NAME",
        help: "Sockets in this state: listen, bound, established, …",
        only_long_help: true,
        list: true,
        details: false,
        values: Values::Fixed(|| State::ALL.map(|state| (state.name(), "state")).to_vec()),
        parse: state,
    },
    Field {
        name: "unit",
        value: "NAME",
        help: "Sockets of this systemd unit (Linux)",
        only_long_help: false,
        list: false,
        details: true,
        values: Values::Seen(|seen| {
            let of_sockets = seen.sockets.iter().filter_map(|socket| socket.unit.as_deref());
            described(of_sockets.chain(seen.processes.iter().filter_map(|p| p.unit.as_deref())), "unit")
        }),
        parse: unit,
    },
    Field {
        name: "container",
        value: "NAME|ID",
        help: "Sockets and ports of this container (Linux)",
        only_long_help: false,
        list: false,
        details: true,
        values: Values::Seen(|seen| {
            let of_sockets = seen.sockets.iter().filter_map(|socket| socket.container.as_deref());
            let details = seen.processes.iter().filter_map(|process| process.container_details.as_ref());
            let names = details.flat_map(|details| details.names());
            let of_processes = seen.processes.iter().filter_map(|p| p.container.as_deref());
            described(of_sockets.chain(of_processes).chain(names), "container")
        }),
        parse: container,
    },
];

impl Field {
    pub(crate) fn named(name: &str) -> Option<&'static Field> {
        FIELDS.iter().find(|field| field.name == name)
    }
}

fn described<'a>(names: impl Iterator<Item = &'a str>, description: &str) -> Vec<(String, String)> {
    names.map(|name| (name.to_owned(), description.to_owned())).collect()
}

fn pick<T: Copy>(what: &str, typed: &str, items: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let found = items.iter().copied().find(|item| name(*item).eq_ignore_ascii_case(typed));
    found
        .ok_or_else(|| names::unknown(what, typed, &items.iter().map(|item| name(*item)).collect::<Vec<_>>()))
}

fn state(typed: &str) -> Result<Test, String> {
    let wanted = pick("state", typed, &State::ALL, State::name)?;
    Ok(Box::new(move |subject| Answer::of_known(subject.socket(), |socket| socket.state == wanted)))
}

fn exposure(typed: &str) -> Result<Test, String> {
    let wanted = pick("exposure", typed, &Exposure::ALL, Exposure::name)?;
    Ok(Box::new(move |subject| Answer::of_known(subject.exposure(), |exposure| exposure == wanted)))
}

fn flag(typed: &str) -> Result<Test, String> {
    if Flag::find(typed).is_some_and(|flag| flag.family().is_audit_only()) {
        return Err("only an audit finds this: type portolan audit".to_owned());
    }
    let wanted = pick("flag", typed, &Flag::listed().collect::<Vec<_>>(), Flag::code)?;
    // These findings are about a process, so the answer is unknown if a process is not visible.
    let needs_process = matches!(wanted.family(), FindingFamily::Identity | FindingFamily::File);
    Ok(Box::new(move |subject| {
        let found = Answer::of_known(subject.findings(), |findings| {
            findings.iter().any(|finding| finding.flag() == wanted)
        });
        if found.is_no() && needs_process {
            return subject.ask_processes(Quantifier::Any, |_| Answer::No);
        }
        found
    }))
}

fn process(typed: &str) -> Result<Test, String> {
    // The size limit also limits the time of a match. This matters, because any process can choose the names and paths
    // that are searched.
    let regex = RegexBuilder::new(typed).size_limit(1 << 20).build().map_err(|error| {
        let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        format!("not a regular expression: {error}")
    })?;
    let is = move |process: &Process| {
        let name = Answer::of_known(process.name.as_deref(), |name| regex.is_match(name));
        name.or(Answer::of_known(process.exe.as_ref(), |exe| regex.is_match(&exe.path)))
    };
    Ok(Box::new(move |subject| subject.ask_processes(Quantifier::Any, &is)))
}

fn pid(typed: &str) -> Result<Test, String> {
    let wanted: Pid = typed.parse().map_err(|_| "not a process ID (expected a number)".to_owned())?;
    Ok(Box::new(move |subject| match subject.socket().map(|socket| &socket.owner) {
        Some(Owner::Held(pids)) => Answer::of(pids.contains(&wanted)),
        Some(Owner::Kernel) => Answer::No,
        _ => Answer::Unknown,
    }))
}

fn user(typed: &str) -> Result<Test, String> {
    let wanted = non_empty(typed)?;
    let number: Option<u32> = typed.parse().ok();
    Ok(Box::new(move |subject| {
        conditions::user(subject, Quantifier::Any, |name, uid| {
            name.is_some_and(|name| is_user(name, &wanted)) || (uid.is_some() && uid == number)
        })
    }))
}

/// Returns whether an account has this name. A Windows account, `DOMAIN\name`, also matches without its domain, and in
/// any case.
fn is_user(account: &str, typed: &str) -> bool {
    account == typed
        || account
            .split_once('\\')
            .is_some_and(|(_, bare)| account.eq_ignore_ascii_case(typed) || bare.eq_ignore_ascii_case(typed))
}

fn unit(typed: &str) -> Result<Test, String> {
    let wanted = non_empty(typed)?;
    let is = move |names: &str| {
        // Several Windows services may share a process. Their names are separated by commas. The name of a systemd unit
        // never contains a comma.
        names.split(", ").any(|name| {
            name == wanted
                || in_group(name) == wanted
                || in_group(name).strip_suffix(".service") == Some(&wanted)
        })
    };
    Ok(Box::new(move |subject| conditions::unit(subject, Quantifier::Any, &is)))
}

fn container(typed: &str) -> Result<Test, String> {
    let wanted = non_empty(typed)?;
    let is = move |name: &str| {
        let id = in_group(name);
        name == wanted
            || id == wanted
            || (is_container_id(id) && wanted.len() >= SHORT_ID && id.starts_with(&wanted))
    };
    Ok(Box::new(move |subject| conditions::container(subject, Quantifier::Any, &is)))
}

/// Returns the name of a unit or container without the name of its manager.
fn in_group(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn non_empty(typed: &str) -> Result<String, String> {
    if typed.is_empty() { Err("an empty name (expected a name)".to_owned()) } else { Ok(typed.to_owned()) }
}
