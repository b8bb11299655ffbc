//! The registry's verdict on a port and protocol, and the registrations behind it.

use serde::Serialize;

use super::{PortRange, Protocol, named};

named! {
    /// The part of the port range 0 to 65535 (RFC 6335, section 6).
    pub enum RegistryRange {
        /// The ports 0 to 1023, which IANA assigns by IETF Review or IESG Approval.
        System = "system",
        /// The ports 1024 to 49151, which IANA assigns on request.
        Registered = "registered",
        /// The ports 49152 to 65535, which IANA never assigns.
        Dynamic = "dynamic",
    }
}

impl RegistryRange {
    /// Returns the range that contains `port`.
    #[must_use]
    pub const fn of(port: u16) -> Self {
        match port {
            0..=1023 => RegistryRange::System,
            1024..=49151 => RegistryRange::Registered,
            49152..=65535 => RegistryRange::Dynamic,
        }
    }
}

named! {
    /// The status of a port and protocol, and of each of its registrations.
    pub enum Status {
        /// A registered service is in use on the port. An RFC that defines the service counts as use, unless a list
        /// calls the service dead.
        Active = "active",
        /// The port is registered, but another service commonly uses it.
        Repurposed = "repurposed",
        /// Every registration is dead.
        Orphaned = "orphaned",
        /// The port is registered, but there is no evidence of use.
        Dormant = "dormant",
        /// The port is not registered, or IANA reserves it. Well-known software may still use the port.
        Unassigned = "unassigned",
        /// The port is 49152 or higher.
        Dynamic = "dynamic",
    }
}

named! {
    /// The basis of a status. The comment of each variant begins with the resulting status. If a port has several
    /// registrations, the first basis in this order counts.
    pub enum StatusBasis {
        /// Active: independent sources name the registered service.
        Evidence = "evidence",
        /// Active: an RFC defines the service.
        Standard = "standard",
        /// Repurposed: a curated list names the program that uses the port.
        KnownUse = "known-use",
        /// Repurposed: packaged sources agree on another name for the port.
        OtherName = "other-name",
        /// Dormant: the registration was added or changed in the last ten years.
        Obscure = "obscure",
        /// Dormant: the service is in use, but on another protocol.
        OtherProtocol = "other-protocol",
        /// Dormant: the registration has no assignee, or was not changed for ten years.
        Untouched = "untouched",
        /// Orphaned: the software or service ended.
        Ended = "ended",
        /// Orphaned: the product is obsolete, but some installations still use it.
        Legacy = "legacy",
        /// Unassigned: IANA reserves the port.
        Reserved = "reserved",
        /// Unassigned: no row of the registry names the port.
        Unregistered = "unregistered",
        /// Dynamic: IANA assigns nothing in this range.
        Range = "range",
    }
}

impl StatusBasis {
    /// Returns the status that follows from this basis.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            StatusBasis::Evidence | StatusBasis::Standard => Status::Active,
            StatusBasis::KnownUse | StatusBasis::OtherName => Status::Repurposed,
            StatusBasis::Obscure | StatusBasis::OtherProtocol | StatusBasis::Untouched => Status::Dormant,
            StatusBasis::Ended | StatusBasis::Legacy => Status::Orphaned,
            StatusBasis::Reserved | StatusBasis::Unregistered => Status::Unassigned,
            StatusBasis::Range => Status::Dynamic,
        }
    }
}

named! {
    /// The certainty of a curated row. A presumption is never shown as a fact.
    pub enum Confidence {
        /// A source confirms the row, and the author of the row has read the source.
        Confirmed = "confirmed",
        /// No source confirms the row; `basis` has the reason for the presumption.
        Presumed = "presumed",
    }
}

named! {
    /// The state of a registration according to a curated list.
    pub enum CuratedState {
        /// In use today.
        Alive = "alive",
        /// The software or service is dead.
        Orphaned = "orphaned",
        /// The product is obsolete, but still in use.
        Legacy = "legacy",
    }
}

/// A row of the curated lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Curated {
    /// The state of the registration.
    pub standing: CuratedState,
    /// The product or protocol of the registration.
    pub product: &'static str,
    /// The time at which the product ended: a year, or a year and month (`2002`, `2002-07`).
    pub ended: Option<&'static str>,
    /// The reason, in one sentence.
    pub reason: &'static str,
    /// The page that confirms the row; always present if `confidence` is [`Confidence::Confirmed`].
    pub source: Option<&'static str>,
    /// The certainty of the row.
    pub confidence: Confidence,
    /// Other software that uses the port today.
    pub now_used_by: Option<&'static str>,
    /// The basis of a presumption; always present if `confidence` is [`Confidence::Presumed`].
    pub basis: Option<&'static str>,
}

named! {
    /// A kind of independent source that lists the registered service for the port.
    pub enum EvidenceSource {
        /// The curated list of living registrations.
        Curated = "curated",
        /// The curated list of known uses, if it names the registered service.
        KnownUse = "known-use",
        /// `/etc/services` of Debian's `netbase`.
        Netbase = "netbase",
        /// The ports that Wireshark's dissectors register (`tshark -G decodes`).
        Tshark = "tshark",
        /// The ports of the SELinux reference policy (`corenetwork.te.in`).
        Selinux = "selinux",
        /// The services of firewalld.
        Firewalld = "firewalld",
        /// The default ports of nDPI's protocols.
        Ndpi = "ndpi",
        /// The application profiles of ufw.
        Ufw = "ufw",
    }
}

impl EvidenceSource {
    /// The kinds of source that come from software packages, in ascending order.
    pub const PACKAGED: [EvidenceSource; 6] = [
        EvidenceSource::Netbase,
        EvidenceSource::Tshark,
        EvidenceSource::Selinux,
        EvidenceSource::Firewalld,
        EvidenceSource::Ndpi,
        EvidenceSource::Ufw,
    ];
}

/// One registration: a name on a port (or range) and protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// The service name as registered.
    pub service: &'static str,
    /// The ports of this registration: one, or a range.
    pub ports: PortRange,
    /// The description.
    pub description: Option<&'static str>,
    /// The assignee: a person, a company or a body.
    pub assignee: Option<&'static str>,
    /// Date of registration, `YYYY-MM-DD` or `YYYY-MM` or `YYYY`.
    pub registered: Option<&'static str>,
    /// Date of the last change, in the formats of `registered`.
    pub modified: Option<&'static str>,
    /// Reference, usually an RFC: `[RFC9110]`.
    pub reference: Option<&'static str>,
    /// IANA's notes, including unauthorised use reported to IANA; one line.
    pub notes: Option<&'static str>,
    /// The status of this registration alone: active, orphaned or dormant.
    pub status: Status,
    /// The basis of `status`.
    pub basis: StatusBasis,
    /// The other protocols on which this registration is in use. Empty if the registration is in use on its own
    /// protocol.
    pub used_on: Vec<Protocol>,
    /// The row of a curated list about the registration.
    pub curated: Option<Curated>,
    /// The kinds of source that name the registration, in ascending order and without duplicates.
    #[serde(rename = "life")]
    pub named_by: Vec<EvidenceSource>,
}

/// The registry's verdict on a port and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortVerdict {
    /// The part of the port space.
    pub range: RegistryRange,
    /// The status of the port and protocol.
    pub status: Status,
    /// The basis of `status`.
    pub basis: StatusBasis,
    /// The registrations: those in use first, then in the order of the registry.
    pub assignments: Vec<Assignment>,
    /// The known uses of the port, without duplicate texts.
    pub known_use: Vec<&'static str>,
    /// Whether other software commonly uses the port too, in addition to the registered service. [`Self::known_use`]
    /// then begins with the most common use.
    pub is_shared: bool,
    /// The packaged sources ([`EvidenceSource::PACKAGED`]) that list another service for the port, in ascending order.
    pub named_otherwise_by: Vec<EvidenceSource>,
    /// The sources in `named_otherwise_by` that agree on one name: none, or at least two.
    pub agreeing: Vec<EvidenceSource>,
    /// The text of IANA's row for a port without a service name, if the text is more than "Reserved" or "Unassigned".
    pub remark: Option<&'static str>,
}

/// Returns the main name of a registration that is an alias, according to IANA's note.
pub(crate) fn alias_in(notes: Option<&'static str>) -> Option<&'static str> {
    let (_, rest) = notes?.split_once("This entry is an alias to \"")?;
    rest.split_once('"').map(|(name, _)| name)
}

impl PortVerdict {
    /// Returns the first known use, if the port is not registered, or if this use has replaced the registered service.
    #[must_use]
    pub fn use_instead(&self) -> Option<&'static str> {
        match self.basis {
            StatusBasis::KnownUse | StatusBasis::Unregistered | StatusBasis::Reserved => {
                self.known_use.first().copied()
            }
            _ => None,
        }
    }

    /// Returns the registrations, without other spellings of the same name, such as `914c/g` for `914c-g`.
    pub fn registrations(&self) -> impl Iterator<Item = &Assignment> {
        self.assignments.iter().filter(|a| !self.assignments.iter().any(|other| a.is_spelling_of(other)))
    }

    /// Returns the other spellings of the name of a registration.
    pub fn spellings(&self, of: &Assignment) -> impl Iterator<Item = &'static str> {
        self.assignments.iter().filter(move |a| a.is_spelling_of(of)).map(|a| a.service)
    }
}

impl Assignment {
    fn is_spelling_of(&self, other: &Assignment) -> bool {
        self.ports == other.ports && alias_in(self.notes) == Some(other.service)
    }
}
