//! Devices and addresses in a scene's network namespace, set up through rtnetlink(7).

use libtest_mimic::Failed;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::lab::Outcome;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const REQUEST_ACK: u16 = 0x5;
const CREATE_EXCLUSIVE: u16 = 0x600;
const IFF_UP: u32 = 1;
const IFF_PROMISC: u32 = 0x100;

/// Sets loopback up, which is device 1 in every namespace.
pub fn loopback_up() -> Outcome {
    up(1)
}

/// Sets a device up.
pub fn up(index: u32) -> Outcome {
    set_flag("set a device up", index, IFF_UP)
}

/// Sets a device to receive packets for other machines.
pub fn promiscuous(index: u32) -> Outcome {
    set_flag("set a device to promiscuous mode", index, IFF_PROMISC)
}

fn set_flag(what: &str, index: u32, flag: u32) -> Outcome {
    let mut body = vec![0; 4]; // family, padding, type
    body.extend(index.to_ne_bytes());
    body.extend(flag.to_ne_bytes()); // flags
    body.extend(flag.to_ne_bytes()); // the flags that change
    ask(what, RTM_NEWLINK, REQUEST_ACK, &body)
}

/// Makes a pair of Ethernet devices, the first with this name, both up; returns the index of the first.
pub fn veth(name: &str) -> Result<u32, Failed> {
    make(name, "veth", &[])?;
    let index = index(name)?;
    up(index)?;
    Ok(index)
}

/// Removes a device.
pub fn delete(index: u32) -> Outcome {
    let mut body = vec![0; 4]; // family, padding, type
    body.extend(index.to_ne_bytes());
    body.extend([0; 8]); // flags
    ask("remove a device", RTM_DELLINK, REQUEST_ACK, &body)
}

/// Makes a VXLAN device that listens on a UDP port, and sets it up.
pub fn vxlan(name: &str, port: u16) -> Outcome {
    let mut data = attribute(1, &7u32.to_ne_bytes()); // IFLA_VXLAN_ID
    data.extend(attribute(15, &port.to_be_bytes())); // IFLA_VXLAN_PORT
    make(name, "vxlan", &data)?;
    up(index(name)?)
}

/// Gives a device an IPv6 address with a 64-bit prefix, usable at once.
pub fn address(device: u32, address: std::net::Ipv6Addr) -> Outcome {
    let mut body = vec![10, 64, 0x02, 0]; // AF_INET6, prefix, IFA_F_NODAD, scope
    body.extend(device.to_ne_bytes());
    body.extend(attribute(2, &address.octets())); // IFA_LOCAL
    body.extend(attribute(1, &address.octets())); // IFA_ADDRESS
    ask("add an address", RTM_NEWADDR, REQUEST_ACK | CREATE_EXCLUSIVE, &body)
}

/// Returns the index of the device with this name.
pub fn index(name: &str) -> Result<u32, Failed> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

fn make(name: &str, kind: &str, data: &[u8]) -> Outcome {
    let mut body = vec![0; 16];
    let mut zero_ended = name.as_bytes().to_vec();
    zero_ended.push(0);
    body.extend(attribute(3, &zero_ended)); // IFLA_IFNAME
    let mut info = attribute(1, kind.as_bytes()); // IFLA_INFO_KIND
    if !data.is_empty() {
        info.extend(attribute(2, data)); // IFLA_INFO_DATA
    }
    body.extend(attribute(18, &info)); // IFLA_LINKINFO
    ask(&format!("make a {kind} device"), RTM_NEWLINK, REQUEST_ACK | CREATE_EXCLUSIVE, &body)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends one message and reads the kernel's answer, which is an error number.
fn ask(what: &str, kind: u16, flags: u16, body: &[u8]) -> Outcome {
    let mut message = u32::try_from(body.len() + 16).unwrap().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // sequence, port
    message.extend(body);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?; // protocol 0 is NETLINK_ROUTE
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 4096];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(format!("{what}: {}", std::io::Error::from_raw_os_error(-error)).into()),
    }
}
