//! Kernel services that own sockets without a process: a socket belongs to the kernel only if there is evidence that
//! such a service runs.
//!
//! The absence of a process is not evidence: descriptors can be in flight, in an io_uring without a descriptor, or
//! behind a mount over `/proc/PID`. So a socket belongs to the kernel only if its user is root, users cannot make such
//! a socket, and a kernel thread, a network device or a module shows that a service with such a port runs. The control
//! group is not evidence: a tunnel's socket is in the group of the process that set up the tunnel.

use std::collections::HashSet;
use std::path::Path;

use super::links::{self, Link};
use super::process;
use crate::model::{Protocol, Socket};

/// The evidence that a kernel service runs.
enum Sign {
    /// A kernel thread whose name has this beginning.
    Thread(&'static str),
    /// A network device of this kind in the namespace of the socket.
    Device(&'static str),
    /// A loaded module.
    Module(&'static str),
}

/// A kernel service: its protocols and ports (none: any port), and the sign that it runs.
type Service = (&'static [Protocol], &'static [u16], Sign);

const TCP: &[Protocol] = &[Protocol::Tcp];
const UDP: &[Protocol] = &[Protocol::Udp];
const BOTH: &[Protocol] = &[Protocol::Tcp, Protocol::Udp];

/// The callers of `sock_create_kern` and `udp_sock_create` in Linux that listen, by their directory in its sources.
const SERVICES: [Service; 21] = [
    (UDP, &[], Sign::Device("wireguard")),           // drivers/net/wireguard
    (UDP, &[], Sign::Device("vxlan")),               // drivers/net/vxlan
    (UDP, &[], Sign::Device("geneve")),              // drivers/net/geneve.c
    (UDP, &[], Sign::Device("bareudp")),             // drivers/net/bareudp.c
    (UDP, &[], Sign::Device("amt")),                 // drivers/net/amt.c
    (UDP, &[2152, 3386], Sign::Device("gtp")),       // drivers/net/gtp.c
    (UDP, &[], Sign::Module("l2tp_core")),           // net/l2tp
    (UDP, &[], Sign::Module("fou")),                 // net/ipv4/fou_core.c
    (UDP, &[6118], Sign::Module("tipc")),            // net/tipc/udp_media.c
    (UDP, &[], Sign::Thread("krxrpc")),              // net/rxrpc
    (BOTH, &[2049, 20049], Sign::Thread("nfsd")),    // fs/nfsd
    (BOTH, &[], Sign::Thread("lockd")),              // fs/lockd
    (TCP, &[], Sign::Thread("NFSv4 callback")),      // fs/nfs/callback.c
    (TCP, &[], Sign::Thread("nfsv4.")),              // the same, minor versions
    (TCP, &[445], Sign::Thread("ksmbd")),            // fs/smb/server
    (TCP, &[], Sign::Thread("iscsi_np")),            // drivers/target/iscsi
    (TCP, &[4420, 8009], Sign::Module("nvmet_tcp")), // drivers/nvme/target/tcp.c
    (&[Protocol::Tcp, Protocol::Sctp], &[21064], Sign::Thread("dlm_")), // fs/dlm
    (TCP, &[7777], Sign::Thread("o2net")),           // fs/ocfs2/cluster
    (TCP, &[], Sign::Thread("drbd")),                // drivers/block/drbd
    (TCP, &[16385], Sign::Thread("krdsd")),          // net/rds
];

/// The kernel services that run, as far as there is evidence.
#[derive(Debug, Default)]
pub(super) struct RunningServices {
    threads: HashSet<String>,
    /// Kinds of devices, by the inode of the namespace they are in (`None`: the observer's own).
    devices: HashSet<(Option<u64>, String)>,
}

impl RunningServices {
    /// Looks for kernel threads, and for the devices of this namespace.
    pub(super) fn find() -> Self {
        let mut running = RunningServices { threads: process::kernel_threads(), devices: HashSet::new() };
        running.add(None, links::list().unwrap_or_default());
        running
    }

    /// Adds the devices of a namespace.
    pub(super) fn add(&mut self, netns: Option<u64>, links: Vec<Link>) {
        self.devices.extend(links.into_iter().filter_map(|link| Some((netns, link.kind?))));
    }

    /// Returns whether a running kernel service explains a socket that no process owns.
    pub(super) fn explains(&self, socket: &Socket) -> bool {
        let netns = socket.netns.as_ref().map(|netns| netns.inode);
        socket.uid == Some(0)
            && SERVICES.iter().any(|(protocols, ports, sign)| {
                protocols.contains(&socket.local.protocol)
                    && (ports.is_empty() || ports.contains(&socket.local.port))
                    && self.shows(sign, netns)
            })
    }

    fn shows(&self, sign: &Sign, netns: Option<u64>) -> bool {
        match sign {
            Sign::Thread(name) => self.threads.iter().any(|thread| thread.starts_with(name)),
            Sign::Device(kind) => self.devices.contains(&(netns, (*kind).to_owned())),
            Sign::Module(name) => Path::new("/sys/module").join(name).exists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Home, Netns, Owner, State};

    #[test]
    fn only_a_service_that_runs_explains_a_socket() {
        let mut running =
            RunningServices { threads: HashSet::from(["nfsd".to_owned()]), ..RunningServices::default() };
        let link =
            |kind: &str| Link { index: 2, name: "x".into(), is_loopback: false, kind: Some(kind.into()) };
        running.add(Some(7), vec![link("vxlan")]);
        for (name, local, uid, netns, explained) in [
            ("nfsd on its port", "tcp/0.0.0.0:2049", Some(0), None, true),
            ("nfsd's port under a user", "tcp/0.0.0.0:2049", Some(1000), None, false),
            ("nfsd's port, user unknown", "tcp/0.0.0.0:2049", None, None, false),
            ("nfsd on another port", "tcp/0.0.0.0:8080", Some(0), None, false),
            ("a device in its namespace", "udp/0.0.0.0:4789", Some(0), Some(7), true),
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
                home: Arc::new(Home { uid, netns, ..Home::default() }),
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
