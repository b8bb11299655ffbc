//! Findings that a policy makes.

use serde::Serialize;

use super::text::sentence;
use super::{FindingFamily, FindingKind, OnLoopback, Rule};
use crate::model::Severity;

/// No rule of the policy allows the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unexpected {
    /// The ID of the rule that comes nearest: all but a few of its conditions hold.
    pub nearest: Option<String>,
    /// The conditions of that rule that do not hold, a phrase each: `user is root, not postgres`.
    pub differs: Vec<String>,
    /// When that rule expired, if it would allow this listener otherwise.
    pub expired: Option<String>,
}

impl FindingKind for Unexpected {
    const RULE: Rule = Rule {
        code: "unexpected",
        family: FindingFamily::Policy,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "no rule of the policy allows it",
        why: "What nobody has allowed, nobody has answered for.",
        remedy: "end it, or allow it in the policy with a reason and an owner",
    };

    fn sentence(&self) -> String {
        match (&self.nearest, &self.expired) {
            (None, _) => "No rule of the policy allows it.".to_owned(),
            (Some(rule), Some(when)) => {
                format!("No rule of the policy allows it: the rule {rule} did, and expired on {when}.")
            }
            (Some(rule), None) if self.differs.is_empty() => {
                format!("No rule of the policy allows it; the rule {rule} comes nearest.")
            }
            (Some(rule), None) => sentence(&format!(
                "No rule of the policy allows it; the rule {rule} comes nearest, but {}",
                self.differs.join("; ")
            )),
        }
    }
}

/// The policy requires a listener that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The ID of the rule that requires it.
    pub rule: String,
    /// What the rule requires, in short: `tcp/443 on any address`.
    pub wanted: String,
    /// Why it must listen, as the rule says.
    pub reason: Option<String>,
    /// Its owner, as the rule says.
    pub owner: Option<String>,
}

impl FindingKind for Missing {
    const RULE: Rule = Rule {
        code: "missing",
        family: FindingFamily::Policy,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "the policy promises a listener that is not there",
        why: "Somebody counts on a service that does not answer.",
        remedy: "start the service, or take the rule out of the policy",
    };

    fn sentence(&self) -> String {
        let Missing { rule, wanted, .. } = self;
        let mut said = format!("The rule {rule} of the policy promises {wanted}, and nothing seen is that.");
        for (label, text) in [("Reason", &self.reason), ("Owner", &self.owner)] {
            if let Some(text) = text {
                said.push_str(&format!(" {label}: {}", sentence(text)));
            }
        }
        said
    }
}

family!(Policy: Unexpected, Missing);
