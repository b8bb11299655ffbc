//! Findings about the registrations of the port, and about ports that the kernel also gives to outgoing connections.

use serde::Serialize;

use super::text::{list, sentence};
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback};
use crate::model::{Assignment, Confidence, Curated, PortRange, Protocol, Severity, StatusBasis};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadRegistration {
    pub service: &'static str,
    pub product: &'static str,
    pub ended: Option<&'static str>,
    pub reason: &'static str,
    pub confidence: Confidence,
    /// The page that confirms that the product or protocol ended.
    pub source: Option<&'static str>,
    /// The reason for a presumption.
    pub basis: Option<&'static str>,
}

impl DeadRegistration {
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

    /// Returns a sentence about the end of the product. `state` is a word such as `dead`. `but_used` follows the state;
    /// it is empty if the product is not used anywhere.
    pub(crate) fn sentence(&self, state: &str, but_used: &str) -> String {
        let presumed = match self.confidence {
            Confidence::Presumed => "presumed ",
            Confidence::Confirmed => "",
        };
        let since = self.ended.map(|ended| format!(" since {ended}")).unwrap_or_default();
        let why = reason_with_source(self.reason, self.confidence, self.source);
        format!(
            "{} was registered for {}, {presumed}{state}{since}{but_used}. {why}",
            self.service, self.product
        )
    }
}

/// Returns the reason of a curated row as a sentence, with the page that confirms the row.
pub(crate) fn reason_with_source(reason: &str, confidence: Confidence, source: Option<&str>) -> String {
    match (confidence, source) {
        (Confidence::Confirmed, Some(source)) => format!("{} ({source}).", reason.trim_end_matches('.')),
        _ => sentence(reason),
    }
}

/// A registration without evidence of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuietRegistration {
    pub service: &'static str,
    pub assignee: Option<&'static str>,
    pub registered: Option<&'static str>,
    pub modified: Option<&'static str>,
    /// The other protocols on which the registration is in use.
    pub used_on: Vec<Protocol>,
}

impl QuietRegistration {
    pub fn new(assignment: &Assignment) -> Self {
        QuietRegistration {
            service: assignment.service,
            assignee: assignment.assignee,
            registered: assignment.registered,
            modified: assignment.modified,
            used_on: assignment.used_on.clone(),
        }
    }

    pub(crate) fn sentence(&self, basis: StatusBasis) -> String {
        if basis == StatusBasis::OtherProtocol && !self.used_on.is_empty() {
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
            (Some(date), _, StatusBasis::Untouched) | (None, Some(date), StatusBasis::Untouched) => {
                Some(format!("unchanged since {date}"))
            }
            (Some(date), ..) => Some(format!("last changed {date}")),
            (None, Some(date), _) => Some(format!("since {date}")),
            (None, None, _) => None,
        });
        if self.assignee.is_none() {
            facts.push("no assignee".into());
        }
        let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        format!(
            "The port is registered for {}{facts}, but there is no evidence that this service is in use.",
            self.service
        )
    }
}

pub(crate) fn rarely_used_by(uses: &[&str]) -> String {
    format!("Rarely used by: {}", uses.join("; "))
}

/// Every service registered for the port is dead, and the process is not a known server of the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphaned {
    pub registrations: Vec<DeadRegistration>,
    /// Software that rarely uses the port.
    pub rarely_used_by: Vec<&'static str>,
}

impl FindingKind for Orphaned {
    const INFO: FindingInfo = FindingInfo {
        code: "orphaned",
        family: FindingFamily::Registry,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "no service registered for this port is in use any more",
        why: "The registered software no longer exists. The listener is a leftover, or another program uses the port.",
        remedy: "find out what the program is; if the program is intended, allow it in the policy",
    };

    fn sentence(&self) -> String {
        let mut said: Vec<String> =
            self.registrations.iter().map(|row| row.sentence("discontinued", "")).collect();
        if !self.rarely_used_by.is_empty() {
            said.push(sentence(&rarely_used_by(&self.rarely_used_by)));
        }
        said.join(" ")
    }
}

/// A listener on a port that the kernel also gives to outgoing connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ephemeral {
    /// The range of this kernel that contains the port. `None` if the ranges of the kernel are not known.
    pub kernel_range: Option<PortRange>,
    /// Whether the port lies in IANA's dynamic range, 49152 to 65535.
    pub iana_dynamic: bool,
    /// Whether the port is odd (Linux, TCP). `None` if odd and even ports are equally likely, or if this is not known.
    pub odd: Option<bool>,
    /// Whether the kernel may pick this port for `bind` with port 0. False if the kernel prefers odd ports and this
    /// port is even, or the other way round. The program then probably chose the port. `None` if this is not known.
    pub kernel_would_pick: Option<bool>,
}

impl FindingKind for Ephemeral {
    const INFO: FindingInfo = FindingInfo {
        code: "ephemeral",
        family: FindingFamily::Registry,
        severity: Severity::Info,
        on_loopback: OnLoopback::Lower,
        description: "the kernel also gives this port to outgoing connections",
        why: "If an outgoing connection has the port when the service starts, the service fails to start.",
        remedy: "give the service a fixed port outside the range, or reserve the port with sysctl net.ipv4.ip_local_reserved_ports",
    };

    fn sentence(&self) -> String {
        let place = match self.kernel_range {
            Some(range) => format!("The kernel gives ports {range} to outgoing connections."),
            None => "The port is in IANA's dynamic range, 49152-65535. The kernel's own range is not known."
                .into(),
        };
        match self.kernel_would_pick {
            Some(true) => format!("{place} The kernel probably chose this port for the program."),
            Some(false) => {
                let (usual, own) =
                    if self.odd == Some(true) { ("an even", "odd") } else { ("an odd", "even") };
                format!(
                    "{place} A program that requests any free port usually gets {usual} one. This port is {own}, so the program probably chose it."
                )
            }
            None => place,
        }
    }
}

/// No registration and no usual program explains the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Unexplained {
    /// Nothing is registered for this port and protocol.
    Unassigned {
        remark: Option<&'static str>,
    },
    Reserved {
        remark: Option<&'static str>,
    },
    /// The port is registered, but there is no evidence of use.
    Dormant {
        /// `untouched`, `obscure` or `other-protocol`.
        basis: StatusBasis,
        registrations: Vec<QuietRegistration>,
    },
    /// The port is registered only for UDP and the listener uses TCP, or the other way round.
    OtherProtocol {
        registered_for: Protocol,
        services: Vec<&'static str>,
    },
}

impl FindingKind for Unexplained {
    const INFO: FindingInfo = FindingInfo {
        code: "unexplained",
        family: FindingFamily::Registry,
        severity: Severity::Info,
        on_loopback: OnLoopback::Lower,
        description: "no registration and no known program explains this listener",
        why: "Only the program itself can show what this listener is for.",
        remedy: "check that you know the program and that the port is intended",
    };

    fn sentence(&self) -> String {
        match self {
            Unexplained::Unassigned { remark } => {
                with_remark("Nothing is registered for this port and protocol.", *remark)
            }
            Unexplained::Reserved { remark } => {
                with_remark("IANA reserves this port: no service can be registered for it.", *remark)
            }
            Unexplained::Dormant { basis, registrations } => {
                registrations.iter().map(|row| row.sentence(*basis)).collect::<Vec<_>>().join(" ")
            }
            Unexplained::OtherProtocol { registered_for, services } => {
                format!("The port is registered for {registered_for} only: {}.", services.join(", "))
            }
        }
    }
}

fn with_remark(text: &str, remark: Option<&str>) -> String {
    match remark {
        Some(remark) => format!("{text} {}", sentence(&format!("IANA's remark: {remark}"))),
        None => text.to_owned(),
    }
}

family!(Registry: Orphaned, Ephemeral, Unexplained);
