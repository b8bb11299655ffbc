//! Findings about what the registry says: nothing, or nothing living, is registered for the port.

use serde::Serialize;

use super::text::{list, sentence};
use super::{FindingFamily, FindingKind, OnLoopback, Rule};
use crate::model::{Assignment, Basis, Confidence, Curated, PortRange, Protocol, Severity};

/// A dead registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadRegistration {
    /// The service name as registered.
    pub service: &'static str,
    /// What it was for.
    pub product: &'static str,
    /// When that ended.
    pub ended: Option<&'static str>,
    /// One sentence.
    pub reason: &'static str,
    /// `confirmed` or `presumed`.
    pub confidence: Confidence,
    /// The page that says so.
    pub source: Option<&'static str>,
    /// What a presumption rests on.
    pub basis: Option<&'static str>,
}

impl DeadRegistration {
    /// Makes it from a curated row.
    #[must_use]
    pub const fn new(service: &'static str, row: &Curated) -> Self {
        DeadRegistration {
            service,
            product: row.product,
            ended: row.ended,
            reason: row.reason,
            confidence: row.confidence,
            source: row.source,
            basis: row.basis,
        }
    }

    /// Says what became of it; `how` is `dead` or another word for its end.
    pub(crate) fn sentence(&self, how: &str) -> String {
        let presumed = match self.confidence {
            Confidence::Presumed => "presumed ",
            Confidence::Confirmed => "",
        };
        let when = self.ended.map(|ended| format!(", ended {ended}")).unwrap_or_default();
        format!(
            "{} was registered for {}, {presumed}{how}{when}: {} {}",
            self.service,
            self.product,
            sentence(self.reason),
            grounds(self.confidence, self.source, self.basis),
        )
    }
}

/// Returns `Confirmed (page).` or `Presumed: basis.`
pub(crate) fn grounds(confidence: Confidence, source: Option<&str>, basis: Option<&str>) -> String {
    match (confidence, source, basis) {
        (Confidence::Confirmed, Some(source), _) => format!("Confirmed ({source})."),
        (Confidence::Confirmed, None, _) => "Confirmed.".into(),
        (Confidence::Presumed, _, Some(basis)) => sentence(&format!("Presumed: {basis}")),
        (Confidence::Presumed, Some(source), None) => format!("Presumed ({source})."),
        (Confidence::Presumed, None, None) => "Presumed.".into(),
    }
}

/// A registration without evidence of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuietRegistration {
    /// The service name as registered.
    pub service: &'static str,
    /// Who holds it, if the registry says so.
    pub assignee: Option<&'static str>,
    /// When it was registered, if the registry says so.
    pub registered: Option<&'static str>,
    /// When it was last changed, if the registry says so.
    pub modified: Option<&'static str>,
    /// The other protocols on which it is in use.
    pub used_on: Vec<Protocol>,
}

impl QuietRegistration {
    /// Makes it from a registration.
    #[must_use]
    pub fn new(assignment: &Assignment) -> Self {
        QuietRegistration {
            service: assignment.service,
            assignee: assignment.assignee,
            registered: assignment.registered,
            modified: assignment.modified,
            used_on: assignment.used_on.clone(),
        }
    }

    /// Says what is known of it. A date that the registry does not give is left out.
    pub(crate) fn sentence(&self, basis: Basis) -> String {
        if basis == Basis::OtherProtocol && !self.used_on.is_empty() {
            let used_on: Vec<_> =
                self.used_on.iter().map(|protocol| protocol.name().to_uppercase()).collect();
            return format!(
                "{} is registered for this protocol too, but is used on {} only.",
                self.service,
                list(&used_on)
            );
        }
        let mut facts: Vec<String> = Vec::new();
        facts.extend(match (self.modified, self.registered, basis) {
            (Some(date), _, Basis::Untouched) | (None, Some(date), Basis::Untouched) => {
                Some(format!("untouched since {date}"))
            }
            (Some(date), ..) => Some(format!("last changed {date}")),
            (None, Some(date), _) => Some(format!("there since {date}")),
            (None, None, _) => None,
        });
        if self.assignee.is_none() {
            facts.push("no assignee on record".into());
        }
        let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        format!(
            "{} is in the registry{facts}, but no evidence shows it in use. That does not prove it dead.",
            self.service
        )
    }
}

/// Adds IANA's remark to a sentence.
fn with_remark(text: &str, remark: Option<&str>) -> String {
    match remark {
        Some(remark) => format!("{text} {}", sentence(&format!("IANA remarks: {remark}"))),
        None => text.to_owned(),
    }
}

/// Every service registered for the port is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphaned {
    /// Every registration of the port that a curated list calls dead.
    pub registrations: Vec<DeadRegistration>,
}

impl FindingKind for Orphaned {
    const RULE: Rule = Rule {
        code: "orphaned",
        family: FindingFamily::Registry,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "every service registered for this port is dead",
        why: "Nobody serves there what the port was registered for, so what listens is something else: \
              dead software still running, or a program that hides behind an old name.",
        remedy: "find out what the program is; it is not what the port was registered for",
    };

    fn sentence(&self) -> String {
        self.registrations.iter().map(|row| row.sentence("dead")).collect::<Vec<_>>().join(" ")
    }
}

/// A listener where outgoing connections get their ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ephemeral {
    /// The part of this kernel's own range that contains the port.
    pub kernel_range: Option<PortRange>,
    /// Whether the port lies in IANA's dynamic range, 49152 to 65535.
    pub iana_dynamic: bool,
    /// Whether the port is odd (Linux, TCP); `None` if that says nothing.
    pub odd: Option<bool>,
    /// Whether the kernel itself would have picked it for `bind` to port 0; if not, somebody likely chose it. `None` if
    /// the port does not show that.
    pub kernel_would_pick: Option<bool>,
    /// Whether a client that waits for answers looks the same (datagram sockets).
    pub may_be_client: bool,
}

impl FindingKind for Ephemeral {
    const RULE: Rule = Rule {
        code: "ephemeral",
        family: FindingFamily::Registry,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "a listener on a port that outgoing connections draw from",
        why: "The kernel may give the port to an outgoing connection first, and then the service cannot start; \
              a port nobody chose is also where what should not be found likes to listen.",
        remedy: "give the service a fixed port outside the range, or reserve the port in the kernel",
    };

    fn severity(&self) -> Severity {
        if self.may_be_client { Severity::Notice } else { Self::RULE.severity }
    }

    fn sentence(&self) -> String {
        let mut said = match (self.kernel_range, self.iana_dynamic) {
            (Some(r), true) => format!(
                "The port lies in {r}, which this kernel hands out to outgoing connections, and in IANA's dynamic range."
            ),
            (Some(r), false) => {
                format!("The port lies in {r}, which this kernel hands out to outgoing connections.")
            }
            (None, _) => {
                "The port lies in IANA's dynamic range, 49152 to 65535, though not in this kernel's own."
                    .into()
            }
        };
        said.push_str(match self.kernel_would_pick {
            Some(true) => " It is one the kernel itself picks for a program that asks for any port.",
            Some(false) => " It is not one the kernel picks by itself: somebody likely chose it.",
            None => "",
        });
        if self.may_be_client {
            said.push_str(" A client waiting for an answer looks no different.");
        }
        said
    }
}

/// IANA reserves the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reserved {
    /// IANA's remark.
    pub remark: Option<&'static str>,
}

impl FindingKind for Reserved {
    const RULE: Rule = Rule {
        code: "reserved",
        family: FindingFamily::Registry,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "IANA reserves this port",
        why: "No service can claim a reserved port, so whoever listens there chose it against the registry.",
        remedy: "check that the program is one you know and that the port is meant",
    };

    fn sentence(&self) -> String {
        with_remark("IANA reserves this port.", self.remark)
    }
}

/// Nothing is registered for this port and protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unassigned {
    /// IANA's remark.
    pub remark: Option<&'static str>,
}

impl FindingKind for Unassigned {
    const RULE: Rule = Rule {
        code: "unassigned",
        family: FindingFamily::Registry,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "nothing is registered for this port and protocol",
        why: "The registry does not say what this is: only the program itself does.",
        remedy: "check that the program is one you know and that the port is meant",
    };

    fn sentence(&self) -> String {
        with_remark("Nothing is registered for this port and protocol.", self.remark)
    }
}

/// Registered, without evidence of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dormant {
    /// Why the port is dormant: `untouched`, `obscure` or `other-protocol`.
    pub basis: Basis,
    /// The registrations of the port.
    pub registrations: Vec<QuietRegistration>,
}

impl FindingKind for Dormant {
    const RULE: Rule = Rule {
        code: "dormant",
        family: FindingFamily::Registry,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "registered, but nothing shows that the service is alive",
        why: "A registration that nothing speaks for explains no listener, so the port is as good as unassigned.",
        remedy: "check that the program is one you know and that the port is meant",
    };

    fn sentence(&self) -> String {
        self.registrations.iter().map(|row| row.sentence(self.basis)).collect::<Vec<_>>().join(" ")
    }
}

/// Registered for the other of TCP and UDP only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherProtocol {
    /// The protocol that the port is registered for.
    pub registered_for: Protocol,
    /// The services registered there.
    pub services: Vec<&'static str>,
}

impl FindingKind for OtherProtocol {
    const RULE: Rule = Rule {
        code: "other-protocol",
        family: FindingFamily::Registry,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "registered for the other of TCP and UDP only",
        why: "The registered service speaks the other protocol, so this listener is likely not that service.",
        remedy: "check that the program is one you know and that the port is meant",
    };

    fn sentence(&self) -> String {
        format!("The port is registered for {} only: {}.", self.registered_for, self.services.join(", "))
    }
}

family!(Registry: Orphaned, Ephemeral, Reserved, Unassigned, Dormant, OtherProtocol);
