//! Lists the sockets in the network namespace of the calling thread through `sock_diag`. If `sock_diag` does not
//! answer, the text tables of `/proc/net` are read.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustix::io::Errno;

use super::diag::{DumpError, SocketRecord};
use super::external_program::TimeBudget;
use super::firewall::ReadFirewall;
use super::kernel_protocols::{
    BOUND_INACTIVE, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, KERNEL_PROTOCOLS, KernelProtocol, LISTEN, state,
    states,
};
use super::netlink::{DumpRequest, Netlink};
use super::own_addresses::OwnAddresses;
use super::rule_sets::RuleSets;
use super::task_iterator::sockets_on;
use super::{firewall, links, nat, procnet, raw_sockets};
use crate::model::{
    Device, Endpoint, Family, Firewall, Gap, Netns, Note, Owner, Peer, PortRange, Protocol, Queues, Socket,
    SocketAttributes, Stage, State, unmapped,
};
use crate::observe::Scope;

/// A socket whose process, user and control group are not looked up yet.
#[derive(Debug)]
pub(super) struct FoundSocket {
    /// The owner is [`Owner::Unknown`]. The names of the user, the unit and the container are missing.
    pub socket: Socket,
    /// The ID of the control group. Sockets that share one `SocketAttributes` have the same ID.
    pub cgroup: Option<NonZeroU64>,
}

/// The identity of a socket until the machine restarts: its cookie, or its inode if the socket has no cookie.
pub(super) type SocketId = (Option<NonZeroU64>, Option<NonZeroU64>);

impl FoundSocket {
    pub(super) fn identity(&self) -> SocketId {
        (self.socket.cookie, if self.socket.cookie.is_some() { None } else { self.socket.inode })
    }
}

#[derive(Debug, Default)]
pub(super) struct SocketList {
    pub found: Vec<FoundSocket>,
    pub gaps: Vec<Gap>,
    /// Notes about text tables that were read instead of `sock_diag`, about devices, and about NAT rules.
    pub notes: Vec<Note>,
    /// The packet filter if requested, with a gap if it could not be read.
    pub firewall: Option<(Firewall, Option<Gap>)>,
}

impl SocketList {
    /// Adds the raw and packet sockets, if they are in the scope.
    fn add_raw(&mut self, scope: &Scope, netns: Option<&Netns>, tables: &str, is_inside: bool) {
        if scope.states.contains(&State::Raw) {
            let raw = raw_sockets::list(scope, netns, tables, is_inside);
            self.found.extend(raw.sockets.into_iter().map(|socket| FoundSocket { socket, cgroup: None }));
            self.gaps.extend(raw.gaps);
            self.notes.extend(raw.notes);
        }
    }
}

/// If a namespace has at least this many TCP sockets, a BPF program that visits only the sockets of one port costs less
/// than a list of all sockets that are bound (measured).
const MANY_CONNECTIONS: u64 = 10_000;

/// Returns the remedy if the kernel refuses a request to `sock_diag`. `ENOENT` means that a kernel module is missing
/// (net/core/sock_diag.c).
fn remedy(why: Errno, modules: &str) -> String {
    match why {
        Errno::NOENT => format!("modprobe {modules}"),
        _ => "allow NETLINK_SOCK_DIAG sockets for this process".to_owned(),
    }
}

/// Lists the sockets in the network namespace of the calling thread. `netns` describes this namespace; `None` for
/// portolan's own. With `with_filter`, also reads the packet filter. `time` limits the programs that are run.
pub(super) fn list(scope: &Scope, netns: Option<&Netns>, with_filter: bool, time: &TimeBudget) -> SocketList {
    let mut lister = SocketLister {
        scope,
        netns,
        tables: "/proc/thread-self/net".to_owned(),
        is_inside: true,
        devices: None,
        own_addresses: OwnAddresses::default(),
        socket_attributes: HashMap::new(),
        listed: SocketList::default(),
        refusals: Vec::new(),
    };
    lister.run(&mut Netlink::open());
    let mut listed = lister.listed;
    listed.add_raw(scope, netns, "/proc/thread-self/net", true);
    let rule_sets = RuleSets::within(time);
    let published = nat::published_ports(scope, netns, &rule_sets);
    let published_ports = published.sockets.into_iter().map(|socket| FoundSocket { socket, cgroup: None });
    listed.found.extend(published_ports);
    listed.gaps.extend(published.gaps);
    listed.notes.extend(published.notes);
    let is_asked = with_filter && scope.states.iter().any(|state| state.accepts_traffic());
    if is_asked {
        let ReadFirewall { firewall, gap, note } = firewall::read(netns, rule_sets);
        listed.firewall = Some((firewall, gap.filter(|gap| !listed.gaps.contains(gap))));
        listed.notes.extend(note);
    }
    listed
}

/// Lists the sockets of another network namespace from the text tables of a process in it.
pub(super) fn list_by_tables(scope: &Scope, netns: &Netns, pid: u32, why: Errno) -> SocketList {
    let mut lister = SocketLister {
        scope,
        netns: Some(netns),
        tables: format!("/proc/{pid}/net"),
        is_inside: false,
        devices: None,
        own_addresses: OwnAddresses::default(),
        socket_attributes: HashMap::new(),
        listed: SocketList::default(),
        refusals: Vec::new(),
    };
    lister.run(&mut Err(why));
    let SocketLister { mut listed, tables, .. } = lister;
    listed.add_raw(scope, Some(netns), &tables, false);
    listed
}

/// The attributes that differ between the sockets of a namespace. Sockets with equal keys share one object. In this
/// order:
/// - the user
/// - the control group
/// - whether the device is a loopback device
/// - whether the socket is transparent
/// - whether the socket is bound to an address or a device that this machine lacks
type AttributesKey = (Option<u32>, Option<NonZeroU64>, Option<bool>, bool, bool);

struct SocketLister<'s> {
    scope: &'s Scope,
    netns: Option<&'s Netns>,
    tables: String,
    /// Whether the calling thread is in the namespace. Otherwise it cannot request the devices of the namespace.
    is_inside: bool,
    /// The name of each device by its index, and whether it is a loopback device. Read on first use.
    devices: Option<HashMap<u32, (Device, bool)>>,
    own_addresses: OwnAddresses,
    socket_attributes: HashMap<AttributesKey, Arc<SocketAttributes>>,
    listed: SocketList,
    /// The protocols and families for which `sock_diag` did not answer, each with the reason.
    refusals: Vec<(&'static KernelProtocol, Family, Errno)>,
}

impl SocketLister<'_> {
    fn run(&mut self, netlink: &mut Result<Netlink, Errno>) {
        let inventory = fs::File::open(format!("{}/protocols", self.tables)).and_then(|file| {
            let mut text = Vec::with_capacity(8 * 1024);
            file.take(1 << 20).read_to_end(&mut text)?; // read with few calls, because the file reports no size
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        let inventory = inventory.as_deref().ok().map(procnet::inventory);
        let mut unasked = Vec::new();
        for kind in &KERNEL_PROTOCOLS {
            if !self.scope.protocols.contains(&kind.protocol) {
                continue;
            }
            if kind.number == IPPROTO_TCP && self.scope.families.len() > 1 && self.connections(kind, netlink)
            {
                continue;
            }
            for family in [Family::Ipv4, Family::Ipv6] {
                if !self.scope.families.contains(&family) {
                    continue;
                }
                let label = kind.label(family);
                match &inventory {
                    // The kernel counts the sockets of each protocol. If a protocol other than TCP and UDP has no
                    // sockets, no request is sent for it.
                    Some(counts)
                        if !matches!(kind.number, IPPROTO_TCP | IPPROTO_UDP)
                            && counts.get(label).is_none_or(|sockets| *sockets == 0) =>
                    {
                        continue;
                    }
                    // Without the counts, it is not known whether the protocol is used. A request would load the kernel
                    // module of an unused protocol.
                    None if matches!(kind.protocol, Protocol::Sctp | Protocol::Dccp) => {
                        unasked.push(label);
                        continue;
                    }
                    _ => {}
                }
                self.kind(kind, family, netlink);
            }
        }
        let connections = ["TCP", "TCPv6"].map(|label| inventory.as_ref()?.get(label).copied());
        self.bound(connections.into_iter().flatten().sum(), netlink);
        if !unasked.is_empty() {
            let why = format!(
                "{}/protocols could not be read, so it is not known whether these sockets exist",
                self.tables
            );
            self.unanswered(&format!("sockets of {}", unasked.join(", ")), &why, "mount /proc".to_owned());
        }
        self.note_refusals();
    }

    /// Adds a note and a gap for the protocols whose text tables were read because the kernel refused `sock_diag`.
    fn note_refusals(&mut self) {
        let Some((_, _, why)) = self.refusals.first() else { return };
        let kinds: Vec<_> = self.refusals.iter().map(|(kind, family, _)| kind.label(*family)).collect();
        self.listed.notes.push(Note::new(format!("{} read from {}", kinds.join(", "), self.tables)));
        let partly = if kinds.len() > 1 { "" } else { "partly " };
        let mut modules: Vec<_> = self.refusals.iter().map(|(kind, ..)| kind.module).collect();
        modules.dedup();
        let what = "bound sockets that do not listen, and the device, v6only flag and control group of each listed socket";
        let text = match *why {
            Errno::NOENT => format!("the kernel modules for sock_diag are {partly}not loaded"),
            why => format!("the kernel {partly}refuses to list sockets (sock_diag over netlink): {why}"),
        };
        let remedy = remedy(*why, &modules.join(" "));
        self.unanswered(what, &text, remedy);
    }

    fn request(&self, family: Option<Family>, kind: &KernelProtocol, states: u32) -> DumpRequest {
        let ranges = self.scope.ports.as_deref().unwrap_or_default();
        // A request can have only one range, so the range spans all wanted ports. `record` drops the sockets on other ports.
        let ends =
            ranges.iter().map(|range| range.low).min().zip(ranges.iter().map(|range| range.high).max());
        let ports = ends.and_then(|(low, high)| PortRange::new(low, high));
        DumpRequest { family, protocol: kind.number, states, ports }
    }

    /// Lists the TCP sockets of both families in one pass, if connections are wanted. Returns false if nothing was
    /// listed.
    fn connections(&mut self, kind: &'static KernelProtocol, netlink: &mut Result<Netlink, Errno>) -> bool {
        let states = states(kind.protocol, &self.scope.states);
        let request = self.request(None, kind, states);
        let Ok(netlink) = netlink else { return false };
        if states & !(1 << LISTEN) == 0 {
            return false; // the table of listeners is small
        }
        let dump = netlink.dump(request, &mut |record| self.record(record, kind));
        dump.is_ok_and(|trouble| {
            self.trouble(kind.label(Family::Ipv4), trouble);
            true
        })
    }

    fn kind(&mut self, kind: &'static KernelProtocol, family: Family, netlink: &mut Result<Netlink, Errno>) {
        let states = states(kind.protocol, &self.scope.states);
        if states == 0 {
            return;
        }
        let request = self.request(Some(family), kind, states);
        let dump = match netlink {
            Ok(netlink) => netlink.dump(request, &mut |record| self.record(record, kind)),
            Err(errno) => Err(*errno),
        };
        match dump {
            Ok(trouble) => self.trouble(kind.label(family), trouble),
            Err(why) => self.table(kind, family, why),
        }
    }

    /// Lists the TCP sockets that are bound but do not listen. For this, the kernel walks every bound port, including
    /// the ports of connections (0.3 µs each). So both families are requested in one pass. `sockets` is the number of
    /// TCP sockets.
    fn bound(&mut self, sockets: u64, netlink: &mut Result<Netlink, Errno>) {
        let Scope { protocols, families, states, .. } = self.scope;
        if !protocols.contains(&Protocol::Tcp) || !states.contains(&State::Bound) {
            return;
        }
        if sockets >= MANY_CONNECTIONS && self.has_no_inactive_socket() {
            return;
        }
        let family = families.first().copied().filter(|_| families.len() == 1);
        let request = self.request(family, &KERNEL_PROTOCOLS[0], 1 << BOUND_INACTIVE);
        // If the kernel refuses every request, another gap already reports the refusal.
        let Ok(netlink) = netlink else { return };
        match netlink.dump(request, &mut |record| self.record(record, &KERNEL_PROTOCOLS[0])) {
            Ok(trouble) => self.trouble("TCP that are bound but do not listen", trouble),
            // If the kernel refused to list the listeners, another gap already reports the refusal.
            Err(_) if self.refusals.iter().any(|(kind, ..)| kind.number == KERNEL_PROTOCOLS[0].number) => {}
            Err(why) => self.unanswered(
                "TCP sockets that are bound but do not listen",
                &why.to_string(),
                remedy(why, KERNEL_PROTOCOLS[0].module),
            ),
        }
    }

    /// Returns whether it is certain that the only requested port has no TCP socket that is bound but neither listens
    /// nor is connected. It is certain only if the BPF program also counts the sockets that are already listed.
    fn has_no_inactive_socket(&self) -> bool {
        let Some([PortRange { low, high }]) = self.scope.ports.as_deref() else { return false };
        if low != high || !self.scope.bpf || !self.scope.processes || !self.is_inside {
            return false;
        }
        let is_listed = |socket: &&Socket| {
            socket.local.protocol == Protocol::Tcp
                && !socket.mptcp
                && matches!(socket.state, State::Listen | State::Established)
        };
        let listed = self.listed.found.iter().map(|found| &found.socket).filter(is_listed).count();
        listed > 0
            && sockets_on(*low).is_some_and(|sockets| {
                sockets.inactive == 0 && usize::try_from(sockets.others).is_ok_and(|others| others >= listed)
            })
    }

    /// Reads the text table of a protocol and family if `sock_diag` does not answer.
    fn table(&mut self, kind: &'static KernelProtocol, family: Family, why: Errno) {
        let label = kind.label(family);
        let Some(tables) = kind.tables else {
            // MPTCP sockets are already listed as TCP sockets. The list of MPTCP sockets would only mark them.
            let lost = if kind.number == IPPROTO_MPTCP { "the marks of MPTCP sockets" } else { "sockets" };
            self.unanswered(&format!("{lost} of {label}"), &why.to_string(), remedy(why, kind.module));
            return;
        };
        let path = format!("{}/{}", self.tables, tables[usize::from(family == Family::Ipv6)]);
        match fs::read(&path) {
            Ok(bytes) => {
                self.refusals.push((kind, family, why));
                let (records, refused) = procnet::table(&String::from_utf8_lossy(&bytes));
                if refused > 0 {
                    let what = format!("{} of {path}", if refused == 1 { "line" } else { "lines" });
                    self.listed.gaps.push(Gap::new(Stage::Sockets, what, "not understood").counted(refused));
                }
                for record in &records {
                    self.record(record, kind);
                }
            }
            // A kernel without IPv6 or UDP-Lite has neither a `sock_diag` handler nor a text table for these sockets.
            // So there is no gap.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && why == Errno::NOENT
                    && self.table_readable() => {}
            Err(error) => {
                self.unanswered(
                    &format!("sockets of {label}"),
                    &format!("netlink: {why}; {path}: {error}"),
                    "mount /proc, or allow NETLINK_SOCK_DIAG sockets".to_owned(),
                );
            }
        }
    }

    fn table_readable(&self) -> bool {
        fs::metadata(format!("{}/tcp", self.tables)).is_ok()
    }

    fn unanswered(&mut self, what: &str, why: &str, remedy: String) {
        self.listed.gaps.push(Gap::new(Stage::Sockets, what, why).with_remedy(remedy));
    }

    fn trouble(&mut self, label: &str, trouble: Option<DumpError>) {
        let Some(trouble) = trouble else { return };
        self.unanswered(&format!("some sockets of {label}"), &trouble.to_string(), "run again".to_owned());
    }

    fn record(&mut self, record: &SocketRecord, kind: &KernelProtocol) {
        let Some(state) = state(record.state, kind.protocol, record.local.1) else { return };
        if !self.scope.includes(record.local.1, state) {
            return;
        }
        let mptcp = kind.number == IPPROTO_MPTCP;
        let inode = NonZeroU64::new(record.inode.into());
        if mptcp && inode.is_some() {
            // The first connection of an MPTCP socket has the same inode. This connection is already in the list of TCP
            // sockets.
            let mut same = self.listed.found.iter_mut().filter(|f| f.socket.inode == inode).peekable();
            if same.peek().is_some() {
                same.for_each(|f| f.socket.mptcp = true);
                return;
            }
        }
        let device = (record.interface != 0).then(|| self.device(record.interface));
        let on_loopback = device.as_ref().and_then(|(_, on_loopback)| *on_loopback);
        let device = device.map(|(name, _)| name);
        let (address, port) = record.peer;
        let cgroup = record.cgroup.and_then(NonZeroU64::new);
        // The kernel reports user 0 for a connection that no longer belongs to a process.
        let uid = Some(record.uid).filter(|_| state.holds_port() || inode.is_some());
        let transparent = record.transparent && state.holds_port();
        let absent = state.holds_port() && self.is_absent(record.local.0, record.interface, on_loopback);
        let new = || SocketAttributes {
            uid,
            netns: self.netns.cloned(),
            on_loopback,
            transparent,
            absent,
            ..SocketAttributes::default()
        };
        let key = (uid, cgroup, on_loopback, transparent, absent);
        let attributes = self.socket_attributes.entry(key).or_insert_with(|| Arc::new(new())).clone();
        let socket = Socket {
            local: Endpoint {
                protocol: kind.protocol,
                address: record.local.0,
                port: record.local.1,
                device,
            },
            peer: (!state.holds_port() && port != 0).then_some(Peer { address, port }),
            state,
            mptcp,
            attributes,
            inode,
            cookie: NonZeroU64::new(record.cookie),
            v6only: record.v6only,
            // A cookie of 0 means that the record is from a text table. The text table lacks the backlog limit of a
            // listener.
            queues: (record.cookie != 0).then_some(Queues { receive: record.receive, send: record.send }),
            owner: Owner::Unknown,
        };
        self.listed.found.push(FoundSocket { socket, cgroup });
    }

    /// Returns whether a socket is bound to an address or a device that this machine certainly lacks.
    fn is_absent(&mut self, address: IpAddr, device: u32, on_loopback: Option<bool>) -> bool {
        if !self.is_inside {
            return false;
        }
        let has_devices = self.devices.as_ref().is_some_and(|devices| !devices.is_empty());
        if device != 0 && on_loopback.is_none() && has_devices {
            return true;
        }
        // The address of a socket on a device is not checked, because the device can have separate routes (VRF).
        device == 0 && !self.own_addresses.has(unmapped(address))
    }

    /// Returns the name of a device, and whether it is a loopback device. Returns `#N` and `None` if the device is not
    /// found.
    fn device(&mut self, index: u32) -> (Device, Option<bool>) {
        let read = || {
            let links = links::list().unwrap_or_default().into_iter();
            links.map(|link| (link.index, (link.name.into(), link.is_loopback))).collect()
        };
        match self.devices.get_or_insert_with(read).get(&index) {
            Some((name, is_loopback)) => (name.clone(), Some(*is_loopback)),
            None => (format!("#{index}").into(), None),
        }
    }
}
