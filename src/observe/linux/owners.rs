//! Finds the owners of sockets. Walks over the descriptors of every process in `/proc`.
//!
//! The walk only reads links. It never opens or duplicates a descriptor of another process, and never sends a signal. A
//! process that cannot be read is skipped after the first error.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::files::{self, numbers_in};
use super::kernel_ids::KernelIds;
use super::{masked, namespaces};
use crate::model::Pid;
use crate::observe::progress;

/// How many processes a thread of the walk takes at once.
const LOT: usize = 16;
/// The minimum number of processes for which a second thread saves time. This value was measured: starting a thread
/// takes about 0.1 ms.
const WORTH_A_THREAD: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The descriptors of the requested sockets, sorted by inode.
    pub descriptors: Vec<SocketDescriptor>,
    /// The requested sockets that were found outside ordinary descriptors. Each entry is the inode and the owner of a
    /// socket.
    pub apart: Vec<(u64, Pid)>,
    /// The processes whose descriptors could not be read, each with the reason.
    pub unread: HashMap<Pid, Errno>,
    /// The network namespaces of processes, the network namespaces that their descriptors refer to, and the mounted
    /// network namespaces.
    pub namespaces: HashSet<u64>,
    /// The descriptors of io_uring instances.
    pub rings: Vec<ThreadDescriptor>,
    /// The descriptors of attached BPF programs.
    pub bpf_links: Vec<ThreadDescriptor>,
    /// The sockets that were found but not requested. Empty unless `Search::strays` is set.
    pub strays: Vec<Stray>,
    /// The sockets that were found in io_urings but not requested, by inode. Empty unless `Search::strays` is set.
    pub stray_in_rings: Vec<(u64, ThreadDescriptor)>,
    /// The processes with an io_uring that contains a socket without a visible inode.
    pub nameless_in_rings: Vec<Pid>,
    /// The processes whose directory in `/proc` is covered by a mount, in ascending order.
    pub masked: Vec<Pid>,
    /// The error if the table of mounts could not be read. This table shows which processes a mount covers.
    pub masked_unknown: Option<Errno>,
    /// The processes that exist although `/proc` does not list them.
    pub unlisted: Vec<Pid>,
    /// The processes that the iterator of the kernel returned. `None` if only `/proc` was read.
    pub tasks: Option<Tasks>,
    /// The processes that were read. A further search uses this list.
    pub pids: Vec<Pid>,
    /// The processes whose threads were not searched. A thread can have descriptors of its own.
    pub without_threads: Vec<Pid>,
}

#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub pids: Vec<Pid>,
    /// The processes with an io_uring, in ascending order. `None` if the kernel does not describe the types of
    /// io_urings.
    pub with_rings: Option<Vec<Pid>>,
}

/// A descriptor in the table of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ThreadDescriptor {
    pub pid: Pid,
    /// The first thread of the process, or another thread with its own descriptor table.
    pub thread: Pid,
    pub number: u32,
}

impl ThreadDescriptor {
    pub(super) fn link(&self) -> String {
        format!("/proc/{}/fd/{}", self.thread, self.number)
    }

    pub(super) fn fdinfo(&self) -> String {
        format!("/proc/{}/fdinfo/{}", self.thread, self.number)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub at: ThreadDescriptor,
    pub inode: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'w> {
    pub wanted: &'w KernelIds,
    /// Whether to also list the sockets that are not in `wanted` ([`Walk::strays`]).
    pub strays: bool,
    /// Whether the iterators of the kernel may be used.
    pub bpf: bool,
}

impl Walk {
    /// Adds the processes that a mount covers, and adds the mounted network namespaces.
    pub(super) fn add_mounts(&mut self) {
        match files::mounts() {
            Ok(mounts) => {
                self.masked.extend(masked::processes_in(&mounts));
                self.namespaces.extend(namespaces::mounted_in(&mounts).into_iter().map(|(inode, _)| inode));
            }
            Err(errno) => self.masked_unknown = Some(errno),
        }
        self.masked.sort_unstable();
        self.masked.dedup();
    }

    /// Adds a descriptor if its link leads to a kind of object that the walk searches for.
    pub(super) fn add(&mut self, link: &[u8], at: ThreadDescriptor, search: Search<'_>) {
        if let Some(inode) = bracketed(link, b"socket:[") {
            self.add_socket(inode, at, search);
        } else if link == b"anon_inode:[io_uring]" {
            self.rings.push(at);
        } else if link == b"anon_inode:bpf_link" {
            self.bpf_links.push(at);
        } else if let Some(inode) = bracketed(link, b"net:[") {
            self.namespaces.insert(inode);
        }
    }

    pub(super) fn add_socket(&mut self, inode: u64, at: ThreadDescriptor, search: Search<'_>) {
        let ThreadDescriptor { pid, thread, number: descriptor } = at;
        match search.wanted.contains(&inode) {
            true if thread == pid => self.descriptors.push(SocketDescriptor { pid, inode, descriptor }),
            true => self.apart.push((inode, pid)),
            false if search.strays => self.strays.push(Stray { at, inode }),
            false => {}
        }
    }

    pub(super) fn absorb(&mut self, other: Walk) {
        self.unread.extend(other.unread);
        self.namespaces.extend(other.namespaces);
        self.descriptors.extend(other.descriptors);
        self.apart.extend(other.apart);
        self.descriptors.sort_unstable_by_key(|held| (held.inode, held.pid));
        self.apart.sort_unstable();
        for (own, other) in [(&mut self.rings, other.rings), (&mut self.bpf_links, other.bpf_links)] {
            own.extend(other);
            own.sort_unstable();
            own.dedup();
        }
        self.tasks = self.tasks.take().or(other.tasks);
        self.strays.extend(other.strays);
        self.stray_in_rings.extend(other.stray_in_rings);
        self.nameless_in_rings.extend(other.nameless_in_rings);
        self.nameless_in_rings.sort_unstable();
        self.nameless_in_rings.dedup();
        self.masked.extend(other.masked);
        self.masked.sort_unstable();
        self.masked.dedup();
        self.masked_unknown = self.masked_unknown.or(other.masked_unknown);
        self.unlisted.extend(other.unlisted);
        for (own, other) in [(&mut self.pids, other.pids), (&mut self.without_threads, other.without_threads)]
        {
            own.extend(other);
            own.sort_unstable();
            own.dedup();
        }
    }

    /// Returns the processes that own an inode, in ascending order.
    pub(super) fn owners_of(&self, inode: u64) -> Vec<Pid> {
        let descriptors = self.descriptors.get(self.descriptors.partition_point(|held| held.inode < inode)..);
        let apart = self.apart.get(self.apart.partition_point(|(other, _)| *other < inode)..);
        let descriptors = descriptors.into_iter().flatten().take_while(|held| held.inode == inode);
        let apart = apart.into_iter().flatten().take_while(|(other, _)| *other == inode);
        let mut pids: Vec<Pid> = descriptors.map(|held| held.pid).chain(apart.map(|(_, pid)| *pid)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    pub(super) fn is_held(&self, inode: u64) -> bool {
        self.descriptors.binary_search_by_key(&inode, |held| held.inode).is_ok()
            || self.apart.binary_search_by_key(&inode, |(other, _)| *other).is_ok()
    }

    pub(super) fn outcome(&mut self, proc: &OwnedFd, pid: Pid, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) | Err(Errno::SRCH) => {} // the process has been read, or has ended
            Err(Errno::NOENT) => {
                // If the process has ended, its directory no longer exists. If there is a directory without `fd`, a
                // mount covers the directory of the process.
                let (mut path, mut again) = (PidPath::new(pid), PidPath::new(pid));
                if statat(proc, path.join(b"\0"), AtFlags::empty()).is_ok()
                    && open(proc, again.join(b"/fd\0")).err() == Some(Errno::NOENT)
                    && statat(proc, path.join(b"\0"), AtFlags::empty()).is_ok()
                {
                    self.masked.push(pid);
                }
            }
            Err(errno) => {
                self.unread.insert(pid, errno);
            }
        }
    }
}

/// A process, its socket and the descriptor of the socket. With the descriptor, a later scan can check the socket
/// quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketDescriptor {
    pub pid: Pid,
    pub inode: u64,
    pub descriptor: u32,
}

/// The open descriptor directories of owners. They stay open, because reading by path takes twice as long. The
/// directory of an ended process stays empty, even if another process gets the same pid.
#[derive(Debug, Default)]
pub(super) struct OpenDirectories(HashMap<Pid, OwnedFd>);

/// The maximum number of open directories. The usual limit for a process is 1,024 open files.
const KEPT: usize = 256;

impl OpenDirectories {
    /// Opens the descriptor directories of the first [`KEPT`] processes. Unreadable directories are skipped.
    pub(super) fn of(descriptors: &[SocketDescriptor]) -> Self {
        let mut pids: Vec<Pid> = descriptors.iter().map(|held| held.pid).collect();
        pids.dedup();
        let open =
            |pid: Pid| Some((pid, openat(CWD, format!("/proc/{pid}/fd"), DIRECTORY, Mode::empty()).ok()?));
        OpenDirectories(pids.into_iter().take(KEPT).filter_map(open).collect())
    }

    pub(super) fn retain(&mut self, pids: &HashSet<Pid>) {
        self.0.retain(|pid, _| pids.contains(pid));
    }

    pub(super) fn hold<'p>(&self, mut descriptors: impl Iterator<Item = &'p SocketDescriptor>) -> bool {
        let Ok(proc) = open(CWD, c"/proc") else { return false };
        let mut buffer = [MaybeUninit::uninit(); 64];
        descriptors.all(|place| {
            let number = DecInt::new(place.descriptor);
            let link = if let Some(directory) = self.0.get(&place.pid) {
                readlinkat_raw(directory, number, &mut buffer)
            } else {
                let mut tail = *b"/fd/\0\0\0\0\0\0\0\0\0\0\0";
                tail[4..4 + number.as_bytes().len()].copy_from_slice(number.as_bytes());
                readlinkat_raw(&proc, PidPath::new(place.pid).join(&tail), &mut buffer)
            };
            link.is_ok_and(|(link, _)| bracketed(link, b"socket:[") == Some(place.inode))
        })
    }
}

/// Searches the descriptors of these processes in a mounted `/proc`.
pub(super) fn walk_of(proc: &OwnedFd, pids: &[Pid], search: Search<'_>) -> Result<Walk, Errno> {
    let device = fstat(proc)?.st_dev;
    // Since Linux 6.2, the size of a descriptor directory is the number of its descriptors. In earlier releases, the
    // size is 0.
    let sizes_are_counts = statat(proc, c"self/fd", AtFlags::empty()).is_ok_and(|stat| stat.st_size > 0);
    let next = AtomicUsize::new(0);
    progress::begin("processes", pids.len());
    let part = || {
        let mut walk = Walk::default();
        while let Some(lot) =
            pids.get(next.fetch_add(LOT, Ordering::Relaxed)..).filter(|rest| !rest.is_empty())
        {
            progress::advance(LOT.min(lot.len()));
            for &pid in lot.iter().take(LOT) {
                let outcome = process(proc, device, pid, search, sizes_are_counts, &mut walk);
                walk.outcome(proc, pid, outcome);
            }
        }
        walk
    };
    let mut whole = Walk::default();
    if pids.len() < WORTH_A_THREAD {
        whole.absorb(part());
    } else {
        std::thread::scope(|scope| {
            let second = std::thread::Builder::new().spawn_scoped(scope, part);
            whole.absorb(part());
            if let Some(walk) = second.ok().and_then(|handle| handle.join().ok()) {
                whole.absorb(walk);
            }
        });
    }
    Ok(whole)
}

/// Finds only the network namespaces of the processes that `/proc` lists.
pub(super) fn namespaces_only() -> Result<Walk, Errno> {
    let proc = open(CWD, c"/proc")?;
    let mut walk = Walk::default();
    for pid in numbers_in(&proc)? {
        namespace(&proc, &mut PidPath::new(pid), &mut walk);
    }
    Ok(walk)
}

fn namespace(proc: &OwnedFd, path: &mut PidPath, walk: &mut Walk) {
    let mut buffer = [MaybeUninit::uninit(); 64];
    if let Ok((link, _)) = readlinkat_raw(proc, path.join(b"/ns/net\0"), &mut buffer) {
        walk.namespaces.extend(bracketed(link, b"net:["));
    }
}

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

pub(super) fn open(at: impl AsFd, path: &CStr) -> Result<OwnedFd, Errno> {
    openat(at, path, DIRECTORY, Mode::empty())
}

fn process(
    proc: &OwnedFd,
    device: u64,
    pid: Pid,
    search: Search<'_>,
    sizes_are_counts: bool,
    walk: &mut Walk,
) -> Result<(), Errno> {
    let mut path = PidPath::new(pid);
    namespace(proc, &mut path, walk);
    let directory = open(proc, path.join(b"/fd\0"))?;
    let stat = fstat(&directory)?;
    if stat.st_dev != device {
        walk.masked.push(pid);
        return Ok(());
    }
    let mut visit = |link: &[u8], number: u32| {
        walk.add(link, ThreadDescriptor { pid, thread: pid, number }, search);
    };
    if !sizes_are_counts {
        return listed(&directory, 0, &mut visit).map(drop);
    }
    let count = |size: i64| u32::try_from(size).unwrap_or(u32::MAX);
    let mut expected = count(stat.st_size);
    let mut met = tried(&directory, expected, &mut visit)?;
    // If a descriptor moves to a smaller number while the directory is read, the descriptor is missed. So an audit
    // (`strays`) reads the directory again if there were fewer descriptors than expected.
    for _ in 0..REREADINGS {
        if !search.strays || met >= expected {
            break;
        }
        expected = count(fstat(&directory)?.st_size);
        met = listed(&directory, 0, &mut visit)?;
    }
    Ok(())
}

/// The maximum number of times that one descriptor directory is read again.
const REREADINGS: usize = 4;

/// Reads the `count` descriptors of a directory. Returns the number of descriptors that were found.
fn tried(directory: &OwnedFd, count: u32, visit: &mut dyn FnMut(&[u8], u32)) -> Result<u32, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 64];
    // It is faster to try the numbers from 0 upwards than to list the directory. The directory is listed only if the
    // numbers are far apart. For example, a shell has a descriptor 255.
    let (mut met, mut descriptor) = (0, 0);
    while met < count {
        if descriptor - met > HOLES {
            return Ok(met + listed(directory, descriptor, visit)?);
        }
        match readlinkat_raw(directory, DecInt::new(descriptor), &mut buffer) {
            Ok((link, _)) => {
                visit(link, descriptor);
                met += 1;
            }
            // A link that does not fit into the buffer refers to a file, not to a socket.
            Err(Errno::NAMETOOLONG) => met += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        descriptor += 1;
    }
    Ok(met)
}

/// After this many numbers without a descriptor, the directory is listed. Listing it costs about as much as trying so
/// many numbers.
const HOLES: u32 = 8;

/// Reads the descriptors in a directory, starting at the number `from`. Returns the number of descriptors that were
/// found.
pub(super) fn listed(
    directory: &OwnedFd,
    from: u32,
    visit: &mut dyn FnMut(&[u8], u32),
) -> Result<u32, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 64];
    let mut found = 0;
    for descriptor in numbers_in(directory)?.into_iter().filter(|descriptor| *descriptor >= from) {
        match readlinkat_raw(directory, DecInt::new(descriptor), &mut buffer) {
            Ok((link, _)) => visit(link, descriptor),
            Err(Errno::NAMETOOLONG) => {}
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        }
        found += 1;
    }
    Ok(found)
}

/// Returns the number in `socket:[123]`.
pub(super) fn bracketed<const N: usize>(link: &[u8], prefix: &[u8; N]) -> Option<u64> {
    let (start, rest) = link.split_first_chunk()?;
    let (last, digits) = rest.split_last()?;
    if start != prefix || *last != b']' || digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A path below `/proc/PID` in a fixed buffer. It would be slow to allocate a path for each process.
struct PidPath {
    bytes: [u8; 32],
    length: usize,
}

impl PidPath {
    fn new(pid: Pid) -> Self {
        let digits = DecInt::new(pid);
        let mut bytes = [0; 32];
        let length = digits.as_bytes().len();
        bytes[..length].copy_from_slice(digits.as_bytes());
        PidPath { bytes, length }
    }

    /// Returns the path with `tail` appended. `tail` must be short and end in NUL.
    fn join(&mut self, tail: &[u8]) -> &CStr {
        self.bytes[self.length..self.length + tail.len()].copy_from_slice(tail);
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}
