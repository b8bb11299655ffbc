//! The header of every machine-readable output: the time and host of the snapshot, the versions of the program and the
//! registry, and the gaps.
//!
//! A stream of lines begins with a [`HostLine`], so the file of a host without listeners is not empty.

use jiff::Timestamp;
use serde::Serialize;

use crate::judge::Report;
use crate::judge::audit::AppliedPolicy;
use crate::model::{Gap, Host, Namespace, Note, Snapshot, Tool};
use crate::registry::Registry;

#[derive(Serialize)]
pub(super) struct DocumentHeader<'a> {
    schema: &'static str,
    pub(super) taken: Timestamp,
    pub(super) host: &'a Host,
    #[serde(flatten)]
    pub(super) judged_by: JudgedBy<'a>,
    pub(super) complete: bool,
    pub(super) gaps: &'a [Gap],
    notes: &'a [Note],
    namespaces: &'a [Namespace],
}

#[derive(Serialize)]
pub(super) struct JudgedBy<'a> {
    tool: Tool,
    registry: RegistryHead<'a>,
    pub(super) policy: Option<&'a AppliedPolicy>,
}

#[derive(Serialize)]
struct RegistryHead<'a> {
    date: &'a str,
    /// The file from which the registry was read; null for the embedded registry.
    file: Option<&'a str>,
}

impl<'a> JudgedBy<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        let registry = RegistryHead { date: registry.date(), file: registry.file() };
        JudgedBy { tool: Tool::this(), registry, policy: None }
    }
}

impl<'a> DocumentHeader<'a> {
    pub(super) fn new(schema: &'static str, report: &'a Report) -> Self {
        let snapshot = &report.snapshot;
        DocumentHeader {
            schema,
            taken: snapshot.taken,
            host: &snapshot.host,
            judged_by: JudgedBy::new(&report.registry),
            complete: snapshot.is_complete(),
            gaps: &snapshot.gaps,
            notes: &snapshot.notes,
            namespaces: &snapshot.namespaces,
        }
    }
}

#[derive(Serialize)]
pub(super) struct HostLine<'a, C> {
    kind: &'static str,
    host_id: Option<&'a str>,
    #[serde(flatten)]
    head: DocumentHeader<'a>,
    /// The name of the event, if the stream consists of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    counts: C,
}

impl<'a, C> HostLine<'a, C> {
    pub(super) fn new(head: DocumentHeader<'a>, event: Option<&'static str>, counts: C) -> Self {
        HostLine { kind: "host", host_id: head.host.id.as_deref(), head, event, counts }
    }
}

/// The beginning of every line except the first.
#[derive(Serialize)]
pub(super) struct LineHeader<'a> {
    kind: &'static str,
    host_id: Option<&'a str>,
    taken: Timestamp,
    host: &'a Host,
}

impl<'a> LineHeader<'a> {
    pub(super) fn new(kind: &'static str, snapshot: &'a Snapshot) -> Self {
        LineHeader { kind, host_id: snapshot.host.id.as_deref(), taken: snapshot.taken, host: &snapshot.host }
    }
}
