//! Finds the network namespace at the other end of an interface, if the indices of both ends do not identify it.
//! Namespaces number their interfaces separately, so several pairs of interfaces can have the same indices.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use super::super::bytes::number;
use super::super::namespaces::NamespaceHandle;
use super::super::netlink_dump::{Connection, attribute};
use crate::model::Firewall;

/// `RTM_GETNSID`, and the attributes of its message (linux/net_namespace.h).
const GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// The sizes of `nlmsghdr`, and of `rtgenmsg` with its padding.
const HEADER: usize = 16;
const BODY: usize = 4;

/// Sets [`peer_netns`](crate::model::firewall::Interface::peer_netns) of interfaces that lead to one of these
/// namespaces. An interface is left out if the indices of both ends already identify its other end.
pub(in super::super) fn resolve(firewalls: &mut [&mut Firewall], namespaces: &[NamespaceHandle]) {
    let mut with_indices: HashMap<(u32, u32), Vec<(usize, usize)>> = HashMap::new();
    for (at, firewall) in firewalls.iter().enumerate() {
        for (number, interface) in firewall.interfaces.iter().enumerate() {
            if let Some(peer) = interface.peer {
                with_indices.entry((interface.index, peer)).or_default().push((at, number));
            }
        }
    }
    let find = |netns: Option<u64>| namespaces.iter().find(|one| Some(one.netns.inode) == netns);
    let mut found = Vec::new();
    for (at, firewall) in firewalls.iter().enumerate() {
        let Some(inside) = find(firewall.netns) else { continue };
        for interface in &firewall.interfaces {
            let Some(peer) = interface.peer else { continue };
            let ends = with_indices.get(&(peer, interface.index)).into_iter().flatten();
            let ends: Vec<_> = ends.filter(|(other, _)| *other != at).collect();
            if ends.len() < 2 {
                continue;
            }
            for (other, number) in ends {
                let outside = &firewalls[*other];
                let nsid = match (outside.netns, find(outside.netns)) {
                    (None, _) => id_of(inside),
                    (_, Some(handle)) => handle.enter(|| id_of(inside)).and_then(|id| id),
                    (Some(_), None) => continue,
                };
                if nsid.is_ok_and(|nsid| nsid == outside.interfaces[*number].peer_nsid) {
                    found.push((*other, *number, inside.netns.inode));
                }
            }
        }
    }
    for (at, number, inode) in found {
        firewalls[at].interfaces[number].peer_netns = Some(inode);
    }
}

/// Returns the number (nsid) of `netns` in the calling thread's network namespace; `None` if it has no number there.
fn id_of(netns: &NamespaceHandle) -> Result<Option<u32>, Errno> {
    let file = File::open(&netns.way).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut body = vec![0; BODY];
    body.extend(8_u16.to_ne_bytes());
    body.extend(NETNSA_FD.to_ne_bytes());
    body.extend(file.as_raw_fd().to_ne_bytes());
    let answer = Connection::open(None)?.get(GETNSID, &body)?;
    let nsid = answer.get(HEADER + BODY..).and_then(|attributes| attribute(attributes, NETNSA_NSID));
    // The kernel answers -1 if there is no number.
    Ok(nsid.and_then(|nsid| number(nsid, 0)).filter(|nsid| *nsid != u32::MAX))
}
