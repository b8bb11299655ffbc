//! Lists the sockets without a port. A raw socket receives the packets of one IP protocol; a packet socket receives the
//! packets of network devices.
//!
//! The sockets are read from the text tables of `/proc/net`, because every kernel has these tables. Reading them loads
//! no kernel module.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU64;
use std::sync::Arc;

use rustix::net::netlink::SOCK_DIAG;

use super::bytes::{number, short};
use super::links::{self, Link};
use super::netlink_dump::{attribute, dump};
use super::procnet;
use crate::model::{
    Device, Endpoint, Family, Gap, Netns, Note, Owner, Protocol, ReceivedPackets, Socket, SocketAttributes,
    Stage, State,
};
use crate::observe::Scope;

#[derive(Debug, Default)]
pub(super) struct RawSockets {
    pub sockets: Vec<Socket>,
    pub gaps: Vec<Gap>,
    /// The note that names the devices in promiscuous mode, if there are any.
    pub notes: Vec<Note>,
}

/// Lists the raw and packet sockets of a network namespace from its directory of tables. `netns` is `None` for
/// portolan's own namespace. `is_inside` means that the calling thread is in the namespace and can request its devices.
pub(super) fn list(scope: &Scope, netns: Option<&Netns>, tables: &str, is_inside: bool) -> RawSockets {
    let links = if is_inside { links::list().unwrap_or_default() } else { Vec::new() };
    let mut lister = RawSocketLister { netns, tables, links, listed: RawSockets::default() };
    for (family, table) in [(Family::Ipv4, "raw"), (Family::Ipv6, "raw6")] {
        if scope.families.contains(&family) {
            lister.raw(table);
        }
    }
    lister.packet(is_inside);
    lister.note_promiscuous();
    lister.listed
}

struct RawSocketLister<'l> {
    netns: Option<&'l Netns>,
    tables: &'l str,
    links: Vec<Link>,
    listed: RawSockets,
}

impl RawSocketLister<'_> {
    /// Reads a table of raw sockets. The column for the port contains the number of the IP protocol.
    fn raw(&mut self, table: &str) {
        let Some(text) = self.read(table) else { return };
        let (records, refused) = procnet::table(&text);
        self.refused(table, refused);
        for record in records {
            let (address, number) = record.local;
            self.add(Protocol::Raw, address, None, number, Vec::new(), record.uid, record.inode);
        }
    }

    fn packet(&mut self, is_inside: bool) {
        let Some(text) = self.read("packet") else { return };
        let (sockets, refused) = procnet::packets(&text);
        self.refused("packet", refused);
        let promiscuous =
            if sockets.is_empty() || !is_inside { HashMap::new() } else { promiscuous_memberships() };
        for socket in sockets {
            let devices = promiscuous.get(&socket.inode).into_iter().flatten();
            let devices = devices.map(|index| self.device(*index).0).collect();
            let device = (socket.interface != 0).then_some(socket.interface);
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            self.add(Protocol::Packet, any, device, socket.protocol, devices, socket.uid, socket.inode);
        }
    }

    /// Returns the text of a table. If the table cannot be read, returns `None` and adds a gap. There is no gap if the
    /// kernel does not have the table.
    fn read(&mut self, table: &str) -> Option<String> {
        let path = format!("{}/{table}", self.tables);
        let error = match fs::read(&path) {
            Ok(bytes) => return Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => error,
        };
        // A kernel without IPv6 or packet sockets lacks this table. Every kernel has the table of TCP. So the table of
        // TCP shows whether `/proc/net` is readable at all.
        let is_absent = error.kind() == io::ErrorKind::NotFound
            && table != "raw"
            && fs::metadata(format!("{}/tcp", self.tables)).is_ok();
        if !is_absent {
            let kind = if table == "packet" { "packet sockets" } else { "raw sockets" };
            let gap = Gap::new(Stage::Sockets, kind, format!("{path}: {error}"));
            self.listed.gaps.push(gap.with_remedy("mount /proc"));
        }
        None
    }

    fn refused(&mut self, table: &str, lines: u64) {
        if lines > 0 {
            let what = format!("{} of {}/{table}", if lines == 1 { "line" } else { "lines" }, self.tables);
            self.listed.gaps.push(Gap::new(Stage::Sockets, what, "not understood").counted(lines));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "raw and packet sockets differ in each of these values")]
    fn add(
        &mut self,
        protocol: Protocol,
        address: IpAddr,
        device: Option<u32>,
        number: u16,
        promiscuous: Vec<Device>,
        uid: u32,
        inode: u32,
    ) {
        let device = device.map(|index| self.device(index));
        let attributes = SocketAttributes {
            uid: Some(uid),
            netns: self.netns.cloned(),
            on_loopback: device.as_ref().and_then(|(_, is_loopback)| *is_loopback),
            receives: Some(ReceivedPackets { number, promiscuous }),
            ..SocketAttributes::default()
        };
        let device = device.map(|(name, _)| name);
        let socket = Socket {
            local: Endpoint { protocol, address, port: 0, device },
            peer: None,
            state: State::Raw,
            mptcp: false,
            attributes: Arc::new(attributes),
            inode: NonZeroU64::new(inode.into()),
            cookie: None,
            v6only: None,
            queues: None,
            owner: Owner::Unknown,
        };
        self.listed.sockets.push(socket);
    }

    /// Returns the name of a device, and whether it is a loopback device. The name is `#N` if it is not known.
    fn device(&self, index: u32) -> (Device, Option<bool>) {
        match self.links.iter().find(|link| link.index == index) {
            Some(link) => (link.name.as_str().into(), Some(link.is_loopback)),
            None => (format!("#{index}").into(), None),
        }
    }

    fn note_promiscuous(&mut self) {
        let devices: Vec<&str> =
            self.links.iter().filter(|link| link.is_promiscuous).map(|link| link.name.as_str()).collect();
        let [first, ..] = devices[..] else { return };
        let (noun, verb) = if devices.len() == 1 { ("device", "receives") } else { ("devices", "receive") };
        let place = match self.netns {
            Some(netns) => format!(" in the network namespace {}", netns.inode),
            None => String::new(),
        };
        let what =
            format!("network {noun}{place} {verb} packets for other machines (promiscuous mode, {first})");
        let note = Note::new(what).counted(devices.len()).with_remedy("ip -details link");
        self.listed.notes.push(note.marked_important());
    }
}

/// The request type of `sock_diag` for one address family, and the family of packet sockets.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_PACKET: u8 = 17;
/// `PACKET_SHOW_MCLIST` and `PACKET_DIAG_MCLIST` (linux/packet_diag.h).
const SHOW_MEMBERSHIPS: u32 = 2;
const MEMBERSHIPS: u16 = 1;
/// `PACKET_MR_PROMISC` (linux/if_packet.h).
const PROMISCUOUS: u16 = 1;
/// The sizes of `packet_diag_msg` and `packet_diag_mclist`.
const PACKET_BODY: usize = 16;
const MEMBERSHIP: usize = 44;

/// Returns which devices each packet socket has set to promiscuous mode. The key is the inode of the socket; the values
/// are the indices of devices. The map is empty if this kernel does not report the devices.
fn promiscuous_memberships() -> HashMap<u32, Vec<u32>> {
    let mut request = vec![AF_PACKET, 0, 0, 0];
    request.extend([0; 4]); // any inode
    request.extend(SHOW_MEMBERSHIPS.to_ne_bytes());
    request.extend([0; 8]); // any cookie
    let kinds = (SOCK_DIAG_BY_FAMILY, SOCK_DIAG_BY_FAMILY);
    dump(Some(SOCK_DIAG), kinds, &request, memberships).unwrap_or_default().into_iter().collect()
}

/// Parses a message about a packet socket. Returns the inode of the socket, and the indices of the devices that the
/// socket has set to promiscuous mode.
fn memberships(message: &[u8]) -> Option<(u32, Vec<u32>)> {
    let inode = number(message, 4)?;
    let list = attribute(message.get(PACKET_BODY..)?, MEMBERSHIPS).unwrap_or_default();
    let promiscuous = list
        .chunks_exact(MEMBERSHIP)
        .filter_map(|one| (short(one, 8)? == PROMISCUOUS).then(|| number(one, 0))?);
    Some((inode, promiscuous.collect()))
}

#[cfg(test)]
mod tests {
    use super::super::netlink_dump::tests::attribute_of;
    use super::*;

    #[test]
    fn devices_in_promiscuous_mode() {
        let membership = |device: u32, kind: u16| {
            let mut bytes = vec![0; MEMBERSHIP];
            bytes[..4].copy_from_slice(&device.to_ne_bytes());
            bytes[8..10].copy_from_slice(&kind.to_ne_bytes());
            bytes
        };
        let mut message = vec![0; PACKET_BODY];
        message[4..8].copy_from_slice(&25_u32.to_ne_bytes());
        assert_eq!(memberships(&message), Some((25, Vec::new())));
        let list = [membership(2, PROMISCUOUS), membership(3, 0), membership(4, PROMISCUOUS)].concat();
        message.extend(attribute_of(MEMBERSHIPS, &list));
        assert_eq!(memberships(&message), Some((25, vec![2, 4])));
        assert_eq!(memberships(&message[..7]), None);
    }
}
