//! Finds TCP sockets that were closed between two scans. The kernel sends a message about every destroyed socket
//! (`SKNLGRP_*_DESTROY`, linux/sock_diag.h).
//!
//! A message names no process, and does not show whether the socket listened. Messages about UDP are not read, because
//! a UDP socket without a peer is usually a client. On a busy machine, messages arrive seconds late or are lost.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::socket_cookie;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::diag::{Reading, SocketRecord};
use super::users::Users;
use crate::model::{Endpoint, Namespaces, Owner, Protocol, Socket, SocketAttributes, State};
use crate::observe::Scope;

/// The message groups of TCP over IPv4 and IPv6. Group 1 is the lowest bit.
const GROUPS: u32 = 0b101; // groups 1 and 3
/// The size of the buffer for a datagram. A datagram has one message of less than 1 KiB.
const BUFFER: usize = 8 * 1024;
/// The maximum number of messages to read after a scan. The kernel queues only a few hundred.
const MOST: usize = 10_000;

/// The maximum number of cookies. So many cookies take 4 MB of memory.
const MOST_COOKIES: usize = 200_000;

#[derive(Debug)]
pub(super) struct ClosedSockets {
    messages: OwnedFd,
    /// The cookie of a socket that `subscribe` opens and closes at once. `None` after the message about this socket has
    /// arrived. Earlier messages are ignored, because they may be about sockets that were closed before the
    /// subscription.
    first: Option<u64>,
    /// The cookies of the sockets that scans found. A cookie is removed when its socket is closed.
    found: HashSet<NonZeroU64>,
}

impl ClosedSockets {
    /// Subscribes in the network namespace of the calling thread. `None` if the scope lacks bound TCP sockets or has
    /// other namespaces, or if the kernel refuses.
    pub(super) fn subscribe(scope: &Scope) -> Option<Self> {
        let is_included = scope.protocols.contains(&Protocol::Tcp)
            && scope.states.contains(&State::Bound)
            && scope.namespaces == Namespaces::Own;
        if !is_included {
            return None;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let messages =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG)).ok()?;
        bind(&messages, &SocketAddrNetlink::new(0, GROUPS)).ok()?;
        let first = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
        let first = socket_cookie(&first).ok();
        Some(ClosedSockets { messages, first, found: HashSet::new() })
    }

    /// Returns the closed sockets that no scan has found. `scanned` has the sockets of the last scan; `None` if they
    /// have not changed since the previous call.
    pub(super) fn unseen(&mut self, scanned: Option<&[Socket]>, scope: &Scope) -> Vec<Socket> {
        let is_tcp = |socket: &&Socket| socket.local.protocol == Protocol::Tcp && socket.state.holds_port();
        let scanned = scanned.into_iter().flatten().filter(is_tcp);
        self.found.extend(scanned.filter_map(|socket| socket.cookie));
        let mut users = None;
        let mut unseen = Vec::new();
        for record in self.records() {
            let Some(cookie) = NonZeroU64::new(record.cookie) else { continue };
            if self.first == Some(record.cookie) {
                self.first = None;
            }
            let is_new = !self.found.remove(&cookie) && self.first.is_none();
            let is_included =
                scope.families.contains(&record.family) && scope.includes(record.local.1, State::Bound);
            if is_new && is_included && may_have_listened(&record) {
                let users = users.get_or_insert_with(Users::load);
                unseen.push(socket(&record, cookie, users));
            }
        }
        unseen
    }

    /// Returns whether the set of cookies has become too large. It grows if messages about closed sockets are lost.
    pub(super) fn has_lost_track(&self) -> bool {
        self.found.len() > MOST_COOKIES
    }

    fn records(&self) -> Vec<SocketRecord> {
        let mut reading = Reading::default();
        let mut buffer = Vec::with_capacity(BUFFER);
        for _ in 0..MOST {
            buffer.clear();
            match recv(&self.messages, spare_capacity(&mut buffer), RecvFlags::TRUNC) {
                // A message that cannot be parsed is ignored, because messages can be lost anyway.
                Ok((_, length)) => _ = buffer.get(..length).map(|bytes| reading.datagram(bytes, 0)),
                Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(_) => break,
            }
        }
        reading.records
    }
}

/// Returns whether a destroyed socket was bound and never tried to connect.
fn may_have_listened(record: &SocketRecord) -> bool {
    record.local.1 != 0 && record.peer.1 == 0 && record.path_mtu == Some(0)
}

fn socket(record: &SocketRecord, cookie: NonZeroU64, users: &mut Users) -> Socket {
    let (address, port) = record.local;
    let attributes = SocketAttributes {
        uid: Some(record.uid),
        user: users.name(record.uid),
        ..SocketAttributes::default()
    };
    Socket {
        local: Endpoint { protocol: Protocol::Tcp, address, port, device: None },
        peer: None,
        state: State::Bound,
        mptcp: false,
        attributes: Arc::new(attributes),
        inode: None,
        cookie: Some(cookie),
        v6only: record.v6only,
        queues: None,
        owner: Owner::Vanished,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Subscribes, then waits until no more messages can arrive about sockets that were closed before the subscription.
    fn subscribe(scope: &Scope) -> ClosedSockets {
        let mut closed = ClosedSockets::subscribe(scope).unwrap();
        for _ in 0..1000 {
            closed.unseen(None, scope);
            if closed.first.is_none() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        closed
    }

    #[test]
    fn a_socket_that_no_scan_found_is_returned_once() {
        let scope = Scope::default();
        let mut closed = subscribe(&scope);
        let brief = ["127.0.0.1:0", "[::1]:0"].map(|at| {
            let listener = TcpListener::bind(at).unwrap();
            listener.local_addr().unwrap()
        });
        // A socket that tried to connect is a client, even if it no longer has a peer.
        let refused = std::net::TcpStream::connect("127.0.0.1:1").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let mut found = Vec::new();
        // The kernel may destroy a socket shortly after it was closed.
        for _ in 0..1000 {
            found.extend(closed.unseen(None, &scope));
            let places: Vec<_> =
                found.iter().map(|socket| (socket.local.address, socket.local.port)).collect();
            if brief.iter().all(|at| places.contains(&(at.ip(), at.port()))) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for at in brief {
            let same = found.iter().filter(|socket| socket.local.port == at.port()).collect::<Vec<_>>();
            assert_eq!(same.len(), 1, "{at}");
            assert_eq!((same[0].state, &same[0].owner), (State::Bound, &Owner::Vanished));
            assert_eq!(same[0].uid, Some(rustix::process::geteuid().as_raw()));
        }
    }

    #[test]
    fn a_socket_of_a_scan_is_not_returned() {
        let scope = Scope::default();
        let mut closed = subscribe(&scope);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let snapshot = crate::observe::observe(&Scope { processes: false, ..Scope::default() }).unwrap();
        assert!(snapshot.sockets.iter().any(|socket| socket.local.port == port));
        closed.unseen(Some(&snapshot.sockets), &scope);
        drop(listener);
        let marker = TcpListener::bind("127.0.0.1:0").unwrap();
        let last = marker.local_addr().unwrap().port();
        drop(marker);
        // Messages arrive in order, so the message about `listener` comes before the message about `marker`.
        let mut found = Vec::new();
        for _ in 0..1000 {
            found.extend(closed.unseen(None, &scope).into_iter().map(|socket| socket.local.port));
            if found.contains(&last) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(found.contains(&last) && !found.contains(&port), "{found:?}");
    }
}
