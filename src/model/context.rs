//! Facts about a port beyond its status: the programs that usually serve it, the registrations around it, the history
//! of its registrations, and the meaning of its place in an ephemeral range on this host.

use serde::Serialize;

use super::PortRange;

/// A program that usually serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KnownProgram {
    /// Its name, or the text in its command line that identifies it.
    pub program: &'static str,
    /// The product.
    pub product: &'static str,
}

/// A service on whose port an unknown program is suspicious.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardedService {
    /// The service.
    pub service: &'static str,
    /// The programs known to serve it.
    pub programs: Vec<&'static str>,
    /// Why an unknown program there is suspicious.
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
    /// The ports from the first to the last.
    pub ports: PortRange,
    /// The assignee of these ports.
    pub assignee: &'static str,
    /// Their services.
    pub services: Vec<NearbyRegistration>,
}

/// What is registered around a port, for the same protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NearbyRegistrations {
    /// The block that contains the port, if the block has more than this port.
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
    /// It was registered.
    Registered,
    /// Its row was changed.
    Changed,
    /// It was renamed, added or removed at an unknown time before the date.
    Renamed,
    /// Its product or protocol ended.
    Ended,
    /// IANA added a note; without a date.
    Noted,
    /// Malware used the port.
    Abused,
}

/// One event in the history of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Event {
    /// The date, as exactly as the registry or the list gives it; events without a date come first.
    pub date: Option<&'static str>,
    /// The kind of event.
    pub what: EventKind,
    /// The registration that the event belongs to; `None` if it belongs to the port.
    pub service: Option<&'static str>,
    /// IANA's own words, or the product that ended.
    pub text: Option<&'static str>,
}

/// The meaning of a port's place in an ephemeral range on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EphemeralHere {
    /// The part of this kernel's own range that contains the port.
    pub kernel_range: Option<PortRange>,
    /// The source of that range.
    pub source: String,
    /// Whether this kernel never hands out the port although its range contains it.
    #[serde(rename = "kept_back")]
    pub is_reserved: bool,
    /// Whether IANA's dynamic range contains the port.
    pub iana_dynamic: bool,
    /// Whether the kernel itself would pick the port for a listener that asks for any port; `None` if the port does not
    /// show that.
    pub kernel_would_pick: Option<bool>,
    /// Whether the listener here probably chose the port; `None` if there is no listener, or the choice cannot be
    /// inferred.
    pub likely_chosen: Option<bool>,
}

/// Facts about a port beyond its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The programs that usually serve it.
    pub programs: Vec<KnownProgram>,
    /// The guarded service, if the port belongs to one.
    pub guarded: Option<GuardedService>,
    /// The registrations around it.
    pub nearby: NearbyRegistrations,
    /// The events of its registrations, oldest first.
    pub history: Vec<Event>,
    /// The meaning of its place in an ephemeral range, if it lies in one.
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
    /// A program of the list, or a running process that listens.
    Program,
    /// Words of registrations, products or uses.
    Text,
}
