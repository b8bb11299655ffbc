//! The card of a row. The facts are read when the card is opened, because the scans of a watch do not read all of them,
//! for example not the connections.

use super::Watch;
use super::explorer::{Source, Text};
use crate::baseline::Fingerprint;
use crate::command::{infer_owners, judged, namespaces, read_rest, take_snapshot};
use crate::judge::{self, Entry, Listener, Report};
use crate::model::{PortRange, State};
use crate::observe::Scope;
use crate::render::Style;
use crate::render::screen::{card, connection_card, port_lines, vanished_card};

pub(super) fn of(sockets: &[&Entry], source: Source<'_>, watch: &Watch) -> Text {
    let Some(first) = sockets.first() else { return Box::new(|_| Vec::new()) };
    let entry = (*first).clone();
    let local = &entry.socket.local;
    let scope = Scope {
        ports: Some(vec![PortRange::single(local.port)]),
        states: State::with_ports(),
        details: true,
        namespaces: namespaces(&watch.common),
        ..Scope::default()
    };
    match take_snapshot(&watch.common, scope) {
        Ok(snapshot) => {
            let mut report = judged(snapshot, watch.registry, &watch.common);
            let pids = report.entries.iter().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
            read_rest(&mut report, &pids, &watch.common);
            infer_owners(&mut report, |_| true, &watch.common);
            Box::new(move |style| lines(&entry, &report, style))
        }
        Err(error) => {
            let report = Report { entries: vec![entry], ..source.report.clone() };
            let error = format!("{error:#}");
            Box::new(move |style| {
                let mut lines = vanished_card(&report.entries, &report, style);
                lines.push(error.clone());
                lines
            })
        }
    }
}

pub(super) fn lines(entry: &Entry, report: &Report, style: &Style) -> Vec<String> {
    let local = &entry.socket.local;
    let explained = judge::explain(report, local.port, local.protocol, true);
    let listeners = Listener::all(explained.listeners.iter().copied());
    let print = Fingerprint::of(entry);
    let has = |listener: &&Listener<'_>, same: &dyn Fn(&Entry) -> bool| {
        listener.sockets.iter().any(|one| same(one))
    };
    let same = listeners.iter().find(|listener| has(listener, &|one| Fingerprint::of(one) == print));
    let same = same.or_else(|| {
        let place =
            listeners.iter().find(|listener| has(listener, &|one| Fingerprint::of(one).place == print.place));
        place.filter(|_| entry.socket.state.holds_port())
    });
    match same {
        Some(listener) => card(listener, &explained, report, style),
        None if entry.socket.state.holds_port() => {
            let mut lines = vanished_card(std::slice::from_ref(entry), report, style);
            lines.extend(port_lines(&explained, report, style));
            lines
        }
        None => connection_card(entry, listeners.first(), &explained, report, style),
    }
}
