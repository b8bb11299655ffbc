//! Further facts about a port, in addition to its status.

use serde::Serialize;

use super::PortRange;

/// A program that usually serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KnownProgram {
    /// The name of the program, or a text in its command line that identifies the program.
    pub program: &'static str,
    /// The product.
    pub product: &'static str,
}

/// A service or product that commonly runs on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CommonService {
    /// The name.
    pub name: &'static str,
    /// The kind of service, such as `database`. `malware` and `attack-tool` are never shown as
    /// the service of a listener.
    pub kind: &'static str,
    /// A sentence that says what the service is.
    pub what: &'static str,
    /// Whether the service encrypts: `none`, `optional`, `always` or `n/a`.
    pub encryption: &'static str,
    /// How the service authenticates clients: `none`, `optional`, `password`, `key` or `n/a`.
    pub authentication: &'static str,
    /// Where the service should be reachable: `local` (this machine), `lan` (the local network), `public`, or
    /// `n/a` if this is not known for the port.
    pub reach: &'static str,
    /// How common the service is, from 1 (nearly everywhere) to 5 (rare).
    pub how_common: u8,
    /// The year of its first release.
    pub since: Option<&'static str>,
}

impl CommonService {
    /// Returns whether the service is malware or a tool of attackers. Such a service is never shown as what a port is for.
    #[must_use]
    pub fn is_abuse(&self) -> bool {
        self.is_malware() || self.kind == "attack-tool"
    }

    /// Returns whether the service is malware.
    #[must_use]
    pub fn is_malware(&self) -> bool {
        self.kind == "malware"
    }
}

/// Two texts about one of the most popular ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PortAnswer {
    /// The software that commonly runs on the port.
    pub what: &'static str,
    /// What happens if other machines can reach the port, often with advice such as `Prefer SFTP (port 22).`
    pub open: &'static str,
}

/// A service on whose port an unknown program is suspicious.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardedService {
    /// The service.
    pub service: &'static str,
    /// The known servers of the service.
    pub programs: Vec<&'static str>,
    /// The reason why an unknown program on the port is suspicious.
    pub why: &'static str,
}

/// A registration near a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NearbyRegistration {
    /// Its port.
    pub port: u16,
    /// Its service.
    pub service: &'static str,
}

/// Adjacent ports that one assignee registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// The range of these ports.
    pub ports: PortRange,
    /// The assignee of these ports.
    pub assignee: &'static str,
    /// The services of these ports.
    pub services: Vec<NearbyRegistration>,
}

/// The registrations around a port, for the same protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NearbyRegistrations {
    /// The block that contains the port, if the block has more than one port.
    pub block: Option<Block>,
    /// The nearest registration below.
    pub before: Option<NearbyRegistration>,
    /// The nearest registration above.
    pub after: Option<NearbyRegistration>,
}

/// The kind of an event in the history of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The registration was added.
    Registered,
    /// The row of the registration was changed.
    Changed,
    /// The registration got its present name later. A note gives the former name or the period; the event has no date.
    Renamed,
    /// The product or protocol of the registration ended.
    Ended,
    /// IANA added a note; the event has no date.
    Noted,
    /// Malware used the port.
    Abused,
}

/// One event in the history of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Event {
    /// The date, as precise as its source. Events without a date come first.
    pub date: Option<&'static str>,
    /// The kind of event.
    pub what: EventKind,
    /// The registration that the event is about; `None` if the event is about the port itself.
    pub service: Option<&'static str>,
    /// The text of IANA's note, or the name of the product that ended.
    pub text: Option<&'static str>,
}

/// The facts about a port in an ephemeral range of this kernel or of IANA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EphemeralHere {
    /// The range of this kernel that contains the port, if there is one.
    pub kernel_range: Option<PortRange>,
    /// The source of `kernel_range`.
    pub source: String,
    /// Whether this kernel never hands out the port, although `kernel_range` contains it.
    #[serde(rename = "kept_back")]
    pub is_reserved: bool,
    /// Whether IANA's dynamic range contains the port.
    pub iana_dynamic: bool,
    /// Whether the kernel may choose the port for a listener that requests any free port. False if the kernel prefers
    /// odd ports and this port is even, or the other way round. `None` if this is not known.
    pub kernel_would_pick: Option<bool>,
    /// Whether the listener probably chose the port itself. `None` if there is no listener, or if it is not clear who
    /// chose the port.
    pub likely_chosen: Option<bool>,
    /// Whether a listener that requests any free port usually gets an odd port. `None` if odd and even ports are
    /// equally likely, or if this is not known.
    #[serde(skip)]
    pub listeners_get_odd: Option<bool>,
}

/// Further facts about a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The texts about the port, if it is one of the most popular ports.
    pub answer: Option<PortAnswer>,
    /// The services that commonly run on the port, the most common first.
    pub services: Vec<CommonService>,
    /// The programs that usually serve the port.
    pub programs: Vec<KnownProgram>,
    /// The titles of the dangerous services that can use the port.
    pub dangers: Vec<&'static str>,
    /// The guarded service, if the port belongs to one.
    pub guarded: Option<GuardedService>,
    /// The registrations around the port.
    pub nearby: NearbyRegistrations,
    /// The events of its registrations, oldest first.
    pub history: Vec<Event>,
    /// The facts about the ephemeral range, if the port is in one.
    pub ephemeral: Option<EphemeralHere>,
}

/// The kind of thing that a query names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matched {
    /// A port or a range.
    Port,
    /// The name of a registered service.
    Service,
    /// A known program, or a running process that listens.
    Program,
    /// Words that occur in registrations, products or known uses.
    Text,
}
