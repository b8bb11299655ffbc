//! Findings about the socket itself, and about other sockets on its port.

use std::num::NonZeroU64;

use serde::Serialize;

use super::text::{FEW, first_of};
use super::{Difference, FindingFamily, FindingKind, OnLoopback, Processes, Rule, Side};
use crate::model::{Device, PortRange, Severity};

/// A specific address takes traffic from another program's wildcard on the same port; both listeners have the finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    /// The device that this listener itself is bound to.
    pub device: Option<Device>,
    /// Wider listeners of other programs that lose to this one the traffic to its address.
    pub takes_from: Vec<Side>,
    /// Narrower listeners of other programs that take the traffic to their addresses from this one.
    pub loses_to: Vec<Side>,
    /// How many sides there are beyond those.
    pub more: usize,
}

impl FindingKind for Shadowed {
    const RULE: Rule = Rule {
        code: "shadowed",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "a specific address takes traffic from another program's wildcard on the same port",
        why: "Who connects there talks to another program than the one that seems to serve the port, and nobody is told.",
        remedy: "end one of the two, or bind them to addresses that do not overlap",
    };

    fn sentence(&self) -> String {
        let mut said = Vec::new();
        if !self.takes_from.is_empty() {
            let from: Vec<String> = self
                .takes_from
                .iter()
                .map(|side| format!("{} on {}", side.holders.text(false), side.place()))
                .collect();
            said.push(format!("What comes to this address comes here and not to {}.", first_of(&from, FEW)));
        }
        if !self.loses_to.is_empty() {
            let to: Vec<String> = self
                .loses_to
                .iter()
                .map(|side| format!("{} goes to {}", side.place(), side.holders.text(false)))
                .collect();
            said.push(format!("Not all that seems to come here does: what comes to {}.", first_of(&to, FEW)));
        }
        if self.more > 0 {
            said.push(format!("So it is with {} more.", self.more));
        }
        if self.device.is_some() || self.takes_from.iter().chain(&self.loses_to).any(|s| s.device.is_some()) {
            said.push("Devices are not looked into: one that is a VRF keeps the two apart.".to_owned());
        }
        said.join(" ")
    }
}

/// The processes of one port differ in user or program file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// How they differ.
    pub differ_in: Vec<Difference>,
    /// The processes that hold the port on this address.
    pub holders: Processes,
    /// The number of their sockets.
    pub sockets: usize,
}

impl FindingKind for Shared {
    const RULE: Rule = Rule {
        code: "shared",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "holders of one port differ in user or executable",
        why: "Each holder can accept what was meant for the other, and the port stays taken until the last of them ends.",
        remedy: "end the holder that does not belong, or keep the socket from being inherited",
    };

    fn sentence(&self) -> String {
        let differ_in: Vec<&str> = self.differ_in.iter().map(|difference| difference.name()).collect();
        let on = if self.sockets > 1 {
            format!("{} sockets on this address", self.sockets)
        } else {
            "this socket".to_owned()
        };
        format!("The holders of {on} differ in {}: {}.", differ_in.join(" and "), self.holders.text(true))
    }
}

/// More connections wait to be accepted than the listener allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BacklogFull {
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// The limit that the program gave to `listen`.
    pub limit: u32,
}

impl FindingKind for BacklogFull {
    const RULE: Rule = Rule {
        code: "backlog-full",
        family: FindingFamily::Socket,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "more connections wait to be accepted than the listener allows",
        why: "Clients wait or give up while the program does not accept them.",
        remedy: "see why the program does not accept, or give it a longer backlog",
    };

    fn sentence(&self) -> String {
        let BacklogFull { waiting, limit } = self;
        let (wait, many) = if *waiting == 1 { ("waits", "connection") } else { ("wait", "connections") };
        format!(
            "{waiting} {many} {wait} to be accepted, with a limit of {limit}: the kernel turns others away. It was so when \
             it was looked at; how long it lasts was not."
        )
    }
}

/// A TCP port that is held but not listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoundOnly {
    /// The range of outgoing connections that contains the port: a program about to connect looks the same.
    pub kernel_range: Option<PortRange>,
}

impl FindingKind for BoundOnly {
    const RULE: Rule = Rule {
        code: "bound-only",
        family: FindingFamily::Socket,
        severity: Severity::Notice,
        on_loopback: OnLoopback::Lower,
        description: "a TCP port held but not listened on",
        why: "Nobody can connect to the port and nobody else can listen on it.",
        remedy: "see why the holder does not listen, or end it",
    };

    fn sentence(&self) -> String {
        let held = "The port is held, but nothing listens on it.";
        match self.kernel_range {
            Some(range) => format!(
                "{held} It lies in {range}, where outgoing connections get their ports: a program about to connect looks no different."
            ),
            None => held.to_owned(),
        }
    }
}

/// No process can hold the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Its inode. Without one no file stands for the socket, so that no process can hold it; with one, every process
    /// could be read and none holds it.
    pub inode: Option<NonZeroU64>,
}

impl FindingKind for Kernel {
    const RULE: Rule = Rule {
        code: "kernel",
        family: FindingFamily::Socket,
        severity: Severity::Info,
        on_loopback: OnLoopback::Same,
        description: "no process can hold it",
        why: "There is no process to ask or to end: only the kernel's own settings close it.",
        remedy: "find the part of the kernel that opened it: NFS, WireGuard and other tunnels do",
    };

    fn sentence(&self) -> String {
        match self.inode {
            None => "No file stands for this socket, so that no process can hold it: it is the kernel's own.",
            Some(_) => "Every process could be read, and none holds it: it is the kernel's own.",
        }
        .to_owned()
    }
}

family!(Socket: Shadowed, Shared, BacklogFull, BoundOnly, Kernel);
