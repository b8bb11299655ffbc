//! The processes that own a socket, as evidence.

use std::net::IpAddr;

use serde::Serialize;

use super::text::{FEW, first_of};
use crate::model::{Device, Pid, named};

/// A group of processes that differ only in their pids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessGroup {
    /// The lowest process ID of the group.
    pub pid: Pid,
    pub count: usize,
    pub name: Option<String>,
    /// The effective user ID.
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub exe: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processes {
    /// The first groups of readable processes.
    pub known: Vec<ProcessGroup>,
    /// The number of groups beyond `known`.
    pub more: usize,
    /// The number of processes that could not be read.
    pub unread: usize,
}

/// The other socket, if two sockets claim the same traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherSocket {
    pub address: IpAddr,
    pub device: Option<Device>,
    #[serde(rename = "holders")]
    pub processes: Processes,
}

named! {
    pub enum Difference {
        User = "user",
        Executable = "executable",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningProgram {
    pub pid: Pid,
    pub name: Option<String>,
    pub exe: String,
}

impl ProcessGroup {
    /// Returns `nginx (user www-data, pid 12 and 3 more)`. If `with_file` is true, the path of the file follows.
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
