//! Finds, names and scans the other network namespaces of this machine.
//!
//! To scan a namespace, a separate thread enters it and then ends. If the kernel refuses, the tables of a process in
//! the namespace are read instead. Portolan never creates or mounts a namespace, and does not keep one open.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, readlinkat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::external_program::TimeBudget;
use super::files::{self, numbers};
use super::links;
use super::settings::{self, EphemeralSettings};
use super::sockets::{self, SocketList};
use crate::model::{Netns, Pid};
use crate::observe::Scope;

/// A network namespace, and how it can be entered or read.
#[derive(Clone, Debug)]
pub(super) struct NamespaceHandle {
    pub netns: Netns,
    /// The file through which the namespace can be entered. It is in `/proc/PID/ns`, in `/proc/PID/fd`, or at a mount
    /// point.
    pub(super) way: PathBuf,
    pid: Option<Pid>,
}

/// Returns the inode of the network namespace of the calling thread.
pub(super) fn own() -> Option<u64> {
    link(Path::new("/proc/thread-self/ns/net"))
}

/// Returns the inode of the network namespace of a process.
pub(super) fn of_process(pid: Pid) -> Option<u64> {
    link(Path::new(&format!("/proc/{pid}/ns/net")))
}

/// Returns every network namespace that can be found, by inode:
/// - the namespaces of processes and threads
/// - the mounted namespaces (in `/run/netns`, or of container managers)
/// - the namespaces that only a descriptor keeps alive
pub(super) fn discover() -> BTreeMap<u64, NamespaceHandle> {
    let mut found = BTreeMap::new();
    let mut add = |inode: u64, name: Option<String>, way: PathBuf, pid: Option<Pid>| {
        let known =
            found.entry(inode).or_insert(NamespaceHandle { netns: Netns { inode, name: None }, way, pid });
        known.netns.name = known.netns.name.take().or(name);
        known.pid = known.pid.or(pid);
    };
    for pid in numbers("/proc").unwrap_or_default() {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let way = process.join("ns/net");
        if let Some(inode) = link(&way) {
            add(inode, None, way, Some(pid));
        }
        // A thread can be in another namespace than its process.
        let threads = numbers(process.join("task")).unwrap_or_default();
        for thread in threads.into_iter().filter(|thread| *thread != pid) {
            let way = process.join(format!("task/{thread}/ns/net"));
            if let Some(inode) = link(&way) {
                add(inode, None, way, None);
            }
        }
        for descriptor in numbers(process.join("fd")).unwrap_or_default() {
            let way = process.join(format!("fd/{descriptor}"));
            if let Some(inode) = link(&way) {
                add(inode, None, way, None);
            }
        }
    }
    for (inode, point) in mounted() {
        let name = point.file_name().map(|name| name.to_string_lossy().into_owned());
        add(inode, name, point, None);
    }
    found
}

/// Returns the inode and the mount point of each mounted network namespace.
pub(super) fn mounted() -> Vec<(u64, PathBuf)> {
    mounted_in(&files::mounts().unwrap_or_default())
}

/// Parses the text of `mountinfo`. A blank in a mount point is written as `\040`.
pub(super) fn mounted_in(mountinfo: &str) -> Vec<(u64, PathBuf)> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (root, point) = (fields.nth(3)?, fields.next()?);
            Some((inode_of(Path::new(root))?, PathBuf::from(point.replace("\\040", " "))))
        })
        .collect()
}

fn link(path: &Path) -> Option<u64> {
    // The system call does not go through the C library, so a preloaded library cannot change the answer.
    let link = readlinkat(CWD, path, Vec::new()).ok()?;
    inode_of(Path::new(link.to_str().ok()?))
}

fn inode_of(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

impl NamespaceHandle {
    /// Returns whether `name` is the name or the inode of the namespace, or the pid of a process in the namespace.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let number = name.parse::<u64>().ok();
        self.netns.name.as_deref() == Some(name)
            || number == Some(self.netns.inode)
            || name.parse().is_ok_and(|pid: Pid| of_process(pid) == Some(self.netns.inode))
    }

    /// Runs `inside` in the namespace, on a separate thread. Returns an error if the namespace cannot be entered.
    pub(super) fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, Errno> {
        let file =
            File::open(&self.way).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        // The path may lead to another namespace by now. The process may have changed its namespace, or another
        // namespace may be mounted there.
        let metadata = file.metadata().map_err(|_| Errno::IO)?;
        if metadata.st_ino() != self.netns.inode {
            return Err(Errno::NOENT);
        }
        std::thread::scope(|threads| {
            let enter = || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(inside())
            };
            let thread =
                std::thread::Builder::new().spawn_scoped(threads, enter).map_err(|_| Errno::AGAIN)?;
            thread.join().unwrap_or(Err(Errno::CANCELED))
        })
    }

    /// Returns the addresses of the network interfaces, without loopback addresses. Empty if the namespace cannot be
    /// entered.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let addresses = self.enter(links::all_addresses).and_then(|all| all).unwrap_or_default();
        let mut addresses: Vec<IpAddr> =
            addresses.into_iter().filter(|address| !address.is_loopback()).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Returns the sockets and the ephemeral range of the namespace. Returns an error if the namespace can neither be
    /// entered nor read through a process in it.
    pub(super) fn list_sockets(
        &self,
        scope: &Scope,
        with_firewall: bool,
        budget: &TimeBudget,
    ) -> Result<(SocketList, Option<EphemeralSettings>), Errno> {
        let list = || sockets::list(scope, Some(&self.netns), with_firewall, budget);
        let entered = self.enter(|| (list(), Some(settings::ephemeral())));
        match (entered, self.pid) {
            (Err(why), Some(pid)) if File::open(format!("/proc/{pid}/net/tcp")).is_ok() => {
                Ok((sockets::list_by_tables(scope, &self.netns, pid, why), None))
            }
            (entered, _) => entered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_namespaces() {
        let text = "31 23 0:4 net:[4026532200] /run/netns/blue rw shared:5 - nsfs nsfs rw\n\
                    32 23 0:4 net:[4026532201] /run/my\\040net rw - nsfs nsfs rw\n\
                    33 23 0:4 mnt:[4026532202] /run/m rw - nsfs nsfs rw\n\
                    22 1 8:1 / / rw - ext4 /dev/sda1 rw\nshort\n";
        assert_eq!(
            mounted_in(text),
            [(4_026_532_200, "/run/netns/blue".into()), (4_026_532_201, "/run/my net".into())]
        );
    }

    #[test]
    fn links() {
        assert_eq!(inode_of(Path::new("net:[4026531833]")), Some(4_026_531_833));
        for text in ["net:[]", "net:[1", "mnt:[1]", "socket:[1]", ""] {
            assert_eq!(inode_of(Path::new(text)), None, "{text}");
        }
    }
}
