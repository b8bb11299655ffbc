//! The registry's verdict on a port and protocol, as data: what is registered, what is known of it, and
//! what the verdict rests on.
//!
//! Texts are borrowed from registry data that lives as long as the program. No prose is made here.

use serde::Serialize;

use super::PortRange;

/// The part of the port space (RFC 6335, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryRange {
    /// 0 to 1023: assigned by IETF Review or IESG Approval.
    System,
    /// 1024 to 49151: assigned by IANA on request.
    Registered,
    /// 49152 to 65535: never assigned.
    Dynamic,
}

impl RegistryRange {
    /// The range `port` lies in.
    #[must_use]
    pub const fn of(port: u16) -> Self {
        match port {
            0..=1023 => RegistryRange::System,
            1024..=49151 => RegistryRange::Registered,
            49152..=65535 => RegistryRange::Dynamic,
        }
    }

    /// The name in lower case, as in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RegistryRange::System => "system",
            RegistryRange::Registered => "registered",
            RegistryRange::Dynamic => "dynamic",
        }
    }
}

/// The verdict on a port and protocol: the first of these that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// 49152 and above.
    Dynamic,
    /// No row covers it, and no known use.
    Unassigned,
    /// IANA reserves it, and no known use.
    Reserved,
    /// What one meets there is known, and is not what is registered.
    Repurposed,
    /// Independent evidence of a registered service.
    Active,
    /// A registered service defined by an RFC and not curated as dead.
    Standard,
    /// Every registration is dead, at least one of them orphaned.
    Orphaned,
    /// Every registration is dead or withdrawn, all of them curated `legacy`.
    Legacy,
    /// Registered, no evidence of life, and no assignee or untouched for ten years.
    Dormant,
    /// Registered, no evidence of life.
    Obscure,
}

impl Status {
    /// Every status, in the order in which they are tried.
    pub const ALL: [Status; 10] = [
        Status::Dynamic,
        Status::Unassigned,
        Status::Reserved,
        Status::Repurposed,
        Status::Active,
        Status::Standard,
        Status::Orphaned,
        Status::Legacy,
        Status::Dormant,
        Status::Obscure,
    ];

    /// The name in lower case, as in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Status::Dynamic => "dynamic",
            Status::Unassigned => "unassigned",
            Status::Reserved => "reserved",
            Status::Repurposed => "repurposed",
            Status::Active => "active",
            Status::Standard => "standard",
            Status::Orphaned => "orphaned",
            Status::Legacy => "legacy",
            Status::Dormant => "dormant",
            Status::Obscure => "obscure",
        }
    }
}

/// How sure a curated row is. Nothing ever turns a presumption into a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// A source that was read says so.
    Confirmed,
    /// It rests on the row's `basis` alone.
    Presumed,
}

impl Confidence {
    /// The name in lower case, as in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Confidence::Confirmed => "confirmed",
            Confidence::Presumed => "presumed",
        }
    }
}

/// What a curated list says became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// In use today.
    Alive,
    /// Its software or service is dead.
    Orphaned,
    /// Withdrawn, still met.
    Legacy,
}

/// A row of the curated lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Curated {
    /// What became of it.
    pub standing: Standing,
    /// The product or protocol the registration was for.
    pub product: &'static str,
    /// When it ended: a year, or a year and month (`2002`, `2002-07`).
    pub ended: Option<&'static str>,
    /// One sentence.
    pub reason: &'static str,
    /// The page that says so; always there when `confidence` is [`Confidence::Confirmed`].
    pub source: Option<&'static str>,
    /// How sure it is.
    pub confidence: Confidence,
    /// What other software is met there today.
    pub now_used_by: Option<&'static str>,
    /// What a presumption rests on; always there when `confidence` is [`Confidence::Presumed`].
    pub basis: Option<&'static str>,
}

/// A kind of independent source that names the port with the registry's own service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// The curated list of living registrations.
    Curated,
    /// The curated list of known uses, where the use is the registered service itself.
    KnownUse,
    /// `/etc/services` of Debian's `netbase`.
    Netbase,
    /// The ports that Wireshark's dissectors register (`tshark -G decodes`).
    Tshark,
    /// The ports of the SELinux reference policy (`corenetwork.te.in`).
    Selinux,
    /// The services of firewalld.
    Firewalld,
    /// The default ports of nDPI's protocols.
    Ndpi,
    /// The application profiles of ufw.
    Ufw,
}

impl Life {
    /// Every kind, in rising order.
    pub const ALL: [Life; 8] = [
        Life::Curated,
        Life::KnownUse,
        Life::Netbase,
        Life::Tshark,
        Life::Selinux,
        Life::Firewalld,
        Life::Ndpi,
        Life::Ufw,
    ];

    /// The kinds that are packaged sources, in rising order.
    pub const PACKAGED: [Life; 6] =
        [Life::Netbase, Life::Tshark, Life::Selinux, Life::Firewalld, Life::Ndpi, Life::Ufw];

    /// The name in kebab-case, as in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Life::Curated => "curated",
            Life::KnownUse => "known-use",
            Life::Netbase => "netbase",
            Life::Tshark => "tshark",
            Life::Selinux => "selinux",
            Life::Firewalld => "firewalld",
            Life::Ndpi => "ndpi",
            Life::Ufw => "ufw",
        }
    }
}

/// One registration: a name on a port (or range) and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The service name as registered.
    pub service: &'static str,
    /// The ports of this registration: one, or a range.
    pub ports: PortRange,
    /// What it is for.
    pub description: Option<&'static str>,
    /// Who holds the registration: a person, a company or a body.
    pub assignee: Option<&'static str>,
    /// Date of registration, `YYYY-MM-DD` or `YYYY-MM` or `YYYY`.
    pub registered: Option<&'static str>,
    /// Date of the last change, likewise.
    pub modified: Option<&'static str>,
    /// Reference, an RFC as a rule: `[RFC9110]`.
    pub reference: Option<&'static str>,
    /// IANA's notes, unauthorised use reported to IANA included; one line.
    pub notes: Option<&'static str>,
    /// What became of this registration by itself: active, standard, orphaned, legacy, dormant or obscure.
    pub status: Status,
    /// The curated row on it.
    pub curated: Option<Curated>,
    /// The kinds of source that name it; rising, no kind twice.
    pub life: Vec<Life>,
}

/// The registry's verdict on a port and protocol; that of most ports is the same, and theirs to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The part of the port space.
    pub range: RegistryRange,
    /// The first status that holds.
    pub status: Status,
    /// The registrations, living ones first, else in the registry's order.
    pub assignments: Vec<Assignment>,
    /// What one really meets there, where that is known; no text twice.
    pub known_use: Vec<&'static str>,
    /// The kinds of packaged source that name it, and not as what is registered; rising.
    pub otherwise: Vec<Life>,
    /// Of those, the ones that agree with each other on what it is; none or several.
    pub together: Vec<Life>,
    /// What IANA's unnamed row on it says beyond "Reserved" or "Unassigned", where there is one.
    pub remark: Option<&'static str>,
}
