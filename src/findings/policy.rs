//! Findings about a policy.

use serde::Serialize;

use super::text::{plural, sentence};
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback};
use crate::model::Severity;

/// No rule of the policy allows the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unexpected {
    /// The ID of the nearest rule: the rule with the fewest conditions that the listener does not meet.
    pub nearest: Option<String>,
    /// The conditions of the nearest rule that the listener does not meet, one phrase for each: `user is root, not
    /// postgres`.
    pub differs: Vec<String>,
    /// The date on which the nearest rule expired, if the rule would otherwise allow this listener.
    pub expired: Option<String>,
    /// Whether the socket may belong to a client that waits for a reply.
    pub passing: bool,
    /// False if the socket is only bound.
    #[serde(skip)]
    pub accepts_traffic: bool,
}

impl FindingKind for Unexpected {
    const INFO: FindingInfo = FindingInfo {
        code: "unexpected",
        family: FindingFamily::Policy,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "no policy rule allows this listener",
        why: "The policy lists every intended listener, and this listener is not in the policy.",
        remedy: "stop the program, or add a rule with a reason and an owner to the policy",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Info, Severity::Warning, Severity::Critical];

    /// Returns info if the socket may belong to a client. Otherwise returns critical if the socket accepts traffic, and
    /// warning if it is only bound.
    fn severity(&self) -> Severity {
        match (self.passing, self.accepts_traffic) {
            (true, _) => Severity::Info,
            (false, true) => Self::INFO.severity,
            (false, false) => Severity::Warning,
        }
    }

    fn sentence(&self) -> String {
        let mut text = self.why_not_allowed();
        if self.passing {
            text.push_str(
                " This may be the socket of a client that waits for a reply. Such sockets are normal \
                 and exist only briefly.",
            );
        }
        text
    }
}

impl Unexpected {
    fn why_not_allowed(&self) -> String {
        match (&self.nearest, &self.expired) {
            (None, _) => "No policy rule allows this listener.".to_owned(),
            (Some(rule), Some(when)) => {
                format!("No policy rule allows this listener: rule {rule} expired on {when}.")
            }
            (Some(rule), None) if self.differs.is_empty() => {
                format!("No policy rule allows this listener. The nearest rule is {rule}.")
            }
            (Some(rule), None) => sentence(&format!(
                "No policy rule allows this listener. The nearest rule is {rule}, but {}",
                self.differs.join("; ")
            )),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub rule: String,
    /// The required listener in short: `tcp/443 on any address`.
    pub wanted: String,
    pub reason: Option<String>,
    pub owner: Option<String>,
    /// The number of further missing listeners of the same rule, which have no findings of their own. Only the last
    /// finding of the rule has this number.
    pub further: Option<usize>,
}

impl FindingKind for Missing {
    const INFO: FindingInfo = FindingInfo {
        code: "missing",
        family: FindingFamily::Policy,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "a listener that the policy requires is missing",
        why: "Clients that depend on the service cannot connect.",
        remedy: "start the service, or remove the rule from the policy",
    };

    fn sentence(&self) -> String {
        let Missing { rule, wanted, .. } = self;
        let mut said = format!("Policy rule {rule} requires {wanted}, but no listener matches the rule.");
        if let Some(further) = self.further {
            said.push_str(&format!(
                " {} that the rule requires {} missing too.",
                plural(further, "further listener"),
                if further == 1 { "is" } else { "are" }
            ));
        }
        for (label, text) in [("Reason", &self.reason), ("Owner", &self.owner)] {
            if let Some(text) = text {
                said.push_str(&format!(" {label}: {}", sentence(text)));
            }
        }
        said
    }
}

family!(Policy: Unexpected, Missing);
