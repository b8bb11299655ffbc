//! Finds the kernel services that own sockets without a process.
//!
//! A socket without a process does not always belong to the kernel. Its descriptor can be in transit, in an io_uring,
//! or in a hidden process. The socket belongs to the kernel only if all of these conditions are met:
//! - the user of the socket is root
//! - users cannot create a socket of this kind
//! - a kernel thread, a network device or a module shows that a service with this port runs
//!
//! The control group is not evidence. The socket of a tunnel, for example, is in the group of the process that set up
//! the tunnel.

use std::collections::HashSet;
use std::path::Path;

use super::files::slurp;
use super::generic_netlink::{self, PortFamily};
use super::links::{self, Link};
use super::{process, settings};
use crate::model::{PortRange, Protocol, Socket};

/// The evidence that a kernel service runs.
enum Sign {
    /// A kernel thread whose name begins with this text.
    Thread(&'static str),
    /// A network device of this kind in the namespace of the socket.
    Device(&'static str),
    Module(&'static str),
}

enum Ports {
    Fixed(&'static [u16]),
    /// The ports of the devices or tunnels in the namespace.
    Tunnels,
    /// The ports that the kernel chooses, or that a setting assigns to the service.
    HandedOut,
    /// Any port, because an administrator chooses the port.
    Any,
}

type KernelService = (&'static [Protocol], Ports, Sign);

const TCP: &[Protocol] = &[Protocol::Tcp];
const UDP: &[Protocol] = &[Protocol::Udp];
const BOTH: &[Protocol] = &[Protocol::Tcp, Protocol::Udp];

/// The parts of Linux that listen on a socket from `sock_create_kern` or `udp_sock_create`. The comment after each
/// entry names its source file or directory in Linux.
const SERVICES: [KernelService; 21] = [
    (UDP, Ports::Tunnels, Sign::Device("wireguard")), // drivers/net/wireguard
    (UDP, Ports::Tunnels, Sign::Device("vxlan")),     // drivers/net/vxlan
    (UDP, Ports::Tunnels, Sign::Device("geneve")),    // drivers/net/geneve.c
    (UDP, Ports::Tunnels, Sign::Device("bareudp")),   // drivers/net/bareudp.c
    (UDP, Ports::Tunnels, Sign::Device("amt")),       // drivers/net/amt.c
    (UDP, Ports::Fixed(&[2152, 3386]), Sign::Device("gtp")), // drivers/net/gtp.c
    (UDP, Ports::Tunnels, Sign::Module("l2tp_core")), // net/l2tp
    (UDP, Ports::Tunnels, Sign::Module("fou")),       // net/ipv4/fou_core.c
    (UDP, Ports::Fixed(&[6118]), Sign::Module("tipc")), // net/tipc/udp_media.c
    (UDP, Ports::HandedOut, Sign::Thread("krxrpc")),  // net/rxrpc
    (BOTH, Ports::Fixed(&[2049, 20049]), Sign::Thread("nfsd")), // fs/nfsd
    (BOTH, Ports::HandedOut, Sign::Thread("lockd")),  // fs/lockd
    (TCP, Ports::HandedOut, Sign::Thread("NFSv4 callback")), // fs/nfs/callback.c
    (TCP, Ports::HandedOut, Sign::Thread("nfsv4.")),  // fs/nfs/callback.c, for minor versions
    (TCP, Ports::Fixed(&[445]), Sign::Thread("ksmbd")), // fs/smb/server
    (TCP, Ports::Any, Sign::Thread("iscsi_np")),      // drivers/target/iscsi
    (TCP, Ports::Fixed(&[4420, 8009]), Sign::Module("nvmet_tcp")), // drivers/nvme/target/tcp.c
    (&[Protocol::Tcp, Protocol::Sctp], Ports::Fixed(&[21064]), Sign::Thread("dlm_")), // fs/dlm
    (TCP, Ports::Fixed(&[7777]), Sign::Thread("o2net")), // fs/ocfs2/cluster
    (TCP, Ports::Any, Sign::Thread("drbd")),          // drivers/block/drbd
    (TCP, Ports::Fixed(&[16385]), Sign::Thread("krdsd")), // net/rds
];

#[derive(Debug, Default)]
pub(super) struct RunningServices {
    threads: HashSet<String>,
    /// The namespace and the kind of each device. The namespace is `None` for portolan's own.
    devices: HashSet<(Option<u64>, String)>,
    /// The namespace and the UDP port of each tunnel.
    tunnel_ports: HashSet<(Option<u64>, u16)>,
    /// The ephemeral ports, and the ports that settings assign to services.
    handed_out: Vec<PortRange>,
}

/// The settings that contain the port of a service: lockd and the NFS callbacks.
const SET_PORTS: [&str; 3] = [
    "/proc/sys/fs/nfs/nlm_tcpport",
    "/proc/sys/fs/nfs/nlm_udpport",
    "/sys/module/nfs/parameters/callback_tcpport",
];
const AFS: PortRange = PortRange { low: 7001, high: 7001 };

/// The devices of a namespace, and the ports of its WireGuard, FOU and L2TP tunnels.
pub(super) type Devices = (Vec<Link>, Vec<u16>);

pub(super) fn devices() -> Devices {
    let links = links::list().unwrap_or_default();
    let ports = ports_of_tunnels(&links);
    (links, ports)
}

impl RunningServices {
    /// Reads the kernel threads, the settings, and the devices of portolan's own namespace.
    pub(super) fn find() -> Self {
        let set = SET_PORTS.into_iter().filter_map(|path| {
            let text = slurp(path, 16, 16).ok()?;
            std::str::from_utf8(&text).ok()?.trim().parse().ok().map(PortRange::single)
        });
        let mut running = RunningServices {
            threads: process::kernel_threads(),
            handed_out: set.chain([settings::ephemeral().range, AFS]).collect(),
            ..RunningServices::default()
        };
        running.add(None, devices());
        running
    }

    pub(super) fn add(&mut self, netns: Option<u64>, (links, ports): Devices) {
        let of_devices = links.iter().filter_map(|link| link.port);
        self.tunnel_ports.extend(of_devices.chain(ports).map(|port| (netns, port)));
        self.devices.extend(links.into_iter().filter_map(|link| Some((netns, link.kind?))));
    }

    /// Returns whether a socket without a process belongs to a running kernel service.
    pub(super) fn explains(&self, socket: &Socket) -> bool {
        let netns = socket.netns.as_ref().map(|netns| netns.inode);
        socket.uid == Some(0)
            && SERVICES.iter().any(|(protocols, ports, sign)| {
                protocols.contains(&socket.local.protocol)
                    && self.has_port(ports, socket.local.port, netns)
                    && self.shows(sign, netns)
            })
    }

    fn has_port(&self, ports: &Ports, port: u16, netns: Option<u64>) -> bool {
        match ports {
            Ports::Fixed(ports) => ports.contains(&port),
            Ports::Tunnels => self.tunnel_ports.contains(&(netns, port)),
            Ports::HandedOut => self.handed_out.iter().any(|range| range.contains(port)),
            Ports::Any => true,
        }
    }

    fn shows(&self, sign: &Sign, netns: Option<u64>) -> bool {
        match sign {
            Sign::Thread(name) => self.threads.iter().any(|thread| thread.starts_with(name)),
            Sign::Device(kind) => self.devices.contains(&(netns, (*kind).to_owned())),
            Sign::Module(name) => Path::new("/sys/module").join(name).exists(),
        }
    }
}

/// The tunnels whose port is not an attribute of a device.
const FOU: PortFamily = PortFamily { name: "fou", list: 3, port: 1, is_big_endian: true };
const L2TP: PortFamily = PortFamily { name: "l2tp", list: 4, port: 26, is_big_endian: false };
const WIREGUARD: PortFamily = PortFamily { name: "wireguard", list: 0, port: 6, is_big_endian: false };
/// The attribute `WGDEVICE_A_IFINDEX`, and its length with the header.
const WIREGUARD_INDEX: u16 = 1;
const INDEX_LENGTH: u16 = 8;

/// Returns the ports of WireGuard, FOU and L2TP in the namespace of the calling thread. No request is sent for a module
/// that is not loaded, because the request would load the module.
fn ports_of_tunnels(links: &[Link]) -> Vec<u16> {
    let mut found = Vec::new();
    for link in links.iter().filter(|link| link.kind.as_deref() == Some("wireguard")) {
        let mut index = INDEX_LENGTH.to_ne_bytes().to_vec();
        index.extend(WIREGUARD_INDEX.to_ne_bytes());
        index.extend(link.index.to_ne_bytes());
        found.extend(generic_netlink::ports(WIREGUARD, &index).unwrap_or_default());
    }
    for (module, family) in [("fou", FOU), ("l2tp_netlink", L2TP)] {
        if Path::new("/sys/module").join(module).exists() {
            found.extend(generic_netlink::ports(family, &[]).unwrap_or_default());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Netns, Owner, SocketAttributes, State};

    #[test]
    fn only_a_service_that_runs_explains_a_socket() {
        let mut running =
            RunningServices { threads: HashSet::from(["nfsd".to_owned()]), ..RunningServices::default() };
        let link = |kind: &str| Link {
            index: 2,
            name: "x".into(),
            is_loopback: false,
            kind: Some(kind.into()),
            port: Some(4789),
            is_promiscuous: false,
        };
        running.add(Some(7), (vec![link("vxlan")], Vec::new()));
        for (name, local, uid, netns, explained) in [
            ("nfsd on its port", "tcp/0.0.0.0:2049", Some(0), None, true),
            ("nfsd's port under a user", "tcp/0.0.0.0:2049", Some(1000), None, false),
            ("nfsd's port, user unknown", "tcp/0.0.0.0:2049", None, None, false),
            ("nfsd on another port", "tcp/0.0.0.0:8080", Some(0), None, false),
            ("a device in its namespace", "udp/0.0.0.0:4789", Some(0), Some(7), true),
            ("another port than that of the device", "udp/0.0.0.0:4790", Some(0), Some(7), false),
            ("a device in another namespace", "udp/0.0.0.0:4789", Some(0), None, false),
            ("another protocol", "tcp/0.0.0.0:4789", Some(0), Some(7), false),
            ("no service", "tcp/0.0.0.0:445", Some(0), None, false),
        ] {
            let netns = netns.map(|inode| Netns { inode, name: None });
            let socket = Socket {
                local: local.parse().unwrap(),
                peer: None,
                state: State::Listen,
                mptcp: false,
                attributes: Arc::new(SocketAttributes { uid, netns, ..SocketAttributes::default() }),
                inode: None,
                cookie: None,
                v6only: None,
                queues: None,
                owner: Owner::Unknown,
            };
            assert_eq!(running.explains(&socket), explained, "{name}");
        }
    }
}
