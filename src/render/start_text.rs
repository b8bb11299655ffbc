//! The sanitized texts about a process: the program that started it, its start time, and the command that stops it.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::process_cells::shell_words;
use super::{Zone, process_name, sanitize};
use crate::findings::text::list;
use crate::judge::{ContainerManager, HowToStop, Session, StartedBy};
use crate::model::{Container, Parent, Pid, Rights, short_container};

/// The maximum number of programs that are named between a process and its starter.
const FEW: usize = 3;
/// The maximum number of processes that are named in a command.
const FEW_PIDS: usize = 8;

pub(super) fn started_by(started: &StartedBy<'_>) -> String {
    match started {
        StartedBy::Container { manager, name, details } => container(*manager, name, *details),
        StartedBy::Unit { name, through } => format!("systemd unit {}{}", sanitize(name), via(through)),
        StartedBy::UserUnit { name, user } => {
            let user = user.map_or("a user".into(), sanitize);
            format!("systemd user unit {} of {user}", sanitize(name))
        }
        StartedBy::Shell { shell, session, through } => {
            let session = match session {
                None => String::new(),
                Some(Session::Ssh(client)) => format!(" in {}", ssh_session(*client)),
                Some(Session::Console) => " on a console".to_owned(),
                Some(Session::Terminal(name)) => format!(" in {}", sanitize(name)),
                Some(Session::Program(parent)) => {
                    format!(" (a child of {}, pid {})", process_name(Some(&parent.name)), parent.pid)
                }
            };
            let by = user(shell).map(|user| format!(" by {user}")).unwrap_or_default();
            let through: Vec<&str> = through.iter().copied().filter(|name| *name != shell.name).collect();
            // The name of a login shell begins with a dash.
            let name = shell.name.trim_start_matches('-');
            format!("started from {}{session}{by}{}", process_name(Some(name)), via(&through))
        }
        StartedBy::SshSession { server, through } => {
            let by = user(server).map(|user| format!(" by {user}")).unwrap_or_default();
            format!("started in {}{by}{}", ssh_session(server.client), via(through))
        }
        StartedBy::Login { number, user } => {
            let of = user.map(|user| format!(" of {}", sanitize(user))).unwrap_or_default();
            format!("in login session {}{of}", sanitize(number))
        }
        StartedBy::Program { parent, through } => {
            let by = user(parent).map(|user| format!(", user {user}")).unwrap_or_default();
            format!(
                "started by {} (pid {}{by}){}",
                process_name(Some(&parent.name)),
                parent.pid,
                via(through)
            )
        }
        StartedBy::Background { parent, session } => {
            let session = session.map(|number| format!(" in login session {}", sanitize(number)));
            let session = session.unwrap_or_default();
            match &*parent.name {
                "systemd" | "init" | "launchd" => {
                    format!("in the background{session}; the process that started it has ended")
                }
                name => format!(
                    "in the background{session}; its parent is {} (pid {})",
                    process_name(Some(name)),
                    parent.pid
                ),
            }
        }
        StartedBy::Outside => {
            "started by a process that is not visible, for example a process outside the container".to_owned()
        }
        StartedBy::FirstProcess => "the first process: it starts all others".to_owned(),
        StartedBy::Service(name) => format!("service {}", sanitize(name)),
    }
}

/// Returns a container: `docker container shop-web (image nginx:1.27)`.
pub(super) fn container(
    manager: Option<ContainerManager>,
    name: &str,
    details: Option<&Container>,
) -> String {
    let kind = match manager {
        Some(ContainerManager::Docker) => "docker container",
        Some(ContainerManager::Podman) => "podman container",
        Some(ContainerManager::Kubernetes) => "Kubernetes container",
        None => "container",
    };
    let mut facts = Vec::new();
    if let Some(pod) = details.and_then(|details| details.pod.as_deref()) {
        let namespace = details.and_then(|details| details.namespace.as_deref());
        let namespace = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        facts.push(format!("pod {namespace}{pod}"));
    }
    facts.extend(details.and_then(|details| details.image.as_deref()).map(|image| format!("image {image}")));
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    sanitize(&format!("{kind} {}{facts}", short_container(name))).into_owned()
}

fn ssh_session(client: Option<IpAddr>) -> String {
    let from = client.map(|client| format!(" from {client}")).unwrap_or_default();
    format!("an SSH session{from}")
}

fn user(parent: &Parent) -> Option<String> {
    super::user(parent.user.as_deref(), parent.uid)
}

fn via(names: &[&str]) -> String {
    let mut named: Vec<String> =
        names.iter().take(FEW).map(|name| process_name(Some(name)).into_owned()).collect();
    if let Some(more) = names.len().checked_sub(FEW).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    if named.is_empty() { String::new() } else { format!(", through {}", list(&named)) }
}

/// Returns the text of [`how_to_stop`]. The command has sudo if the user needs it.
pub(super) fn how_to_stop_with(how: &HowToStop<'_>, os: &str, rights: Rights) -> String {
    let text = how_to_stop(how, os);
    let is_roots = match how {
        HowToStop::Units(_) => true,
        // A name with a slash is a user's container: `user@1000.service/web`. Only this user can stop it.
        HowToStop::Container { name, .. } if name.contains('/') => false,
        HowToStop::Container { manager: ContainerManager::Docker, .. } | HowToStop::PublishedPort(_) => {
            !rights.may_use_docker
        }
        HowToStop::Container { .. } => true,
        HowToStop::Rule(rule) => delete_rule(rule).is_some(),
        _ => false,
    };
    if !is_roots || !rights.needs_sudo {
        return text;
    }
    // The command in the parentheses needs sudo too.
    format!("sudo {}", text.replacen("$(docker ", "$(sudo docker ", 1))
}

/// Returns the command that stops a listener, or the reason why there is none.
pub(super) fn how_to_stop(how: &HowToStop<'_>, os: &str) -> String {
    let command = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        sanitize(&shell_words(&words)).into_owned()
    };
    let stop = how.command().map(|words| command(&words)).unwrap_or_default();
    let as_user =
        |user: Option<&str>| user.map(|user| format!("   (as user {})", sanitize(user))).unwrap_or_default();
    match how {
        HowToStop::Units(_) => stop,
        HowToStop::UserUnit { user, .. } => stop + &as_user(*user),
        HowToStop::Container { name, .. } => {
            let user = name.split_once('/').and_then(|(unit, _)| unit.strip_prefix("user@"));
            stop + &as_user(user.and_then(|unit| unit.strip_suffix(".service")))
        }
        HowToStop::PublishedPort(port) => format!("docker stop $(docker ps -q --filter publish={port})"),
        HowToStop::WindowsService(name) => command(&["net", "stop", name]),
        HowToStop::Kill { pids, restarted_by } => {
            let command = kill(pids, os);
            match restarted_by {
                Some(name) => format!("{command}   ({} may start it again)", process_name(Some(name))),
                None => command,
            }
        }
        HowToStop::Rule(rule) => match delete_rule(rule) {
            Some(command) => format!("{command}   (removes the rule that forwards this port)"),
            None => format!("remove the kernel rule that forwards this port: {}", sanitize(rule)),
        },
        HowToStop::Kernel => {
            "kill cannot stop it: the socket belongs to the kernel, not to a process".to_owned()
        }
        HowToStop::UserManager(user) => {
            "systemctl --user list-sockets shows the socket unit; stop that unit".to_owned() + &as_user(*user)
        }
        HowToStop::FirstProcess => "do not kill pid 1: it runs the whole system".to_owned(),
    }
}

/// Returns the command that removes a rule of nftables: `nft delete rule ip nat pre handle 2`. `None` for a rule that
/// is not of nftables, and for a name with a character that a shell would interpret.
fn delete_rule(rule: &str) -> Option<String> {
    let (chain, rest) = rule.strip_prefix("nft rule ")?.split_once(", handle ")?;
    let handle: u64 = rest.split([':', ' ']).next()?.parse().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    let is_chain = chain.split(' ').count() == 3 && chain.chars().all(is_plain);
    is_chain.then(|| format!("nft delete rule {chain} handle {handle}"))
}

fn kill(pids: &[Pid], os: &str) -> String {
    let first = pids.iter().take(FEW_PIDS);
    let command = if os == "windows" {
        format!("taskkill{}", first.map(|pid| format!(" /PID {pid}")).collect::<String>())
    } else {
        format!("kill{}", first.map(|pid| format!(" {pid}")).collect::<String>())
    };
    match pids.len().saturating_sub(FEW_PIDS) {
        0 => command,
        more => format!("{command}   (and {more} more processes)"),
    }
}

/// Returns the start time of a process and its age: `since 07:36 UTC today (2 h)`.
pub(super) fn since(started: Timestamp, now: Timestamp, zone: Zone) -> String {
    let ago = match now.duration_since(started) {
        ago if ago < SignedDuration::ZERO => String::new(),
        ago => format!(" ({})", span(ago)),
    };
    if zone.day(started) == zone.day(now) {
        format!("since {} today{ago}", zone.time(started, "%H:%M"))
    } else {
        format!("since {}{ago}", zone.time(started, "%Y-%m-%d %H:%M"))
    }
}

/// Returns a length of time in its two largest units, rounded down: `1 h 53 min`. If the first number is large, the
/// second unit is left out.
pub(super) fn span(time: SignedDuration) -> String {
    const FEW: i64 = 10;
    let (seconds, minutes, hours) = (time.as_secs(), time.as_mins(), time.as_hours());
    let second = |first: i64, rest: i64, unit: &str| match (first, rest) {
        (FEW.., _) | (_, 0) => String::new(),
        _ => format!(" {rest} {unit}"),
    };
    match (hours / 24, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min{}", second(minutes, seconds % 60, "s")),
        (0 | 1, ..) => format!("{hours} h{}", second(hours, minutes % 60, "min")),
        (days, ..) => format!("{days} days{}", second(days, hours % 24, "h")),
    }
}
