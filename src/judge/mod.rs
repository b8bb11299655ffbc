//! Pure rules: from a joined listener to findings. No input, no output, no clock, no prose.

pub mod audit;
pub mod deep;
mod held;
mod neighbours;
mod rules;
mod tenants;
#[cfg(test)]
pub(crate) mod tests;

use crate::join::{Listener, join};
use crate::model::{Context, Evidence, Finding, Matched, Protocol, Severity, Snapshot, Usual, Verdict};
use crate::registry::Registry;

/// A listener and what is remarkable about it: of connections, of which there may be a hundred thousand, nothing.
#[derive(Clone, Debug)]
pub struct Judged<'o> {
    /// The listener.
    pub listener: Listener<'o>,
    remarks: Option<Box<Remarks>>,
}

#[derive(Clone, Debug, Default)]
struct Remarks {
    findings: Vec<Finding>,
    usual: Option<Usual>,
}

impl Remarks {
    /// Gravest first.
    fn sort(&mut self) {
        self.findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.flag().cmp(&b.flag())));
    }
}

impl<'o> Judged<'o> {
    /// A listener with the findings on it and the program that belongs on its port, where its holder is one.
    #[must_use]
    pub fn new(listener: Listener<'o>, mut findings: Vec<Finding>, usual: Option<Usual>) -> Self {
        findings.shrink_to_fit();
        let any = usual.is_some() || !findings.is_empty();
        let mut remarks = Remarks { findings, usual };
        remarks.sort();
        Judged { listener, remarks: any.then(|| Box::new(remarks)) }
    }

    /// What its neighbours have shown besides.
    fn add(&mut self, evidence: Vec<Evidence>) {
        let remarks = self.remarks.get_or_insert_default();
        let (protocol, exposure) = (self.listener.socket.local.protocol, self.listener.exposure);
        remarks
            .findings
            .extend(evidence.into_iter().map(|evidence| Finding::new(evidence, protocol, exposure)));
        remarks.sort();
    }

    /// The findings on it, gravest first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.remarks.as_ref().map_or(&[], |remarks| &remarks.findings)
    }

    /// The program that belongs on its port, where its holder is one.
    #[must_use]
    pub fn usual(&self) -> Option<&Usual> {
        self.remarks.as_ref()?.usual.as_ref()
    }

    /// The gravest severity of its findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings().iter().map(|f| f.severity).max()
    }
}

/// An observation, joined and judged: everything a renderer needs.
#[derive(Clone, Debug)]
pub struct Report<'o> {
    /// What was seen.
    pub observation: &'o Snapshot,
    /// The sockets asked for, in the order of listings.
    pub listeners: Vec<Judged<'o>>,
    /// The registry that judged them.
    pub registry: Registry,
}

/// Joins and judges an observation.
#[must_use]
pub fn judge<'o>(observation: &'o Snapshot, registry: Registry) -> Report<'o> {
    let mut known = tenants::Known::default();
    let mut listeners: Vec<_> = join(observation, &registry)
        .map(|listener| {
            let tenants = known.holders(&listener);
            let usual = tenants::usual(&listener, &tenants);
            let mut findings = rules::findings(&listener, observation, &registry);
            if usual.is_some() {
                findings.retain(|finding| !tenants::quiets(finding.flag()));
            }
            findings.extend(tenants::impostor(&listener, &tenants));
            Judged::new(listener, findings, usual)
        })
        .collect();
    for (at, evidence) in neighbours::evidence(listeners.iter().map(|judged| &judged.listener), &mut known) {
        listeners[at].add(evidence);
    }
    Report { observation, listeners, registry }
}

/// What `explain` tells of one port and protocol.
#[derive(Clone, Debug)]
pub struct Explained<'r, 'o> {
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The registry's verdict on them.
    pub verdict: Verdict,
    /// Who listens there here and now.
    pub listeners: Vec<&'r Judged<'o>>,
    /// Who else uses the port here and now: connections from it or through it.
    pub connections: Vec<&'r Judged<'o>>,
    /// What is worth telling beside.
    pub context: Context,
}

/// What was asked for, and what it turned out to be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// As typed.
    pub text: &'a str,
    /// What it is.
    pub matched: Matched,
    /// How many ports and protocols it added to the answer.
    pub added: usize,
}

/// What a report tells of one port and protocol; with what is worth telling beside only `in_full`, for it takes longer
/// to find than the verdict.
#[must_use]
pub fn explain<'r, 'o>(
    report: &'r Report<'o>,
    port: u16,
    protocol: Protocol,
    in_full: bool,
) -> Explained<'r, 'o> {
    let verdict = report.registry.verdict(port, protocol);
    let on_it = report.listeners.iter().filter(|judged| {
        let local = &judged.listener.socket.local;
        (local.port, local.protocol) == (port, protocol)
    });
    let (listeners, connections): (Vec<_>, Vec<_>) =
        on_it.partition(|judged| judged.listener.socket.state.holds_port());
    let mut context = Context::default();
    if in_full {
        context = report.registry.context(port, protocol, &verdict);
        context.ephemeral = rules::ephemeral_here(report.observation, port, protocol, &listeners);
    }
    Explained { port, protocol, verdict, listeners, connections, context }
}
