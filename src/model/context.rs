//! What is worth telling of a port beside its status: who usually serves it, what lies around it, what became of
//! its registrations over the years, and what its lying in an ephemeral range means here.

use serde::Serialize;

use super::PortRange;

/// A program that usually serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KnownProgram {
    /// Its name, or the text in its command line that tells it.
    pub program: &'static str,
    /// What it is.
    pub product: &'static str,
}

/// A service on whose port a stranger is suspicious.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardedService {
    /// The service.
    pub service: &'static str,
    /// The programs known to serve it.
    pub programs: Vec<&'static str>,
    /// Why a stranger there is suspicious.
    pub why: &'static str,
}

/// A registration near a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its port.
    pub port: u16,
    /// Its service.
    pub service: &'static str,
}

/// Ports side by side that one assignee registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// From the first to the last.
    pub ports: PortRange,
    /// Whose.
    pub assignee: &'static str,
    /// Their services.
    pub services: Vec<Neighbour>,
}

/// What is registered around a port, for the same protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Neighbours {
    /// The block the port belongs to, where it is more than the port itself.
    pub block: Option<Block>,
    /// The nearest registration below.
    pub before: Option<Neighbour>,
    /// The nearest registration above.
    pub after: Option<Neighbour>,
}

/// What happened to a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// It was registered.
    Registered,
    /// Its row was changed.
    Changed,
    /// It was renamed, named or lost at some time before the date.
    Renamed,
    /// What it was for ended.
    Ended,
    /// IANA notes something; without a date.
    Noted,
    /// Malware used the port.
    Abused,
}

/// A line of a port's history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Event {
    /// When, as far as the registry or the list says it; what has no date comes first.
    pub date: Option<&'static str>,
    /// What.
    pub what: Happening,
    /// Of which registration; `None`: of the port.
    pub service: Option<&'static str>,
    /// IANA's own words, or the product that ended.
    pub text: Option<&'static str>,
}

/// What a port's lying in an ephemeral range means on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EphemeralHere {
    /// The part of this kernel's own range it lies in.
    pub kernel_range: Option<PortRange>,
    /// Where that range comes from.
    pub source: String,
    /// Whether this kernel never hands it out although it lies there.
    pub kept_back: bool,
    /// Whether it lies in IANA's dynamic range.
    pub iana_dynamic: bool,
    /// Whether the kernel itself would pick it for a listener that asks for any port; `None`: the port does not tell.
    pub kernel_would_pick: Option<bool>,
    /// Whether whoever listens here likely chose the port; `None`: nobody listens, or nothing tells.
    pub likely_chosen: Option<bool>,
}

/// What is worth telling of a port beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The programs that usually serve it.
    pub programs: Vec<KnownProgram>,
    /// Where it is guarded.
    pub guarded: Option<GuardedService>,
    /// What is registered around it.
    pub neighbours: Neighbours,
    /// What happened to its registrations, oldest first.
    pub history: Vec<Event>,
    /// Where it lies in an ephemeral range.
    pub ephemeral: Option<EphemeralHere>,
}

/// What an asked-for name turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matched {
    /// A port or a range.
    Port,
    /// The name of a registered service.
    Service,
    /// A program of the list, or a process that listens here.
    Program,
    /// Words of registrations, products or uses.
    Text,
}
