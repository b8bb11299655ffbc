//! The card of a selected row: the listener with its findings, its connections, and its port in the registry.

use crate::findings::text::plural;
use crate::judge::{Entry, Explained, Listener, Report};
use crate::model::Direction;
use crate::render::labelled::labelled;
use crate::render::{Emphasis, Style, card, listener_card};

const CONNECTIONS: usize = 50;

pub fn card(
    listener: &Listener<'_>,
    explained: &Explained<'_>,
    report: &Report,
    style: &Style,
) -> Vec<String> {
    let mut lines = listener_card::in_full(listener, true, usize::MAX, report, style);
    let is_accepted = |entry: &&Entry| {
        let (own, its) = (&entry.socket, &listener.first().socket);
        entry.direction == Some(Direction::In)
            && (own.local.port, own.local.protocol) == (its.local.port, its.local.protocol)
            && own.netns == its.netns
    };
    let accepted: Vec<&Entry> = report.entries.iter().filter(is_accepted).collect();
    if !accepted.is_empty() {
        lines.push(String::new());
        lines.push(style.paint(Emphasis::Heading, &plural(accepted.len(), "connection")));
        let shown = accepted.iter().take(CONNECTIONS);
        lines.extend(shown.flat_map(|entry| labelled(entry.socket.state.name(), &ends(entry), style)));
        if let Some(more) = accepted.len().checked_sub(CONNECTIONS).filter(|more| *more > 0) {
            lines.extend(labelled("", &format!("and {more} more"), style));
        }
    }
    lines.extend(port_lines(explained, report, style));
    lines
}

pub fn port_lines(explained: &Explained<'_>, report: &Report, style: &Style) -> Vec<String> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = card::port(explained, report, style, &mut bytes);
    let mut lines = vec![String::new()];
    lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
    lines
}

pub fn vanished_card(entries: &[Entry], report: &Report, style: &Style) -> Vec<String> {
    let text = "This listener has vanished. Its last known state:";
    let mut lines = vec![style.paint(Emphasis::Warning, text), String::new()];
    for listener in Listener::all(entries) {
        lines.extend(listener_card::in_full(&listener, true, usize::MAX, report, style));
    }
    lines
}

/// Returns the card of a connection: its ends and its process, and then the listener that accepted it.
pub fn connection_card(
    connection: &Entry,
    listener: Option<&Listener<'_>>,
    explained: &Explained<'_>,
    report: &Report,
    style: &Style,
) -> Vec<String> {
    let local = &connection.socket.local;
    let heading = format!("Connection {} {}", local.protocol.name(), ends(connection));
    let mut lines = vec![style.paint(Emphasis::Heading, &heading)];
    lines.extend(labelled("State", connection.socket.state.name(), style));
    let opened = match connection.direction {
        Some(Direction::In) => "by the other side",
        Some(Direction::Out) => "by this side",
        None => "by an unknown side",
    };
    lines.extend(labelled("Opened", opened, style));
    let own = Listener { sockets: vec![connection] };
    lines.extend(labelled("Process", &listener_card::process(&own, report, style.zone), style));
    match listener.filter(|_| connection.direction == Some(Direction::In)) {
        Some(listener) => {
            lines.push(String::new());
            lines.extend(card(listener, explained, report, style));
        }
        None => lines.extend(port_lines(explained, report, style)),
    }
    lines
}

fn ends(entry: &Entry) -> String {
    let local = &entry.socket.local;
    let near = std::net::SocketAddr::new(local.address, local.port);
    match entry.socket.peer {
        Some(peer) => format!("{near} to {}", std::net::SocketAddr::new(peer.address, peer.port)),
        None => near.to_string(),
    }
}
