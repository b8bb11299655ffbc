//! JSON: the schemas `portolan/2` (a listing), `portolan.explain/2` and `portolan.observation/2`.
//!
//! Names, types and nulls are a contract. An unknown value is `null`. Text is complete. Every character that a terminal
//! could interpret is a `\u` escape, so that a terminal can show the output. The output is streamed; no tree is built
//! in memory.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::findings::{Evidence, Finding};
use crate::join::Entry;
use crate::judge::{Explained, Query, Report};
use crate::model::{
    Assignment, CommonService, Device, EphemeralHere, Event, EvidenceSource, GuardedService, KnownProgram,
    NearbyRegistrations, Pid, PortAnswer, PortVerdict, Protocol, Reach, RegistryRange, Severity, Snapshot,
    State, Status, StatusBasis,
};

use super::head::{DocumentHeader, HostLine, LineHeader};
use super::json_container::Forwarding;
use super::json_process::ProcessRow;
use super::verdict_text;
use super::visible::Visible;

/// Writes a listing.
pub fn listing(report: &Report, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Listing<'a> {
        #[serde(flatten)]
        head: DocumentHeader<'a>,
        listeners: &'a [Entry],
    }
    write(&Listing { head: DocumentHeader::new("portolan/2", report), listeners: &report.entries }, w)
}

/// Writes the registrations of ports, and the listeners on them.
pub fn explain(
    ports: &[Explained<'_>],
    asked: &[Query<'_>],
    report: &Report,
    w: &mut dyn Write,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Explanation<'a, P> {
        #[serde(flatten)]
        head: DocumentHeader<'a>,
        targets: &'a [Query<'a>],
        ports: P,
    }
    let ports = Seq(|| ports.iter().map(PortJson::new));
    let head = DocumentHeader::new("portolan.explain/2", report);
    write(&Explanation { head, targets: asked, ports }, w)
}

/// Writes a raw snapshot, in the form that `--from` reads.
pub fn print_snapshot(snapshot: &Snapshot, w: &mut dyn Write) -> io::Result<()> {
    write(snapshot, w)
}

/// Writes the host, and then one socket per line.
pub fn lines(report: &Report, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        stamp: LineHeader<'a>,
        complete: bool,
        #[serde(flatten)]
        listener: &'a Entry,
    }
    let mut w = BufWriter::with_capacity(1 << 16, w);
    host_line(report, report.entries.iter().map(kind), &mut w)?;
    let complete = report.snapshot.is_complete();
    for listener in &report.entries {
        let stamp = LineHeader::new(kind(listener), &report.snapshot);
        serialize(&Line { stamp, complete, listener }, CompactFormatter, &mut w)?;
    }
    w.flush()
}

/// Writes the first line of a listing. It contains the number of the following lines by kind, and the number of sockets
/// before filters were applied. `kinds` has the kind of each following line.
pub(super) fn host_line<'a>(
    report: &Report,
    kinds: impl Iterator<Item = &'a str>,
    w: impl Write,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Counts {
        sockets: usize,
        listeners: usize,
        connections: usize,
        raw: usize,
    }
    let mut counts = Counts { sockets: report.seen, listeners: 0, connections: 0, raw: 0 };
    for kind in kinds {
        match kind {
            "listener" => counts.listeners += 1,
            "raw" => counts.raw += 1,
            _ => counts.connections += 1,
        }
    }
    let head = DocumentHeader::new("portolan/2", report);
    serialize(&HostLine::new(head, None, counts), CompactFormatter, w)
}

pub(super) const fn kind(entry: &Entry) -> &'static str {
    match entry.socket.state {
        State::Raw => "raw",
        state if state.holds_port() => "listener",
        _ => "connection",
    }
}

pub(super) fn write(document: &impl Serialize, w: &mut dyn Write) -> io::Result<()> {
    let mut w = BufWriter::with_capacity(1 << 16, w);
    serialize(document, PrettyFormatter::new(), &mut w)?;
    w.flush()
}

pub(super) fn serialize(
    document: &impl Serialize,
    layout: impl Formatter,
    mut w: impl Write,
) -> io::Result<()> {
    document.serialize(&mut serde_json::Serializer::with_formatter(Visible(&mut w), layout))?;
    w.write_all(b"\n")
}

/// A list whose items are made while it is written.
pub(super) struct Seq<F>(pub(super) F);

impl<I, F> Serialize for Seq<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

impl Serialize for Entry {
    /// Writes an entry in the form that all documents share. A value that does not apply or is not known is null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let socket = &self.socket;
        let reach = self.reach();
        let limited = reach.filter(|reach| !reach.from.is_empty());
        // A process that could not be read is listed too, because its pid is known.
        let process_row = |pid: &Pid| {
            let process = self.processes.iter().find(|process| process.pid == *pid).map(|process| &**process);
            ProcessRow { pid: *pid, process }
        };
        let receives = socket.receives.as_ref().map(|received| Received {
            name: received.name(socket.local.protocol),
            number: received.number,
            promiscuous: &received.promiscuous,
        });
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("protocol", &socket.local.protocol)?;
        fields.serialize_entry("family", &socket.address().map(|_| socket.local.family()))?;
        fields.serialize_entry("address", &socket.address())?;
        fields.serialize_entry("port", &socket.port())?;
        fields.serialize_entry("receives", &receives)?;
        fields.serialize_entry("device", &socket.local.device)?;
        fields.serialize_entry("v6only", &socket.v6only)?;
        fields.serialize_entry("state", &socket.state)?;
        fields.serialize_entry("peer", &socket.peer)?;
        fields.serialize_entry("direction", &self.direction)?;
        fields.serialize_entry("connections", &self.connections)?;
        fields.serialize_entry("netns", &socket.netns)?;
        fields.serialize_entry("service", &self.service())?;
        fields.serialize_entry("forwards_to", &self.forward_target().map(Forwarding::new))?;
        fields.serialize_entry("reach", &reach.map(|reach| reach.kind))?;
        fields.serialize_entry("reach_from", &limited.map(Reach::one_place_each))?;
        // The number of clients that `reach_from` leaves out.
        fields.serialize_entry("reach_more", &limited.map(|reach| reach.more))?;
        fields.serialize_entry("reach_rule", &reach.and_then(|reach| reach.rule.as_deref()))?;
        fields.serialize_entry("inode", &socket.inode)?;
        fields.serialize_entry("cookie", &socket.cookie)?;
        fields.serialize_entry("mptcp", &socket.mptcp)?;
        fields.serialize_entry("queues", &socket.queues)?;
        fields.serialize_entry("uid", &socket.uid)?;
        fields.serialize_entry("user", &socket.user)?;
        fields.serialize_entry("cgroup", &socket.cgroup)?;
        fields.serialize_entry("unit", &socket.unit)?;
        fields.serialize_entry("container", &self.container())?;
        fields.serialize_entry("exposure", &self.exposure)?;
        fields.serialize_entry("owner", &socket.owner.name())?;
        fields
            .serialize_entry("processes", &socket.owner.pids().iter().map(process_row).collect::<Vec<_>>())?;
        fields.serialize_entry("registry", &self.port_verdict().map(VerdictJson::new))?;
        fields.serialize_entry("usual", &self.usual())?;
        fields.serialize_entry("flags", &self.findings().iter().map(Flag::new).collect::<Vec<_>>())?;
        fields.end()
    }
}

#[derive(Serialize)]
struct Received<'a> {
    /// The protocol or EtherType of the packets; null if the socket receives no packets.
    name: Option<Cow<'static, str>>,
    number: u16,
    promiscuous: &'a [Device],
}

#[derive(Serialize)]
struct VerdictJson<'a> {
    range: RegistryRange,
    status: Status,
    basis: StatusBasis,
    reason: String,
    assignments: &'a [Assignment],
    known_use: &'a [&'static str],
    remark: Option<&'static str>,
}

impl<'a> VerdictJson<'a> {
    fn new(verdict: &'a PortVerdict) -> Self {
        VerdictJson {
            range: verdict.range,
            status: verdict.status,
            basis: verdict.basis,
            reason: verdict_text::reason(verdict),
            assignments: &verdict.assignments,
            known_use: &verdict.known_use,
            remark: verdict.remark,
        }
    }
}

#[derive(Serialize)]
struct Flag<'a> {
    code: &'static str,
    severity: Severity,
    evidence: &'a Evidence,
    text: String,
}

impl<'a> Flag<'a> {
    fn new(finding: &'a Finding) -> Self {
        Flag {
            code: finding.flag().code(),
            severity: finding.severity,
            evidence: &finding.evidence,
            text: finding.sentence(),
        }
    }
}

#[derive(Serialize)]
struct PortJson<'a> {
    port: u16,
    protocol: Protocol,
    #[serde(flatten)]
    registered: VerdictJson<'a>,
    evidence: Vec<SourcesJson<'a>>,
    /// The kinds of source that name another service for the port. `together` has those of them that agree on one
    /// service.
    otherwise: &'a [EvidenceSource],
    together: &'a [EvidenceSource],
    answer: Option<PortAnswer>,
    services: &'a [CommonService],
    programs: &'a [KnownProgram],
    guarded: Option<&'a GuardedService>,
    neighbours: &'a NearbyRegistrations,
    history: &'a [Event],
    ephemeral: Option<&'a EphemeralHere>,
    connections: &'a [&'a Entry],
    listeners: &'a [&'a Entry],
}

/// The kinds of source that name a registration.
#[derive(Serialize)]
struct SourcesJson<'a> {
    service: &'static str,
    kinds: &'a [EvidenceSource],
}

impl<'a> PortJson<'a> {
    fn new(explained: &'a Explained<'_>) -> Self {
        let verdict = &explained.verdict;
        let named = verdict.assignments.iter().filter(|a| !a.named_by.is_empty());
        PortJson {
            port: explained.port,
            protocol: explained.protocol,
            registered: VerdictJson::new(verdict),
            evidence: named.map(|a| SourcesJson { service: a.service, kinds: &a.named_by }).collect(),
            otherwise: &verdict.named_otherwise_by,
            together: &verdict.agreeing,
            answer: explained.context.answer,
            services: &explained.context.services,
            programs: &explained.context.programs,
            guarded: explained.context.guarded.as_ref(),
            neighbours: &explained.context.nearby,
            history: &explained.context.history,
            ephemeral: explained.context.ephemeral.as_ref(),
            connections: &explained.connections,
            listeners: &explained.listeners,
        }
    }
}
