//! Pure rules: from a joined listener to findings. No input, no output, no clock, no prose.

pub mod audit;
mod held;
mod neighbours;
mod rules;
mod tenants;
#[cfg(test)]
mod tests;

use crate::join::{Listener, join};
use crate::model::{Context, Finding, Matched, Observation, Protocol, Severity, Usual, Verdict};
use crate::registry::Registry;

/// A listener and what is remarkable about it.
#[derive(Clone, Debug)]
pub struct Judged<'o> {
    /// The listener.
    pub listener: Listener<'o>,
    /// The findings on it, gravest first.
    pub findings: Vec<Finding>,
    /// The program that belongs on this port, where its holder is one.
    pub usual: Option<Usual>,
}

impl Judged<'_> {
    /// The gravest severity of its findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }
}

/// An observation, joined and judged: everything a renderer needs.
#[derive(Clone, Debug)]
pub struct Report<'o> {
    /// What was seen.
    pub observation: &'o Observation,
    /// The sockets asked for, in the order of listings.
    pub listeners: Vec<Judged<'o>>,
    /// The registry that judged them.
    pub registry: Registry,
}

/// Joins and judges an observation.
#[must_use]
pub fn judge<'o>(observation: &'o Observation, registry: Registry) -> Report<'o> {
    let listeners = join(observation, &registry);
    let mut beside = neighbours::evidence(&listeners);
    let listeners = listeners
        .into_iter()
        .enumerate()
        .map(|(at, listener)| {
            let tenants = tenants::of(&listener);
            let usual = tenants::usual(&listener, &tenants);
            let mut findings = rules::findings(&listener, observation, &registry);
            if usual.is_some() {
                findings.retain(|finding| !tenants::quiets(finding.flag()));
            }
            findings.extend(tenants::impostor(&listener, &tenants));
            let (protocol, exposure) = (listener.socket.local.protocol, listener.exposure);
            let beside = beside.remove(&at).into_iter().flatten();
            findings.extend(beside.map(|evidence| Finding::new(evidence, protocol, exposure)));
            findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.flag().cmp(&b.flag())));
            Judged { listener, findings, usual }
        })
        .collect();
    Report { observation, listeners, registry }
}

/// What `explain` tells of one port and protocol.
#[derive(Clone, Debug)]
pub struct Explained<'r, 'o> {
    /// The registry's verdict; it carries the port and the protocol.
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
        context = report.registry.context(&verdict);
        context.ephemeral = rules::ephemeral_here(report.observation, port, protocol, &listeners);
    }
    Explained { verdict, listeners, connections, context }
}
