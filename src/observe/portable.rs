//! Sockets from netstat2 and processes from sysinfo: the source on macOS and Windows, and on Linux an
//! independent second opinion for the tests.
//!
//! It knows less than the kernel: no device, no v6only, no queues, and of a UDP socket neither peer nor state, so
//! that a connected client looks like a listener. What netstat2 hides is said here: on Linux it reports a failed
//! dump as an empty list, and panics where `/proc` is missing; on macOS it passes over processes it may not read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use netstat2::{AddressFamilyFlags, ProtocolFlags, ProtocolSocketInfo, SocketInfo, TcpState};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind, Users};

use super::{Error, Scope};
use crate::model::{
    Endpoint, Exe, ExeState, Family, Gap, Home, Host, Namespaces, Note, OBSERVATION_SCHEMA, Observation,
    Owner, Parent, Peer, Pid, PortRange, Process, Protocol, Socket, Stage, State,
};

/// Looks at this machine, now.
///
/// # Errors
/// Where other network namespaces are asked for; anything else that could not be seen is a gap.
pub fn observe(scope: &Scope) -> Result<Observation, Error> {
    if scope.namespaces != Namespaces::Own {
        return Err(Error("network namespaces are a thing of Linux".to_owned()));
    }
    let taken = Timestamp::now();
    let mut gaps = Vec::new();
    let mut sockets = Vec::new();
    for (protocol, flag) in [(Protocol::Tcp, ProtocolFlags::TCP), (Protocol::Udp, ProtocolFlags::UDP)] {
        for (family, families) in
            [(Family::Ipv4, AddressFamilyFlags::IPV4), (Family::Ipv6, AddressFamilyFlags::IPV6)]
        {
            if scope.protocols.contains(&protocol) && scope.families.contains(&family) {
                list(scope, (protocol, flag), (family, families), &mut sockets, &mut gaps);
            }
        }
    }
    let mut sockets = merged(sockets);
    let (processes, privileged) = processes(scope, &mut sockets);
    if !privileged && !cfg!(windows) {
        gaps.push(Gap {
            stage: if cfg!(target_os = "macos") { Stage::Sockets } else { Stage::Holders },
            what: "sockets held by processes of other users".to_owned(),
            count: None,
            why: "permission denied".to_owned(),
            remedy: Some("run as root".to_owned()),
        });
    }
    Ok(Observation {
        schema: OBSERVATION_SCHEMA.to_owned(),
        taken,
        host: Host {
            name: System::host_name().ok(),
            os: std::env::consts::OS.to_owned(),
            kernel: System::kernel_version().ok(),
            privileged,
            ephemeral: vec![DEFAULT_RANGE],
            reserved: Vec::new(),
            ephemeral_source: format!("the documented default of {}", std::env::consts::OS),
        },
        extent: Some(scope.extent()),
        sockets,
        processes,
        asked: Namespaces::Own,
        namespaces: Vec::new(),
        gaps,
        notes: vec![Note {
            what: "UDP sockets that are connected to a peer are listed as if they took from anybody"
                .to_owned(),
            count: None,
            remedy: None,
        }],
    })
}

/// Where nobody set it: RFC 6335's dynamic range on macOS (`net.inet.ip.portrange.first`) and Windows
/// (`netsh int ipv4 show dynamicport tcp`), and its own on Linux (`net.ipv4.ip_local_port_range`).
const DEFAULT_RANGE: PortRange = if cfg!(target_os = "linux") {
    PortRange { low: 32768, high: 60999 }
} else {
    PortRange { low: 49152, high: 65535 }
};

/// Whether the system knows a user of this name.
#[must_use]
pub fn is_user(name: &str) -> bool {
    Users::new_with_refreshed_list().is_ok_and(|users| users.iter().any(|user| user.name() == name))
}

/// Whether any process goes by this name.
#[must_use]
pub fn is_running(name: &str) -> bool {
    let Ok(mut system) = System::new() else { return false };
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        true,
        ProcessRefreshKind::nothing().without_tasks(),
    );
    system.processes().values().any(|process| {
        let own = process.name().to_string_lossy();
        own == name || own.strip_suffix(".exe") == Some(name)
    })
}

fn list(
    scope: &Scope,
    (protocol, flag): (Protocol, ProtocolFlags),
    (family, families): (Family, AddressFamilyFlags),
    sockets: &mut Vec<Socket>,
    gaps: &mut Vec<Gap>,
) {
    let label = format!("sockets of {protocol} over {}", family.name());
    let mut gap = |why: String| {
        gaps.push(Gap { stage: Stage::Sockets, what: label.clone(), count: None, why, remedy: None });
    };
    let mut answers = 0_u64;
    match sources(families, flag) {
        Ok(infos) => {
            for info in infos {
                match info {
                    Ok(info) => {
                        answers += 1;
                        sockets.extend(
                            socket(&info).filter(|socket| scope.wants(socket.local.port, socket.state)),
                        );
                    }
                    Err(error) => gap(error.to_string()),
                }
            }
        }
        Err(error) => gap(error.to_string()),
    }
    if answers == 0
        && let Some(why) = unbelievable(protocol, family)
    {
        gap(why);
    }
}

/// Linux: netstat2 walks `/proc` for the holders and panics where there is none.
fn sources(
    families: AddressFamilyFlags,
    protocol: ProtocolFlags,
) -> Result<Box<dyn Iterator<Item = Result<SocketInfo, netstat2::error::Error>>>, netstat2::error::Error> {
    #[cfg(target_os = "linux")]
    if std::fs::read_dir("/proc").is_err() {
        return Ok(Box::new(netstat2::iterate_sockets_info_without_pids(families, protocol)?));
    }
    Ok(Box::new(netstat2::iterate_sockets_info(families, protocol)?))
}

/// A local end and the inode of its socket.
#[cfg(target_os = "linux")]
type End = (std::net::IpAddr, u16, u32);

/// What netstat2 says of one protocol and family: local end and inode of each socket; `None` of a protocol it does not
/// know. Why it said nothing, where it did not answer.
#[cfg(target_os = "linux")]
pub(super) fn second_opinion(protocol: Protocol, family: Family) -> Option<Result<Vec<End>, String>> {
    let protocols = match protocol {
        Protocol::Tcp => ProtocolFlags::TCP,
        Protocol::Udp => ProtocolFlags::UDP,
        Protocol::Udplite | Protocol::Sctp | Protocol::Dccp => return None,
    };
    let families = match family {
        Family::Ipv4 => AddressFamilyFlags::IPV4,
        Family::Ipv6 => AddressFamilyFlags::IPV6,
    };
    let ask = || {
        let said = netstat2::iterate_sockets_info_without_pids(families, protocols)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| error.to_string())?;
        match unbelievable(protocol, family).filter(|_| said.is_empty()) {
            Some(why) => Err(why),
            None => Ok(said),
        }
    };
    // A socket may come between an empty answer and what confirms it.
    let said = (0..4).find_map(|_| ask().ok()).map_or_else(ask, Ok);
    let end = |info: SocketInfo| match info.protocol_socket_info {
        ProtocolSocketInfo::Tcp(tcp) => (tcp.local_addr, tcp.local_port, info.inode),
        ProtocolSocketInfo::Udp(udp) => (udp.local_addr, udp.local_port, info.inode),
    };
    Some(said.map(|infos| infos.into_iter().map(end).collect()))
}

/// Why an empty answer is not to be believed. On Linux netstat2 gives one where the kernel refuses as well, so
/// the kernel's own table has to confirm it.
#[cfg(target_os = "linux")]
fn unbelievable(protocol: Protocol, family: Family) -> Option<String> {
    let six = if family == Family::Ipv6 { "6" } else { "" };
    let path = format!("/proc/thread-self/net/{protocol}{six}");
    match std::fs::read_to_string(&path) {
        Ok(table) if table.lines().count() <= 1 => None,
        Ok(_) => Some(format!("netlink answered with nothing, but {path} lists sockets")),
        Err(error) => Some(format!("netlink answered with nothing, and {path} cannot confirm it: {error}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn unbelievable(_: Protocol, _: Family) -> Option<String> {
    None
}

fn socket(info: &SocketInfo) -> Option<Socket> {
    let (protocol, address, port, state, peer) = match &info.protocol_socket_info {
        ProtocolSocketInfo::Tcp(tcp) => {
            let state = state(tcp.state)?;
            let peer =
                (!state.holds_port()).then_some(Peer { address: tcp.remote_addr, port: tcp.remote_port });
            (Protocol::Tcp, tcp.local_addr, tcp.local_port, state, peer)
        }
        ProtocolSocketInfo::Udp(udp) => {
            (Protocol::Udp, udp.local_addr, udp.local_port, State::Unconnected, None)
        }
    };
    let pids: BTreeSet<Pid> = info.associated_pids.iter().copied().collect();
    let kernel = cfg!(windows) && pids.iter().all(|pid| matches!(pid, 0 | 4)); // System Idle Process, System
    #[cfg(target_os = "linux")]
    let (inode, uid) = (u64::from(info.inode).try_into().ok(), Some(info.uid));
    #[cfg(not(target_os = "linux"))]
    let (inode, uid) = (None, None);
    Some(Socket {
        local: Endpoint { protocol, address, port, device: None },
        peer,
        state,
        mptcp: false,
        home: Home { uid, ..Home::default() }.into(),
        inode,
        cookie: None,
        v6only: None,
        queues: None,
        owner: match pids.len() {
            0 => Owner::Unknown,
            _ if kernel => Owner::Kernel,
            _ => Owner::Held(Arc::new(pids.into_iter().collect())),
        },
    })
}

fn state(state: TcpState) -> Option<State> {
    Some(match state {
        TcpState::Listen => State::Listen,
        TcpState::SynSent => State::SynSent,
        TcpState::SynReceived => State::SynRecv,
        TcpState::Established => State::Established,
        TcpState::FinWait1 => State::FinWait1,
        TcpState::FinWait2 => State::FinWait2,
        TcpState::CloseWait => State::CloseWait,
        TcpState::Closing => State::Closing,
        TcpState::LastAck => State::LastAck,
        TcpState::TimeWait => State::TimeWait,
        TcpState::Closed | TcpState::DeleteTcb => State::Close,
        TcpState::Unknown => return None,
    })
}

/// A shared socket shows once a holder on macOS: one socket, several holders. On Linux two sockets of one
/// address (SO_REUSEPORT) differ by inode and stay two.
fn merged(sockets: Vec<Socket>) -> Vec<Socket> {
    let mut order: Vec<Socket> = Vec::new();
    let mut places = HashMap::new();
    for socket in sockets {
        if !cfg!(target_os = "macos") {
            order.push(socket);
            continue;
        }
        let key = (socket.local.clone(), socket.peer, socket.state);
        match places.get(&key).and_then(|place: &usize| order.get_mut(*place)) {
            Some(first) => {
                let pids: BTreeSet<Pid> =
                    first.owner.pids().iter().chain(socket.owner.pids()).copied().collect();
                if !pids.is_empty() {
                    first.owner = Owner::Held(Arc::new(pids.into_iter().collect()));
                }
            }
            None => {
                places.insert(key, order.len());
                order.push(socket);
            }
        }
    }
    order
}

/// The holders, by sysinfo, and whether this process may read them all; fills in the users of the sockets.
fn processes(scope: &Scope, sockets: &mut [Socket]) -> (Vec<Process>, bool) {
    let users = Users::new_with_refreshed_list().ok();
    #[cfg(unix)]
    let user_of = |uid: u32| {
        let found = users.as_ref()?.iter().find(|user| **user.id() == uid);
        found.map(|user| user.name().to_owned())
    };
    #[cfg(unix)]
    for socket in sockets.iter_mut() {
        let user = socket.uid.and_then(user_of);
        Arc::make_mut(&mut socket.home).user = user;
    }
    let pids: BTreeSet<Pid> = sockets.iter().flat_map(|s| s.owner.pids()).copied().collect();
    let Ok(mut system) = System::new() else {
        return (pids.into_iter().map(Process::unknown).collect(), false);
    };
    let me = std::process::id();
    let mut wanted: Vec<sysinfo::Pid> =
        pids.iter().copied().chain([me]).map(sysinfo::Pid::from_u32).collect();
    let kind = ProcessRefreshKind::nothing()
        .without_tasks()
        .with_user(UpdateKind::OnlyIfNotSet)
        .with_exe(UpdateKind::OnlyIfNotSet)
        .with_cmd(UpdateKind::OnlyIfNotSet);
    // Parents come to light one generation at a time; nothing real has this many.
    for _ in 0..32 {
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), false, kind);
        wanted = wanted
            .iter()
            .filter_map(|pid| system.process(*pid)?.parent())
            .filter(|p| system.process(*p).is_none())
            .collect();
        if wanted.is_empty() || !scope.details {
            break;
        }
    }
    #[cfg(unix)]
    let privileged = system
        .process(sysinfo::Pid::from_u32(me))
        .and_then(|process| process.effective_user_id().or(process.user_id()))
        .is_some_and(|uid| **uid == 0);
    #[cfg(not(unix))]
    let privileged = false;
    let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    let read = |pid: Pid| {
        let Some(process) = system.process(sysinfo::Pid::from_u32(pid)) else { return Process::unknown(pid) };
        let id = process.effective_user_id().or(process.user_id());
        Process {
            name: Some(text(process.name())).filter(|name| !name.is_empty()),
            exe: process.exe().map(|path| Exe {
                path: text(path.as_os_str()),
                state: ExeState::Present,
                open_folders: None,
            }),
            cmdline: process.cmd().iter().map(|argument| text(argument)).collect(),
            #[cfg(unix)]
            uid: id.map(|uid| **uid),
            user: id.and_then(|id| users.as_ref()?.get_user_by_id(id)).map(|user| user.name().to_owned()),
            started: i64::try_from(process.start_time())
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            parents: parents(&system, process),
            ..Process::unknown(pid)
        }
    };
    let processes: BTreeMap<Pid, Process> = pids.into_iter().map(|pid| (pid, read(pid))).collect();
    for socket in sockets.iter_mut().filter(|socket| socket.user.is_none()) {
        let holder = socket.owner.pids().first().and_then(|pid| processes.get(pid));
        let home = Arc::make_mut(&mut socket.home);
        home.user = holder.and_then(|process| process.user.clone());
        home.uid = home.uid.or(holder.and_then(|process| process.uid));
    }
    (processes.into_values().collect(), privileged)
}

fn parents(system: &System, process: &sysinfo::Process) -> Vec<Parent> {
    let mut parents: Vec<Parent> = Vec::new();
    let mut next = process.parent();
    while let Some(parent) = next.and_then(|pid| system.process(pid)) {
        if parents.iter().any(|known| known.pid == parent.pid().as_u32()) {
            break;
        }
        parents
            .push(Parent { pid: parent.pid().as_u32(), name: parent.name().to_string_lossy().into_owned() });
        next = parent.parent();
    }
    parents
}
