//! The brief form of a listing, for data from many hosts. Each listener and process has one row of at most 900 bytes.
//!
//! A row has no command line and no text of the registry. A text that is too long for its column is cut and ends with
//! `…`.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::CompactFormatter;

use crate::join::Entry;
use crate::judge::Report;
use crate::model::{Exposure, Pid, Protocol, ServiceBy, Severity, State, Status};

use super::csv::{harmless, rows_of};
use super::json::{host_line, kind, serialize};
use super::{is_unsafe, sanitize};

/// One listener or connection, and one of its processes.
#[derive(Serialize)]
struct FlatRow {
    kind: &'static str,
    host_id: Option<String>,
    taken: Timestamp,
    complete: bool,
    protocol: Protocol,
    address: Option<std::net::IpAddr>,
    port: Option<u16>,
    receives: Option<String>,
    device: Option<String>,
    netns: Option<u64>,
    state: State,
    peer: Option<String>,
    exposure: Exposure,
    owner: &'static str,
    service: Option<String>,
    service_by: Option<ServiceBy>,
    pid: Option<Pid>,
    process: Option<String>,
    exe: Option<String>,
    script: Option<String>,
    user: Option<String>,
    uid: Option<u32>,
    unit: Option<String>,
    container: Option<String>,
    package: Option<String>,
    status: Option<Status>,
    flags: Option<String>,
    severity: Option<Severity>,
}

impl FlatRow {
    /// Makes a row for an entry with at most one process. `text` escapes a text for JSON or CSV.
    fn new(entry: &Entry, report: &Report, text: fn(String) -> String) -> Self {
        let (socket, snapshot) = (&entry.socket, &report.snapshot);
        let fitted = |value: Option<&str>, most: usize| value.map(|value| text(fit(value, most)));
        let process = entry.processes.first();
        let unit = process.and_then(|process| process.unit.as_deref()).or(socket.unit.as_deref());
        let container = process.and_then(|process| process.container_name()).or(entry.container());
        let user = entry.users().into_iter().next().unwrap_or_default();
        let codes: Vec<&str> = entry.findings().iter().map(|finding| finding.flag().code()).collect();
        let service = entry.service();
        let origin = process.and_then(|process| process.origin.as_ref());
        let script = process.and_then(|process| process.script.as_ref());
        let exe = process.and_then(|process| process.exe.as_ref());
        let taken = snapshot.taken.as_second();
        let receives = socket.receives.as_ref();
        FlatRow {
            kind: kind(entry),
            host_id: fitted(snapshot.host.id.as_deref(), 64),
            taken: Timestamp::from_second(taken).unwrap_or(snapshot.taken),
            complete: snapshot.is_complete(),
            protocol: socket.local.protocol,
            address: socket.address(),
            port: socket.port(),
            receives: receives.and_then(|received| received.name(socket.local.protocol)).map(Cow::into_owned),
            device: fitted(socket.local.device.as_deref(), 16),
            netns: socket.netns.as_ref().map(|netns| netns.inode),
            state: socket.state,
            peer: socket.peer.map(|peer| std::net::SocketAddr::new(peer.address, peer.port).to_string()),
            exposure: entry.exposure,
            owner: socket.owner.name(),
            service: fitted(service.and_then(|service| service.name.or(service.product)), 32),
            service_by: service.map(|service| service.by),
            pid: socket.owner.pids().first().copied(),
            process: fitted(process.and_then(|process| process.name.as_deref()), 16),
            exe: fitted(exe.map(|exe| exe.path.as_str()), 80),
            script: fitted(script.map(|script| script.path.as_str()), 56),
            user: fitted(user.name, 24),
            uid: user.uid,
            unit: fitted(unit, 40),
            container: fitted(container, 32),
            package: fitted(origin.and_then(|origin| origin.package.as_deref()), 24),
            status: entry.port_verdict().map(|verdict| verdict.status),
            flags: (!codes.is_empty()).then(|| fit(&codes.join(" "), 56)),
            severity: entry.worst(),
        }
    }
}

/// Cuts a text so that it takes at most `most` bytes, both in JSON and in CSV.
fn fit(text: &str, most: usize) -> String {
    // An escape has at most 12 bytes: a pair of `\u` escapes in JSON.
    let cost = |c: char| match c {
        '"' | '\\' => 2,
        c if is_unsafe(c) => 12,
        c => c.len_utf8(),
    };
    if text.chars().map(cost).sum::<usize>() <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub('…'.len_utf8());
    let is_within = |c: &char| {
        let within = cost(*c) <= left;
        left = left.saturating_sub(cost(*c));
        within
    };
    text.chars().take_while(is_within).chain(['…']).collect()
}

/// Writes the host, and then one row per line.
pub fn lines(report: &Report, w: &mut dyn Write) -> io::Result<()> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    // The host line contains the number of lines, so that a reader notices a truncated file. A listener has one line
    // per process.
    let kinds = report.entries.iter().flat_map(|entry| {
        let rows = entry.socket.owner.pids().len().max(1);
        std::iter::repeat_n(kind(entry), rows)
    });
    host_line(report, kinds, &mut w)?;
    for row in report.entries.iter().flat_map(rows_of) {
        serialize(&FlatRow::new(&row, report, |text| text), CompactFormatter, &mut w)?;
    }
    w.flush()
}

pub fn csv(report: &Report, header: bool, w: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().has_headers(header).from_writer(w);
    for row in report.entries.iter().flat_map(rows_of) {
        csv.serialize(FlatRow::new(&row, report, |text| harmless(sanitize(&text).into_owned())))?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Exe, ExeState, Netns, Owner, Process, Script, Socket, SocketAttributes};
    use crate::render::fixtures::{empty, report, text};

    /// Returns a report of one listener and one connection with texts of the maximum length.
    fn longest(evil: &str) -> Report {
        let evil = || evil.repeat(500);
        let mut snapshot = empty();
        snapshot.host.id = Some("f".repeat(64));
        let attributes = SocketAttributes {
            uid: Some(u32::MAX),
            user: Some(evil()),
            netns: Some(Netns { inode: 4_294_967_295, name: Some(evil()) }),
            unit: Some(evil()),
            container: Some(evil()),
            ..SocketAttributes::default()
        };
        let local: Endpoint =
            format!("tcp/[fe80:1111:2222:3333:4444:5555:6666:7777%{}]:65535", "d".repeat(15))
                .parse()
                .unwrap();
        let socket = Socket {
            local,
            peer: None,
            state: State::Unconnected,
            mptcp: false,
            attributes: attributes.into(),
            inode: None,
            cookie: None,
            v6only: None,
            queues: None,
            owner: Owner::Held(vec![u32::MAX - 1, u32::MAX].into()),
        };
        let connection = Socket {
            state: State::Established,
            peer: Some(crate::model::Peer { address: socket.local.address, port: 65535 }),
            ..socket.clone()
        };
        snapshot.sockets = vec![socket, connection];
        snapshot.processes = [u32::MAX - 1, u32::MAX]
            .map(|pid| Process {
                name: Some(evil()),
                exe: Some(Exe { path: evil(), state: ExeState::Deleted, open_directories: None }),
                script: Some(Script { path: evil(), origin: None, is_program: false }),
                cmdline: vec!["secret".to_owned()],
                user: Some(evil()),
                uid: Some(u32::MAX),
                unit: Some(evil()),
                container: Some(evil()),
                ..Process::unknown(pid)
            })
            .into();
        report(&snapshot)
    }

    #[test]
    fn rows_are_flat_and_short_with_any_text() {
        for evil in ["a", "\u{1b}", "\"", "\\", "\u{e0001}", "ä", "漢", "=", "\\x1b"] {
            let report = longest(evil);
            let written = text(|w| lines(&report, w));
            let (head, rows) = written.split_once('\n').unwrap();
            let head: serde_json::Value = serde_json::from_str(head).unwrap();
            assert_eq!(
                (&head["counts"]["listeners"], &head["counts"]["connections"]),
                (&2.into(), &2.into())
            );
            let rows: Vec<&str> = rows.lines().collect();
            assert_eq!(rows.len(), 4, "{evil:?}: one row per socket and process");
            for row in rows {
                assert!(row.len() <= 900, "{evil:?}: {} bytes: {row}", row.len());
                assert!(!row.contains("secret"), "{row}");
                let value: serde_json::Value = serde_json::from_str(row).unwrap();
                let is_flat = |value: &serde_json::Value| !value.is_object() && !value.is_array();
                assert!(value.as_object().unwrap().values().all(is_flat), "{row}");
            }
            let rows = text(|w| csv(&report, true, w));
            assert_eq!(rows.lines().count(), 5);
            assert!(rows.lines().all(|row| row.len() <= 900), "{evil:?}: {rows}");
        }
    }

    #[test]
    fn a_text_that_fits_is_unchanged() {
        for (value, most, fitted) in
            [("abcd", 4, "abcd"), ("abcde", 4, "a…"), ("\"\"", 4, "\"\""), ("\"\"\"", 5, "\"…"), ("", 0, "")]
        {
            assert_eq!(fit(value, most), fitted, "{value}");
        }
        assert_eq!(fit("\u{1b}a", 11), "…");
    }
}
