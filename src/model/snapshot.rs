//! A snapshot: the data that one scan of a machine saw, and the parts that it could not see.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Family, Firewall, HostScope, Namespaces, Netns, Pid, PortRange, Process, Protocol, Scope, Socket, State,
    named,
};

/// The schema of a saved snapshot.
pub const SNAPSHOT_SCHEMA: &str = "portolan.observation/2";

/// The older schema, which can still be read. It lacks [`Snapshot::tool`], and the fields `id`, `boot`, `scope` and
/// `labels` of [`Host`].
pub const OLD_SNAPSHOT_SCHEMA: &str = "portolan.observation/1";

named! {
    /// The part of a scan that a gap belongs to.
    pub enum Stage {
        /// The list of the sockets.
        Sockets = "sockets",
        /// The search for the processes that own the sockets.
        #[serde(alias = "holders")]
        Owners = "owners",
        /// The data of the processes that own the sockets.
        Processes = "processes",
        /// The other network namespaces.
        Namespaces = "namespaces",
        /// The rules of the firewall and of address translation (NAT, IPVS).
        Rules = "rules",
        /// The settings of the machine.
        Host = "host",
        /// The part of the machine that is visible (see [`HostScope`]).
        Scope = "scope",
    }
}

/// Something that a scan should have seen but could not see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// The part of the scan.
    pub stage: Stage,
    /// The things that were not seen.
    pub what: String,
    /// The number of the things that were not seen, if known.
    pub count: Option<u64>,
    /// The processes that the gap concerns, if known, in ascending order.
    #[serde(default)]
    pub pids: Vec<Pid>,
    /// The cause.
    pub why: String,
    /// The remedy, if there is one.
    pub remedy: Option<String>,
}

/// A fact for the reader that is not a failure. For example, a part was left out on request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// The subject of the note.
    pub what: String,
    /// The number of the things that the note is about, if known.
    pub count: Option<u64>,
    /// The way to see more, if there is one.
    pub remedy: Option<String>,
    /// Whether a listing shows the note without `-v`, because the note changes the meaning of the listing.
    #[serde(default)]
    pub important: bool,
}

impl Note {
    /// The remedy for network namespaces that were not scanned.
    pub(crate) const ALL_NAMESPACES: &str = "--netns all";
    /// The remedy for processes and sockets that were left out on request.
    pub(crate) const WITH_PROCESSES: &str = "run without --no-holders";

    /// Returns whether the note is about network namespaces that were not scanned.
    pub(crate) fn is_about_namespaces(&self) -> bool {
        self.remedy.as_deref() == Some(Self::ALL_NAMESPACES)
    }

    pub(crate) fn new(what: impl Into<String>) -> Self {
        Note { what: what.into(), count: None, remedy: None, important: false }
    }

    pub(crate) fn counted(self, count: impl TryInto<u64>) -> Self {
        Note { count: count.try_into().ok(), ..self }
    }

    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Note { remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn marked_important(self) -> Self {
        Note { important: true, ..self }
    }
}

impl Gap {
    pub(crate) fn new(stage: Stage, what: impl Into<String>, why: impl Into<String>) -> Self {
        let (what, why) = (what.into(), why.into());
        Gap { stage, what, count: None, pids: Vec::new(), why, remedy: None }
    }

    pub(crate) fn counted(self, count: impl TryInto<u64>) -> Self {
        Gap { count: count.try_into().ok(), ..self }
    }

    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Gap { remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn with_pids(self, pids: Vec<Pid>) -> Self {
        Gap { pids, ..self }
    }

    /// Adds the processes that the gap concerns. The remedy becomes the command that shows these processes.
    pub(crate) fn of_processes(self, pids: Vec<Pid>, os: &str) -> Self {
        Gap { remedy: show_processes(&pids, os), pids, ..self }
    }

    /// Returns the gap for a user who may not read the rules of the firewall and of address translation.
    #[must_use]
    pub fn refused_rules() -> Self {
        let what = "the rules of the firewall and of address translation (NAT, IPVS)";
        let why = "only root may read these rules, so it is not known which clients the firewall lets in and which ports the kernel forwards";
        Gap::new(Stage::Rules, what, why).with_remedy("run as root, with CAP_NET_ADMIN")
    }

    /// Returns whether the gap can hide a listener: a socket, or a port that a rule forwards.
    #[must_use]
    pub const fn hides_listeners(&self) -> bool {
        matches!(self.stage, Stage::Sockets | Stage::Namespaces | Stage::Rules)
    }

    /// Returns whether the remedy is to run as another user, such as root.
    #[must_use]
    pub fn needs_privilege(&self) -> bool {
        self.remedy.as_deref().is_some_and(|remedy| remedy.starts_with("run as "))
    }
}

/// The maximum number of processes in a text.
pub const NAMED_PIDS: usize = 8;

/// Returns the command that shows these processes on the operating system `os`, if known.
#[must_use]
pub fn show_processes(pids: &[Pid], os: &str) -> Option<String> {
    let pids: Vec<String> = pids.iter().take(NAMED_PIDS).map(ToString::to_string).collect();
    (os != "windows" && !pids.is_empty()).then(|| format!("ps -fp {}", pids.join(",")))
}

impl HostScope {
    /// Returns a gap if `asked` covers more than this part of the machine.
    #[must_use]
    pub fn gap(self, asked: &Scope) -> Option<Gap> {
        let (what, why, elsewhere) = match self {
            _ if self <= asked.part => return None,
            HostScope::Namespace if asked.namespaces == Namespaces::All => return None,
            HostScope::Machine => return None,
            HostScope::Namespace => (
                "the sockets outside this network namespace",
                "portolan runs in a separate network namespace",
                "run portolan with --netns all",
            ),
            HostScope::Container => (
                "the processes and sockets outside this container",
                "portolan runs in a separate pid namespace",
                "run portolan outside the container",
            ),
        };
        let remedy = format!("{elsewhere}, or accept this with --scope {}", self.name());
        Some(Gap::new(Stage::Scope, what, why).with_remedy(remedy))
    }
}

/// The machine that was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name.
    pub name: Option<String>,
    /// The ID, which distinguishes two machines with the same name. It is a hash of the machine ID, or the name that
    /// the user gave. `None` if the machine has no ID, or if the scan read no details.
    #[serde(default)]
    pub id: Option<String>,
    /// The ID of the current boot; `None` if the system gives no such ID, or if the scan read no details.
    #[serde(default)]
    pub boot: Option<String>,
    /// The labels that the user gave.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The operating system, as Rust names it: `linux`, `macos`, `windows`.
    pub os: String,
    /// The version of the kernel.
    pub kernel: Option<String>,
    /// Whether portolan was allowed to read every process.
    pub privileged: bool,
    /// The part of the machine that portolan sees; `None` if this is not known.
    #[serde(default)]
    pub scope: Option<HostScope>,
    /// The ranges of ports that this kernel gives to outgoing connections, in ascending order. The kernel does not give
    /// out the ports in `reserved`.
    pub ephemeral: Vec<PortRange>,
    /// The ports in `ephemeral` that the kernel never hands out (Linux: `ip_local_reserved_ports`), in ascending
    /// order.
    pub reserved: Vec<PortRange>,
    /// The source of `ephemeral`: a setting that was read, or the system's documented default.
    pub ephemeral_source: String,
    /// The range of each protocol and family, if the system has separate ranges (Windows); empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_of: Vec<EphemeralRange>,
}

/// Returns whether a Linux kernel of this version lists sockets that are bound but do not listen (6.8 or later).
#[must_use]
pub fn lists_bound_sockets(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 8),
        _ => true,
    }
}

/// The ports that outgoing connections of one protocol and family use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EphemeralRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The family.
    pub family: Family,
    /// The ports.
    pub ports: PortRange,
}

impl Host {
    /// Returns the ports that outgoing connections of this protocol and family use. Without a family, returns the ports
    /// for all families.
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

/// Another network namespace that was scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The inode and name.
    pub netns: Netns,
    /// The addresses of its network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// [`Host::ephemeral`] of this namespace; empty if the range could not be read.
    pub ephemeral: Vec<PortRange>,
    /// [`Host::reserved`] of this namespace.
    pub reserved: Vec<PortRange>,
    /// [`Host::ephemeral_source`] of this namespace.
    pub ephemeral_source: String,
}

/// The ports that outgoing connections use in one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralPorts<'s> {
    /// The ranges; empty if they could not be read.
    pub ranges: Vec<PortRange>,
    /// The ports in these ranges that the kernel never hands out.
    pub reserved: &'s [PortRange],
    /// The source of the ranges, as in [`Host::ephemeral_source`].
    pub source: &'s str,
}

impl EphemeralPorts<'_> {
    /// Returns the range that contains `port`, even if the port is reserved.
    #[must_use]
    pub fn range_of(&self, port: u16) -> Option<PortRange> {
        self.ranges.iter().copied().find(|range| range.contains(port))
    }

    /// Returns whether the kernel never hands out `port`.
    #[must_use]
    pub fn is_reserved(&self, port: u16) -> bool {
        self.reserved.iter().any(|range| range.contains(port))
    }
}

/// The program that took a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The version of the program.
    pub version: String,
}

impl Tool {
    /// Returns this program.
    #[must_use]
    pub fn this() -> Self {
        Tool { version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// The data of one scan. It is saved unchanged, and read back with `--from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The schema, [`SNAPSHOT_SCHEMA`].
    pub schema: String,
    /// The program that took the snapshot; `None` for a snapshot of a version that did not record this.
    #[serde(default)]
    pub tool: Option<Tool>,
    /// The time of the scan.
    pub taken: Timestamp,
    /// The machine that was scanned.
    pub host: Host,
    /// The requested scope. The snapshot contains nothing about other parts.
    #[serde(alias = "extent")]
    pub scope: Scope,
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// The processes that own these sockets, in ascending order of pid.
    pub processes: Vec<Process>,
    /// The other network namespaces that were scanned, in ascending order of inode.
    pub namespaces: Vec<Namespace>,
    /// The packet filters of the namespaces, if they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firewalls: Vec<Firewall>,
    /// The parts that could not be seen.
    pub gaps: Vec<Gap>,
    /// Further facts for the reader.
    pub notes: Vec<Note>,
    /// Whether BPF programs were used to find the processes that own the sockets (Linux).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub used_bpf: bool,
}

impl Snapshot {
    /// Returns the range of outgoing ports that contains the port of `socket`. `None` if no known range contains the
    /// port, or if the port is reserved.
    #[must_use]
    pub fn ephemeral_range(&self, socket: &Socket) -> Option<PortRange> {
        let ports = self.ephemeral_ports_of(socket);
        ports.range_of(socket.local.port).filter(|_| !ports.is_reserved(socket.local.port))
    }

    /// Returns whether a socket may belong to a client that waits for an answer. This is possible for a datagram socket
    /// or a bound TCP socket, on a port that the kernel gives to outgoing connections.
    #[must_use]
    pub fn may_be_client(&self, socket: &Socket) -> bool {
        let waits = match socket.state {
            State::Unconnected => socket.local.protocol.is_datagram(),
            State::Bound => socket.local.protocol == Protocol::Tcp,
            _ => false,
        };
        waits && self.ephemeral_range(socket).is_some()
    }

    /// Returns whether the ports that the kernel gives to outgoing connections are known in the namespace of `socket`.
    #[must_use]
    pub fn knows_ephemeral_ports(&self, socket: &Socket) -> bool {
        !self.ephemeral_ports_of(socket).ranges.is_empty()
    }

    fn ephemeral_ports_of(&self, socket: &Socket) -> EphemeralPorts<'_> {
        let netns = socket.netns.as_ref().map(|netns| netns.inode);
        self.ephemeral_ports(netns, socket.local.protocol, Some(socket.local.family()))
    }

    /// Returns the ports that outgoing connections use in the network namespace `netns`; `None` stands for the
    /// namespace of portolan.
    #[must_use]
    pub fn ephemeral_ports(
        &self,
        netns: Option<u64>,
        protocol: Protocol,
        family: Option<Family>,
    ) -> EphemeralPorts<'_> {
        let Some(inode) = netns else {
            let Host { reserved, ephemeral_source: source, .. } = &self.host;
            return EphemeralPorts { ranges: self.host.ephemeral_for(protocol, family), reserved, source };
        };
        match self.namespaces.iter().find(|namespace| namespace.netns.inode == inode) {
            Some(Namespace { ephemeral, reserved, ephemeral_source: source, .. }) => {
                EphemeralPorts { ranges: ephemeral.clone(), reserved, source }
            }
            None => EphemeralPorts { ranges: Vec::new(), reserved: &[], source: "" },
        }
    }

    /// Returns whether the snapshot has no gap.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Endpoint, Owner, SocketAttributes, State};

    fn socket(local: &str, netns: Option<u64>) -> Socket {
        let netns = netns.map(|inode| Netns { inode, name: None });
        Socket {
            local: local.parse::<Endpoint>().unwrap(),
            peer: None,
            state: State::Listen,
            mptcp: false,
            attributes: Arc::new(SocketAttributes { netns, ..SocketAttributes::default() }),
            inode: None,
            cookie: None,
            v6only: None,
            queues: None,
            owner: Owner::Unknown,
        }
    }

    #[test]
    fn each_namespace_has_its_own_ephemeral_range() {
        let host = |low, high| vec![PortRange { low, high }];
        let snapshot = Snapshot {
            schema: SNAPSHOT_SCHEMA.to_owned(),
            tool: None,
            taken: Timestamp::UNIX_EPOCH,
            host: Host {
                name: None,
                id: None,
                boot: None,
                labels: BTreeMap::new(),
                os: "linux".to_owned(),
                kernel: None,
                privileged: true,
                scope: None,
                ephemeral: host(32768, 60999),
                reserved: host(40000, 40001),
                ephemeral_of: Vec::new(),
                ephemeral_source: "own".to_owned(),
            },
            scope: Scope::default(),
            sockets: Vec::new(),
            processes: Vec::new(),
            firewalls: Vec::new(),
            namespaces: vec![Namespace {
                addresses: Vec::new(),
                netns: Netns { inode: 7, name: None },
                ephemeral: host(1024, 2000),
                reserved: host(1500, 1500),
                ephemeral_source: "its own".to_owned(),
            }],
            gaps: Vec::new(),
            notes: Vec::new(),
            used_bpf: false,
        };
        for (name, local, netns, in_range, known) in [
            ("in the range", "tcp/0.0.0.0:40002", None, true, true),
            ("reserved", "tcp/0.0.0.0:40001", None, false, true),
            ("outside", "tcp/0.0.0.0:1600", None, false, true),
            ("in another namespace's range", "udp/[::]:1600", Some(7), true, true),
            ("reserved in another namespace", "udp/[::]:1500", Some(7), false, true),
            ("outside in another namespace", "udp/[::]:40002", Some(7), false, true),
            ("in a namespace that was not read", "udp/[::]:1600", Some(8), false, false),
        ] {
            let socket = socket(local, netns);
            assert_eq!(snapshot.ephemeral_range(&socket).is_some(), in_range, "{name}");
            assert_eq!(snapshot.knows_ephemeral_ports(&socket), known, "{name}");
        }
        assert_eq!(snapshot.ephemeral_ports(Some(7), Protocol::Tcp, None).source, "its own");
    }
}
