//! The JSON of an audit: one object, which extends the object of a listing (`portolan/2`), or lines with the host
//! first, one finding per line, and the verdict last.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use serde::Serialize;
use serde_json::ser::CompactFormatter;

use crate::findings::Evidence;
use crate::join::Entry;
use crate::judge::audit::{AcceptedByRule, Audit, AuditFinding, Subject};
use crate::model::{Exposure, Gap, Netns, Pid, Protocol, Severity};
use crate::render::head::{DocumentHeader, HostLine, LineHeader};
use crate::render::json::{Seq, serialize, write};

use super::identity;

const SCHEMA: &str = "portolan/2";

/// The keys that an audit adds to a listing.
#[derive(Serialize)]
struct AuditJson<'a> {
    /// The filters as typed; null if the audit covers everything.
    narrowed: Option<&'a str>,
    fail_on: Severity,
    verdict: &'static str,
    /// The findings that rules of the policy accepted.
    accepted: Vec<AcceptedByRule<'a>>,
}

impl<'a> AuditJson<'a> {
    fn new(audit: &'a Audit<'_>, fail_on: Severity) -> Self {
        AuditJson {
            narrowed: audit.narrowed.as_deref(),
            fail_on,
            verdict: audit.outcome(fail_on).name(),
            accepted: audit.accepted_by_rule(),
        }
    }
}

/// Writes the whole audit as one object.
pub fn document(audit: &Audit<'_>, fail_on: Severity, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a, F> {
        #[serde(flatten)]
        head: DocumentHeader<'a>,
        listeners: &'a [&'a Entry],
        findings: F,
        #[serde(flatten)]
        verdict: AuditJson<'a>,
    }
    let gaps: Vec<Gap> = audit.all_gaps().cloned().collect();
    let document = Document {
        head: head(audit, &gaps),
        listeners: &audit.listeners,
        findings: Seq(|| audit.findings.iter().map(FindingRow::new)),
        verdict: AuditJson::new(audit, fail_on),
    };
    write(&document, w)
}

fn head<'a>(audit: &'a Audit<'_>, gaps: &'a [Gap]) -> DocumentHeader<'a> {
    let mut head = DocumentHeader::new(SCHEMA, audit.report);
    (head.complete, head.gaps) = (audit.is_complete(), gaps);
    head.judged_by.policy = audit.policy.as_ref();
    head
}

/// Writes the host, then one finding per line, and the verdict in the last line.
pub fn lines(audit: &Audit<'_>, fail_on: Severity, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Clone, Copy, Serialize)]
    struct Counts {
        listeners: usize,
        findings: usize,
    }
    #[derive(Serialize)]
    struct Line<'a, T> {
        #[serde(flatten)]
        stamp: LineHeader<'a>,
        complete: bool,
        #[serde(flatten)]
        what: T,
    }
    #[derive(Serialize)]
    struct Last<'a> {
        #[serde(flatten)]
        counts: Counts,
        #[serde(flatten)]
        verdict: AuditJson<'a>,
    }
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let gaps: Vec<Gap> = audit.all_gaps().cloned().collect();
    let counts = Counts { listeners: audit.listeners.len(), findings: audit.findings.len() };
    serialize(&HostLine::new(head(audit, &gaps), None, counts), CompactFormatter, &mut w)?;
    let (snapshot, complete) = (&audit.report.snapshot, audit.is_complete());
    for found in &audit.findings {
        let (stamp, what) = (LineHeader::new("finding", snapshot), FindingRow::new(found));
        serialize(&Line { stamp, complete, what }, CompactFormatter, &mut w)?;
    }
    let what = Last { counts, verdict: AuditJson::new(audit, fail_on) };
    let stamp = LineHeader::new("verdict", snapshot);
    serialize(&Line { stamp, complete, what }, CompactFormatter, &mut w)?;
    w.flush()
}

/// A finding: the object of its flag, the place, the processes, why it matters and what to do.
#[derive(Serialize)]
struct FindingRow<'a> {
    code: &'static str,
    severity: Severity,
    evidence: &'a Evidence,
    text: String,
    protocol: Option<Protocol>,
    address: Option<IpAddr>,
    port: Option<u16>,
    device: Option<&'a str>,
    netns: Option<&'a Netns>,
    exposure: Option<Exposure>,
    owner: Option<&'static str>,
    processes: Vec<ProcessSummary<'a>>,
    rule: Option<&'a str>,
    why: &'static str,
    remedy: &'static str,
    /// The identity of the finding, which stays the same in later scans, even after a restart.
    identity: String,
}

/// The facts about a process with which a reader finds it in the listing, or understands the finding without the
/// listing.
#[derive(Serialize)]
struct ProcessSummary<'a> {
    pid: Pid,
    name: Option<&'a str>,
    exe: Option<&'a str>,
    user: Option<&'a str>,
}

impl<'a> FindingRow<'a> {
    fn new(found: &'a AuditFinding<'_>) -> Self {
        let judged = match found.subject {
            Subject::Entry(judged) => Some(judged),
            Subject::NoListener { .. } => None,
        };
        let process_summary = |pid: &Pid| {
            let known = judged.and_then(|j| j.processes.iter().find(|process| process.pid == *pid));
            ProcessSummary {
                pid: *pid,
                name: known.and_then(|process| process.name.as_deref()),
                exe: known.and_then(|process| process.exe.as_ref()).map(|exe| exe.path.as_str()),
                user: known.and_then(|process| process.user.as_deref()),
            }
        };
        let socket = judged.map(|judged| &judged.socket);
        let flag = found.finding.flag();
        FindingRow {
            code: flag.code(),
            severity: found.finding.severity,
            evidence: &found.finding.evidence,
            text: found.finding.sentence(),
            protocol: found.subject.protocol(),
            address: socket.map_or(found.subject.address(), crate::model::Socket::address),
            port: socket.map_or(found.subject.port(), crate::model::Socket::port),
            device: socket.and_then(|socket| socket.local.device.as_deref()),
            netns: socket.and_then(|socket| socket.netns.as_ref()),
            exposure: judged.map(|judged| judged.exposure),
            owner: socket.map(|socket| socket.owner.name()),
            processes: socket.iter().flat_map(|socket| socket.owner.pids()).map(process_summary).collect(),
            rule: found.rule.as_deref(),
            why: flag.why(),
            remedy: flag.remedy(),
            identity: identity(found),
        }
    }
}
