//! The catalogue of findings, with one file for each family.
//!
//! To add a finding:
//!
//! - Write a type with the evidence as its fields.
//! - Implement [`FindingKind`] next to the type.
//! - Name the type in the `family!` line of its file.
//!
//! The rule that decides whether a listener has the finding is in `judge`.
//!
//! Sentences are raw text. A renderer escapes them for its output.

use serde::Serialize;

use crate::model::{Confidence, Severity, named};

/// Declares a family: its `Evidence` enum, its flags, and the conversions between the enum and the type of each
/// finding.
macro_rules! family {
    ($family:ident: $($kind:ident),+ $(,)?) => {
        /// The evidence of a finding of this family. The variants are boxed, because their sizes differ greatly.
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(untagged)]
        pub enum Evidence {
            $($kind(Box<$kind>)),+
        }

        pub(super) const FLAGS: &[super::Flag] = &[$(<$kind as super::FindingKind>::FLAG),+];

        impl Evidence {
            pub(super) fn facts(&self) -> &dyn super::FindingFacts {
                match self {
                    $(Evidence::$kind(evidence) => &**evidence),+
                }
            }
        }

        $(
            impl $kind {
                /// Returns the evidence as this type; `None` for any other kind of finding.
                pub fn of(evidence: &super::Evidence) -> Option<&Self> {
                    match evidence {
                        super::Evidence::$family(Evidence::$kind(evidence)) => Some(evidence),
                        _ => None,
                    }
                }
            }

            impl From<$kind> for super::Evidence {
                fn from(evidence: $kind) -> Self {
                    super::Evidence::$family(Evidence::$kind(Box::new(evidence)))
                }
            }
        )+
    };
}

pub mod change;
pub mod deep;
pub mod file;
pub mod identity;
pub mod policy;
mod processes;
pub mod reach;
pub mod registry;
pub mod socket;
pub(crate) mod text;

pub use processes::{Difference, OtherSocket, ProcessGroup, Processes, RunningProgram};

named! {
    /// What a finding is about.
    pub enum FindingFamily {
        Registry = "registry",
        Identity = "identity",
        File = "file",
        /// The clients that can reach the listener.
        Reach = "reach",
        /// The socket itself, and other sockets on its port.
        Socket = "socket",
        /// The listeners that the policy allows and requires.
        Policy = "policy",
        Change = "change",
        /// The sockets that the kernel's tables hide.
        Deep = "deep",
    }
}

impl FindingFamily {
    /// Returns whether only an audit has findings of this family. These findings need a policy, a baseline or a deep
    /// scan.
    pub const fn is_audit_only(self) -> bool {
        matches!(self, FindingFamily::Policy | FindingFamily::Change | FindingFamily::Deep)
    }
}

/// How a loopback address changes the severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnLoopback {
    /// The severity is one level lower than on other addresses.
    Lower,
    /// The severity is the same as on other addresses.
    Same,
}

/// The facts that all findings of a kind have in common. Flags are sorted by the first two fields: by family, then by
/// code.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingInfo {
    pub family: FindingFamily,
    /// In kebab-case. The code never changes.
    pub code: &'static str,
    /// The usual severity on an address that other machines can reach.
    pub severity: Severity,
    pub on_loopback: OnLoopback,
    /// The condition of the finding: a phrase without a full stop.
    pub description: &'static str,
    /// The reason why the finding matters: one sentence.
    pub why: &'static str,
    /// The remedy: a phrase without a full stop.
    pub remedy: &'static str,
}

/// A kind of finding. The type that implements the trait has the evidence as its fields.
pub trait FindingKind {
    const INFO: FindingInfo;

    /// The severities that [`FindingKind::severity`] can return.
    const SEVERITIES: &'static [Severity] = &[Self::INFO.severity];

    const FLAG: Flag = Flag(&Self::INFO, Self::SEVERITIES);

    /// Returns the severity that this evidence has on an address that other machines can reach.
    fn severity(&self) -> Severity {
        Self::INFO.severity
    }

    /// Returns the evidence in full sentences.
    fn sentence(&self) -> String;

    /// Returns the sentences for a card. They leave out the facts that the card shows on separate lines.
    fn card_sentence(&self) -> String {
        self.sentence()
    }
}

/// The functions of [`FindingKind`], for callers that do not know the type of the evidence.
pub trait FindingFacts {
    fn flag(&self) -> Flag;

    fn severity(&self) -> Severity;

    fn sentence(&self) -> String;

    fn card_sentence(&self) -> String {
        self.sentence()
    }
}

impl<K: FindingKind> FindingFacts for K {
    fn flag(&self) -> Flag {
        K::FLAG
    }

    fn severity(&self) -> Severity {
        FindingKind::severity(self)
    }

    fn sentence(&self) -> String {
        FindingKind::sentence(self)
    }

    fn card_sentence(&self) -> String {
        FindingKind::card_sentence(self)
    }
}

/// Names a kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flag(&'static FindingInfo, &'static [Severity]);

impl Flag {
    /// Returns every flag, in the order of listings.
    pub fn all() -> impl Iterator<Item = Flag> {
        [
            registry::FLAGS,
            identity::FLAGS,
            file::FLAGS,
            reach::FLAGS,
            socket::FLAGS,
            policy::FLAGS,
            change::FLAGS,
            deep::FLAGS,
        ]
        .into_iter()
        .flatten()
        .copied()
    }

    /// Returns the flags that a listing can show: all except those that only an audit finds.
    pub fn listed() -> impl Iterator<Item = Flag> {
        Flag::all().filter(|flag| !flag.family().is_audit_only())
    }

    /// Finds a flag by its code, in lower or upper case.
    pub fn find(code: &str) -> Option<Flag> {
        Flag::all().find(|flag| flag.code().eq_ignore_ascii_case(code))
    }

    /// Returns the position in [`Flag::all`].
    pub fn position(self) -> usize {
        Flag::all().take_while(|flag| *flag != self).count()
    }

    /// Returns the stable code, in kebab-case.
    pub const fn code(self) -> &'static str {
        self.0.code
    }

    pub const fn family(self) -> FindingFamily {
        self.0.family
    }

    /// Returns the phrase for the condition of the finding.
    pub const fn description(self) -> &'static str {
        self.0.description
    }

    /// Returns the sentence about why the finding matters.
    pub const fn why(self) -> &'static str {
        self.0.why
    }

    /// Returns the phrase with the remedy.
    pub const fn remedy(self) -> &'static str {
        self.0.remedy
    }

    /// Returns the usual severity on an address that other machines can reach.
    pub const fn severity(self) -> Severity {
        self.0.severity
    }

    /// Returns the severities that a finding of this kind can have on an address that other machines can reach.
    pub const fn severities(self) -> &'static [Severity] {
        self.1
    }

    /// Returns how a loopback address changes a severity.
    pub const fn on_loopback(self) -> OnLoopback {
        self.0.on_loopback
    }
}

/// The evidence of a finding. Every output makes its own text from this data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Evidence {
    Registry(registry::Evidence),
    Identity(identity::Evidence),
    File(file::Evidence),
    Reach(reach::Evidence),
    Socket(socket::Evidence),
    Policy(policy::Evidence),
    Change(Box<change::BaselineChange>),
    Deep(deep::Evidence),
}

impl Evidence {
    fn facts(&self) -> &dyn FindingFacts {
        match self {
            Evidence::Registry(evidence) => evidence.facts(),
            Evidence::Identity(evidence) => evidence.facts(),
            Evidence::File(evidence) => evidence.facts(),
            Evidence::Reach(evidence) => evidence.facts(),
            Evidence::Socket(evidence) => evidence.facts(),
            Evidence::Policy(evidence) => evidence.facts(),
            Evidence::Change(change) => &**change,
            Evidence::Deep(evidence) => evidence.facts(),
        }
    }
}

/// One finding about one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The evidence. Its kind determines the flag of the finding.
    pub evidence: Evidence,
    /// Whether only the port is the evidence, because the owner of the socket is hidden.
    pub is_owner_hidden: bool,
}

impl Finding {
    /// Replaces a command line in the evidence with the name of the program.
    pub(crate) fn remove_command_line(&mut self) {
        let tool = match &mut self.evidence {
            Evidence::Identity(identity::Evidence::ShellListener(found)) => &mut found.tool,
            Evidence::Identity(identity::Evidence::AdHoc(found)) => &mut found.tool,
            Evidence::Identity(identity::Evidence::DualUse(found)) => &mut found.tool,
            _ => return,
        };
        tool.command.clone_from(&tool.program);
    }

    /// Makes a finding with the severity for an address that other machines can reach. The module `judge` adjusts the
    /// severity.
    pub fn new(evidence: impl Into<Evidence>) -> Self {
        let mut finding =
            Finding { severity: Severity::Info, evidence: evidence.into(), is_owner_hidden: false };
        finding.severity = finding.evidence_severity();
        debug_assert!(finding.flag().severities().contains(&finding.severity), "{finding:?}");
        finding
    }

    /// Returns the severity of the evidence on an address that other machines can reach.
    pub fn evidence_severity(&self) -> Severity {
        self.evidence.facts().severity()
    }

    /// Returns the flag that names the kind of this finding.
    pub fn flag(&self) -> Flag {
        self.evidence.facts().flag()
    }

    /// Returns the evidence in full sentences of raw text, not yet escaped.
    pub fn sentence(&self) -> String {
        self.with_basis(self.evidence.facts().sentence())
    }

    /// Returns the sentences for a card. They leave out the process, address and firewall, because the card shows these
    /// on separate lines.
    pub fn card_sentence(&self) -> String {
        self.with_basis(self.evidence.facts().card_sentence())
    }

    /// Adds a note if only the port is the evidence.
    fn with_basis(&self, sentence: String) -> String {
        match self.is_owner_hidden {
            true => format!(
                "{sentence} The process could not be seen, so this finding is based on the port alone."
            ),
            false => sentence,
        }
    }
}

impl Finding {
    /// Returns whether the finding relies on a registration that is only presumed dead.
    pub fn is_presumed(&self) -> bool {
        registry::Orphaned::of(&self.evidence).is_some_and(|orphaned| {
            orphaned.registrations.iter().any(|row| row.confidence == Confidence::Presumed)
        })
    }
}

#[cfg(test)]
mod tests;
