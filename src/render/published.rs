//! The texts about a published port: its destination, and the ports that lead to a listener.

use std::net::SocketAddr;

use super::process_cells::what_runs;
use super::start_text::container;
use super::user;
use crate::findings::text::first_of;
use crate::judge::{ContainerManager, Listener};
use crate::model::ForwardTarget;

/// The maximum number of published ports that a card names.
const FEW: usize = 4;

/// Returns the destination of a published port, with the container and the process that serve it.
pub(super) fn forwards_to(to: &ForwardTarget) -> String {
    let place = match to.address.is_unspecified() {
        true => format!("port {} of this machine", to.port),
        false => SocketAddr::new(to.address, to.port).to_string(),
    };
    let of_container = to.container.as_deref().map(|to| {
        let name = to.name.as_deref().unwrap_or(&to.id);
        format!(" in {}", container(ContainerManager::of_files(to), name, Some(to)))
    });
    let server = to.served_by.as_deref().map(|process| {
        let user = user(process.user.as_deref(), process.uid);
        let user = user.map(|user| format!(", user {user}")).unwrap_or_default();
        format!(": {} (pid {}{user})", what_runs(process), process.pid)
    });
    place + &of_container.unwrap_or_default() + &server.unwrap_or_default()
}

/// Returns the published ports that lead to a listener in another network namespace; empty if there are none.
pub(super) fn published_as(listener: &Listener<'_>) -> String {
    let mut ports: Vec<String> = Vec::new();
    for port in listener.sockets.iter().flat_map(|entry| entry.published_as()) {
        let port = port.to_string();
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    if ports.is_empty() { String::new() } else { format!("as {} of this machine", first_of(&ports, FEW)) }
}
