//! Finds how to stop a listener in a way that keeps it stopped.

use super::listener::{Listener, has_ancestor_in, is_user_manager};
use super::started_by::{ContainerManager, Unit, is_run_by_another, manager, restarter};
use crate::model::{Owner, Pid, short_container};

/// The ways to stop a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HowToStop<'r> {
    /// Stop these units of systemd.
    Units(Vec<&'r str>),
    /// Stop this unit of a user's service manager.
    UserUnit {
        /// The unit.
        name: &'r str,
        /// The user.
        user: Option<&'r str>,
    },
    /// Stop this container.
    Container {
        /// The program that manages the container.
        manager: ContainerManager,
        /// The name or ID of the container.
        name: &'r str,
        /// The full ID of the container.
        id: &'r str,
    },
    /// Stop the Docker container that published this port. The name of the container is not known.
    PublishedPort(u16),
    /// Stop this service of Windows.
    WindowsService(&'r str),
    /// End these processes.
    Kill {
        /// The owners of the socket, except owners that another owner started.
        pids: Vec<Pid>,
        /// The program that may restart the processes, if known.
        restarted_by: Option<&'r str>,
    },
    /// Remove this rule, by which the kernel forwards the port.
    Rule(&'r str),
    /// No process owns the socket, so no process can be ended.
    Kernel,
    /// The first process of the system owns the socket. This process cannot be ended.
    FirstProcess,
    /// The service manager of this user owns the socket, and the socket unit is not known. The service manager must not
    /// be ended, because it runs all services of the user.
    UserManager(Option<&'r str>),
}

impl<'r> HowToStop<'r> {
    /// Returns the words of the command that stops a unit or a container; `None` for every other way.
    #[must_use]
    pub fn command(&self) -> Option<Vec<&'r str>> {
        match *self {
            HowToStop::Units(ref units) => {
                let mut words = vec!["systemctl", "stop"];
                words.extend(units.iter().map(|unit| unit_argument(unit)));
                Some(words)
            }
            HowToStop::UserUnit { name, .. } => {
                Some(vec!["systemctl", "--user", "stop", unit_argument(name)])
            }
            HowToStop::Container { manager, name, .. } => {
                let name = name.split_once('/').map_or(name, |(_, name)| name);
                Some(vec![engine(manager), "stop", short_container(name)])
            }
            _ => None,
        }
    }

    /// Returns [`HowToStop::command`] with full unit names and the full container ID. A name or a short ID can later
    /// belong to another container.
    #[must_use]
    pub fn exact_command(&self) -> Option<Vec<&'r str>> {
        match *self {
            HowToStop::Units(ref units) => {
                let mut words = vec!["systemctl", "stop", "--"];
                words.extend(units);
                Some(words)
            }
            HowToStop::UserUnit { name, .. } => Some(vec!["systemctl", "--user", "stop", "--", name]),
            HowToStop::Container { manager, id, .. } => Some(vec![engine(manager), "stop", id]),
            _ => None,
        }
    }

    /// Returns how to stop a listener; `None` if its processes are not known.
    #[must_use]
    pub fn of(listener: &Listener<'r>, os: &str) -> Option<Self> {
        let socket = &listener.first().socket;
        if let Some(forwarding) = &socket.forwarding {
            return Some(HowToStop::Rule(&forwarding.rule));
        }
        if socket.owner == Owner::Kernel {
            return Some(HowToStop::Kernel);
        }
        let main = listener.main().filter(|process| process.pid != 1);
        if let Some(to) = listener.first().forward_target() {
            let container = to.container.as_deref().and_then(|to| Some((to.name.as_deref()?, &*to.id)));
            return Some(match container {
                Some((name, id)) => HowToStop::Container { manager: ContainerManager::Docker, name, id },
                None => HowToStop::PublishedPort(socket.local.port),
            });
        }
        if let Some(name) = listener.container() {
            return match (manager(listener), listener.container_id()) {
                (Some(manager @ (ContainerManager::Docker | ContainerManager::Podman)), Some(id)) => {
                    Some(HowToStop::Container { manager, name, id })
                }
                (Some(ContainerManager::Kubernetes), _) => processes(listener, Some("Kubernetes")),
                // The container may run a complete system, so only the processes of the listener should end.
                _ => processes(listener, None),
            };
        }
        if let (Some(service), "windows") = (listener.unit(), os) {
            // Windows cannot stop one service of a process that runs several services.
            return (!service.contains(',')).then_some(HowToStop::WindowsService(service));
        }
        // Stopping `docker.service` would end all containers.
        if main.is_none() && listener.unit() == Some("docker.service") {
            return Some(HowToStop::PublishedPort(socket.local.port));
        }
        let user_manager = listener.processes().into_iter().find(|process| is_user_manager(process));
        if let Some(user_manager) = user_manager {
            return Some(HowToStop::UserManager(user_manager.user.as_deref()));
        }
        let unit = listener.unit().and_then(Unit::parse);
        let is_own = main.is_none_or(|process| !is_run_by_another(process, unit));
        match unit {
            Some(Unit::System(unit)) if is_own => {
                let mut units = vec![unit];
                units.extend(listener.socket_unit().filter(|socket| *socket != unit));
                units.sort_by_key(|unit| !unit.ends_with(".socket"));
                Some(HowToStop::Units(units))
            }
            Some(Unit::User(name)) if is_own => {
                Some(HowToStop::UserUnit { name, user: main.and_then(|process| process.user.as_deref()) })
            }
            _ => processes(listener, main.and_then(restarter)),
        }
    }
}

fn engine(manager: ContainerManager) -> &'static str {
    if manager == ContainerManager::Podman { "podman" } else { "docker" }
}

/// Returns how to end only the processes of a listener, without its unit or container. Returns `FirstProcess` if pid 1
/// owns the socket, and `None` if no owner is known.
pub(super) fn processes<'r>(listener: &Listener<'r>, restarted_by: Option<&'r str>) -> Option<HowToStop<'r>> {
    let owner = &listener.first().socket.owner;
    if owner.pids().contains(&1) {
        return Some(HowToStop::FirstProcess);
    }
    let read = &listener.first().processes;
    let is_started_by_another =
        |pid: &Pid| read.iter().any(|process| process.pid == *pid && has_ancestor_in(process, owner));
    let pids: Vec<Pid> = owner.pids().iter().copied().filter(|pid| !is_started_by_another(pid)).collect();
    (!pids.is_empty()).then_some(HowToStop::Kill { pids, restarted_by })
}

/// Returns a unit as an argument of `systemctl`. The suffix `.service` is removed, unless the rest contains a dot.
fn unit_argument(unit: &str) -> &str {
    unit.strip_suffix(".service").filter(|name| !name.contains('.')).unwrap_or(unit)
}
