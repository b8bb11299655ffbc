//! What became of a listener between two observations, as evidence.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::{Device, ExeState, Exposure, Netns, Protocol, named};

named! {
    /// What became of a listener from one observation to the next.
    pub enum ChangeKind {
        /// It is new.
        Appeared = "appeared",
        /// It is gone.
        Vanished = "vanished",
        /// At the same place, other programs or another user hold it.
        Changed = "changed",
        /// The same program by its path holds it, but the file it runs is no longer there: another stands in its place, or
        /// none.
        Replaced = "replaced",
        /// The same service can be reached by more than before.
        Widened = "widened",
        /// The same service can be reached by fewer than before.
        Narrowed = "narrowed",
    }
}

/// A listener on one side of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local address.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// The device it is bound to.
    pub device: Option<Device>,
    /// Its network namespace; `None` where it is the observer's own.
    pub netns: Option<Netns>,
    /// Who can reach it.
    pub exposure: Exposure,
    /// What is known of its holders: `held`, `hidden`, ….
    pub owner: &'static str,
    /// The programs that hold it, by file or else by name; each once.
    pub programs: Vec<String>,
    /// What became of the files they run, the worst; `None` where none could be read.
    pub executable: Option<ExeState>,
    /// Its user, by name or else by number.
    pub user: Option<String>,
}

/// A change since a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Since {
    /// What became of it.
    pub change: ChangeKind,
    /// When the baseline was taken.
    pub baseline: Timestamp,
    /// What it was; `None` for one that appeared.
    pub before: Option<Held>,
    /// What it is; `None` for one that vanished.
    pub after: Option<Held>,
    /// Whether it looks like a client that waits for an answer: such sockets come and go.
    pub passing: bool,
    /// Whether the side that lacks it saw everything.
    pub sure: bool,
}
