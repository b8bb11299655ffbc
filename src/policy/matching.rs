//! Tests whether a rule matches a listener. The answer is unknown if something was not visible.

use jiff::civil::Date;

use super::{AllowRule, ExecutablePattern, Glob, Namespaces, Ports, User};
use crate::join::Entry;
use crate::model::{
    Exe, ExeState, Host, OriginKind, Owner, Process, ReplaceableBy, RunTarget, Snapshot, Socket,
};
use crate::query::{Answer, Quantifier, Subject, conditions};

/// Returns whether a policy applies to a socket. The socket must occupy a port.
pub(super) const fn is_judged(socket: &Socket) -> bool {
    socket.state.holds_port()
}

/// An allow rule that certainly or possibly applies to this host.
pub(super) struct RuleOnHost<'p> {
    pub(super) rule: &'p AllowRule,
    /// Whether the rule applies to this host; never [`Answer::No`].
    pub(super) on_host: Answer,
    pub(super) is_expired: bool,
}

/// Returns whether a pattern matches the ID, the name or a label (`KEY=VALUE`) of the host.
pub(super) fn on_host(hosts: &[Glob], host: &Host) -> Answer {
    if hosts.is_empty() {
        return Answer::Yes;
    }
    // Host names are case-insensitive (RFC 4343).
    let name = host.name.as_deref().map(str::to_ascii_lowercase);
    let labels = host.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let mut known = name.iter().cloned().chain(host.id.clone()).chain(labels);
    if known.any(|text| hosts.iter().any(|glob| glob.matches(&text))) {
        Answer::Yes
    } else if name.is_none() {
        Answer::Unknown
    } else {
        Answer::No
    }
}

pub(super) fn is_over(expires: Option<Date>, today: Date) -> bool {
    expires.is_some_and(|last| last < today)
}

/// Returns whether all conditions of a rule match. The fast conditions are tested first.
pub(super) fn matches_rule(rule: &AllowRule, listener: &Entry, snapshot: &Snapshot) -> Answer {
    let mut answer = Answer::Yes;
    for condition in CONDITIONS {
        answer = answer.and((condition.asks)(rule, listener, snapshot));
        if answer.is_no() {
            break;
        }
    }
    answer
}

/// Returns a phrase for each condition that certainly does not match: `user is root, not postgres`.
pub(super) fn differs(rule: &AllowRule, listener: &Entry, snapshot: &Snapshot) -> Vec<String> {
    CONDITIONS
        .iter()
        .filter(|condition| (condition.asks)(rule, listener, snapshot).is_no())
        .map(|condition| {
            let found = or_list(&(condition.found)(listener), "and", "none");
            let wanted = or_list(&(condition.wanted)(rule), "or", "own");
            format!("{} is {found}, not {wanted}", condition.name)
        })
        .collect()
}

/// Returns whether a rule is for the port or for a program of a listener. A rule without conditions on port and program
/// is related to every listener.
pub(super) fn is_related(rule: &AllowRule, listener: &Entry, snapshot: &Snapshot) -> bool {
    let is_program = |path: &str| {
        rule.executables
            .iter()
            .any(|program| matches!(program, ExecutablePattern::File(glob) if glob.matches(path)))
    };
    let is_kernel =
        listener.socket.owner == Owner::Kernel && rule.executables.contains(&ExecutablePattern::Kernel);
    is_kernel
        || (rule.ports.is_empty() && rule.executables.is_empty())
        || (!rule.ports.is_empty() && !on_port(rule, listener, snapshot).is_no())
        || listener
            .processes
            .iter()
            .filter_map(|process| process.exe.as_ref())
            .any(|exe| is_program(&exe.path))
}

/// Returns the number of conditions that do not match, up to `enough`.
pub(super) fn distance(rule: &AllowRule, listener: &Entry, snapshot: &Snapshot, enough: usize) -> usize {
    let no = |condition: &&Condition| (condition.asks)(rule, listener, snapshot).is_no();
    CONDITIONS.iter().filter(no).take(enough).count()
}

/// Returns the conditions of a rule as text: `tcp/443, address 0.0.0.0, executable /usr/sbin/nginx`.
pub(super) fn wanted(rule: &AllowRule) -> String {
    let list = |values: Vec<String>| or_list(&values, "or", "");
    let mut said = match (rule.protocols.is_empty(), rule.ports.is_empty()) {
        (true, true) => "a listener".to_owned(),
        (false, true) => format!("a {} listener", list(protocols(rule))),
        (true, false) => format!("port {}", list(ports(rule))),
        (false, false) => format!("{}/{}", list(protocols(rule)), list(ports(rule))),
    };
    for condition in &CONDITIONS[2..] {
        let values = (condition.wanted)(rule);
        if !values.is_empty() {
            said.push_str(&format!(", {} {}", condition.name, list(values)));
        }
    }
    said
}

/// Lists at most three values, or two values and a count: `a, b or 5 more`.
fn or_list(values: &[String], word: &str, none: &str) -> String {
    match values {
        [] => none.to_owned(),
        [one] => one.clone(),
        [a, b] => format!("{a} {word} {b}"),
        [a, b, c] => format!("{a}, {b} {word} {c}"),
        [a, b, rest @ ..] => format!("{a}, {b} {word} {} more", rest.len()),
    }
}

struct Condition {
    name: &'static str,
    asks: fn(&AllowRule, &Entry, &Snapshot) -> Answer,
    wanted: fn(&AllowRule) -> Vec<String>,
    found: fn(&Entry) -> Vec<String>,
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn ports(rule: &AllowRule) -> Vec<String> {
    let text = |ports: &Ports| match ports {
        Ports::Range(range) => range.to_string(),
        Ports::Ephemeral => "ephemeral".to_owned(),
    };
    rule.ports.iter().map(text).collect()
}

fn protocols(rule: &AllowRule) -> Vec<String> {
    texts(&rule.protocols)
}

const CONDITIONS: [Condition; 11] = [
    Condition {
        name: "port",
        asks: on_port,
        wanted: ports,
        found: |listener| vec![listener.socket.local.port.to_string()],
    },
    Condition {
        name: "protocol",
        asks: |rule, listener, _| among(&rule.protocols, &listener.socket.local.protocol),
        wanted: protocols,
        found: |listener| vec![listener.socket.local.protocol.to_string()],
    },
    Condition {
        name: "exposure",
        asks: |rule, listener, _| among(&rule.exposures, &listener.exposure),
        wanted: |rule| rule.exposures.iter().map(|exposure| exposure.name().to_owned()).collect(),
        found: |listener| vec![listener.exposure.name().to_owned()],
    },
    Condition {
        name: "address",
        asks: |rule, listener, _| {
            let address = listener.socket.local.address;
            any(&rule.addresses, |network| network.contains(address))
        },
        wanted: |rule| texts(&rule.addresses),
        found: |listener| vec![listener.socket.local.address.to_string()],
    },
    Condition {
        name: "device",
        asks: |rule, listener, _| {
            let device = listener.socket.local.device.as_deref();
            any(&rule.devices, |glob| device.is_some_and(|device| glob.matches(device)))
        },
        wanted: |rule| texts(&rule.devices),
        found: |listener| listener.socket.local.device.iter().map(|device| device[..].to_owned()).collect(),
    },
    Condition {
        name: "network namespace",
        asks: |rule, listener, _| in_namespace(&rule.namespaces, listener),
        wanted: |rule| rule.namespaces.iter().map(namespace).collect(),
        found: |listener| {
            vec![match &listener.socket.netns {
                None => "own".to_owned(),
                Some(netns) => netns.name.clone().unwrap_or_else(|| "unnamed".to_owned()),
            }]
        },
    },
    Condition {
        name: "user",
        asks: by_user,
        wanted: |rule| {
            let text = |user: &User| match user {
                User::Name(name) => name.clone(),
                User::Number(number) => number.to_string(),
            };
            rule.users.iter().map(text).collect()
        },
        found: |listener| {
            let text = |name: &Option<String>, uid: Option<u32>| {
                name.clone().or_else(|| uid.map(|uid| uid.to_string()))
            };
            if listener.socket.owner == Owner::Kernel {
                return text(&listener.socket.user, listener.socket.uid).into_iter().collect();
            }
            each_once(listener.processes.iter().filter_map(|p| text(&p.user, p.uid)))
        },
    },
    Condition {
        name: "executable",
        asks: by_program,
        wanted: |rule| {
            let text = |program: &ExecutablePattern| match program {
                ExecutablePattern::Kernel => "the kernel".to_owned(),
                ExecutablePattern::File(glob) => glob.to_string(),
            };
            rule.executables.iter().map(text).collect()
        },
        found: |listener| {
            if listener.socket.owner == Owner::Kernel {
                return vec!["the kernel".to_owned()];
            }
            each_once(listener.processes.iter().filter_map(|p| Some(shown_executable(p, p.exe.as_ref()?))))
        },
    },
    Condition {
        name: "what it runs",
        asks: by_runs,
        wanted: |rule| texts(&rule.runs),
        found: |listener| each_once(listener.processes.iter().filter_map(|process| shown_target(process))),
    },
    Condition {
        name: "unit",
        asks: by_unit,
        wanted: |rule| texts(&rule.units),
        found: |listener| each_once(listener.processes.iter().filter_map(|p| p.unit.clone())),
    },
    Condition {
        name: "container",
        asks: by_container,
        wanted: |rule| texts(&rule.containers),
        found: |listener| {
            each_once(listener.processes.iter().filter_map(|p| p.container_name().map(str::to_owned)))
        },
    },
];

fn each_once(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    values
}

fn any<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> Answer {
    Answer::of(wanted.is_empty() || wanted.iter().any(is))
}

fn among<T: PartialEq>(wanted: &[T], found: &T) -> Answer {
    any(wanted, |one| one == found)
}

fn on_port(rule: &AllowRule, listener: &Entry, snapshot: &Snapshot) -> Answer {
    let one = |ports: &Ports| is_among(*ports, &listener.socket, snapshot);
    rule.ports.iter().map(one).max().unwrap_or(Answer::Yes)
}

pub(super) fn is_among(ports: Ports, socket: &Socket, snapshot: &Snapshot) -> Answer {
    let port = socket.local.port;
    match ports {
        Ports::Range(range) => Answer::of(range.contains(port)),
        Ports::Ephemeral if !snapshot.knows_ephemeral_ports(socket) => Answer::Unknown,
        Ports::Ephemeral => Answer::of(snapshot.ephemeral_range(socket).is_some()),
    }
}

fn in_namespace(wanted: &[Namespaces], listener: &Entry) -> Answer {
    conditions::namespace(&Subject::Entry(listener), |netns| {
        let is = |namespaces: &Namespaces| match (namespaces, netns) {
            (Namespaces::Own, netns) => netns.is_none(),
            (Namespaces::Unnamed, Some(netns)) => netns.name.is_none(),
            (Namespaces::Named(glob), Some(netns)) => netns.name.as_deref().is_some_and(|n| glob.matches(n)),
            (_, None) => false,
        };
        if wanted.is_empty() { netns.is_none() } else { wanted.iter().any(is) }
    })
}

pub(super) fn namespace(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::Own => "own".to_owned(),
        Namespaces::Unnamed => "unnamed".to_owned(),
        Namespaces::Named(glob) => glob.to_string(),
    }
}

fn by_program(rule: &AllowRule, listener: &Entry, _: &Snapshot) -> Answer {
    if rule.executables.is_empty() {
        return Answer::Yes;
    }
    if listener.socket.owner == Owner::Kernel {
        return among(&rule.executables, &ExecutablePattern::Kernel);
    }
    let names_container = !rule.containers.is_empty();
    conditions::executable(&Subject::Entry(listener), Quantifier::Every, |process, exe| {
        rule.executables.iter().any(|program| is_program(program, process, exe, names_container))
    })
}

/// Returns whether a process runs the program file that a rule names. A path means the file on this machine. If the
/// rule names a container, the path means the file in the container.
///
/// Any user can give a file any name. So if a pattern begins with a wildcard, the file must be one that only root can
/// replace.
fn is_program(program: &ExecutablePattern, process: &Process, exe: &Exe, names_container: bool) -> bool {
    let ExecutablePattern::File(glob) = program else { return false };
    let is_at_path = exe.state != ExeState::Memfd
        && !is_elsewhere(process)
        && !runs_script_elsewhere(process)
        && (names_container || process.has_trusted_path());
    let names_directory = !glob.as_str().starts_with(['*', '?', '[', '{']);
    is_at_path
        && glob.matches(&exe.path)
        && (names_directory || ReplaceableBy::of_file(process) == ReplaceableBy::Root)
}

fn is_elsewhere(process: &Process) -> bool {
    process.origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::Elsewhere)
}

/// Returns the script of an interpreter, or the arguments of a relay, as written in a policy. If a rule with this text
/// might not match, the reason follows in parentheses.
fn shown_target(process: &Process) -> Option<String> {
    let target = RunTarget::of(process).text()?.to_owned();
    Some(match () {
        () if runs_script_elsewhere(process) => format!("{target} (a mount puts another file at this path)"),
        () if !process.has_trusted_path() => {
            format!("{target} (in a chroot or mount namespace that a user may have made)")
        }
        () => target,
    })
}

fn runs_script_elsewhere(process: &Process) -> bool {
    let origin = process.script.as_ref().and_then(|script| script.origin.as_ref());
    origin.is_some_and(|origin| origin.kind == OriginKind::Elsewhere)
}

/// Returns the path of a program file. If a rule with this path might not match, the reason follows in parentheses.
fn shown_executable(process: &Process, exe: &Exe) -> String {
    let path = &exe.path;
    match ReplaceableBy::of_file(process) {
        _ if is_elsewhere(process) => format!("{path} (a mount puts another file at this path)"),
        _ if runs_script_elsewhere(process) => {
            format!("{path} (a mount puts another file at the path of its script)")
        }
        _ if !process.has_trusted_path() => {
            format!("{path} (in a chroot or mount namespace that a user may have made)")
        }
        _ if exe.state == ExeState::Memfd => format!("{path} (in memory)"),
        ReplaceableBy::Root => path.clone(),
        ReplaceableBy::Unknown | ReplaceableBy::User | ReplaceableBy::Anyone => {
            format!("{path} (a user can replace it)")
        }
    }
}

fn by_runs(rule: &AllowRule, listener: &Entry, _: &Snapshot) -> Answer {
    if rule.runs.is_empty() {
        return Answer::Yes;
    }
    // Like the path of a program file, the path of a script means the file on this machine.
    let names_container = !rule.containers.is_empty();
    if listener
        .processes
        .iter()
        .any(|process| runs_script_elsewhere(process) || !(names_container || process.has_trusted_path()))
    {
        return Answer::No;
    }
    conditions::runs(&Subject::Entry(listener), Quantifier::Every, |runs| match runs {
        Some(text) => rule.runs.iter().any(|glob| glob.matches(text)),
        // For a process without a script or module, the rule's condition on programs decides. If the rule has no
        // condition on programs, the process is not accepted.
        None => !rule.executables.is_empty(),
    })
}

fn by_user(rule: &AllowRule, listener: &Entry, _: &Snapshot) -> Answer {
    if rule.users.is_empty() {
        return Answer::Yes;
    }
    conditions::user(&Subject::Entry(listener), Quantifier::Every, |name, uid| {
        rule.users.iter().any(|user| match user {
            User::Name(wanted) => name == Some(wanted),
            User::Number(wanted) => uid == Some(*wanted),
        })
    })
}

fn by_unit(rule: &AllowRule, listener: &Entry, _: &Snapshot) -> Answer {
    if rule.units.is_empty() {
        return Answer::Yes;
    }
    conditions::unit(&Subject::Entry(listener), Quantifier::Every, |name| {
        rule.units.iter().any(|glob| glob.matches(name))
    })
}

fn by_container(rule: &AllowRule, listener: &Entry, _: &Snapshot) -> Answer {
    if rule.containers.is_empty() {
        return Answer::Yes;
    }
    conditions::container(&Subject::Entry(listener), Quantifier::Every, |name| {
        rule.containers.iter().any(|glob| glob.matches(name))
    })
}
