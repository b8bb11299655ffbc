//! Findings about the socket itself, and about other sockets on its port.

use serde::Serialize;

use super::text::{FEW, first_of};
use super::{Difference, FindingFamily, FindingInfo, FindingKind, OnLoopback, OtherSocket, Processes};
use crate::model::{Device, Pid, PortRange, Protocol, Severity};

/// A listener on a specific address takes traffic from another program's listener on the wildcard address of the same
/// port. Both listeners have this finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    pub device: Option<Device>,
    /// Listeners of other programs on a wider address, such as `0.0.0.0`. They lose the traffic for this listener's
    /// address.
    pub takes_from: Vec<OtherSocket>,
    /// Listeners of other programs on a narrower address, such as `127.0.0.1`. They take the traffic for their
    /// addresses.
    pub loses_to: Vec<OtherSocket>,
    /// The number of other listeners that the two lists leave out.
    pub more: usize,
}

impl FindingKind for Shadowed {
    const INFO: FindingInfo = FindingInfo {
        code: "shadowed",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "a listener on one address takes traffic from another program's wildcard listener on the same port",
        why: "Clients that use this address do not reach the program that appears to serve the port.",
        remedy: "stop one of the two programs, or bind them to addresses that do not overlap",
    };

    fn sentence(&self) -> String {
        let mut said = Vec::new();
        if !self.takes_from.is_empty() {
            let from: Vec<String> = self
                .takes_from
                .iter()
                .map(|side| format!("{} on {}", side.processes.text(false), side.place()))
                .collect();
            said.push(format!(
                "Traffic to this address goes to this program, not to {}.",
                first_of(&from, FEW)
            ));
        }
        for side in self.loses_to.iter().take(FEW) {
            said.push(format!(
                "Traffic to {} goes to {}, not to this program.",
                side.place(),
                side.processes.text(false)
            ));
        }
        match self.more + self.loses_to.len().saturating_sub(FEW) {
            0 => {}
            1 => said.push("1 more address is affected.".to_owned()),
            more => said.push(format!("{more} more addresses are affected.")),
        }
        if self.device.is_some() || self.takes_from.iter().chain(&self.loses_to).any(|s| s.device.is_some()) {
            said.push(
                "One of the listeners is bound to a network device. If the device is a VRF, the listeners \
                    do not overlap; portolan does not check this."
                    .to_owned(),
            );
        }
        said.join(" ")
    }
}

/// The processes of one port differ in user or program file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shared {
    pub differ_in: Vec<Difference>,
    #[serde(rename = "holders")]
    pub processes: Processes,
    pub sockets: usize,
}

impl FindingKind for Shared {
    const INFO: FindingInfo = FindingInfo {
        code: "shared",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "processes that share one port differ in user or program file",
        why: "Any of the processes can accept a connection, and the port stays taken until the last \
            process ends.",
        remedy: "end the process that should not share the port, or prevent it from inheriting the socket \
            (close-on-exec)",
    };

    fn sentence(&self) -> String {
        let differ_in: Vec<&str> = self.differ_in.iter().map(|difference| difference.name()).collect();
        let on = if self.sockets > 1 {
            format!("the {} sockets on this address", self.sockets)
        } else {
            "this socket".to_owned()
        };
        format!("The processes of {on} differ in {}: {}.", differ_in.join(" and "), self.processes.text(true))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BacklogFull {
    /// Connections that wait for `accept`.
    pub waiting: u32,
    /// The limit that the program gave to `listen`.
    pub limit: u32,
}

impl FindingKind for BacklogFull {
    const INFO: FindingInfo = FindingInfo {
        code: "backlog-full",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "more connections wait to be accepted than the backlog allows",
        why: "Clients wait or time out because the program does not accept their connections.",
        remedy: "find out why the program does not accept connections, or raise its backlog",
    };

    fn sentence(&self) -> String {
        let BacklogFull { waiting, limit } = self;
        let (connections, wait) =
            if *waiting == 1 { ("connection", "waits") } else { ("connections", "wait") };
        format!(
            "{waiting} {connections} {wait} to be accepted, more than the limit of {limit}: the kernel \
             drops new ones. This was the state at the time of the scan and may be temporary."
        )
    }
}

/// A TCP port that is bound but has no listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoundOnly {
    /// The range of outgoing ports that contains the port. `None` if no range contains it. In such a range, the program
    /// may be about to open an outgoing connection.
    pub kernel_range: Option<PortRange>,
}

impl FindingKind for BoundOnly {
    const INFO: FindingInfo = FindingInfo {
        code: "bound-only",
        family: FindingFamily::Socket,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "a TCP port is bound, but nothing listens on it",
        why: "No client can connect to the port, and no other program can listen on it.",
        remedy: "find out why the program does not listen, or end it",
    };

    fn sentence(&self) -> String {
        let bound = "The port is bound, but nothing listens on it.";
        match self.kernel_range {
            Some(range) => format!(
                "{bound} The kernel gives ports {range} to outgoing connections, so the program may simply be about to open a connection."
            ),
            None => bound.to_owned(),
        }
    }
}

/// A program receives packets through a raw or packet socket, which has no port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sniffer {
    pub pid: Pid,
    /// The name of the program file. If the file is not known, the name of the process.
    pub program: String,
    /// The known purpose of the program; `None` if the program is not known to receive packets.
    pub known_as: Option<&'static str>,
    /// The name of the received packets: `all`, `tcp`, `icmp`.
    pub receives: String,
    /// The device that the socket is bound to; `None` for every device.
    pub device: Option<Device>,
    /// The devices that the socket has set to promiscuous mode. These devices then receive packets for other machines
    /// too.
    pub promiscuous: Vec<Device>,
    /// The technique of MITRE ATT&CK. `None` if the known purpose of the program is not to read traffic.
    pub attack: Option<&'static str>,
    #[serde(skip)]
    pub protocol: Protocol,
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for Sniffer {
    const INFO: FindingInfo = FindingInfo {
        code: "sniffer",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "a program can receive packets without a port, through a raw or packet socket",
        why: "The socket receives copies of packets for other programs. A backdoor can use such a \
            socket to wait for a command without an open port.",
        remedy: "if the program has no reason to receive packets, find out who started it, and end it",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Info, Severity::Notice, Severity::Warning];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let Sniffer { pid, program, known_as, .. } = self;
        let known = match known_as {
            Some(known_as) => format!("{program} (pid {pid}, {known_as})"),
            None => format!("{program} (pid {pid})"),
        };
        let mut said = format!("{known} can receive {}.", self.packets());
        if !self.promiscuous.is_empty() {
            let devices: Vec<String> = self.promiscuous.iter().map(|device| device.to_string()).collect();
            said.push_str(&format!(
                " The program has set {} to receive packets for other machines too (promiscuous mode).",
                first_of(&devices, FEW)
            ));
        }
        if known_as.is_none() {
            said.push_str(" Portolan knows no reason why this program receives packets.");
        }
        said
    }
}

impl Sniffer {
    /// Returns the packets as a phrase: `every packet on eth0`.
    fn packets(&self) -> String {
        let name = self.receives.as_str();
        let packets = match (self.protocol, name) {
            (Protocol::Packet, "all") => "every packet".to_owned(),
            (Protocol::Packet, "ip") => "every IPv4 packet".to_owned(),
            (Protocol::Packet, "ipv6") => "every IPv6 packet".to_owned(),
            (_, "ipv6-icmp") => "every ICMPv6 packet".to_owned(),
            (Protocol::Packet, other) if other.starts_with("0x") => {
                format!("every packet of the EtherType {other}")
            }
            (_, number) if number.starts_with(|c: char| c.is_ascii_digit()) => {
                format!("every packet of the protocol {number}")
            }
            (_, other) => format!("every {} packet", other.to_uppercase()),
        };
        match (self.protocol, self.device.as_deref()) {
            (Protocol::Packet, Some(device)) => format!("{packets} on {device}"),
            (Protocol::Packet, None) => format!("{packets} on every network device"),
            _ => format!("{packets} for this machine"),
        }
    }
}

family!(Socket: Shadowed, Shared, BacklogFull, BoundOnly, Sniffer);
