//! JSON: the schemas `portolan/2` (a listing), `portolan.explain/2` and `portolan.observation/2`.
//!
//! Names, types and nulls are a contract. An unknown value is `null`. Text is complete and not sanitized, but every
//! character that a terminal could interpret is written as a `\u` escape, so that the output is safe to look at and
//! still preserves every character. The output is streamed; no tree of it is built.

use std::io::{self, BufWriter, Write};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::findings::{Evidence, Finding};
use crate::join::Entry;
use crate::judge::{Explained, Query, Report};
use crate::model::{
    Assignment, Confidence, Curated, CuratedState, Direction, EphemeralHere, Event, EvidenceSource, ExeState,
    Exposure, Family, GuardedService, KnownProgram, ListenerService, Matched, NearbyRegistrations, Netns,
    Origin, OriginKind, Parent, Peer, Pid, PortRange, PortVerdict, Process, Protocol, Queues, ReachKind,
    RegistryRange, Severity, Snapshot, State, Status, StatusBasis, UsualProgram,
};

use super::head::{DocumentHeader, HostLine, LineHeader, StreamCounts};
use super::json_container::{ContainerRow, Forwarding};
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
    struct Explanation<'a, T, P> {
        #[serde(flatten)]
        head: DocumentHeader<'a>,
        targets: T,
        ports: P,
    }
    #[derive(Serialize)]
    struct Target<'a> {
        text: &'a str,
        matched: Matched,
    }
    let targets = Seq(|| asked.iter().map(|asked| Target { text: asked.text, matched: asked.matched }));
    let ports = Seq(|| ports.iter().map(PortJson::new));
    write(&Explanation { head: DocumentHeader::new("portolan.explain/2", report), targets, ports }, w)
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
    host_line(report, &mut w)?;
    let complete = report.snapshot.is_complete();
    for listener in &report.entries {
        let stamp = LineHeader::new(kind(listener), &report.snapshot);
        serialize(&Line { stamp, complete, listener }, CompactFormatter, &mut w)?;
    }
    w.flush()
}

/// Writes the first line of a listing: the number of lines that follow, and the number of sockets before filters.
pub(super) fn host_line(report: &Report, w: impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Counts {
        sockets: usize,
        listeners: usize,
        connections: usize,
    }
    let listeners = report.entries.iter().filter(|entry| entry.socket.state.holds_port()).count();
    let connections = report.entries.len() - listeners;
    let counted = StreamCounts { counts: Counts { sockets: report.seen, listeners, connections } };
    serialize(&HostLine::new(DocumentHeader::new("portolan/2", report), counted), CompactFormatter, w)
}

/// Returns the subject of a line of a listing.
pub(super) const fn kind(entry: &Entry) -> &'static str {
    if entry.socket.state.holds_port() { "listener" } else { "connection" }
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
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut w, Visible(layout)))?;
    w.write_all(b"\n")
}

/// A list that is made while it is written.
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

/// The names and the order of an entry in JSON.
#[derive(Serialize)]
struct EntryJson<'a> {
    protocol: Protocol,
    family: Family,
    address: std::net::IpAddr,
    port: u16,
    device: Option<&'a str>,
    v6only: Option<bool>,
    state: State,
    peer: Option<Peer>,
    direction: Option<Direction>,
    connections: Option<u32>,
    netns: Option<&'a Netns>,
    service: Option<ListenerService>,
    forwards_to: Option<Forwarding<'a>>,
    /// Who can reach it according to the firewall; null if the firewall was not read, or on loopback.
    reach: Option<ReachKind>,
    /// If only some can reach it: these.
    reach_from: Option<&'a [String]>,
    /// How many more there are.
    reach_more: Option<usize>,
    /// The rule of the firewall that decides.
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
    registry: VerdictJson<'a>,
    usual: Option<&'a UsualProgram>,
    flags: Vec<Flag<'a>>,
}

impl<'a> EntryJson<'a> {
    fn new(judged: &'a Entry) -> Self {
        let socket = &judged.socket;
        let reach = judged.reach();
        // A process that could not be read is listed too: its pid is known.
        let process_row = |pid: &Pid| {
            let known = judged.processes.iter().find(|process| process.pid == *pid);
            known.map_or_else(
                || ProcessRow { pid: *pid, ..ProcessRow::default() },
                |process| ProcessRow::new(process),
            )
        };
        EntryJson {
            protocol: socket.local.protocol,
            family: socket.local.family(),
            address: socket.local.address,
            port: socket.local.port,
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
            registry: VerdictJson::new(&judged.verdict),
            usual: judged.usual(),
            flags: judged.findings().iter().map(Flag::new).collect(),
        }
    }
}

#[derive(Default, Serialize)]
struct ProcessRow<'a> {
    pid: Pid,
    name: Option<&'a str>,
    exe: Option<&'a str>,
    exe_state: Option<ExeState>,
    exe_deleted: Option<bool>,
    origin: Option<ProgramOrigin<'a>>,
    script: Option<Script<'a>>,
    cmdline: Option<&'a [String]>,
    cwd: Option<&'a str>,
    project: Option<&'a str>,
    state: Option<&'static str>,
    uid: Option<u32>,
    user: Option<&'a str>,
    started: Option<Timestamp>,
    parents: Option<&'a [Parent]>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    container_details: Option<ContainerRow<'a>>,
}

impl<'a> ProcessRow<'a> {
    fn new(process: &'a Process) -> Self {
        let exe = process.exe.as_ref();
        ProcessRow {
            pid: process.pid,
            name: process.name.as_deref(),
            exe: exe.map(|exe| exe.path.as_str()),
            exe_state: exe.map(|exe| exe.state),
            exe_deleted: exe.map(crate::model::Exe::is_deleted),
            origin: process.origin.as_ref().map(ProgramOrigin::new),
            script: process.script.as_ref().map(Script::new),
            cmdline: Some(&*process.cmdline).filter(|cmdline| !cmdline.is_empty()),
            cwd: process.cwd.as_deref(),
            project: process.project.as_deref(),
            state: process.state.map(state_name),
            uid: process.uid,
            user: process.user.as_deref(),
            started: process.started,
            parents: Some(&process.parents),
            unit: process.unit.as_deref(),
            container: process.container_name(),
            container_details: process.container_details.as_deref().map(ContainerRow::new),
        }
    }
}

/// Returns the state of a process by its letter in `/proc/PID/stat` (proc_pid_stat(5)).
const fn state_name(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk-sleep",
        'I' => "idle",
        'T' => "stopped",
        't' => "traced",
        'Z' => "zombie",
        'X' | 'x' => "dead",
        _ => "other",
    }
}

/// The script, archive or class path that an interpreter runs.
#[derive(Serialize)]
struct Script<'a> {
    path: &'a str,
    origin: Option<ProgramOrigin<'a>>,
}

impl<'a> Script<'a> {
    fn new(script: &'a crate::model::Script) -> Self {
        Script { path: &script.path, origin: script.origin.as_ref().map(ProgramOrigin::new) }
    }
}

/// The users who can replace the program file, and the package that installed it.
#[derive(Serialize)]
struct ProgramOrigin<'a> {
    kind: OriginKind,
    writable: Option<&'a str>,
    package: Option<&'a str>,
    version: Option<&'a str>,
    modified: Option<bool>,
}

impl<'a> ProgramOrigin<'a> {
    fn new(origin: &'a Origin) -> Self {
        ProgramOrigin {
            kind: origin.kind,
            writable: origin.writable.as_deref(),
            package: origin.package.as_deref(),
            version: origin.version.as_deref(),
            modified: origin.modified,
        }
    }
}

#[derive(Serialize)]
struct VerdictJson<'a> {
    range: RegistryRange,
    status: Status,
    basis: StatusBasis,
    reason: String,
    assignments: Vec<AssignmentJson<'a>>,
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
            assignments: verdict.assignments.iter().map(AssignmentJson::new).collect(),
            known_use: &verdict.known_use,
            remark: verdict.remark,
        }
    }
}

#[derive(Serialize)]
struct AssignmentJson<'a> {
    service: &'static str,
    ports: PortRange,
    description: Option<&'static str>,
    assignee: Option<&'static str>,
    registered: Option<&'static str>,
    modified: Option<&'static str>,
    reference: Option<&'static str>,
    notes: Option<&'static str>,
    status: Status,
    basis: StatusBasis,
    used_on: &'a [Protocol],
    curated: Option<CuratedRow>,
    life: &'a [EvidenceSource],
}

impl<'a> AssignmentJson<'a> {
    fn new(a: &'a Assignment) -> Self {
        AssignmentJson {
            service: a.service,
            ports: a.ports,
            description: a.description,
            assignee: a.assignee,
            registered: a.registered,
            modified: a.modified,
            reference: a.reference,
            notes: a.notes,
            status: a.status,
            basis: a.basis,
            used_on: &a.used_on,
            curated: a.curated.as_ref().map(CuratedRow::new),
            life: &a.named_by,
        }
    }
}

#[derive(Serialize)]
struct CuratedRow {
    standing: &'static str,
    product: &'static str,
    ended: Option<&'static str>,
    reason: &'static str,
    source: Option<&'static str>,
    confidence: Confidence,
    now_used_by: Option<&'static str>,
    basis: Option<&'static str>,
}

impl CuratedRow {
    const fn new(row: &Curated) -> Self {
        CuratedRow {
            standing: match row.standing {
                CuratedState::Alive => "alive",
                CuratedState::Orphaned => "orphaned",
                CuratedState::Legacy => "legacy",
            },
            product: row.product,
            ended: row.ended,
            reason: row.reason,
            source: row.source,
            confidence: row.confidence,
            now_used_by: row.now_used_by,
            basis: row.basis,
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
    /// The kinds of source that give the port another name, and those of them that agree on one name.
    otherwise: &'a [EvidenceSource],
    together: &'a [EvidenceSource],
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
