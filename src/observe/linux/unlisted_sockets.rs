//! Searches for sockets that are in no table. Only its sockets keep alive a network namespace that has no process,
//! mount or descriptor, and such a namespace cannot be entered.
//!
//! The kernel names the protocol of a socket (`system.sockprotoname`). A socket that is in the tables of no known
//! namespace is duplicated for a moment, to ask for its address.

use std::collections::{BTreeMap, HashMap};

use rustix::fs::{fstat, getxattr};
use rustix::io::Errno;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{SocketAddrAny, getsockname};
use rustix::process::{Pid as RawPid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::kernel_protocols::is_transport;
use super::owners::Stray;
use super::scanned_namespaces::ScannedNamespaces;
use crate::model::{Gap, Namespaces, Pid, Scope, Stage, State};

/// The maximum number of sockets that the text of a gap names.
const NAMED: usize = 4;

/// Returns the gaps for sockets that can receive data and are in no table.
pub(super) fn find(strays: &[Stray]) -> Vec<Gap> {
    let mut unknown: HashMap<u64, (Stray, String)> = HashMap::new();
    for stray in strays {
        if !unknown.contains_key(&stray.inode)
            && let Some(protocol) = protocol(stray)
        {
            unknown.insert(stray.inode, (*stray, protocol));
        }
    }
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
                receiving.extend(address.map(|address| (stray.pid, format!("{protocol} {address}"))));
            }
            // The socket was closed, or the kernel is older than 5.6: most such sockets are not bound.
            Err(Errno::SRCH | Errno::BADF | Errno::NOSYS) => {}
            Err(errno) => refused.entry(errno.raw_os_error()).or_default().push(stray.pid),
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
    Gap {
        stage: Stage::Sockets,
        what: format!("{} {what}", if count == 1 { "socket" } else { "sockets" }),
        count: u64::try_from(count).ok(),
        pids,
        why,
        remedy: None,
    }
}

/// Returns the kernel's name of the protocol of a socket, if listings show sockets of this protocol.
fn protocol(stray: &Stray) -> Option<String> {
    let path = format!("/proc/{}/fd/{}", stray.thread, stray.descriptor);
    let mut name = [0_u8; 32];
    let length = getxattr(path, "system.sockprotoname", &mut name).ok()?;
    let name = std::str::from_utf8(name.get(..length)?).ok()?.trim_end_matches('\0');
    is_transport(name).then(|| name.to_owned())
}

/// Removes the sockets that are listed in these namespaces, in any state.
fn drop_listed(unknown: &mut HashMap<u64, (Stray, String)>, namespaces: Namespaces) {
    let scope = Scope { namespaces, processes: false, states: State::with_ports(), ..Scope::default() };
    let Ok(scanned_namespaces) = ScannedNamespaces::open(&scope) else { return };
    for found in scanned_namespaces.list_sockets(&scope, false).found {
        if let Some(inode) = found.socket.inode {
            unknown.remove(&inode.get());
        }
    }
}

/// Returns the address at which a socket receives connections or datagrams; `None` if it receives none.
fn address(stray: &Stray) -> Result<Option<String>, Errno> {
    let pid = i32::try_from(stray.pid).ok().and_then(RawPid::from_raw).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let number = i32::try_from(stray.descriptor).map_err(|_| Errno::BADF)?;
    let socket = pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
    if fstat(&socket)?.st_ino != stray.inode {
        return Err(Errno::BADF); // another file now has this number
    }
    let address = getsockname(&socket)?;
    let (text, port) = match SocketAddrAny::try_into(address) {
        Ok(std::net::SocketAddr::V4(address)) => (address.to_string(), address.port()),
        Ok(std::net::SocketAddr::V6(address)) => (address.to_string(), address.port()),
        Err(_) => return Ok(None),
    };
    let receives = port != 0 && (is_datagram(&socket) || socket_acceptconn(&socket)?);
    Ok(receives.then_some(text))
}

fn is_datagram(socket: &rustix::fd::OwnedFd) -> bool {
    rustix::net::sockopt::socket_type(socket).is_ok_and(|kind| kind == rustix::net::SocketType::DGRAM)
}
