//! SARIF 2.1.0, for code-scanning dashboards.
//!
//! An audit does not judge files, so each result has a logical location: the listener. For dashboards that require a
//! file, a result also names a file that does not exist, such as `listeners/tcp/3416`. Each gap is an error of the
//! invocation. An invocation with an error is not marked as successful, because results may be missing.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::findings::Flag;
use crate::judge::audit::{Audit, AuditFinding, AuditVerdict, Subject};
use crate::model::{Gap, Severity};
use crate::render::json::{Seq, write};

use super::{identity, place, processes_of, verdict};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub fn document(audit: &Audit<'_>, fail_on: Severity, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Log<R> {
        #[serde(rename = "$schema")]
        schema: &'static str,
        version: &'static str,
        runs: [R; 1],
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Run<R> {
        tool: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        automation_details: Option<Value>,
        invocations: [Value; 1],
        column_kind: &'static str,
        results: R,
        properties: Value,
    }
    let host = audit.report.snapshot.host.name.as_deref();
    let run = Run {
        tool: json!({ "driver": {
            "name": "portolan",
            "version": env!("CARGO_PKG_VERSION"),
            "rules": Flag::all().map(rule).collect::<Vec<_>>(),
        }}),
        // With this ID, a dashboard can distinguish the hosts of a fleet.
        automation_details: host.map(|name| json!({ "id": format!("portolan/{name}/") })),
        invocations: [invocation(audit, fail_on)],
        column_kind: "unicodeCodePoints",
        results: Seq(|| audit.findings.iter().map(result)),
        properties: json!({
            "verdict": audit.outcome(fail_on).name(),
            "failOn": fail_on.name(),
            "complete": audit.is_complete(),
            "narrowed": audit.narrowed,
            "registryDate": audit.report.registry.date(),
        }),
    };
    write(&Log { schema: SCHEMA, version: "2.1.0", runs: [run] }, w)
}

fn rule(flag: Flag) -> Value {
    let (description, why, remedy) = (flag.description(), flag.why(), flag.remedy());
    json!({
        "id": flag.code(),
        "name": flag.code(),
        "shortDescription": { "text": description },
        "fullDescription": { "text": why },
        "help": {
            "text": format!("When: {description}. Why it matters: {why} What to do: {remedy}."),
            "markdown": format!("**When:** {description}.\n\n**Why it matters:** {why}\n\n**What to do:** {remedy}."),
        },
        "defaultConfiguration": { "level": level(flag.severity()) },
        "properties": { "tags": ["security", "listener"] },
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info | Severity::Notice => "note",
        Severity::Warning => "warning",
        Severity::Critical => "error",
    }
}

fn result(found: &AuditFinding<'_>) -> Value {
    let flag = found.finding.flag();
    let port = match found.subject {
        Subject::Entry(judged) => judged.socket.port(),
        Subject::NoListener { port, .. } => port,
    };
    let port = match (found.subject.protocol(), port) {
        (Some(protocol), Some(port)) => format!("listeners/{}/{port}", protocol.name()),
        (None, Some(port)) => format!("listeners/any/{port}"),
        (Some(protocol), None) => format!("listeners/{}", protocol.name()),
        (None, None) => "listeners".to_owned(),
    };
    let place = place(&found.subject);
    let process_summary = processes_of(found);
    let known_by = identity(found);
    let digest = Sha256::digest(known_by.as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    json!({
        "ruleId": flag.code(),
        "ruleIndex": flag.position(),
        "level": level(found.finding.severity),
        "message": { "text": format!("{place}, {process_summary}: {} What to do: {}.", found.finding.sentence(), flag.remedy()) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": port },
                "region": { "startLine": 1 },
            },
            "logicalLocations": [{ "fullyQualifiedName": place, "kind": "listener" }],
        }],
        "partialFingerprints": {
            "portolanFinding/v1": known_by,
            // GitHub uses this name and this format for the fingerprint.
            "primaryLocationLineHash": format!("{hash}:1"),
        },
        "properties": {
            "severity": found.finding.severity,
            "policyRule": found.rule,
            "evidence": found.finding.evidence,
        },
    })
}

fn invocation(audit: &Audit<'_>, fail_on: Severity) -> Value {
    let taken = audit.report.snapshot.taken;
    let mut notifications: Vec<Value> = audit.all_gaps().map(unseen).collect();
    if audit.narrowed.is_some() {
        notifications.push(json!({ "level": "note", "message": { "text": verdict(audit, fail_on) } }));
    }
    let code = match audit.outcome(fail_on) {
        AuditVerdict::Clear => 0,
        AuditVerdict::NothingMatched if !audit.is_complete() => 3,
        AuditVerdict::Findings | AuditVerdict::NothingMatched => 1,
        AuditVerdict::Incomplete => 3,
    };
    json!({
        "executionSuccessful": audit.is_complete(),
        "exitCode": code,
        "exitCodeDescription": verdict(audit, fail_on),
        "startTimeUtc": taken.to_string(),
        "toolExecutionNotifications": notifications,
    })
}

fn unseen(gap: &Gap) -> Value {
    let count = gap.count.map(|count| format!("{count} ")).unwrap_or_default();
    let remedy = gap.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    let text = format!("Not seen: {count}{}: {}{remedy}", gap.what, gap.why);
    json!({ "level": "error", "descriptor": { "id": gap.stage.name() }, "message": { "text": text } })
}
