//! The JSON of an audit, in two forms:
//!
//! - One object. It extends the object of a listing (`portolan/2`).
//! - Lines: first the host, then one finding per line, and the verdict last.

use std::io::{self, BufWriter, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::ser::CompactFormatter;

use crate::join::Entry;
use crate::judge::audit::{AcceptedByRule, Audit, AuditFinding, Subject};
use crate::model::{Gap, Pid, Severity, Socket};
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
        findings: Seq(|| audit.findings.iter().map(FindingRow)),
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
        let (stamp, what) = (LineHeader::new("finding", snapshot), FindingRow(found));
        serialize(&Line { stamp, complete, what }, CompactFormatter, &mut w)?;
    }
    let what = Last { counts, verdict: AuditJson::new(audit, fail_on) };
    let stamp = LineHeader::new("verdict", snapshot);
    serialize(&Line { stamp, complete, what }, CompactFormatter, &mut w)?;
    w.flush()
}

struct FindingRow<'a>(&'a AuditFinding<'a>);

/// The process of a finding. The fields are enough to find the process in the listing, and to understand the finding
/// without the listing.
#[derive(Serialize)]
struct ProcessSummary<'a> {
    pid: Pid,
    name: Option<&'a str>,
    exe: Option<&'a str>,
    user: Option<&'a str>,
}

impl Serialize for FindingRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.0;
        let (finding, flag) = (&found.finding, found.finding.flag());
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
        let pids = socket.map(|socket| socket.owner.pids()).unwrap_or_default();
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("code", flag.code())?;
        fields.serialize_entry("severity", &finding.severity)?;
        fields.serialize_entry("evidence", &finding.evidence)?;
        fields.serialize_entry("text", &finding.sentence())?;
        fields.serialize_entry("protocol", &found.subject.protocol())?;
        fields.serialize_entry("address", &socket.map_or(found.subject.address(), Socket::address))?;
        fields.serialize_entry("port", &socket.map_or(found.subject.port(), Socket::port))?;
        fields.serialize_entry("device", &socket.and_then(|socket| socket.local.device.as_deref()))?;
        fields.serialize_entry("netns", &socket.and_then(|socket| socket.netns.as_ref()))?;
        fields.serialize_entry("exposure", &judged.map(|judged| judged.exposure))?;
        fields.serialize_entry("owner", &socket.map(|socket| socket.owner.name()))?;
        fields.serialize_entry("processes", &pids.iter().map(process_summary).collect::<Vec<_>>())?;
        fields.serialize_entry("rule", &found.rule)?;
        fields.serialize_entry("why", flag.why())?;
        fields.serialize_entry("remedy", flag.remedy())?;
        // The identity of the finding stays the same in later scans, even after a restart.
        fields.serialize_entry("identity", &identity(found))?;
        fields.end()
    }
}
