//! Reads the ports of tunnels from kernel modules through generic netlink (linux/genetlink.h).

use rustix::io::Errno;
use rustix::net::netlink::GENERIC;

use super::bytes::short;
use super::netlink_dump::{attribute, dump, text};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME`.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// The size of `genlmsghdr`.
const HEADER: usize = 4;

/// A netlink family of tunnels that listen on UDP ports. `list` is the command that lists the tunnels. `port` is the
/// attribute that contains the port of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortFamily {
    pub(super) name: &'static str,
    pub(super) list: u8,
    pub(super) port: u16,
    pub(super) is_big_endian: bool,
}

/// Lists the ports of a family in the network namespace of the calling thread. `arguments` are the attributes of the
/// request.
pub(super) fn ports(family: PortFamily, arguments: &[u8]) -> Result<Vec<u16>, Errno> {
    let families = dump(Some(GENERIC), (CONTROLLER, CONTROLLER), &[GET_FAMILY, 1, 0, 0], |message| {
        let attributes = message.get(HEADER..)?;
        let id = short(attribute(attributes, FAMILY_ID)?, 0)?;
        Some((id, text(attribute(attributes, FAMILY_NAME)?)))
    })?;
    let (id, _) = families.into_iter().find(|(_, name)| name == family.name).ok_or(Errno::NOENT)?;
    let request = [&[family.list, 1, 0, 0], arguments].concat();
    let found = dump(Some(GENERIC), (id, id), &request, |message| {
        let bytes =
            attribute(message.get(HEADER..)?, family.port).and_then(|value| value.first_chunk().copied());
        let port = if family.is_big_endian { u16::from_be_bytes } else { u16::from_ne_bytes };
        Some(bytes.map(port))
    })?;
    Ok(found.into_iter().flatten().collect())
}
