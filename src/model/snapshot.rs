//! What was seen of one machine at one time, and what was not.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Family, Netns, PortRange, Process, Protocol, Socket, State, named};

/// The schema of a saved observation; a file of another one is refused.
pub const SNAPSHOT_SCHEMA: &str = "portolan.observation/1";

named! {
    /// The part of an observation that a gap is in.
    pub enum Stage {
        /// Asking for the sockets.
        Sockets = "sockets",
        /// Finding who holds them.
        Holders = "holders",
        /// Reading the processes that hold them.
        Processes = "processes",
        /// Looking into network namespaces.
        Namespaces = "namespaces",
        /// Reading the machine's own settings.
        Host = "host",
    }
}

/// Something that should have been seen and was not. A report with gaps is never complete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// Where.
    pub stage: Stage,
    /// What was not seen.
    pub what: String,
    /// How many of them, where that is known.
    pub count: Option<u64>,
    /// Why.
    pub why: String,
    /// What would show it, where anything would.
    pub remedy: Option<String>,
}

/// Something a reader should know that is no failure: what was not asked for, or which source answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub what: String,
    /// How many of them, where that is known.
    pub count: Option<u64>,
    /// What would show more, where anything would.
    pub remedy: Option<String>,
}

/// The machine that was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: Option<String>,
    /// Its operating system, as Rust names it: `linux`, `macos`, `windows`.
    pub os: String,
    /// The version of its kernel.
    pub kernel: Option<String>,
    /// Whether the observer was allowed to read every process.
    pub privileged: bool,
    /// The ports this kernel hands out to outgoing connections, but for those in `reserved`; rising.
    pub ephemeral: Vec<PortRange>,
    /// The ports it never hands out although they lie in `ephemeral` (Linux: `ip_local_reserved_ports`); rising.
    pub reserved: Vec<PortRange>,
    /// Where that range comes from: a setting that was read, or the system's documented default.
    pub ephemeral_source: String,
    /// Where the system keeps a range for each protocol and family (Windows): each of them. Empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_of: Vec<EphemeralOf>,
}

/// The ports one protocol of one family hands out to outgoing connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EphemeralOf {
    /// The protocol.
    pub protocol: Protocol,
    /// The family.
    pub family: Family,
    /// Its ports.
    pub ports: PortRange,
}

impl Host {
    /// The ports outgoing connections of this protocol draw from, in this family or in any.
    #[must_use]
    pub fn ephemeral_for(&self, protocol: Protocol, family: Option<Family>) -> Vec<PortRange> {
        let own: Vec<PortRange> = self
            .ephemeral_of
            .iter()
            .filter(|of| of.protocol == protocol && family.is_none_or(|family| family == of.family))
            .map(|of| of.ports)
            .collect();
        if own.is_empty() { self.ephemeral.clone() } else { own }
    }
}

/// Which network namespaces to look into (Linux).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespaces {
    /// The observer's own.
    #[default]
    Own,
    /// Every one that can be found.
    All,
    /// The one of this name, inode, or process.
    Called(String),
}

/// Another network namespace that was looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    pub netns: Netns,
    /// As [`Host::ephemeral`], of this namespace; empty where it could not be read.
    pub ephemeral: Vec<PortRange>,
    /// As [`Host::reserved`], of this namespace.
    pub reserved: Vec<PortRange>,
    /// As [`Host::ephemeral_source`], of this namespace.
    pub ephemeral_source: String,
}

/// How far an observation reaches: what was asked for. Nothing can be said of what lies beyond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// These protocols.
    pub protocols: Vec<Protocol>,
    /// These families.
    pub families: Vec<Family>,
    /// Sockets in these states.
    pub states: Vec<State>,
    /// Sockets whose local port lies in one of these; `None`: on every port.
    pub ports: Option<Vec<PortRange>>,
    /// Whether the processes that hold them were looked for.
    pub holders: bool,
    /// Whether everything there is to know of those processes was read, or only which programs they are.
    pub details: bool,
}

/// Plain data: serialised as it stands, and read back with `--from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_SCHEMA`].
    pub schema: String,
    /// When; time enters an observation here and nowhere else.
    pub taken: Timestamp,
    /// Where.
    pub host: Host,
    /// How far it reaches; `None` where it was saved by a version that did not tell.
    #[serde(default)]
    pub extent: Option<Extent>,
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// The processes that hold any of them, in rising order of pid.
    pub processes: Vec<Process>,
    /// Which network namespaces were asked for: of any other, nothing is known.
    #[serde(default)]
    pub asked: Namespaces,
    /// The other network namespaces that were looked into, in rising order of inode.
    pub namespaces: Vec<Namespace>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// What a reader should know besides.
    pub notes: Vec<Note>,
}

impl Snapshot {
    /// The ports outgoing connections draw from where `socket` lives, and those of them kept back.
    #[must_use]
    pub fn ephemeral_at(&self, socket: &Socket) -> (Vec<PortRange>, &[PortRange]) {
        let Some(netns) = &socket.netns else {
            let Socket { local, .. } = socket;
            return (self.host.ephemeral_for(local.protocol, Some(local.family())), &self.host.reserved);
        };
        let found = self.namespaces.iter().find(|namespace| namespace.netns.inode == netns.inode);
        found.map_or((Vec::new(), &[]), |namespace| (namespace.ephemeral.clone(), &namespace.reserved))
    }

    /// Whether everything that was asked for was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }
}
