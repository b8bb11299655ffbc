//! JSON: the schemas `portolan/2` (a listing), `portolan.explain/2` and `portolan.observation/2`.
//!
//! Names, types and nulls are a contract; an unknown value is `null`. Text is complete, but every character that a
//! terminal could interpret is a `\u` escape, so the output can be shown on a terminal. The output is streamed; no tree
//! is built in memory.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::findings::{Evidence, Finding};
use crate::join::Entry;
use crate::judge::{Explained, Query, Report};
use crate::model::{
    Assignment, CommonService, Device, Direction, EphemeralHere, Event, EvidenceSource, Exposure, Family,
    GuardedService, KnownProgram, ListenerService, NearbyRegistrations, Netns, Peer, Pid, PortAnswer,
    PortVerdict, Protocol, Queues, ReachKind, RegistryRange, Severity, Snapshot, State, Status, StatusBasis,
    UsualProgram,
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

/// Writes the first line of a listing, with the number of following lines by kind, and the number of sockets before
/// filters. `kinds` has the kind of each following line.
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

/// Returns the `kind` of a line of a listing.
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
    /// Writes an entry in the form that all documents share.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EntryJson::new(self).serialize(serializer)
    }
}

/// The names of the fields of an entry in JSON, and their order.
#[derive(Serialize)]
struct EntryJson<'a> {
    protocol: Protocol,
    /// The address family; null for a packet socket, which has neither family nor address.
    family: Option<Family>,
    address: Option<std::net::IpAddr>,
    /// The port; null for a raw or packet socket.
    port: Option<u16>,
    /// The packets that a raw or packet socket receives; null for any other socket.
    receives: Option<Received<'a>>,
    device: Option<&'a str>,
    v6only: Option<bool>,
    state: State,
    peer: Option<Peer>,
    direction: Option<Direction>,
    connections: Option<u32>,
    netns: Option<&'a Netns>,
    service: Option<ListenerService>,
    forwards_to: Option<Forwarding<'a>>,
    /// The clients that can reach the listener according to the firewall; null if the firewall was not read, or if
    /// the listener is on a loopback address.
    reach: Option<ReachKind>,
    /// The clients that can reach the listener, if only some can.
    reach_from: Option<&'a [String]>,
    /// The number of clients that `reach_from` leaves out.
    reach_more: Option<usize>,
    /// The firewall rule that decides which clients can reach the listener.
    reach_rule: Option<&'a str>,
    inode: Option<u64>,
    cookie: Option<u64>,
    mptcp: bool,
    queues: Option<Queues>,
    uid: Option<u32>,
    user: Option<&'a str>,
    cgroup: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    exposure: Exposure,
    owner: &'static str,
    processes: Vec<ProcessRow<'a>>,
    /// The verdict of the registry; null for a socket without a port.
    registry: Option<VerdictJson<'a>>,
    usual: Option<&'a UsualProgram>,
    flags: Vec<Flag<'a>>,
}

impl<'a> EntryJson<'a> {
    fn new(judged: &'a Entry) -> Self {
        let socket = &judged.socket;
        let reach = judged.reach();
        // A process that could not be read is listed too, because its pid is known.
        let process_row = |pid: &Pid| {
            let known = judged.processes.iter().find(|process| process.pid == *pid);
            known.map_or_else(|| ProcessRow::of_pid(*pid), |process| ProcessRow::new(process))
        };
        EntryJson {
            protocol: socket.local.protocol,
            family: socket.address().map(|_| socket.local.family()),
            address: socket.address(),
            port: socket.port(),
            receives: socket.receives.as_ref().map(|received| Received {
                name: received.name(socket.local.protocol),
                number: received.number,
                promiscuous: &received.promiscuous,
            }),
            device: socket.local.device.as_deref(),
            v6only: socket.v6only,
            state: socket.state,
            peer: socket.peer,
            direction: judged.direction,
            connections: judged.connections,
            netns: socket.netns.as_ref(),
            service: judged.service(),
            forwards_to: judged.forward_target().map(Forwarding::new),
            reach: reach.map(|reach| reach.kind),
            reach_from: reach.filter(|reach| !reach.from.is_empty()).map(|reach| &*reach.from),
            reach_more: reach.filter(|reach| !reach.from.is_empty()).map(|reach| reach.more),
            reach_rule: reach.and_then(|reach| reach.rule.as_deref()),
            inode: socket.inode.map(u64::from),
            cookie: socket.cookie.map(u64::from),
            mptcp: socket.mptcp,
            queues: socket.queues,
            uid: socket.uid,
            user: socket.user.as_deref(),
            cgroup: socket.cgroup.as_deref(),
            unit: socket.unit.as_deref(),
            container: judged.container(),
            exposure: judged.exposure,
            owner: socket.owner.name(),
            processes: socket.owner.pids().iter().map(process_row).collect(),
            registry: judged.port_verdict().map(VerdictJson::new),
            usual: judged.usual(),
            flags: judged.findings().iter().map(Flag::new).collect(),
        }
    }
}

/// The packets that a socket without a port receives.
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
    /// The kinds of source that name another service for the port. `together` has the kinds that agree on one service.
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
