//! Reads the sockets of macOS from the descriptors of processes (libproc), because there is no table of all sockets.
//!
//! If a process may not be read, its sockets are hidden too, and there is a gap. The kernel gives each socket an
//! identity, so that several descriptors of one socket are recognized. This code has been type-checked, but never run.

#![allow(
    unsafe_code,
    reason = "unions of the system's structures, and one system call; a comment at each says why it is sound"
)]

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, c_void};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;

use libproc::libproc::bsd_info::BSDInfo;
use libproc::libproc::file_info::{ListFDs, ProcFDInfo, ProcFDType, pidfdinfo};
use libproc::libproc::net_info::{InSIAddr, InSockInfo, SocketFDInfo, SocketInfoKind, TcpSIState};
use libproc::libproc::proc_pid::{listpidinfo, pidinfo};
use libproc::processes::{ProcFilter, pids_by_type};

pub(super) use super::owners::is_user;

use super::socket as bare;
use super::{EphemeralSettings, assumed};
use crate::model::{Family, Gap, Owner, Peer, Pid, PortRange, Process, Protocol, Socket, Stage, State};
use crate::observe::Scope;

pub(super) const NOTES: &[&str] = &[];

/// Spare entries for descriptors that a process opens between the count and the list.
const SPARE: usize = 32;
/// The maximum number of descriptors of a process.
const MOST: usize = 1 << 20;

pub(super) fn privileged() -> bool {
    // SAFETY: the call takes no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[derive(Default)]
struct ReadFailures {
    /// The number of processes that may not be read.
    closed: u64,
    /// The number of other failures to read a process or a descriptor, and the reason of the last failure.
    failed: u64,
    why: String,
}

impl ReadFailures {
    fn failed(&mut self, why: String) {
        self.failed += 1;
        self.why = why;
    }
}

pub(super) fn sockets(scope: &Scope, gaps: &mut Vec<Gap>) -> Vec<Socket> {
    let gap = |what: &str, count: Option<u64>, why: String, remedy: Option<&str>| Gap {
        count,
        remedy: remedy.map(str::to_owned),
        ..Gap::new(Stage::Sockets, what, why)
    };
    let pids = match pids_by_type(ProcFilter::All) {
        Ok(pids) => pids,
        Err(error) => {
            gaps.push(gap("every process's sockets", None, error.to_string(), None));
            return Vec::new();
        }
    };
    let mut failures = ReadFailures::default();
    let mut found: Vec<(Socket, BTreeSet<Pid>)> = Vec::new();
    let mut places: HashMap<(u64, u64), usize> = HashMap::new();
    // Process 0 is the kernel, which has no descriptors.
    for pid in pids.into_iter().filter(|pid| *pid != 0) {
        for (identity, socket) in of_process(pid, &mut failures) {
            let asked = scope.protocols.contains(&socket.local.protocol)
                && scope.families.contains(&socket.local.family())
                && scope.includes(socket.local.port, socket.state);
            if !asked {
                continue;
            }
            let place = *places.entry(identity).or_insert(found.len());
            match found.get_mut(place) {
                Some((_, pids)) => {
                    pids.insert(pid);
                }
                None => found.push((socket, BTreeSet::from([pid]))),
            }
        }
    }
    if failures.closed > 0 {
        let why = "permission denied".to_owned();
        gaps.push(gap(
            match failures.closed {
                1 => "socket of a process that this user may not read",
                _ => "sockets of processes that this user may not read",
            },
            Some(failures.closed),
            why,
            Some("run as root"),
        ));
    }
    if failures.failed > 0 {
        let sockets = if failures.failed == 1 { "socket" } else { "sockets" };
        let what = format!("{sockets} that could not be read");
        gaps.push(gap(&what, Some(failures.failed), failures.why, None));
    }
    let held = |(mut socket, pids): (Socket, BTreeSet<Pid>)| {
        socket.owner = Owner::Held(Arc::new(pids.into_iter().collect()));
        socket
    };
    found.into_iter().map(held).collect()
}

/// Returns the sockets of one process, each with its identity in the kernel.
fn of_process(pid: Pid, failures: &mut ReadFailures) -> Vec<((u64, u64), Socket)> {
    let Ok(id) = i32::try_from(pid) else { return Vec::new() };
    let descriptors = match descriptors(id) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            match error.raw_os_error() {
                Some(libc::ESRCH) => {} // the process has ended
                Some(libc::EPERM | libc::EACCES) => failures.closed += 1,
                _ => failures.failed(error.to_string()),
            }
            return Vec::new();
        }
    };
    let mut sockets = Vec::new();
    for descriptor in descriptors {
        if !matches!(descriptor.proc_fdtype.into(), ProcFDType::Socket) {
            continue;
        }
        match pidfdinfo::<SocketFDInfo>(id, descriptor.proc_fd) {
            Ok(info) if info.psi.soi_so == 0 => {
                failures.failed("the system's answer is too short".to_owned())
            }
            Ok(info) => match socket(&info) {
                Ok(socket) => {
                    sockets.extend(socket.map(|socket| ((info.psi.soi_so, info.psi.soi_pcb), socket)));
                }
                Err(why) => failures.failed(why),
            },
            Err(_) => match io::Error::last_os_error() {
                // The descriptor was closed, or the process ended, in the meantime.
                error if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ESRCH)) => {}
                error => failures.failed(error.to_string()),
            },
        }
    }
    sockets
}

/// Returns every descriptor of a process. A list that fills the buffer may be incomplete, so it is requested again with
/// a larger buffer.
fn descriptors(pid: i32) -> io::Result<Vec<ProcFDInfo>> {
    let info = pidinfo::<BSDInfo>(pid, 0).map_err(|_| io::Error::last_os_error())?;
    let mut size = info.pbi_nfiles as usize + SPARE;
    while size <= MOST {
        match listpidinfo::<ListFDs>(pid, size) {
            Ok(list) if list.len() < size => return Ok(list),
            Ok(_) => size *= 2,
            Err(_) if info.pbi_nfiles == 0 => return Ok(Vec::new()),
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Err(io::Error::other("the list of descriptors is too long"))
}

/// Returns a socket of TCP or UDP; `None` for other sockets, and for a socket without a port.
fn socket(info: &SocketFDInfo) -> Result<Option<Socket>, String> {
    let psi = &info.psi;
    let family = match psi.soi_family {
        libc::AF_INET => Family::Ipv4,
        libc::AF_INET6 => Family::Ipv6,
        _ => return Ok(None),
    };
    let (protocol, ends, state) = match (SocketInfoKind::from(psi.soi_kind), psi.soi_protocol) {
        (SocketInfoKind::Tcp, libc::IPPROTO_TCP) => {
            // SAFETY: the kind shows that this member was written, and any bytes are a valid value.
            let tcp = unsafe { psi.soi_proto.pri_tcp };
            (Protocol::Tcp, tcp.tcpsi_ini, Some(tcp.tcpsi_state))
        }
        (SocketInfoKind::In, libc::IPPROTO_UDP) => {
            // SAFETY: the kind shows that this member was written, and any bytes are a valid value.
            (Protocol::Udp, unsafe { psi.soi_proto.pri_in }, None)
        }
        (kind, libc::IPPROTO_TCP | libc::IPPROTO_UDP) => {
            return Err(format!("a socket of unknown kind {kind:?}"));
        }
        _ => return Ok(None),
    };
    let InSockInfo { insi_lport, insi_fport, insi_laddr, insi_faddr, .. } = ends;
    let (port, remote) = (number(insi_lport), number(insi_fport));
    if port == 0 {
        return Ok(None);
    }
    let state = match state {
        Some(code) => tcp_state(code, remote).ok_or_else(|| format!("an unknown TCP state: {code}"))?,
        None if remote == 0 => State::Unconnected,
        None => State::Established,
    };
    let peer = (!state.holds_port()).then(|| Peer { address: address(family, insi_faddr), port: remote });
    Ok(Some(bare((protocol, address(family, insi_laddr), port), state, peer, Owner::Unknown)))
}

/// Returns the port, which is in the first two bytes, in network order.
fn number(port: i32) -> u16 {
    let [first, second, ..] = port.to_ne_bytes();
    u16::from_be_bytes([first, second])
}

fn address(family: Family, address: InSIAddr) -> IpAddr {
    // SAFETY: both members of the union lie in the same sixteen bytes, and any bytes are a valid value.
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(u32::from_be(unsafe { address.ina_46.i46a_addr4.s_addr }))),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(unsafe { address.ina_6.s6_addr })),
    }
}

/// Returns the state; `None` if it is unknown. A closed socket with a port and without a peer is bound but does not
/// listen.
fn tcp_state(code: i32, remote: u16) -> Option<State> {
    Some(match TcpSIState::from(code) {
        TcpSIState::Closed if remote == 0 => State::Bound,
        TcpSIState::Closed => State::Close,
        TcpSIState::Listen => State::Listen,
        TcpSIState::SynSent => State::SynSent,
        TcpSIState::SynReceived => State::SynRecv,
        TcpSIState::Established => State::Established,
        TcpSIState::CloseWait => State::CloseWait,
        TcpSIState::FinWait1 => State::FinWait1,
        TcpSIState::Closing => State::Closing,
        TcpSIState::LastAck => State::LastAck,
        TcpSIState::FinWait2 => State::FinWait2,
        TcpSIState::TimeWait => State::TimeWait,
        TcpSIState::Reserved | TcpSIState::Unknown => return None,
    })
}

/// Adds the names of launchd jobs to the processes.
pub(super) fn add_system_details(
    scope: &Scope,
    _: bool,
    _: &mut [Socket],
    processes: &mut [Process],
    gaps: &mut Vec<Gap>,
) {
    if !scope.details || processes.is_empty() {
        return;
    }
    let list = Command::new("/bin/launchctl").arg("list").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match list {
        Ok(output) if output.status.success() => {
            let labels = labels(&String::from_utf8_lossy(&output.stdout));
            for process in processes {
                process.unit = labels.get(&process.pid).cloned();
            }
        }
        other => gaps.push(Gap::new(
            Stage::Processes,
            "the labels of launchd's jobs",
            other.map_or_else(
                |error| error.to_string(),
                |output| format!("launchctl list: {}", output.status),
            ),
        )),
    }
}

/// Parses `PID<tab>Status<tab>Label`. A job that does not run has `-` in place of the pid.
fn labels(list: &str) -> HashMap<Pid, String> {
    let job = |line: &str| {
        let mut fields = line.split('\t');
        Some((fields.next()?.parse().ok()?, fields.nth(1)?.to_owned()))
    };
    list.lines().filter_map(job).collect()
}

/// The defaults of `net.inet.ip.portrange.first` and `.last`. They also apply to IPv6.
const DEFAULT_RANGE: PortRange = PortRange { low: 49152, high: 65535 };

pub(super) fn ephemeral() -> EphemeralSettings {
    let read = || -> io::Result<PortRange> {
        let (low, high) = (setting(c"net.inet.ip.portrange.first")?, setting(c"net.inet.ip.portrange.last")?);
        // The first port is above the last if the system counts downwards.
        PortRange::new(low.min(high), low.max(high)).ok_or_else(|| io::Error::other("no range"))
    };
    match read() {
        Ok(range) => {
            let source = "net.inet.ip.portrange.first and .last".to_owned();
            EphemeralSettings { ranges: vec![range], of: Vec::new(), source, gap: None }
        }
        Err(error) => {
            let why = format!("net.inet.ip.portrange: {error}");
            EphemeralSettings::default_of(DEFAULT_RANGE, Some(assumed(DEFAULT_RANGE, why)))
        }
    }
}

fn setting(name: &CStr) -> io::Result<u16> {
    let mut value: libc::c_int = 0;
    let mut size = size_of_val(&value);
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: the name ends in NUL. `value` has `size` bytes, and the call writes no more than that. No setting is
    // changed.
    let answer = unsafe { libc::sysctlbyname(name.as_ptr(), place, &raw mut size, std::ptr::null_mut(), 0) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    if size != size_of_val(&value) {
        return Err(io::Error::other("the system's answer is too short"));
    }
    u16::try_from(value).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_labels() {
        assert_eq!(number(i32::from_ne_bytes([0x0d, 0x58, 0, 0])), 3416);
        let labels = labels("PID\tStatus\tLabel\n-\t0\tcom.apple.a\n412\t0\tcom.apple.b\n");
        assert_eq!(labels, HashMap::from([(412, "com.apple.b".to_owned())]));
    }
}
