//! The processes that own a socket, as evidence.

use std::net::IpAddr;

use serde::Serialize;

use super::text::{FEW, first_of};
use crate::model::{Device, Pid, named};

/// A group of processes that differ only in their pids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessGroup {
    /// The lowest process ID in the group.
    pub pid: Pid,
    /// The number of processes in the group.
    pub count: usize,
    /// The name of the processes in the group.
    pub name: Option<String>,
    /// The effective user ID of the processes in the group.
    pub uid: Option<u32>,
    pub user: Option<String>,
    /// The path of the program file of the processes in the group.
    pub exe: Option<String>,
}

/// The processes that own the sockets on an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processes {
    /// The first groups of readable processes.
    pub known: Vec<ProcessGroup>,
    /// The number of groups beyond `known`.
    pub more: usize,
    /// The number of processes that could not be read.
    pub unread: usize,
}

/// One of two sockets that claim the same traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherSocket {
    pub address: IpAddr,
    pub device: Option<Device>,
    /// The processes that own the socket.
    #[serde(rename = "holders")]
    pub processes: Processes,
}

named! {
    /// The difference between the processes of one port.
    pub enum Difference {
        /// The processes run as different users.
        User = "user",
        /// The processes run different program files.
        Executable = "executable",
    }
}

/// A process and the file that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningProgram {
    pub pid: Pid,
    pub name: Option<String>,
    /// The path of the program file of the process.
    pub exe: String,
}

impl ProcessGroup {
    /// Returns `nginx (user www-data, pid 12 and 3 more)`, with the path of the file if `with_file`.
    fn text(&self, with_file: bool) -> String {
        let mut facts: Vec<String> = Vec::new();
        facts.extend(
            self.user
                .as_ref()
                .map(|user| format!("user {user}"))
                .or_else(|| self.uid.map(|uid| format!("user {uid}"))),
        );
        facts.extend(self.exe.as_ref().filter(|_| with_file).cloned());
        facts.push(match self.count {
            1 => format!("pid {}", self.pid),
            count => format!("pid {} and {} more", self.pid, count - 1),
        });
        format!("{} ({})", self.name.as_deref().unwrap_or("?"), facts.join(", "))
    }
}

impl Processes {
    pub(super) fn text(&self, with_file: bool) -> String {
        let known: Vec<String> = self.known.iter().map(|group| group.text(with_file)).collect();
        let mut text = first_of(&known, FEW);
        if self.more > 0 {
            text.push_str(&format!(", and {} more", self.more));
        }
        if self.unread > 0 {
            text.push_str(&format!(", and {} that could not be read", self.unread));
        }
        text
    }
}

impl OtherSocket {
    /// Returns the address and device: `127.0.0.1%eth0`.
    pub(super) fn place(&self) -> String {
        let device = self.device.as_deref().map(|device| format!("%{device}")).unwrap_or_default();
        format!("{}{device}", self.address)
    }
}

impl RunningProgram {
    pub(super) fn text(&self) -> String {
        format!("{} (pid {}, {})", self.name.as_deref().unwrap_or("?"), self.pid, self.exe)
    }

    pub(super) fn list(those: &[RunningProgram]) -> String {
        first_of(&those.iter().map(RunningProgram::text).collect::<Vec<_>>(), FEW)
    }
}
