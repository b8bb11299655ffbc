//! Finds out how a listener was started, by its control group and its ancestors.

use std::net::IpAddr;

use super::listener::Listener;
use crate::model::interpreter::is_shell;
use crate::model::{Container, Parent, Process};

/// Programs that run programs for others. Stopping one of these programs, or its unit, stops more than one listener.
const RUNNERS: [&str; 22] = [
    "cron",
    "crond",
    "CRON",
    "anacron",
    "fcron",
    "atd",
    "sshd",
    "sshd-session",
    "dropbear",
    "supervisord",
    "runsvdir",
    "s6-svscan",
    "circusd",
    "xinetd",
    "inetd",
    "dockerd",
    "containerd",
    "conmon",
    "podman",
    "libvirtd",
    "lxc-start",
    "lxd",
];
/// The units that run a program of `RUNNERS` but have another name.
const UNITS_OF_RUNNERS: [&str; 9] =
    ["ssh", "supervisor", "runit", "s6", "circus", "inetutils-inetd", "openbsd-inetd", "docker", "lxc"];
/// Programs in which a person works: terminals, multiplexers and editors. Some names are cut, because the kernel stores
/// only 15 bytes.
const TERMINALS: [&str; 36] = [
    "abduco",
    "alacritty",
    "byobu",
    "code",
    "codium",
    "deepin-terminal",
    "dtach",
    "emacs",
    "emacs-gtk",
    "foot",
    "footclient",
    "ghostty",
    "gnome-terminal-",
    "guake",
    "idea",
    "kitty",
    "kgx",
    "konsole",
    "lxterminal",
    "mate-terminal",
    "mosh-server",
    "nvim",
    "ptyxis",
    "ptyxis-agent",
    "qterminal",
    "rxvt",
    "st",
    "terminator",
    "tilix",
    "urxvt",
    "urxvtd",
    "vim",
    "wezterm-gui",
    "xfce4-terminal",
    "xterm",
    "zellij",
];
/// Programs that restart a process when it ends.
const RESTARTERS: [&str; 8] =
    ["supervisord", "runsv", "s6-supervise", "circusd", "nodemon", "watchexec", "forever", "monit"];

/// The way in which a listener was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartedBy<'r> {
    /// A container was started.
    Container {
        /// The program that manages the container.
        manager: Option<ContainerManager>,
        /// The name of the container, or its ID if it has no name. If the container belongs to an ordinary user, the
        /// name begins with the unit of this user.
        name: &'r str,
        /// The container's data from the files of its manager.
        details: Option<&'r Container>,
    },
    /// The service manager of the system started a unit.
    Unit {
        /// The unit.
        name: &'r str,
        /// The programs between the service manager and the process, the outermost first.
        through: Vec<&'r str>,
    },
    /// The service manager of a user started a unit.
    UserUnit {
        /// The unit.
        name: &'r str,
        /// The user of the process.
        user: Option<&'r str>,
    },
    /// A person or a script started the listener from a shell.
    Shell {
        /// The outermost shell.
        shell: &'r Parent,
        /// The session in which the shell runs, if known.
        session: Option<Session<'r>>,
        /// The programs between the shell and the process, the outermost first.
        through: Vec<&'r str>,
    },
    /// A user started the listener in a session over SSH. No shell of the session still runs.
    SshSession {
        /// The process of the SSH server.
        server: &'r Parent,
        /// The programs between the SSH server and the process, the outermost first.
        through: Vec<&'r str>,
    },
    /// The process is not visible. Its control group belongs to a login session.
    Login {
        /// The number of the session.
        number: &'r str,
        /// The user who created the socket.
        user: Option<&'r str>,
    },
    /// Another program started the listener.
    Program {
        /// The outermost program.
        parent: &'r Parent,
        /// The programs between this program and the process, the outermost first.
        through: Vec<&'r str>,
    },
    /// The program that started the listener has ended, or was the first process of the system.
    Background {
        /// The process that is now the parent: the first process, or the service manager of a user.
        parent: &'r Parent,
        /// The login session of the listener's process.
        session: Option<&'r str>,
    },
    /// The program that started the process is not visible. For example, portolan runs in a container, and the program
    /// runs outside it.
    Outside,
    /// The listener belongs to the first process of the system, or of a container without a name.
    FirstProcess,
    /// A service of Windows or a job of launchd started the listener. On Windows, several services can share one
    /// process.
    Service(&'r str),
}

/// The session in which a shell runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session<'r> {
    /// A session over SSH, with the address of its client if known.
    Ssh(Option<IpAddr>),
    /// A login on a console.
    Console,
    /// A program in which a person works, such as a terminal.
    Terminal(&'r str),
    /// Another program started the shell.
    Program(&'r Parent),
}

/// A program that manages containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerManager {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Kubernetes, through containerd or CRI-O.
    Kubernetes,
}

impl ContainerManager {
    /// Returns the manager of a container, by the name in the container's data; `None` for an unknown name.
    #[must_use]
    pub fn of_files(container: &Container) -> Option<Self> {
        match &*container.manager {
            _ if container.pod.is_some() => Some(ContainerManager::Kubernetes),
            "docker" => Some(ContainerManager::Docker),
            "podman" => Some(ContainerManager::Podman),
            "kubernetes" | "cri-o" => Some(ContainerManager::Kubernetes),
            _ => None,
        }
    }

    /// Returns the manager of a container, by the path of the control group; `None` if the path names no known manager.
    fn of(cgroup: &str) -> Option<Self> {
        let has = |text: &str| cgroup.split('/').any(|part| part.starts_with(text));
        match () {
            () if has("kubepods") => Some(ContainerManager::Kubernetes),
            () if has("docker") => Some(ContainerManager::Docker),
            () if has("libpod") => Some(ContainerManager::Podman),
            () => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit<'r> {
    System(&'r str),
    User(&'r str),
    Session(&'r str),
}

impl<'r> Unit<'r> {
    /// Parses a unit of a snapshot. `user@1000.service/app.service` is a unit of a user's service manager. Returns
    /// `None` if the unit is not a service, a socket or a login session.
    pub(super) fn parse(unit: &'r str) -> Option<Self> {
        let is_service = |name: &str| name.ends_with(".service") || name.ends_with(".socket");
        let (outer, inner) = unit.split_once('/').unwrap_or((unit, ""));
        let of_user = outer.starts_with("user@") && outer.ends_with(".service");
        match () {
            () if of_user => is_service(inner).then_some(Unit::User(inner)),
            () if is_service(outer) => Some(Unit::System(outer)),
            () => outer.strip_prefix("session-")?.strip_suffix(".scope").map(Unit::Session),
        }
    }
}

impl<'r> StartedBy<'r> {
    /// Returns how a listener was started; `None` if this is not visible.
    #[must_use]
    pub fn of(listener: &Listener<'r>, os: &str) -> Option<Self> {
        Self::of_process(listener, listener.main(), os)
    }

    /// Returns how the probable owner of a hidden socket was started. `None` if the socket itself shows how the
    /// listener was started, or if the ancestors of the probable owner are not visible.
    #[must_use]
    pub fn probably(listener: &Listener<'r>, os: &str) -> Option<Self> {
        if !matches!(Self::of(listener, os), None | Some(StartedBy::Login { .. })) {
            return None;
        }
        let owner = listener.sockets.first()?.inferred_owner()?;
        let is_visible = |started: &Self| !matches!(started, StartedBy::Outside | StartedBy::Login { .. });
        Self::of_process(listener, Some(&owner.process), os).filter(is_visible)
    }

    fn of_process(listener: &Listener<'r>, main: Option<&'r Process>, os: &str) -> Option<Self> {
        let process = main.filter(|process| process.pid != 1);
        if let Some(name) = listener.container() {
            let details = listener.container_details();
            return Some(StartedBy::Container { manager: manager(listener), name, details });
        }
        if let (Some(service), true) = (listener.unit(), matches!(os, "windows" | "macos")) {
            return Some(StartedBy::Service(service));
        }
        let own_unit = || main.and_then(|process| process.unit.as_deref());
        let unit = listener.unit().or_else(own_unit).and_then(Unit::parse);
        let parents = process.map(|process| &*process.parents).unwrap_or_default();
        match unit {
            Some(Unit::System(name)) => {
                let through = process.map(|process| through(process, parents)).unwrap_or_default();
                Some(StartedBy::Unit { name, through })
            }
            Some(Unit::User(name)) => {
                Some(StartedBy::UserUnit { name, user: process.and_then(|process| process.user.as_deref()) })
            }
            Some(Unit::Session(_)) | None => {
                let session = match unit {
                    Some(Unit::Session(number)) => Some(number),
                    _ => None,
                };
                match process {
                    Some(process) => {
                        Self::by_ancestors(process, session).or(Self::without_ancestors(process, os))
                    }
                    None if main.is_some() => Some(StartedBy::FirstProcess),
                    None => session.map(|number| {
                        let user = listener.first().socket.user.as_deref();
                        StartedBy::Login { number, user }
                    }),
                }
            }
        }
    }

    /// Returns `Outside` for a process without ancestors in the snapshot, because every process on Linux has a living
    /// parent. Returns `None` on other systems, or if the process was not read.
    fn without_ancestors(process: &Process, os: &str) -> Option<Self> {
        let was_read = process.started.is_some() && process.parents.is_empty();
        (was_read && os == "linux").then_some(StartedBy::Outside)
    }

    fn by_ancestors(process: &'r Process, session: Option<&'r str>) -> Option<Self> {
        let parents = &*process.parents;
        let nearest = parents.first()?;
        let end = parents.iter().position(is_outermost).unwrap_or(parents.len());
        if let Some(at) = parents[..end].iter().rposition(|parent| is_shell(&parent.name))
            && !parents.get(at + 1).is_some_and(|parent| is_runner(parent) && !is_ssh_server(parent))
        {
            return Some(StartedBy::Shell {
                shell: &parents[at],
                session: parents.get(at + 1).and_then(session_of),
                through: through(process, &parents[..at]),
            });
        }
        if is_service_manager(nearest) {
            return Some(StartedBy::Background { parent: nearest, session });
        }
        let outermost = parents.iter().take_while(|parent| !is_service_manager(parent)).take(end + 1).count();
        let at = outermost.checked_sub(1)?;
        let (parent, through) = (&parents[at], through(process, &parents[..at]));
        Some(match session_of(parent) {
            Some(Session::Ssh(_)) => StartedBy::SshSession { server: parent, through },
            _ => StartedBy::Program { parent, through },
        })
    }
}

/// Returns the program that manages the container of a listener. The files of the manager decide or, if there are none,
/// the control group.
pub(super) fn manager(listener: &Listener<'_>) -> Option<ContainerManager> {
    let by_files = listener.container_details().and_then(ContainerManager::of_files);
    by_files.or_else(|| ContainerManager::of(listener.first().socket.cgroup.as_deref()?))
}

/// Returns the name of the first ancestor that restarts its processes when they end.
pub(super) fn restarter(process: &Process) -> Option<&str> {
    process.parents.iter().map(|parent| &*parent.name).find(|name| RESTARTERS.contains(name))
}

/// Returns whether a program such as cron started the process, or whether the unit of the process belongs to such a
/// program. If root runs the process, cron itself does not count. If another user runs it, the name `cron` is no
/// evidence, because any user can choose it.
pub(super) fn is_run_by_another(process: &Process, unit: Option<Unit<'_>>) -> bool {
    let own = process.name.as_deref().filter(|_| process.uid.is_none_or(|uid| uid == 0));
    let has_runner = process.parents.iter().any(|parent| is_runner(parent) && Some(&*parent.name) != own);
    let is_in_unit_of_runner = matches!(unit, Some(Unit::System(unit)) if is_unit_of_runner(unit));
    has_runner || is_in_unit_of_runner && !own.is_some_and(|own| RUNNERS.contains(&own))
}

/// Returns whether the unit is named after a program that runs programs for others, such as `ssh@0.service`.
fn is_unit_of_runner(unit: &str) -> bool {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    let stem = name.split('@').next().unwrap_or(name);
    RUNNERS.contains(&stem) || UNITS_OF_RUNNERS.contains(&stem)
}

fn is_runner(parent: &Parent) -> bool {
    RUNNERS.contains(&&*parent.name) || parent.name.starts_with("containerd-shim")
}

fn is_service_manager(parent: &Parent) -> bool {
    parent.pid == 1 || parent.name == "systemd"
}

/// Returns whether the search ends at this ancestor, because the program that started it does not explain the listener.
fn is_outermost(parent: &Parent) -> bool {
    is_service_manager(parent) || is_runner(parent) || is_multiplexer(&parent.name) || parent.name == "login"
}

fn is_multiplexer(name: &str) -> bool {
    name == "screen" || name == "SCREEN" || name == "tmux" || name.starts_with("tmux:")
}

pub(super) fn is_ssh_server(parent: &Parent) -> bool {
    ["sshd", "sshd-session", "dropbear"].contains(&&*parent.name)
}

/// Returns the session in which a shell runs, according to the parent of the shell. `None` if the parent is a service
/// manager.
fn session_of(parent: &Parent) -> Option<Session<'_>> {
    match &*parent.name {
        _ if is_service_manager(parent) => None,
        _ if is_ssh_server(parent) => Some(Session::Ssh(parent.client)),
        "login" => Some(Session::Console),
        "SCREEN" => Some(Session::Terminal("screen")),
        name if name.starts_with("tmux:") => Some(Session::Terminal("tmux")),
        name if TERMINALS.contains(&name) => Some(Session::Terminal(name)),
        _ => Some(Session::Program(parent)),
    }
}

/// Returns the names of the programs between a process and the outermost program, each once. The outermost comes first.
fn through<'r>(process: &'r Process, parents: &'r [Parent]) -> Vec<&'r str> {
    let mut names: Vec<&str> = Vec::new();
    for parent in parents.iter().take_while(|parent| !is_service_manager(parent)) {
        let name = &*parent.name;
        if process.name.as_deref() != Some(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_runs_programs_for_others() {
        for (name, uid, unit, parents, expected) in [
            ("a server in its own unit", Some(33), "nginx.service", &["systemd"][..], false),
            ("below cron", Some(1000), "cron.service", &["cron", "systemd"], true),
            ("its parents have ended", Some(1000), "cron.service", &["systemd"], true),
            ("and root started it", Some(0), "cron.service", &["systemd"], true),
            ("a login that stays in the unit", Some(1000), "ssh.service", &["systemd"], true),
            ("in a unit for each connection", Some(1000), "ssh@1-2.service", &["systemd"], true),
        ] {
            assert_eq!(is_run("x", uid, unit, parents), expected, "{name}");
        }
        for (name, uid, unit, expected) in [
            ("sshd", Some(0), "ssh.service", false),
            ("sshd", None, "ssh.service", false),
            ("sshd", Some(1000), "ssh.service", true),
            ("dockerd", Some(0), "docker.service", false),
            ("dnsmasq", Some(999), "libvirtd.service", true),
        ] {
            assert_eq!(is_run(name, uid, unit, &["systemd"]), expected, "{name} {uid:?} {unit}");
        }
        assert!(!is_run("sshd", Some(0), "ssh.service", &["sshd", "systemd"]));
        assert!(is_run("sshd", Some(1000), "own.service", &["sshd", "systemd"]));
    }

    fn is_run(name: &str, uid: Option<u32>, unit: &str, parents: &[&str]) -> bool {
        let parents = parents.iter().map(|name| Parent::new(9, (*name).to_owned())).collect();
        let process = Process { name: Some(name.to_owned()), uid, parents, ..Process::unknown(7) };
        is_run_by_another(&process, Unit::parse(unit))
    }
}
