//! Searches for sockets that are in no table. Their network namespace has no process, mount or descriptor, and cannot
//! be entered.
//!
//! Portolan duplicates the descriptor of a socket for a moment to read the address of the socket.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use rustix::fs::{fstat, getxattr};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketType, getsockname};
use rustix::process::{Pid as RawPid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::kernel_protocols::receives_data;
use super::owners::{Stray, ThreadDescriptor};
use super::scanned_namespaces::ScannedNamespaces;
use super::threads_and_rings::carries_descriptors;
use crate::model::{Gap, Namespaces, Pid, Scope, Stage, State};

/// The maximum number of sockets that the text of a gap names.
const NAMED: usize = 4;

/// `PIDFD_THREAD` (linux/pidfd.h, Linux 6.9). With this flag, the pid is the ID of a thread.
const PIDFD_THREAD: u32 = 0o200;
/// How many times a Unix socket with descriptors in transit is checked again. Programs usually receive the descriptors
/// at once, but while a machine starts, systemd can take longer than 100 ms.
const CHECKS: usize = 25;
const BETWEEN_CHECKS: Duration = Duration::from_millis(40);

/// Returns the gaps for sockets that can receive data but are in no table, and for descriptors in transit. Descriptors
/// in transit to the processes in `named` are left out, because another gap names these processes.
pub(super) fn find(strays: &[Stray], named: &[Pid]) -> Vec<Gap> {
    let mut unknown: HashMap<u64, (Stray, String)> = HashMap::new();
    let mut unix = Vec::new();
    // A process can have many descriptors of one socket. The socket is checked only once.
    let mut asked: HashSet<u64> = HashSet::new();
    for stray in strays {
        if asked.contains(&stray.inode) {
            continue;
        }
        // This descriptor may have been closed in the meantime. Another descriptor of the same socket may still be
        // open.
        let Ok(protocol) = protocol(stray) else { continue };
        asked.insert(stray.inode);
        if receives_data(&protocol) {
            unknown.insert(stray.inode, (*stray, protocol));
        } else if protocol.starts_with("UNIX") {
            unix.push(stray.at);
        }
    }
    let mut gaps = not_in_any_table(unknown);
    gaps.extend(in_flight(unix, named));
    gaps
}

/// Returns the gap for the processes with Unix sockets that carry descriptors. The processes in `named` are left out. A
/// socket in transit has no descriptor, so its address cannot be read.
fn in_flight(mut sockets: Vec<ThreadDescriptor>, named: &[Pid]) -> Option<Gap> {
    sockets.retain(|socket| !named.contains(&socket.pid));
    sockets.retain(|socket| carries_descriptors(socket).unwrap_or(false));
    for _ in 0..CHECKS {
        if sockets.is_empty() {
            return None;
        }
        std::thread::sleep(BETWEEN_CHECKS);
        // If the check fails, the socket stays in the list, because its descriptor may be closed, or may have another
        // number now.
        sockets.retain(|socket| carries_descriptors(socket) != Ok(false));
    }
    let mut pids: Vec<Pid> = sockets.iter().map(|socket| socket.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let what = "descriptors in transit through Unix sockets";
    let why = "the descriptors were sent, but not received yet; a descriptor may belong to a socket that is in no table";
    (!pids.is_empty()).then(|| Gap::new(Stage::Sockets, what, why).of_processes(pids, "linux"))
}

fn not_in_any_table(mut unknown: HashMap<u64, (Stray, String)>) -> Vec<Gap> {
    for namespaces in [Namespaces::Own, Namespaces::All] {
        if unknown.is_empty() {
            return Vec::new();
        }
        drop_listed(&mut unknown, namespaces);
    }
    let mut receiving: Vec<(Pid, String)> = Vec::new();
    let mut refused: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    for (stray, protocol) in unknown.into_values() {
        match address(&stray) {
            Ok(address) => {
                receiving.extend(address.map(|address| (stray.at.pid, format!("{protocol} {address}"))));
            }
            // Either the socket was closed, or Linux is older than 5.6 and cannot duplicate descriptors. The socket is
            // left out, because most sockets in no table are not bound.
            Err(Errno::SRCH | Errno::BADF | Errno::NOSYS) => {}
            Err(errno) => refused.entry(errno.raw_os_error()).or_default().push(stray.at.pid),
        }
    }
    receiving.sort();
    let found = (!receiving.is_empty()).then(|| {
        let sockets = receiving.iter().take(NAMED).map(|(pid, socket)| format!("pid {pid} has {socket}"));
        let pids = receiving.iter().map(|(pid, _)| *pid).collect();
        let why = format!(
            "only these sockets keep their network namespace alive: {}",
            sockets.collect::<Vec<_>>().join(", ")
        );
        gap("that no table shows", receiving.len(), pids, why)
    });
    let refused = refused.into_iter().map(|(errno, pids)| {
        let why = Errno::from_raw_os_error(errno).to_string();
        gap("that no table shows and whose address could not be read", pids.len(), pids, why)
    });
    found.into_iter().chain(refused).collect()
}

fn gap(what: &str, count: usize, mut pids: Vec<Pid>, why: String) -> Gap {
    pids.sort_unstable();
    pids.dedup();
    let what = format!("{} {what}", if count == 1 { "socket" } else { "sockets" });
    Gap::new(Stage::Sockets, what, why).counted(count).with_pids(pids)
}

fn protocol(stray: &Stray) -> Result<String, Errno> {
    let mut name = [0_u8; 32];
    let length = getxattr(stray.at.link(), "system.sockprotoname", &mut name)?;
    let name = String::from_utf8_lossy(name.get(..length).unwrap_or_default());
    Ok(name.trim_end_matches('\0').to_owned())
}

/// Removes the sockets that are listed in these namespaces, regardless of their state.
fn drop_listed(unknown: &mut HashMap<u64, (Stray, String)>, namespaces: Namespaces) {
    let scope = Scope { namespaces, processes: false, states: State::ALL.to_vec(), ..Scope::default() };
    let Ok(scanned_namespaces) = ScannedNamespaces::open(&scope) else { return };
    for found in scanned_namespaces.list_sockets(&scope, false).found {
        if let Some(inode) = found.socket.inode {
            unknown.remove(&inode.get());
        }
    }
}

/// Returns the address at which a socket receives connections or datagrams. `None` if the socket receives neither.
fn address(stray: &Stray) -> Result<Option<String>, Errno> {
    let ThreadDescriptor { pid, thread, .. } = stray.at;
    // A thread can have its own descriptor table, so the descriptor is duplicated from the thread, not from the
    // process.
    let flags = if thread == pid { PidfdFlags::empty() } else { PidfdFlags::from_bits_retain(PIDFD_THREAD) };
    let thread = i32::try_from(thread).ok().and_then(RawPid::from_raw).ok_or(Errno::SRCH)?;
    let process = pidfd_open(thread, flags)?;
    let number = i32::try_from(stray.at.number).map_err(|_| Errno::BADF)?;
    let socket = pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
    if fstat(&socket)?.st_ino != stray.inode {
        return Err(Errno::BADF); // another file now has this number
    }
    let kind = socket_type(&socket)?;
    let address = getsockname(&socket)?;
    if address.address_family() == AddressFamily::PACKET {
        return Ok(Some("of every address".to_owned())); // the kind of packets is not needed here
    }
    let Ok(address) = std::net::SocketAddr::try_from(address) else { return Ok(None) };
    let receives = match kind {
        // A raw socket receives packets even without a local address. Its port field contains the number of the
        // protocol.
        SocketType::RAW => return Ok(Some(address.ip().to_string())),
        SocketType::DGRAM => address.port() != 0,
        _ => address.port() != 0 && socket_acceptconn(&socket)?,
    };
    Ok(receives.then(|| address.to_string()))
}
