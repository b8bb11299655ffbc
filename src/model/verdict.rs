//! The registry's verdict on a port and protocol, as data: what is registered, what is known of it, and
//! what the verdict rests on.
//!
//! Texts are borrowed from registry data that lives as long as the program. No prose is made here.

use super::{PortRange, named};

named! {
    /// The part of the port space (RFC 6335, section 6).
    pub enum RegistryRange {
        /// 0 to 1023: assigned by IETF Review or IESG Approval.
        System = "system",
        /// 1024 to 49151: assigned by IANA on request.
        Registered = "registered",
        /// 49152 to 65535: never assigned.
        Dynamic = "dynamic",
    }
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
}

named! {
    /// The verdict on a port and protocol: the first of these that holds, in this order.
    pub enum Status {
        /// 49152 and above.
        Dynamic = "dynamic",
        /// No row covers it, and no known use.
        Unassigned = "unassigned",
        /// IANA reserves it, and no known use.
        Reserved = "reserved",
        /// What one meets there is known, and is not what is registered.
        Repurposed = "repurposed",
        /// Independent evidence of a registered service.
        Active = "active",
        /// A registered service defined by an RFC and not curated as dead.
        Standard = "standard",
        /// Every registration is dead, at least one of them orphaned.
        Orphaned = "orphaned",
        /// Every registration is dead or withdrawn, all of them curated `legacy`.
        Legacy = "legacy",
        /// Registered, no evidence of life, and no assignee or untouched for ten years.
        Dormant = "dormant",
        /// Registered, no evidence of life.
        Obscure = "obscure",
    }
}

named! {
    /// How sure a curated row is. Nothing ever turns a presumption into a fact.
    pub enum Confidence {
        /// A source that was read says so.
        Confirmed = "confirmed",
        /// It rests on the row's `basis` alone.
        Presumed = "presumed",
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

named! {
    /// A kind of independent source that names the port with the registry's own service.
    pub enum Life {
        /// The curated list of living registrations.
        Curated = "curated",
        /// The curated list of known uses, where the use is the registered service itself.
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

impl Life {
    /// The kinds that are packaged sources, in rising order.
    pub const PACKAGED: [Life; 6] =
        [Life::Netbase, Life::Tshark, Life::Selinux, Life::Firewalld, Life::Ndpi, Life::Ufw];
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
