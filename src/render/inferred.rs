//! The texts about the probable owner of a hidden socket. Each text says that the owner is not certain.

use std::net::SocketAddr;

use super::process_cells::what_runs as shown_process;
use super::start_text::{container, since};
use super::{Zone, address, sanitize, user};
use crate::findings::text::list;
use crate::judge::{ContainerManager, Listener, Report};
use crate::model::{Owner, OwnerEvidence, Pid, Process, ServiceBy, Socket};

/// Returns the product and the probable program of a listener: `Apache HTTP Server (probably apache2)`. `None` if no
/// owner was inferred, or if its name is not known.
pub(super) fn what_runs(listener: &Listener<'_>) -> Option<String> {
    let process = &listener.first().inferred_owner()?.process;
    let (name, runs) = (process.name.as_deref()?, shown_process(process));
    let product = listener.first().service().filter(|service| service.by != ServiceBy::Port);
    let product = product.and_then(|service| service.product?.split(" (").next());
    Some(match product {
        Some(product) if !product.eq_ignore_ascii_case(name) => format!("{product} (probably {runs})"),
        _ => format!("probably {runs}"),
    })
}

/// Returns the probable owner of a listener and the reason: `probably nginx (pid 812, user root), since 07:36 UTC today
/// (2 h): the only process of nginx.service; run with sudo to be sure`. `None` if no owner was inferred.
pub(super) fn process(listener: &Listener<'_>, report: &Report, zone: Zone) -> Option<String> {
    let owner = listener.first().inferred_owner()?;
    let process = &owner.process;
    let socket = &listener.first().socket;
    let runs_as = of_user(process);
    let created = user(socket.user.as_deref(), socket.uid).filter(|_| socket.uid != process.uid);
    let created = created.map(|user| format!("; user {user} created the socket")).unwrap_or_default();
    let since = process.started.map(|started| format!(", {}", since(started, report.snapshot.taken, zone)));
    Some(format!(
        "probably {} (pid {}{runs_as}){}: {}{created}{}",
        shown_process(process),
        process.pid,
        since.unwrap_or_default(),
        evidence(owner.evidence, socket),
        if may_see_with_sudo(listener, report) { "; run with sudo to be sure" } else { "" },
    ))
}

fn evidence(evidence: OwnerEvidence, socket: &Socket) -> String {
    let (what, end) = match evidence {
        OwnerEvidence::Forwards(_) => return "its command line names this address and port".to_owned(),
        OwnerEvidence::NamesPort => return "its command line names this port".to_owned(),
        OwnerEvidence::OnlyProgram { count: 1 } => ("process", ""),
        OwnerEvidence::OnlyProgram { .. } => ("program", ""),
        OwnerEvidence::OnlyServer => ("process", " that is not a shell or terminal"),
    };
    // The text names the unit only if the socket belongs to the control group of the unit itself, and not to a group
    // below.
    let unit = socket.unit.as_deref().and_then(|unit| unit.rsplit('/').next());
    let unit =
        unit.filter(|unit| socket.cgroup.as_deref().and_then(|group| group.rsplit('/').next()) == Some(unit));
    let group = match unit {
        Some(unit) => sanitize(unit).into_owned(),
        None => "its control group".to_owned(),
    };
    format!("the only {what} of {group}{end}")
}

/// Returns the further probable owners of a listener's sockets; empty if there are none. For example, docker-proxy has
/// one process per address.
pub(super) fn others(listener: &Listener<'_>) -> String {
    let owners = listener.sockets.iter().filter_map(|entry| Some((entry, entry.inferred_owner()?)));
    let mut pids: Vec<Pid> = Vec::new();
    let mut texts = Vec::new();
    for (entry, owner) in owners {
        let process = &owner.process;
        if !pids.is_empty() && !pids.contains(&process.pid) {
            let on = address(&entry.socket);
            texts.push(format!(
                "{} (pid {}{}) on {on}",
                shown_process(process),
                process.pid,
                of_user(process)
            ));
        }
        pids.push(process.pid);
    }
    if texts.is_empty() { String::new() } else { format!("and probably {}", list(&texts)) }
}

fn of_user(process: &Process) -> String {
    let user = user(process.user.as_deref(), process.uid);
    user.map(|user| format!(", user {user}")).unwrap_or_default()
}

/// Returns the process ID and the user of the probable owner: `pid 812, user root`. `None` if no owner was inferred.
pub(super) fn pid(listener: &Listener<'_>) -> Option<String> {
    let process = &listener.first().inferred_owner()?.process;
    Some(format!("pid {}{}", process.pid, of_user(process)))
}

/// Returns a text if the working directory of the probable owner is hidden from this user, but not from root. `None`
/// otherwise.
pub(super) fn directory(listener: &Listener<'_>, report: &Report) -> Option<(String, String)> {
    let owner = listener.first().inferred_owner()?;
    let is_hidden = owner.process.cwd.is_none() && may_see_with_sudo(listener, report);
    let text = "hidden, like the project and the program file (run with sudo)";
    is_hidden.then(|| (text.to_owned(), String::new()))
}

pub(super) fn is_published(listener: &Listener<'_>) -> bool {
    let owner = listener.first().inferred_owner();
    owner.is_some_and(|owner| matches!(owner.evidence, OwnerEvidence::Forwards(_)))
}

/// Returns the destination that the command line of the probable owner names, and the container at this destination.
/// The name and image of the container are hidden, so at most its ID is known.
pub(super) fn forwards_to(listener: &Listener<'_>, report: &Report) -> Option<String> {
    let owner = listener.first().inferred_owner()?;
    let OwnerEvidence::Forwards(to) = owner.evidence else { return None };
    let to = SocketAddr::new(to.address, to.port);
    let how = if may_see_with_sudo(listener, report) { "; run with sudo" } else { "" };
    let place = match owner.process.forwards_to_container.as_deref() {
        Some(one) => {
            let text = container(ContainerManager::of_files(one), &one.id, Some(one));
            format!("{text} (name and image hidden{how})")
        }
        None => format!("a container (hidden{how})"),
    };
    Some(format!("probably {to} in {place}"))
}

/// Returns whether the owner of a listener is hidden from this user, but root may see it.
pub(super) fn may_see_with_sudo(listener: &Listener<'_>, report: &Report) -> bool {
    let host = &report.snapshot.host;
    listener.first().socket.owner == Owner::Hidden && !host.privileged && host.os == "linux"
}
