//! The scope of a scan.

use serde::{Deserialize, Serialize};

use super::{Family, PortRange, Protocol, State, named};

named! {
    /// The part of a machine that portolan can see. The variants are in order, with the largest part first.
    pub enum HostScope {
        /// The whole machine, as far as the privileges of the user allow.
        Machine = "machine",
        /// Every process, but only the sockets of the network namespace in which portolan runs.
        Namespace = "namespace",
        /// The processes of a container: portolan runs in a separate pid namespace.
        Container = "container",
    }
}

/// The network namespaces to scan (Linux).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespaces {
    /// Only the namespace in which portolan runs.
    #[default]
    Own,
    /// Every namespace that can be found.
    All,
    /// The namespace with this name or inode, or the namespace of the process with this ID.
    Called(String),
}

/// The parts to scan, and the amount of detail. A snapshot records its scope, and contains nothing about other parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only sockets of these protocols. Raw and packet sockets are selected by `states` instead.
    pub protocols: Vec<Protocol>,
    /// Only sockets of these families.
    pub families: Vec<Family>,
    /// Only sockets in these states. Sockets in other states are not requested from the kernel.
    pub states: Vec<State>,
    /// Only sockets whose local port lies in one of these ranges; `None` for every port.
    pub ports: Option<Vec<PortRange>>,
    /// Only sockets in these network namespaces.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Whether to find the processes that own the sockets.
    #[serde(alias = "holders")]
    pub processes: bool,
    /// Whether to read all details of the processes. If false, only name, file and command line are read.
    pub details: bool,
    /// Whether to look up which packages installed the programs, and whether the programs are unmodified.
    #[serde(default)]
    pub packages: bool,
    /// The part of the machine that must be visible. If portolan sees less, there is a gap.
    #[serde(default = "own_namespace", skip_serializing_if = "is_own_namespace")]
    pub part: HostScope,
    /// Whether a BPF program may be used to find the processes that own the sockets (Linux). Otherwise only `/proc`
    /// is read.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub bpf: bool,
}

const fn yes() -> bool {
    true
}

const fn own_namespace() -> HostScope {
    HostScope::Namespace
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls this function with a reference")]
fn is_own_namespace(part: &HostScope) -> bool {
    *part == HostScope::Namespace
}

impl Default for Scope {
    /// Returns the scope that covers every listener in this network namespace, and the programs that own these
    /// listeners.
    fn default() -> Self {
        Scope {
            protocols: Protocol::WITH_PORTS.to_vec(),
            families: vec![Family::Ipv4, Family::Ipv6],
            states: State::ALL.into_iter().filter(|state| state.holds_port()).collect(),
            ports: None,
            namespaces: Namespaces::Own,
            processes: true,
            details: false,
            packages: false,
            part: own_namespace(),
            bpf: true,
        }
    }
}

impl Scope {
    /// Returns whether a socket on `port` in `state` lies inside the scope.
    #[must_use]
    pub fn includes(&self, port: u16, state: State) -> bool {
        self.states.contains(&state)
            && self.ports.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(port)))
    }
}
