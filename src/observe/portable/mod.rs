//! Reads sockets from the tables of the system, and processes from sysinfo. On macOS and Windows, this is the only
//! source. On Linux, it is a second, independent source for the tests.
//!
//! Devices, network namespaces and control groups are not supported.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod own;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod own;
#[cfg(windows)]
#[path = "windows.rs"]
mod own;

#[cfg(not(target_os = "macos"))]
mod netstat;
mod owners;
#[cfg(windows)]
mod winapi;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use sysinfo::System;

use super::{Error, Scope};
use crate::model::{
    Endpoint, EphemeralRange, Gap, Host, HostScope, InferredOwner, Namespaces, Note, Owner, Peer, Pid,
    PortRange, Process, Protocol, Rights, SNAPSHOT_SCHEMA, Snapshot, Socket, SocketAttributes, Stage, State,
    Tool,
};

struct EphemeralSettings {
    ranges: Vec<PortRange>,
    /// The range for each family and protocol, on a system with separate ranges.
    of: Vec<EphemeralRange>,
    source: String,
    gap: Option<Gap>,
}

impl EphemeralSettings {
    /// Returns the default range, for a setting that is not read or could not be read.
    fn default_of(range: PortRange, gap: Option<Gap>) -> Self {
        let source = format!("the documented default of {}", std::env::consts::OS);
        EphemeralSettings { ranges: vec![range], of: Vec::new(), source, gap }
    }
}

#[cfg(not(target_os = "linux"))]
fn assumed(range: PortRange, why: String) -> Gap {
    Gap::new(
        Stage::Host,
        format!("the ephemeral port range of this system (portolan assumes the default, {range})"),
        why,
    )
}

/// Scans this machine. A part that could not be seen becomes a gap.
///
/// # Errors
///
/// Returns an error if other network namespaces are requested.
pub fn observe(scope: &Scope) -> Result<Snapshot, Error> {
    let named = match &scope.namespaces {
        Namespaces::Own => None,
        Namespaces::All => Some("all"),
        Namespaces::Called(name) => Some(name.as_str()),
    };
    if let Some(name) = named {
        return Err(Error(format!("--netns {name}: network namespaces exist only on Linux")));
    }
    let taken = Timestamp::now();
    let mut gaps = Vec::new();
    let mut sockets = own::sockets(scope, &mut gaps);
    let privileged = own::privileged();
    let mut processes = owners::processes(scope, &sockets);
    own::add_system_details(scope, privileged, &mut sockets, &mut processes, &mut gaps);
    // The details may show that the kernel or an unknown process owns a socket. The process that was read as its owner
    // may then have no sockets left.
    let owning: BTreeSet<Pid> = sockets.iter().flat_map(|socket| socket.owner.pids()).copied().collect();
    processes.retain(|process| owning.contains(&process.pid));
    owners::users(&mut sockets, &processes);
    let nameless = sockets.iter().filter(|s| s.state.holds_port() && s.owner == Owner::Unknown).count();
    if scope.processes && nameless > 0 {
        gaps.push(
            Gap::new(
                Stage::Owners,
                format!(
                    "{} for which the system names no process",
                    if nameless == 1 { "socket" } else { "sockets" }
                ),
                "the socket table of the system does not name the process",
            )
            .counted(nameless),
        );
    }
    let ephemeral = own::ephemeral();
    gaps.extend(ephemeral.gap);
    Ok(Snapshot {
        used_bpf: false,
        schema: SNAPSHOT_SCHEMA.to_owned(),
        tool: Some(Tool::this()),
        taken,
        host: Host {
            name: System::host_name().ok(),
            id: None,
            boot: None,
            labels: BTreeMap::new(),
            os: std::env::consts::OS.to_owned(),
            kernel: System::kernel_version().ok(),
            privileged,
            scope: (!cfg!(target_os = "linux")).then_some(HostScope::Machine),
            ephemeral: ephemeral.ranges,
            ephemeral_of: ephemeral.of,
            reserved: Vec::new(),
            ephemeral_source: ephemeral.source,
        },
        scope: scope.clone(),
        sockets,
        processes,
        namespaces: Vec::new(),
        firewalls: Vec::new(),
        gaps,
        notes: own::NOTES.iter().map(|what| Note::new((*what).to_owned())).collect(),
    })
}

/// Does nothing. On these systems, the package of a program is not known, and the scan already reads all other details.
pub fn read_rest(_: &mut [Process]) {}

/// Returns no owner, because only Linux has control groups.
#[must_use]
pub fn inferred_owners(hidden: &[&Socket]) -> Vec<Option<Arc<InferredOwner>>> {
    vec![None; hidden.len()]
}

/// Returns what the user may do without `sudo`. The Docker daemons of these systems run as the user.
#[must_use]
pub fn rights() -> Rights {
    Rights { needs_sudo: cfg!(unix) && !own::privileged(), may_use_docker: true }
}

/// Returns `None`, because network interfaces are not read on these systems.
#[must_use]
pub fn interface_addresses(_: &str) -> Option<Vec<IpAddr>> {
    None
}

/// Returns whether this machine has the address. The test binds a socket to the address, and sends nothing.
#[must_use]
pub fn is_own_address(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Returns whether the system knows a user with this name.
#[must_use]
pub fn is_user(name: &str) -> bool {
    own::is_user(name)
}

/// Returns whether any process has this name.
#[must_use]
pub fn is_running(name: &str) -> bool {
    owners::is_running(name)
}

#[cfg(target_os = "linux")]
pub(super) use netstat::second_opinion;

/// Returns a socket with the fields that every table has.
fn socket(
    (protocol, address, port): (Protocol, IpAddr, u16),
    state: State,
    peer: Option<Peer>,
    owner: Owner,
) -> Socket {
    Socket {
        local: Endpoint { protocol, address, port, device: None },
        peer,
        state,
        mptcp: false,
        attributes: SocketAttributes::default().into(),
        inode: None,
        cookie: None,
        v6only: None,
        queues: None,
        owner,
    }
}
